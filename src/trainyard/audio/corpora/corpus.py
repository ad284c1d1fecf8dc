"""What the modules of the corpora share: listing recordings, checking names and classes, building a `Corpus`.

Uses names and tables alone; no recording is opened here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from trainyard.audio.decode import AUDIO_SUFFIXES, is_audio
from trainyard.data.folders import walk
from trainyard.data.found import FoundFile
from trainyard.errors import DataError
from trainyard.wording import did_you_mean, listed


@dataclass(frozen=True)
class Corpus:
    """The recordings of a corpus, before any of them is read.

    Attributes:
        name: the default name of the dataset in paths and queries.
        classes: names in label order; each has at least one file.
        files: sorted by id. A file that a table lists may be missing.
        warnings: for the user, one or more sentences each.
    """

    name: str
    classes: tuple[str, ...]
    files: list[FoundFile]
    warnings: list[str]


class Clip(NamedTuple):
    """One recording as its corpus describes it; `group`, `split` and `where` as in `FoundFile`."""

    path: Path
    label: str
    group: str = ""
    split: str = ""
    where: str = ""


def recordings(root: Path, layout: str) -> list[Path]:
    """Every recording below a folder, sorted; other files are ignored. `layout` is that of the corpus, for messages.

    Raises:
        DataError: no such folder, or no recordings in it.
    """
    found = sorted(path for path in walk(root) if is_audio(path)) if root.is_dir() else []
    if not found:
        problem = f"contains no recordings ({', '.join(sorted(AUDIO_SUFFIXES))})"
        if not root.is_dir():
            problem = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {problem}.", f"Set data.path to the corpus: {layout}.", place=root)
    return found


def counted(number: int) -> str:
    """ "1 recording", "2 recordings" …"""
    return "1 recording" if number == 1 else f"{number} recordings"


def row_error(table: Path, number: int, what: str, remedy: str, value: object) -> DataError:
    """The error of a row of a corpus's table."""
    return DataError(f"{table}: row {number} {what}", remedy, value=value, place=f"{table}:{number}")


def read_names(
    root: Path, paths: Sequence[Path], read: Callable[[Path], Clip | None], grammar: str, example: str
) -> list[Clip]:
    """What `read` makes of each path; None for a name that does not follow the grammar, of which there must be none.

    Raises:
        DataError: see `refuse_names`.
    """
    clips = [read(path) for path in paths]
    bad = [path for path, clip in zip(paths, clips, strict=True) if clip is None]
    if bad:
        refuse_names(root, bad, grammar, example)
    return [clip for clip in clips if clip]


def refuse_names(root: Path, bad: Sequence[Path], grammar: str, example: str) -> NoReturn:
    """Refuses files whose names do not follow the grammar of a corpus, of which `example` is one.

    Raises:
        DataError: always.
    """
    names = [path.relative_to(root).as_posix() for path in bad]
    noun = "name does" if len(names) == 1 else "names do"
    raise DataError(
        f"{root}: {len(names)} file {noun} not follow the corpus: {listed(names, 3)}. Expected {grammar},"
        f" such as {example}.",
        "Rename or remove the files, or use data=audio_folder or data=audio_csv for recordings of your own.",
        value=tuple(names),
        place=root,
    )


def assemble(
    name: str,
    root: Path,
    clips: Sequence[Clip],
    labels: Sequence[str],
    classes: Sequence[str] | None,
    warnings: Sequence[str] = (),
) -> Corpus:
    """Builds the corpus of the clips found, of any label.

    Args:
        name: of the corpus.
        root: the folder that ids are relative to.
        clips: all clips found.
        labels: the label set in order; labels without clips are left out.
        classes: the classes to use instead of the label set, in label order.
        warnings: warnings so far.

    Raises:
        DataError: no clips, or a class that is unknown or has no clips.
    """
    counts = Counter(clip.label for clip in clips)
    notes = list(warnings)
    if classes is None:
        names = [label for label in labels if counts[label]]
        if missing := [label for label in labels if not counts[label]]:
            notes.append(f"{root} has no recordings of these classes of {name}: {listed(missing)}.")
    else:
        names = list(classes)
        _check_classes(name, root, names, labels, counts)
    if left_out := {label: count for label, count in sorted(counts.items()) if label not in names}:
        parts = [f"{label} ({count})" for label, count in left_out.items()]
        notes.append(f"Left out {counted(sum(left_out.values()))} of other classes: {listed(parts)}.")
    files = [
        FoundFile(path, path.relative_to(root).as_posix(), names.index(label), group, split, where)
        for path, label, group, split, where in clips
        if label in names
    ]
    if not files:
        wanted = tuple(classes or labels)
        what = " ".join([f"{root} has no recordings of {listed(wanted)}.", *warnings])
        raise DataError(what, "Check data.path and data.classes.", value=wanted, place=root)
    return Corpus(name, tuple(names), sorted(files, key=lambda file: file.id), notes)


def _check_classes(name: str, root: Path, classes: Sequence[str], labels: Sequence[str], counts: Counter[str]) -> None:
    known = [*labels, *sorted(set(counts) - set(labels))]
    for class_ in classes:
        if class_ not in known:
            what = f"data.classes has {class_!r}, which is not a class of {name}: {listed(known)}."
            remedy = did_you_mean(class_, known, then="Use class names of the corpus.")
            raise DataError(what, remedy, value=class_, place="data.classes")
        if not counts[class_]:
            what, remedy = f"{root} has no recordings of class {class_}.", "Add some, or remove it from data.classes."
            raise DataError(what, remedy, value=class_, place=root)

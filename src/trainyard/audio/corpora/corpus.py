"""What the modules of the corpora share: listing recordings, checking names and classes, building a `Corpus`.

Uses names and tables alone; no recording is opened here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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
    """Every recording below a folder, sorted; other files are ignored.

    Args:
        root: the folder.
        layout: the layout of the corpus, for messages.

    Raises:
        DataError: no such folder, or no recordings in it.
    """
    if not root.is_dir():
        kind = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {kind}.", f"Set data.path to the corpus: {layout}.", place=root)
    found = sorted(path for path in walk(root) if is_audio(path))
    if not found:
        raise DataError(
            f"{root} contains no recordings ({', '.join(sorted(AUDIO_SUFFIXES))}).",
            f"Set data.path to the corpus: {layout}.",
            place=root,
        )
    return found


def counted(number: int) -> str:
    """ "1 recording", "2 recordings" …"""
    return "1 recording" if number == 1 else f"{number} recordings"


def refuse_names(root: Path, bad: Sequence[Path], grammar: str, example: str) -> None:
    """Checks that no file name violates a corpus's grammar.

    Args:
        root: the folder of the corpus.
        bad: the files whose names do not follow the grammar.
        grammar: the grammar, for the message.
        example: a name that follows it.

    Raises:
        DataError: `bad` is not empty.
    """
    if bad:
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
    """Builds the corpus of some clips.

    Args:
        name: of the corpus.
        root: the folder that ids are relative to.
        clips: all clips found, of any label.
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
        missing = [label for label in labels if not counts[label]]
        if missing:
            notes.append(f"{root} has no recordings of these classes of {name}: {listed(missing)}.")
    else:
        names = list(classes)
        _check_classes(name, root, names, labels, counts)
    left_out = {label: count for label, count in sorted(counts.items()) if label not in names}
    if left_out:
        parts = [f"{label} ({count})" for label, count in left_out.items()]
        notes.append(f"Left out {counted(sum(left_out.values()))} of other classes: {listed(parts)}.")
    files = [
        FoundFile(
            path=clip.path,
            id=clip.path.relative_to(root).as_posix(),
            label=names.index(clip.label),
            group=clip.group,
            split=clip.split,
            where=clip.where,
        )
        for clip in clips
        if clip.label in names
    ]
    if not files:
        wanted = list(classes or labels)
        what = " ".join([f"{root} has no recordings of {listed(wanted)}.", *warnings])
        raise DataError(what, "Check data.path and data.classes.", value=tuple(wanted), place=root)
    return Corpus(name, tuple(names), sorted(files, key=lambda file: file.id), notes)


def _check_classes(name: str, root: Path, classes: Sequence[str], labels: Sequence[str], counts: Counter[str]) -> None:
    known = [*labels, *sorted(set(counts) - set(labels))]
    for class_ in classes:
        if class_ not in known:
            raise DataError(
                f"data.classes has {class_!r}, which is not a class of {name}: {listed(known)}.",
                did_you_mean(class_, known, then="Use class names of the corpus."),
                value=class_,
                place="data.classes",
            )
        if not counts[class_]:
            raise DataError(
                f"{root} has no recordings of class {class_}.",
                "Add recordings, or remove the class from data.classes.",
                value=class_,
                place=root,
            )

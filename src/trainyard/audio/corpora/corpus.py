"""What the corpora share: a list of recordings found by the rules of one corpus, and its assembly.

A corpus is found by names and tables alone; no recording is opened here. Knows the label set it is
given, not whose it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from trainyard.audio.decode import AUDIO_SUFFIXES, is_audio
from trainyard.data.build import listed, nearest
from trainyard.data.folders import walk
from trainyard.data.found import FoundFile
from trainyard.errors import DataError


@dataclass(frozen=True)
class Corpus:
    """The recordings of a corpus, before any of them was read.

    Attributes:
        name: what to call it in paths and queries, unless the user says otherwise.
        classes: names in label order; each has at least one file.
        files: in the order of their ids. A file that a table lists may be missing.
        warnings: what a person should know, one sentence or more each.
    """

    name: str
    classes: tuple[str, ...]
    files: list[FoundFile]
    warnings: list[str]


class Clip(NamedTuple):
    """One recording as its corpus describes it; group, split and where as in `FoundFile`."""

    path: Path
    label: str
    group: str = ""
    split: str = ""
    where: str = ""


def recordings(root: Path, layout: str) -> list[Path]:
    """Every recording below a folder, in order; other files are passed over.

    Args:
        root: the folder.
        layout: how the corpus lies in it, for messages.

    Raises:
        DataError: no such folder, or no recordings in it.
    """
    if not root.is_dir():
        kind = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {kind}.", f"Set data.path to the corpus: {layout}.")
    found = sorted(path for path in walk(root) if is_audio(path))
    if not found:
        raise DataError(
            f"There are no recordings ({', '.join(sorted(AUDIO_SUFFIXES))}) below {root}.",
            f"Set data.path to the corpus: {layout}.",
        )
    return found


def counted(number: int) -> str:
    """ "1 recording", "2 recordings" …"""
    return "1 recording" if number == 1 else f"{number} recordings"


def refuse_names(root: Path, bad: Sequence[Path], grammar: str, example: str) -> None:
    """Raises a DataError that shows the grammar, when there are files whose names do not follow it."""
    if bad:
        names = [path.relative_to(root).as_posix() for path in bad]
        noun = "name does" if len(names) == 1 else "names do"
        raise DataError(
            f"{root}: {len(names)} file {noun} not follow the corpus: {listed(names, 3)}. A name is {grammar},"
            f" such as {example}.",
            "Rename or remove them, or use data=audio_folder or data=audio_csv for recordings of your own.",
        )


def assemble(
    name: str,
    root: Path,
    clips: Sequence[Clip],
    labels: Sequence[str],
    classes: Sequence[str] | None,
    warnings: Sequence[str] = (),
) -> Corpus:
    """The corpus of some clips, numbered in label order.

    Args:
        name: of the corpus.
        root: what ids are relative to.
        clips: what was found, of any label.
        labels: the label set in order, of which those that have clips are taken.
        classes: instead of the label set: the classes to take, in label order.
        warnings: what was noticed so far.

    Raises:
        DataError: nothing found, a class that the corpus has not, or without clips.
    """
    counts = Counter(clip.label for clip in clips)
    notes = list(warnings)
    if classes is None:
        names = [label for label in labels if counts[label]]
        missing = [label for label in labels if not counts[label]]
        if missing:
            notes.append(f"{root} has no recordings of {listed(missing)}, which the corpus {name} has.")
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
        what = " ".join([f"{root} holds no recordings of {listed(list(classes or labels))}.", *warnings])
        raise DataError(what, "Check data.path and data.classes.")
    return Corpus(name, tuple(names), sorted(files, key=lambda file: file.id), notes)


def _check_classes(name: str, root: Path, classes: Sequence[str], labels: Sequence[str], counts: Counter[str]) -> None:
    known = [*labels, *sorted(set(counts) - set(labels))]
    for class_ in classes:
        if class_ not in known:
            raise DataError(
                f"data.classes names {class_!r}, which is no class of {name}: {listed(known)}.",
                f"Use its class names.{nearest(class_, known)}",
            )
        if not counts[class_]:
            raise DataError(
                f"{root} holds no recordings of class {class_}.", "Add some, or leave it out of data.classes."
            )

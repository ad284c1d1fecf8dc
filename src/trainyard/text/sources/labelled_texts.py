"""What all sources of texts share after reading: resolving labels by name or number, and rejecting bad items.

A fault is reported with its file, row and value, in the same way for every format. Knows no file format,
no tokens, and makes no splits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainyard.data.build import ON_BAD, describe_bad, require_choice
from trainyard.data.dataset import Labels
from trainyard.data.tables import sort_labels
from trainyard.errors import DataError
from trainyard.wording import listed, suggestion

Fault = tuple[str, object]  # why a text cannot be used, and the value at fault


@dataclass(frozen=True)
class FoundText:
    """A text as a source found it; text and labels (by name or number) are verbatim."""

    where: str  # its location for messages, such as `row 3` or `dev.tsv: row 3`
    id: str
    text: str
    labels: tuple[str, ...]
    group: str = ""  # "" for none
    split: str = ""  # "" when the data has no splits of its own
    place: str = ""  # its location for programs, such as `data/dev.tsv:3`; "" for none


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts with their labels, before splitting and tokenizing."""

    where: str  # the name of the data in messages, such as its path
    classes: tuple[str, ...]  # names in label order
    ids: tuple[str, ...]  # unique
    texts: tuple[str, ...]
    labels: Labels  # int64 [N], positions in `classes`; or bool [N, C], where a text may have several
    groups: tuple[str, ...] | None = None  # one per text, "" for none
    splits: tuple[str, ...] | None = None  # the official split of each
    warnings: tuple[str, ...] = ()


def labelled_texts(
    where: str, found: Sequence[FoundText], classes: Sequence[str] | None, *, multi_label: bool, on_bad_item: str
) -> Texts:
    """Checks texts and resolves their labels.

    Args:
        where: the name of the data in messages.
        found: the texts that the source has.
        classes: names in label order; labels may also be given by number, from 0. None: all labels
            found, sorted (as numbers when all are).
        multi_label: a text may have several labels, or none; otherwise it must have exactly one.
        on_bad_item: how to handle a text that is empty or has invalid labels: "error", or "skip" with a
            warning.

    Raises:
        DataError: a text cannot be used and `on_bad_item` is "error", or two texts have the same id.
    """
    require_choice("data.on_bad_item", on_bad_item, ON_BAD)
    faults: list[Fault | None] = [(why, item.text) if (why := unusable(item.text)) else None for item in found]
    names = _classes(found, faults) if classes is None else list(classes)
    position_of = {name: index for index, name in enumerate(names)}
    positions = []  # of each text's labels in `names`
    for number, item in enumerate(found):
        resolved, fault = _resolve(item.labels, position_of, names, multi_label)
        positions.append(resolved)
        faults[number] = faults[number] or fault
    good = [number for number, fault in enumerate(faults) if fault is None]
    bad = [(item, *fault) for item, fault in zip(found, faults, strict=True) if fault is not None]
    lines = describe_bad((item.where, reason) for item, reason, _ in bad)
    summary = f"{'1 text' if len(bad) == 1 else f'{len(bad)} texts'} cannot be used:{lines}"
    if bad and on_bad_item == "error":
        remedy, place = "Fix or remove them, or set data.on_bad_item=skip.", bad[0][0].place or where
        raise DataError(f"{where}: {summary}", remedy, value=tuple(value for *_, value in bad), place=place)
    kept = [found[number] for number in good]
    _check_ids(where, kept)
    labels = np.zeros((len(kept), len(names)), dtype=np.bool_)
    for row, number in enumerate(good):
        labels[row, positions[number]] = True
    return Texts(
        where=where,
        classes=tuple(names),
        ids=tuple(item.id for item in kept),
        texts=tuple(item.text for item in kept),
        labels=labels if multi_label else np.nonzero(labels)[1].astype(np.int64),
        groups=tuple(item.group for item in kept) if any(item.group for item in kept) else None,
        splits=tuple(item.split for item in kept) if any(item.split for item in kept) else None,
        warnings=(f"Skipped: {summary}",) if bad else (),
    )


def unusable(text: str) -> str:
    """Why a text cannot be used, or ""."""
    if not text.strip():
        return "it has no text"
    try:
        text.encode()
    except UnicodeEncodeError as error:  # only JSON can contain one
        return f"its text has an unpaired surrogate, {text[error.start]!a}, at position {error.start}"
    return ""


def _classes(found: Sequence[FoundText], faults: Sequence[Fault | None]) -> list[str]:
    usable = (item.labels for item, fault in zip(found, faults, strict=True) if fault is None)
    return sort_labels({label for labels in usable for label in labels} - {""})


def _resolve(
    labels: Sequence[str], position_of: dict[str, int], names: Sequence[str], multi_label: bool
) -> tuple[list[int], Fault | None]:
    """The positions of labels in `names`, or what is wrong with them."""
    positions: list[int] = []
    for label in labels:
        if label in position_of:
            position = position_of[label]
        elif re.fullmatch("-?[0-9]{1,9}", label):
            position = int(label)
            if not 0 <= position < len(names):
                reason = f"label {label} is out of range: there are {len(names)} labels, 0 to {len(names) - 1}"
                return [], (reason, position)
        elif not label:
            return [], (f"a label is empty in {', '.join(labels)!r}", tuple(labels))
        else:
            near = suggestion(label, names, few=0)
            return [], (f"label {label!r} is not one of the classes {listed(names)}{near}", label)
        if position in positions:
            return [], (f"label {names[position]!r} is repeated", tuple(labels))
        positions.append(position)
    if not multi_label and not positions:
        return [], ("it has no label", ())
    if not multi_label and len(positions) > 1:
        several = ", ".join(names[position] for position in positions)
        reason = f"it has {len(positions)} labels ({several}), but data.multi_label is false"
        return [], (reason, tuple(labels))
    return positions, None


def _check_ids(where: str, kept: Sequence[FoundText]) -> None:
    first: dict[str, FoundText] = {}
    for item in kept:
        other = first.setdefault(item.id, item)
        if other is not item:
            what = f"{where}: {item.where} and {other.where} have the same id {item.id!r}."
            remedy = "Give each text a unique id, or unset data.id_column."
            raise DataError(what, remedy, value=item.id, place=item.place or where)

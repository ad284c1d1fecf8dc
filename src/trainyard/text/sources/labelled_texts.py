"""What every source of texts does after reading: find the labels by name or number, and the texts to refuse.

Errors name the file, the row and the value in the same way for every format.
Knows no file format, no splits to make and no tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainyard.data.build import describe_bad, listed, nearest
from trainyard.data.dataset import Labels
from trainyard.data.tables import sort_labels
from trainyard.errors import DataError

ON_BAD_ITEM = ("error", "skip")


@dataclass(frozen=True)
class FoundText:
    """A text as a source found it.

    Attributes:
        where: how to point at it in messages, such as `row 3` or `dev.tsv: row 3`.
        id: what it is called in records.
        text: as it stands in the file.
        labels: as they stand there, by name or number.
        group: "" for none.
        split: "train", "val" or "test"; "" when the data has no splits of its own.
    """

    where: str
    id: str
    text: str
    labels: tuple[str, ...]
    group: str = ""
    split: str = ""


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts with their labels, before splits are made and tokens counted.

    Attributes:
        where: what to call the data in messages, such as its path.
        classes: names in label order.
        ids: what each text is called in records; no two alike.
        texts: in full.
        labels: int64 [N], positions in `classes`; or bool [N, C], where a text may have several.
        groups: one per text, "" for none; None: there are no groups.
        splits: the official split of each; None: there are none.
        warnings: what a person should know.
    """

    where: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    labels: Labels
    groups: tuple[str, ...] | None = None
    splits: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()


def labelled_texts(
    where: str, found: Sequence[FoundText], classes: Sequence[str] | None, *, multi_label: bool, on_bad_item: str
) -> Texts:
    """The texts that can be used, with their labels.

    Args:
        where: what to call the data in messages.
        found: what the source has.
        classes: names in label order, which labels may give by number too, from 0; None: the labels
            that there are, sorted (as numbers when all are).
        multi_label: a text may have several labels, or none; otherwise it has exactly one.
        on_bad_item: what to do with a text that is empty or whose labels are wrong: "error", or
            "skip" with a warning.

    Raises:
        DataError: a text that cannot be used and `on_bad_item` is "error", or an id that two have.
    """
    if on_bad_item not in ON_BAD_ITEM:
        raise DataError(f"on_bad_item is {on_bad_item!r}, which is no choice.", f"Use one of {', '.join(ON_BAD_ITEM)}.")
    faults = [unusable(item.text) for item in found]
    names = _classes(found, faults) if classes is None else list(classes)
    positions = {name: index for index, name in enumerate(names)}
    chosen = []
    for number, item in enumerate(found):
        places, wrong = _places(item.labels, positions, names, multi_label)
        chosen.append(places)
        faults[number] = faults[number] or wrong
    good = [number for number, fault in enumerate(faults) if not fault]
    bad = [(item.where, fault) for item, fault in zip(found, faults, strict=True) if fault]
    told = f"{'1 text' if len(bad) == 1 else f'{len(bad)} texts'} cannot be used:{describe_bad(bad)}"
    if bad and on_bad_item == "error":
        raise DataError(f"{where}: {told}", "Mend or remove them, or set data.on_bad_item=skip.")
    kept = [found[number] for number in good]
    _check_ids(where, kept)
    labels = np.zeros((len(kept), len(names)), dtype=np.bool_)
    for row, number in enumerate(good):
        labels[row, chosen[number]] = True
    return Texts(
        where=where,
        classes=tuple(names),
        ids=tuple(item.id for item in kept),
        texts=tuple(item.text for item in kept),
        labels=labels if multi_label else np.nonzero(labels)[1].astype(np.int64),
        groups=tuple(item.group for item in kept) if any(item.group for item in kept) else None,
        splits=tuple(item.split for item in kept) if any(item.split for item in kept) else None,
        warnings=(f"Skipped: {told}",) if bad else (),
    )


def unusable(text: str) -> str:
    """Why a text cannot be used, or ""."""
    if not text.strip():
        return "it has no text"
    try:
        text.encode()
    except UnicodeEncodeError as error:  # only JSON can say such a thing
        return f"its text has half a character, {text[error.start]!a}, in place {error.start}"
    return ""


def _classes(found: Sequence[FoundText], faults: Sequence[str]) -> list[str]:
    usable = (item.labels for item, fault in zip(found, faults, strict=True) if not fault)
    return sort_labels({label for labels in usable for label in labels} - {""})


def _places(
    labels: Sequence[str], positions: dict[str, int], names: Sequence[str], multi_label: bool
) -> tuple[list[int], str]:
    """The positions of labels, and what is wrong with them or ""."""
    places = []
    for label in labels:
        if label in positions:
            place = positions[label]
        elif re.fullmatch("-?[0-9]{1,9}", label):
            place = int(label)
            if not 0 <= place < len(names):
                return [], f"label {label} is out of range: there are {len(names)} labels, 0 to {len(names) - 1}"
        elif not label:
            return [], f"a label is empty in {', '.join(labels)!r}"
        else:
            return [], f"label {label!r} is not one of the classes {listed(names)}.{nearest(label, names)}"
        if place in places:
            return [], f"label {names[place]!r} is there more than once"
        places.append(place)
    if not multi_label and not places:
        return [], "it has no label"
    if not multi_label and len(places) > 1:
        return [], (
            f"it has {len(places)} labels ({', '.join(names[place] for place in places)}) and may have one:"
            " data.multi_label is false"
        )
    return places, ""


def _check_ids(where: str, kept: Sequence[FoundText]) -> None:
    first: dict[str, FoundText] = {}
    for item in kept:
        other = first.setdefault(item.id, item)
        if other is not item:
            raise DataError(
                f"{where}: {item.where} has the id {item.id!r}, and so has {other.where}.",
                "Give each text an id of its own, or leave data.id_column out.",
            )

"""The layers of an encoder that a text such as `012` or `7-12` selects.

`model.layers` and the names of runs share this grammar, which knows only text and a number of layers.
"""

from __future__ import annotations

import re

from trainyard.errors import ConfigError

_DIGITS = re.compile(r"[0-9]+")
_RANGE = re.compile(r"([0-9]{1,4})-([0-9]{1,4})")


def parse_layers(text: str | None, n_layers: int) -> tuple[tuple[int, ...], str | None]:
    """The layers that `text` selects, ascending, counted from 0, and a warning if the range was clipped.

    `012` means layers 0, 1 and 2; `7-12` means 7 to 12, inclusive; None means all of them. A range that ends one past
    the last layer is clipped, because people count from 1: layers 7-12 of 12 are 7 to 11.

    Raises:
        ConfigError: another layer that does not exist, or a text of another form. `value` is the layers that do
            not exist, those out of order, the bounds of a reversed range, or the text itself if it has no such form.
    """
    if text is None:
        return tuple(range(n_layers)), None
    last = n_layers - 1
    remedy = (
        f"The layers are 0 to {last}. Write single digits, ascending, such as 012, or a range such as 0-{last}; "
        "null means all of them."
    )

    def refused(why: str, value: object, first: str = "") -> ConfigError:
        problem = f"model.layers={text!r} {why}"
        return ConfigError([problem], f"{first} {remedy}".strip(), keys=["model.layers"], value=value)

    warning = None
    if found := _RANGE.fullmatch(text):
        first, end = int(found[1]), int(found[2])
        if first > end:
            raise refused("is a range that ends before it begins", (first, end))
        if end == n_layers and first < n_layers:
            warning = f"model.layers={text!r} ends one past the last layer, {last}: layers {first} to {last} are used."
            end = last
        layers = tuple(range(first, end + 1))
    elif _DIGITS.fullmatch(text):
        layers = tuple(map(int, text))
        ascending = sorted(set(layers))
        if list(layers) != ascending:
            alone = f", and layer {int(text)} alone as {int(text)}-{int(text)}" if int(text) < n_layers else ""
            why = f"means layers {', '.join(map(str, layers))}, which are not ascending"
            raise refused(why, layers, f"Write them as {''.join(map(str, ascending))}{alone}.")
    else:
        raise refused("does not name layers", text)
    absent = tuple(layer for layer in layers if layer > last)
    if absent:
        which = ", ".join(map(str, absent)) if len(absent) < 4 else f"{absent[0]} to {absent[-1]}"
        raise refused(f"names layer {which} of an encoder with {n_layers} layers", absent)
    return layers, warning

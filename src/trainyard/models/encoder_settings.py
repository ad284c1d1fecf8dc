"""The settings shared by all transformer encoders, and the checks of their combinations.

Imports nothing heavy and builds nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainyard.config.bounds import Bound, at_least
from trainyard.config.faults import Fault, show
from trainyard.config.reader import read_section
from trainyard.wording import suggestion

MINI = "mini"  # a size of every encoder, for which no weights are published
_RANDOM_SIZES = ("hidden_size", "num_layers", "num_heads", "ffn_size")  # replace those of model.size
SIZE_BOUNDS: tuple[Bound, ...] = tuple(
    (f"model.{key}", at_least(1), "1 or more, or null for the size's") for key in _RANDOM_SIZES
)


@dataclass(frozen=True)
class Sizes:
    """The sizes of a transformer encoder."""

    hidden: int
    layers: int
    heads: int
    ffn: int


def sizes_of(model: Any, usual: Sizes) -> Sizes:
    """The sizes of a random encoder: those of its settings, else the usual ones."""
    given = (getattr(model, key) for key in _RANDOM_SIZES)
    return Sizes(*(size or other for size, other in zip(given, vars(usual).values(), strict=True)))


def read_encoder(
    name: str, settings: Mapping[str, Any], published: Mapping[str, Collection[str]]
) -> tuple[Any, list[Fault]]:
    """The section of an encoder from plain settings, and its faults; usable only if there are none.

    Args:
        name: as in `model.name`.
        settings: its other fields.
        published: for each type the sizes that have weights, see `encoder_faults`.
    """
    model, faults = read_section("model", {**settings, "name": name})
    wrong = {key for fault in faults for key in fault.keys}
    return model, [
        *faults,
        *(fault for fault in encoder_faults(model, published.get(model.type)) if not wrong & set(fault.keys)),
    ]


def encoder_faults(model: Any, published: Collection[str] | None) -> Iterator[Fault]:
    """Invalid combinations of `model`'s type, size, pretrained, path and sizes.

    Args:
        model: the section of an encoder.
        published: the sizes with published weights; None if the size follows from the weights.
    """
    if published is not None:
        yield from _size_faults(model, published)
    yield from _random_size_faults(model)


def _size_faults(model: Any, published: Collection[str]) -> Iterator[Fault]:
    sizes = (MINI, *published)
    if model.size not in sizes:
        yield Fault(
            f"`model.size` is {show(model.size)}, which is not a size of {model.type}{suggestion(model.size, sizes)}",
            ("model.size", "model.type"),
        )
    elif model.size == MINI and model.pretrained and model.path is None:
        yield Fault(
            f"`model.size` is {MINI}, for which no weights are published; set model.pretrained=false, or choose "
            f"{', '.join(published)}",
            ("model.size", "model.pretrained"),
        )


def _random_size_faults(model: Any) -> Iterator[Fault]:
    """Sizes are for random encoders, and a path is for pretrained ones."""
    if model.pretrained:
        for name in _RANDOM_SIZES:
            if getattr(model, name) is not None:
                yield Fault(
                    f"`model.{name}` is {getattr(model, name)}, but pretrained weights have fixed sizes; "
                    "leave it out, or set model.pretrained=false",
                    (f"model.{name}", "model.pretrained"),
                )
    elif model.path is not None:
        yield Fault(
            f"`model.path` is {show(model.path)}, but `model.pretrained` is false, so nothing would be loaded; "
            "set only one of them",
            ("model.path", "model.pretrained"),
        )
    yield from head_faults(model.hidden_size, model.num_heads)


def head_faults(width: int | None, heads: int | None) -> Iterator[Fault]:
    """The width must be a multiple of the number of heads; None is not checked."""
    if width is not None and heads is not None and heads > 0 and width % heads:
        yield Fault(
            f"`model.hidden_size` {width} is not a multiple of `model.num_heads` {heads}",
            ("model.hidden_size", "model.num_heads"),
        )


def class_faults(classes: Sequence[str], *, least: int = 2) -> Iterator[Fault]:
    """Faults of class names for a classifier that needs at least `least` of them."""
    if len(classes) < least:
        needed = "1 class" if least == 1 else f"{least} classes"
        yield Fault(f"a classifier needs {needed} or more, but the data has {len(classes)}", ("data.classes",))
    repeated = [name for name, times in Counter(classes).items() if times > 1]
    if repeated:
        yield Fault(f"the class names {', '.join(map(repr, repeated))} occur more than once", ("data.classes",))

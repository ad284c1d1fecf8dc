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

    `published` has for each type the sizes with published weights, see `encoder_faults`.
    """
    model, faults = read_section("model", {**settings, "name": name})
    wrong = {key for fault in faults for key in fault.keys}
    others = [fault for fault in encoder_faults(model, published.get(model.type)) if not wrong & set(fault.keys)]
    return model, [*faults, *others]


def encoder_faults(model: Any, published: Collection[str] | None) -> Iterator[Fault]:
    """Invalid combinations of the type, size, pretrained, path and sizes of `model`, the section of an encoder.

    `published` are the sizes with published weights; None if the size follows from the weights.
    """
    if published is not None and model.size not in (MINI, *published):
        what = f"`model.size` is {show(model.size)}, which is not a size of {model.type}"
        yield Fault(what + suggestion(model.size, (MINI, *published)), ("model.size", "model.type"))
    elif published is not None and model.size == MINI and model.pretrained and model.path is None:
        what = f"`model.size` is {MINI}, for which no weights are published; set model.pretrained=false, or choose "
        yield Fault(what + ", ".join(published), ("model.size", "model.pretrained"))
    if model.pretrained:
        for name in _RANDOM_SIZES:
            if getattr(model, name) is not None:
                what = f"`model.{name}` is {getattr(model, name)}, but pretrained weights have fixed sizes"
                keys = (f"model.{name}", "model.pretrained")
                yield Fault(f"{what}; leave it out, or set model.pretrained=false", keys)
    elif model.path is not None:
        what = f"`model.path` is {show(model.path)}, but `model.pretrained` is false, so nothing would be loaded"
        yield Fault(f"{what}; set only one of them", ("model.path", "model.pretrained"))
    yield from head_faults(model.hidden_size, model.num_heads)


def head_faults(width: int | None, heads: int | None) -> Iterator[Fault]:
    """The width must be a multiple of the number of heads; None is not checked."""
    if width is not None and heads is not None and heads > 0 and width % heads:
        what = f"`model.hidden_size` {width} is not a multiple of `model.num_heads` {heads}"
        yield Fault(what, ("model.hidden_size", "model.num_heads"))


def class_faults(classes: Sequence[str], *, least: int = 2) -> Iterator[Fault]:
    """Faults of class names for a classifier that needs at least `least` of them."""
    if len(classes) < least:
        needed = "1 class" if least == 1 else f"{least} classes"
        yield Fault(f"a classifier needs {needed} or more, but the data has {len(classes)}", ("data.classes",))
    repeated = [name for name, times in Counter(classes).items() if times > 1]
    if repeated:
        yield Fault(f"the class names {', '.join(map(repr, repeated))} occur more than once", ("data.classes",))

"""The part of a configuration that is about a user's own model and data. Imports nothing heavy.

Both are built by a `_target_`, written `model._target_=my_package.Net model.width=3` for short, or were given to
`trainyard.fit` as objects, which a configuration can only name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from trainyard.config.bounds import Bound, at_least
from trainyard.config.schema import SplitOptions, Target


@dataclass(frozen=True)
class OwnModel:
    """Any `nn.Module`. It is passed `item_shape` and `classes` where it has arguments of these names."""

    target: Target | None = None  # `_target_` and arguments; also written model._target_=… model.ARGUMENT=…
    name: Literal["own"] = "own"
    given: str | None = None  # set by trainyard.fit: the class of the module that it was given
    first_weights: str | None = None  # set by trainyard.fit: a digest of the weights that training began with

    takes_cosine_head: ClassVar[bool] = False
    outputs_unknown: ClassVar[bool] = True


@dataclass(frozen=True)
class OwnData:
    """What a function returns: splits by name, or a `Dataset`. Further keys are the function's arguments."""

    target: Target | None = None  # `_target_` and arguments; also written data._target_=… data.ARGUMENT=…
    source: Literal["own"] = "own"
    dataset: str | None = None  # the name used in paths and queries; null: the module of the target
    given: str | None = None  # set by trainyard.fit: what kind of data it was given
    workers: int = 0  # processes that read items of a torch Dataset; 0: the training process
    split: SplitOptions = SplitOptions()

    multi_label: ClassVar[bool | None] = None  # only the data can tell


DATA = (OwnData,)
MODELS = (OwnModel,)
BOUNDS: tuple[Bound, ...] = (("data.workers", at_least(0), "0 or more"),)
NAMES: tuple[str, ...] = ()  # a class may be called anything

_SECTIONS: Mapping[str, tuple[type[Any], str]] = {"model": (OwnModel, "name"), "data": (OwnData, "source")}


def label(model: OwnModel) -> str:
    """The name of the class."""
    path = model.given or (str(model.target.get("_target_", "")) if isinstance(model.target, Mapping) else "")
    return path.rpartition(".")[2] or "own"


def from_name(name: str) -> dict[str, Any] | None:
    """None: no name says which class is meant."""
    return None


def long_form(section: str, values: Any) -> Any:
    """`data` or `model` with what belongs to its `_target_` in `target`; any other section as it is.

    Beside a `_target_`, or a `name` or `source` of `own`, keys that the dataclass does not have are arguments.
    """
    if section not in _SECTIONS or not isinstance(values, Mapping):
        return values
    schema, selector = _SECTIONS[section]
    if "_target_" not in values and values.get(selector) != "own":
        return values
    fields = {field.name for field in dataclasses.fields(schema)}
    arguments = {key: value for key, value in values.items() if key not in fields}
    if not arguments:
        return values
    target = values.get("target")
    long = {key: value for key, value in values.items() if key in fields}
    return {selector: "own", **long, "target": {**(target if isinstance(target, Mapping) else {}), **arguments}}

"""The kinds of data and the families of models: one package each, listed in one table.

No other module names these packages. Each has a `schema` and a `rules` module, which import nothing heavy, and a
`kind` module for the torch side. They are imported by name on first use, because they import this package.
Each module holds:

    schema  DATA, MODELS  the dataclasses of its part of the configuration; either may be empty
            BOUNDS        the bounds of single values, see `bounds`
            label(model)  the short name of one of its models, and `from_name(name)`, the values that a name implies
            NAMES         names to suggest when one is unknown
            Optional: explain_name(name), DATASETS, from_folder(name), RECIPES, IMPLIED; see `names`, `experiments`;
            long_form(section, values), the full section for an abbreviated one
    rules   check(config) faults of values that exclude each other
    kind    load, preprocessing and read_new, where it has data; build, describe and rebuild, where it has models.
            Optional: write_onnx(model, …) where a graph has other inputs; export_folder(model, format, …)

The functions of `kind` are called with all these arguments, and ignore those that they do not need:

    load(config, *, trust, item_shape, files) -> Dataset
        The items of `config.data`, as `config.model` takes them. `item_shape` is that of an input as a run recorded
        it, so that a published encoder need not be read. `files` are those of the checkpoint that the data is for.
        Raises ConfigError: the data does not fit the model, or `trainyard.fit` was given it; UnsafeTargetError: it
        names an object outside the allow-list, and `trust` is off; DataError: it cannot be read or trained on.
    preprocessing(config, item_shape) -> dict
        How a raw item becomes the model's input, in plain JSON values: enough for `read_new` and for other programs.
    read_new(path, preprocessing, *, files, cache_dir, cache_mb, trust) -> Items
        The items in a file or folder, as inputs of a trained model with these `files` and recorded `preprocessing`;
        decoded sound is cached in `cache_dir`, up to `cache_mb`. Raises DataError: there are none, or one cannot be
        used; CheckpointError: `files` lack something; UnsafeTargetError, as above.
    build(*, name, item_shape, classes, trust, **settings) -> nn.Module
        A new network from items of `item_shape` to an output for each of `classes`; `settings` are the other fields
        of its dataclass, and the data's `model_arguments`. Raises ConfigError, UnsafeTargetError.
    describe(*, name, item_shape, classes, **settings) -> dict
        What `config.json` says of that network, in plain JSON values.
    rebuild(config, files, *, trust) -> nn.Module
        The network that `describe` described, with new weights. Raises CheckpointError: `config` or `files` lack
        something; ConfigError, UnsafeTargetError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

Files = Mapping[str, str]  # the small files of a checkpoint beside its weights: name to text

PACKAGES: tuple[str, ...] = tuple(f"trainyard.{name}" for name in ("images", "audio", "text", "models", "own"))

SELECTORS: Mapping[str, str] = {"data": "source", "model": "name"}  # what distinguishes the dataclasses of a section
_LISTED: Mapping[str, str] = {"data": "DATA", "model": "MODELS"}  # a package's list of them
_DEFAULTS: Mapping[str, str] = {"data": "digits", "model": "cnn"}


def schemas() -> Iterator[Any]:
    """The `schema` module of every package."""
    return (import_module(f"{package}.schema") for package in PACKAGES)


def rules() -> Iterator[Any]:
    """The `rules` module of every package."""
    return (import_module(f"{package}.rules") for package in PACKAGES)


def members(section: str) -> dict[str, type[Any]]:
    """The dataclasses that `data` or `model` may be, by the value of their selector."""
    return {name: member for name, (_, member) in _listed(section, PACKAGES).items()}


def default(section: str) -> Any:
    """The default of `data` or `model`."""
    return members(section)[_DEFAULTS[section]]()


def long_form(section: str, values: Any) -> Any:
    """`data` or `model` as the dataclasses have it, expanded where a package accepts a shorter form."""
    for schema in schemas():
        if hasattr(schema, "long_form"):
            values = schema.long_form(section, values)
    return values


def package_of(section: str, name: str) -> str | None:
    """The package of a kind of data or of a model, by the value of its selector; None for an unknown one."""
    return _listed(section, PACKAGES).get(name, (None,))[0]


def schema_of(section: str, name: str) -> Any:
    """The `schema` module of a kind of data or of a model; KeyError if no package has it."""
    return import_module(f"{_listed(section, PACKAGES)[name][0]}.schema")


def torch_side(section: str, name: str) -> ModuleType:
    """The `kind` module of a kind of data or of a model; imports torch. KeyError if no package has it."""
    return import_module(f"{_listed(section, PACKAGES)[name][0]}.kind")


@cache
def _listed(section: str, packages: tuple[str, ...]) -> Mapping[str, tuple[str, type[Any]]]:
    """The package and the dataclass of everything that `data` or `model` may be."""
    selector, listed = SELECTORS[section], _LISTED[section]
    return {
        getattr(member, selector): (package, member)
        for package in packages
        for member in getattr(import_module(f"{package}.schema"), listed)
    }

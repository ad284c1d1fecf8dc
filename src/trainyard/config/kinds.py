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
    kind    load(config, trust, item_shape, files), preprocessing(config, item_shape),
            read_new(path, preprocessing, files, cache_dir, cache_mb, trust)    where it has data
            build(…, trust), describe(…), rebuild(config, files, trust)         where it has models
            Optional: write_onnx(model, …) where a graph has other inputs; export_folder(model, format, …)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

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

"""The kinds of data and the families of models: one package each, listed in one table.

Nothing else names these packages. Each has a `schema` and a `rules` module, which import nothing heavy, and a
`kind` module for the torch side. They are imported when they are first needed, by name, because they import
this package. What each module holds:

    schema  DATA, MODELS  the dataclasses of its part of the configuration; either may be empty
            BOUNDS        which single values make sense, see `bounds`
            label(model)  the short name of one of its models, and `from_name(name)`, the values that a name says
            NAMES         names to offer when one is unknown
            Optional: explain_name(name), DATASETS, from_folder(name), RECIPES, IMPLIED; see `names`, `experiments`
    rules   check(config) faults of values that do not go together
    kind    load(config, trust, item_shape, files), preprocessing(config, item_shape),
            read_new(path, preprocessing, files, cache_dir, cache_mb)       where it has data
            build(…), describe(…), rebuild(config, files)                   where it has models
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

PACKAGES: tuple[str, ...] = ("trainyard.images", "trainyard.audio", "trainyard.text", "trainyard.models")

# Which field tells the dataclasses of a section apart, where a package lists them, and which one is the default.
SELECTORS: Mapping[str, str] = {"data": "source", "model": "name"}
_LISTED: Mapping[str, str] = {"data": "DATA", "model": "MODELS"}
_DEFAULTS: Mapping[str, str] = {"data": "digits", "model": "cnn"}


def schemas() -> Iterator[Any]:
    """The `schema` module of every package."""
    return (import_module(f"{package}.schema") for package in PACKAGES)


def rules() -> Iterator[Any]:
    """The `rules` module of every package."""
    return (import_module(f"{package}.rules") for package in PACKAGES)


def members(section: str) -> dict[str, type[Any]]:
    """The dataclasses that `data` or `model` may be, by the value of their selector."""
    selector, listed = SELECTORS[section], _LISTED[section]
    return {getattr(member, selector): member for schema in schemas() for member in getattr(schema, listed)}


def default(section: str) -> Any:
    """What `data` or `model` is where nothing is said."""
    return members(section)[_DEFAULTS[section]]()


def package_of(section: str, name: str) -> str | None:
    """The package of a kind of data or of a model, by the value of its selector; None for an unknown one."""
    selector, listed = SELECTORS[section], _LISTED[section]
    for package, schema in zip(PACKAGES, schemas(), strict=True):
        if any(getattr(member, selector) == name for member in getattr(schema, listed)):
            return package
    return None


def schema_of(section: str, name: str) -> Any:
    """The `schema` module of a kind of data or of a model.

    Raises:
        KeyError: no package has it.
    """
    return _module(section, name, "schema")


def torch_side(section: str, name: str) -> ModuleType:
    """The `kind` module of a kind of data or of a model; imports torch.

    Raises:
        KeyError: no package has it.
    """
    return _module(section, name, "kind")


def _module(section: str, name: str, module: str) -> ModuleType:
    package = package_of(section, name)
    if package is None:
        raise KeyError(f"{section}={name}")
    return import_module(f"{package}.{module}")

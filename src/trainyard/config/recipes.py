"""The YAML of `conf/`: its groups, the recipes, those of a user's own too, and the configuration beneath a run.

A recipe is a list of layers, the recipes it includes first. The syntax is that part of Hydra's that `conf/` uses: a
`defaults:` list chooses from groups, each in its own section. Hydra itself is not used, because its composition
changes process-wide state (`GlobalHydra`, the version base, plugins and resolvers) that belongs to the calling
program, stops at the first fault and takes 0.1 s. The tests compose every group and recipe both ways.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from trainyard.config.faults import Fault, raise_all, show
from trainyard.config.fields import SELECTORS, all_keys
from trainyard.config.yamlfile import YamlFile
from trainyard.wording import suggestion


@dataclass(frozen=True)
class Choice:
    """One file of a group, or none of them (`option` null), and where it was chosen."""

    group: str
    option: str | None
    place: str


@dataclass(frozen=True)
class Layer:
    """The contents of one file: choices that replace sections, then values merged over them."""

    place: Callable[[str], str]  # where a dotted key was set
    choices: tuple[Choice, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)  # plain
    shipped: bool = False  # a recipe that comes with Trainyard


def shipped_recipes() -> tuple[str, ...]:
    """The names that `trainyard train NAME` accepts, sorted."""
    return groups()["recipe"]


@cache
def groups() -> Mapping[str, tuple[str, ...]]:
    """The shipped groups, such as `model` and `training/optimizer`, with their choices, sorted."""
    return dict(_groups(files("trainyard.conf"), ""))


def selected_by_choice(section: str, option: str) -> str | None:
    """The kind of data, or the model, that a shipped choice of `data` or `model` selects: `audio` for `fsdd`."""
    return str(_read(f"{section}/{option}.yaml")[SELECTORS[section]]) if option in groups()[section] else None


def compose_shipped(chosen: Mapping[str, str], group: str = "", option: str = "config") -> dict[str, Any]:
    """One file of a group of `conf/` merged with its `defaults:` list, unresolved; `_self_` comes last unless listed.

    The default is the base configuration of every run. `chosen` holds options by group, such as
    `training/optimizer`, that replace those that `conf/` names.
    """
    own = copy.deepcopy(_read(f"{group}{option}.yaml"))
    defaults = own.pop("defaults", [])
    tree: dict[str, Any] = {}
    for entry in defaults if "_self_" in defaults else [*defaults, "_self_"]:
        if entry == "_self_":
            _merge(tree, own)
        elif isinstance(entry, str):  # another option of the same group
            _merge(tree, compose_shipped(chosen, group, entry))
        else:
            [(section, default)] = entry.items()
            inner = chosen.get(f"{group}{section}", default)
            if inner is not None:
                _merge(tree, {section: compose_shipped(chosen, f"{group}{section}/", inner)})
    return tree


def read_recipe(
    recipe: str, faults: list[Fault], *, folder: Path = Path(), seen: tuple[str, ...] = (), place: str | None = None
) -> list[Layer]:
    """The layers of a shipped recipe, or of a YAML file by its path from `folder`; those that it includes first.

    Appends to `faults`. `seen` are the files that include this one, `place` is where the recipe was named.
    """

    def unread(what: str, remedy: str = "") -> list[Layer]:
        faults.append(Fault(what, place=place, obscures=tuple(SELECTORS), remedy=remedy))
        return []

    path, shown, shipped = folder / recipe, show(recipe), recipe in shipped_recipes()
    if not shipped and not recipe.endswith((".yaml", ".yml")):
        if "/" in recipe or path.is_file():
            why = "; YAML does not run Python" if recipe.endswith(".py") else ""
            return unread(f"the recipe {shown} is not a .yaml file{why}")
        near = suggestion(recipe, shipped_recipes())
        return unread(f"there is no recipe {shown}{near}, or the path of a .yaml or .py file")
    identity = f"shipped:{recipe}" if shipped else str(path.resolve())
    if identity in seen:
        return unread(f"the recipe {shown} includes itself")
    source: Traversable = files("trainyard.conf") / "recipe" / f"{recipe}.yaml" if shipped else path
    try:
        file = YamlFile(f"recipe {recipe}" if shipped else str(path), source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 at byte {error.start}"
        remedy = f"Pass a YAML file that exists, or a shipped recipe: {', '.join(shipped_recipes())}."
        return unread(f"the recipe {shown} cannot be read: {reason}", remedy)
    faults.extend(replace(fault, obscures=tuple(SELECTORS)) for fault in file.faults)
    values = {key: value for key, value in file.values.items() if key not in ("defaults", "recipe")}
    parents, choices = _defaults(file, path.parent, (*seen, identity), faults)
    return [*parents, Layer(file.place, tuple(choices), values, shipped)]


def checked_choice(group: str, option: object, place: str, faults: list[Fault]) -> Choice | None:
    """The choice, or None after noting that there is no such group or no such choice in it."""
    if group not in groups() or group == "recipe":
        dotted = group.replace("/", ".")
        plain = f"; the key is written `{dotted}`" if dotted in all_keys() else ""
        valid = [name for name in groups() if name != "recipe"]
        faults.append(Fault(f"there is no group `{group}`{plain or suggestion(group, valid)}", place=place))
    elif option is None and "/" in group:
        return Choice(group, None, place)
    elif not isinstance(option, str):
        what = f"`{group}` is {show(option)}, expected one of {', '.join(groups()[group])}"
        faults.append(Fault(what, place=place, obscures=(group,)))
    elif option not in groups()[group]:
        what = f"`{group}` has no choice `{option}`{suggestion(option, groups()[group], few=len(groups()[group]))}"
        faults.append(Fault(what, place=place, obscures=(group,)))
    else:
        return Choice(group, option, place)
    return None


def _groups(folder: Traversable, prefix: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.name.startswith("_"):
            group = f"{prefix}{entry.name}"
            names = [file.name.removesuffix(".yaml") for file in entry.iterdir() if file.name.endswith(".yaml")]
            yield group, tuple(sorted(names))
            yield from _groups(entry, f"{group}/")


def _defaults(
    file: YamlFile, folder: Path, seen: tuple[str, ...], faults: list[Fault]
) -> tuple[list[Layer], list[Choice]]:
    """The layers and choices of a `defaults:` list; Hydra's `override` and leading slashes are optional."""
    entries, place = file.values.get("defaults"), file.place("defaults")
    layers: list[Layer] = []
    choices: list[Choice] = []
    if entries is not None and not isinstance(entries, list):
        faults.append(Fault(f"`defaults` is {show(entries)}, expected a list such as [model: cnn]", place=place))
        return layers, choices
    for entry in entries or []:
        if isinstance(entry, str):
            layers += read_recipe(entry, faults, folder=folder, seen=seen, place=place) if entry != "_self_" else []
        elif isinstance(entry, dict) and len(entry) == 1:
            [(group, option)] = entry.items()
            group = str(group).removeprefix("override ").strip().removeprefix("/")
            choice = checked_choice(group, option, place, faults)
            choices += [choice] if choice else []
        else:
            what = f"`defaults` has the entry {show(entry)}, expected `GROUP: CHOICE` or a recipe"
            faults.append(Fault(what, place=place))
    return layers, choices


def _merge(tree: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, dict) and isinstance(tree.get(name), dict):
            _merge(tree[name], value)
        else:
            tree[name] = value


@cache
def _read(path: str) -> dict[str, Any]:
    file = YamlFile(path, (files("trainyard.conf") / path).read_text(encoding="utf-8"))
    raise_all(file.faults)
    return file.values

"""Finds recipes, shipped ones and YAML files, and the groups that a `defaults:` list may choose from.

Reads, but does not merge. A recipe is a list of layers, the recipes it includes first. Recipes follow Hydra's
syntax, and Hydra composes the shipped ones to the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from trainyard.config.faults import Fault, show
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
    """The contents of one file: choices that replace sections, then values merged over them.

    Attributes:
        choices: in order.
        values: plain.
        place: where a dotted key was set.
        shipped: a recipe that comes with Trainyard.
    """

    place: Callable[[str], str]
    choices: tuple[Choice, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    shipped: bool = False


def shipped_recipes() -> tuple[str, ...]:
    """The names that `trainyard train NAME` accepts, sorted."""
    return groups()["recipe"]


@cache
def groups() -> Mapping[str, tuple[str, ...]]:
    """The shipped groups, such as `model` and `training/optimizer`, with their choices, sorted."""
    return dict(_groups(files("trainyard.conf"), ""))


@cache
def selected_by_choice(section: str, option: str) -> str | None:
    """The kind of data, or the model, that a shipped choice of `data` or `model` selects: `audio` for `fsdd`."""
    if option not in groups()[section]:
        return None
    text = (files("trainyard.conf") / section / f"{option}.yaml").read_text(encoding="utf-8")
    return str(YamlFile(option, text).values[SELECTORS[section]])


def read_recipe(
    recipe: str, faults: list[Fault], *, folder: Path = Path(), seen: tuple[str, ...] = (), place: str | None = None
) -> list[Layer]:
    """The layers of a shipped recipe or a YAML file, those that it includes first.

    Args:
        recipe: a shipped recipe's name, or a path.
        faults: a list to append to.
        folder: the folder that a relative path starts from.
        seen: the files that include this one, to detect cycles.
        place: where the recipe was named.
    """
    unread: dict[str, Any] = {"place": place, "obscures": tuple(SELECTORS)}
    path = folder / recipe
    if recipe in shipped_recipes():
        source: Traversable = files("trainyard.conf") / "recipe" / f"{recipe}.yaml"
        identity, name = f"shipped:{recipe}", f"recipe {recipe}"
    elif recipe.endswith((".yaml", ".yml")):
        source, identity, name = path, str(path.resolve()), str(path)
    elif "/" in recipe or path.is_file():
        why = "; YAML does not run Python" if recipe.endswith(".py") else ""
        faults.append(Fault(f"the recipe {show(recipe)} is not a .yaml file{why}", **unread))
        return []
    else:
        near = suggestion(recipe, shipped_recipes())
        faults.append(Fault(f"there is no recipe {show(recipe)}{near}, or the path of a .yaml or .py file", **unread))
        return []
    if identity in seen:
        faults.append(Fault(f"the recipe {show(recipe)} includes itself", **unread))
        return []
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 at byte {error.start}"
        remedy = f"Pass a YAML file that exists, or a shipped recipe: {', '.join(shipped_recipes())}."
        faults.append(Fault(f"the recipe {show(recipe)} cannot be read: {reason}", remedy=remedy, **unread))
        return []
    file = YamlFile(name, text)
    faults.extend(replace(fault, obscures=tuple(SELECTORS)) for fault in file.faults)
    values = {key: value for key, value in file.values.items() if key not in ("defaults", "recipe")}
    parents, choices = _defaults(file, path.parent, (*seen, identity), faults)
    return [*parents, Layer(file.place, tuple(choices), values, shipped=identity.startswith("shipped:"))]


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
    if entries is None:
        return layers, choices
    if not isinstance(entries, list):
        faults.append(Fault(f"`defaults` is {show(entries)}, expected a list such as [model: cnn]", place=place))
        return layers, choices
    for entry in entries:
        if entry == "_self_":
            continue
        if isinstance(entry, str):
            layers += read_recipe(entry, faults, folder=folder, seen=seen, place=place)
        elif isinstance(entry, dict) and len(entry) == 1:
            [(group, option)] = entry.items()
            group = str(group).removeprefix("override ").strip().removeprefix("/")
            choice = checked_choice(group, option, place, faults)
            choices += [choice] if choice else []
        else:
            what = f"`defaults` has the entry {show(entry)}, expected `GROUP: CHOICE` or a recipe"
            faults.append(Fault(what, place=place))
    return layers, choices

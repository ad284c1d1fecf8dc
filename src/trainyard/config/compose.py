"""From a recipe and the command line to a `Config`, with every fault reported at once.

`recipes` composes the groups of `conf/`. Values are merged over them here, because each must remember the file
and line it came from. Hydra's grammar is imported only when there are overrides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainyard.config.convert import from_dict, to_dict, to_yaml
from trainyard.config.experiments import read_experiment
from trainyard.config.faults import Fault, raise_all, show
from trainyard.config.fields import SELECTORS, all_keys, fill, section_keys
from trainyard.config.names import EXPERIMENT
from trainyard.config.overrides import Override, parse
from trainyard.config.reader import read
from trainyard.config.recipes import Choice, Layer, compose_shipped, read_recipe, shipped_recipes
from trainyard.config.resolve import resolve
from trainyard.config.schema import Config
from trainyard.wording import nearest

__all__ = ["compose", "from_dict", "shipped_recipes", "to_dict", "to_yaml"]

_REMEDY = "Correct the command or the file and start again; nothing has been written."
_SAVED = "the configuration of the other run"


def compose(
    recipe: str = "digits",
    overrides: Sequence[str] = (),
    *,
    base: Mapping[str, Any] | None = None,
    trust: bool = False,
    notes: list[str] | None = None,
) -> Config:
    """The resolved and checked configuration of a run.

    Later layers win: defaults, the recipe's choices of groups, the recipe's values, the command line's choices,
    the command line's values. Choosing a group, or another `_target_`, `model.name` or `data.source`, replaces
    the whole section.

    Args:
        recipe: a shipped recipe's name, or the path of a YAML file or of a Python experiment, which is executed.
            `recipe=…` among the overrides takes precedence.
        overrides: in Hydra's grammar: `model=mlp`, `training.epochs=5`, `~training.scheduler`.
        base: another run's saved configuration, in place of a recipe.
        trust: accept `_target_` objects outside the allow-list.
        notes: a list to append remarks for the user to.

    Raises:
        ConfigError: every fault, each with its key, its value and its place.
        UnsafeTargetError: the only faults are targets outside the allow-list.
    """
    faults: list[Fault] = []
    named, choices, values = parse(overrides, faults)
    draft = _Draft()
    if base is not None:
        draft.start_from(base)
        if named:
            what = f"`recipe` is {show(named[-1])}, but the configuration of another run is repeated, with its recipe"
            faults.append(Fault(what, ("recipe",), place="command line"))
    else:
        recipe = named[-1] if named else recipe
        notes = notes if notes is not None else []
        is_experiment = recipe.endswith(EXPERIMENT)
        for layer in read_experiment(recipe, faults, notes) if is_experiment else read_recipe(recipe, faults):
            draft.add(layer)
        draft.tree["recipe"] = recipe
    draft.choose(choices)
    for override in values:
        draft.apply(override, faults)
    tree = resolve(fill(draft.tree), draft.is_literal, faults)
    config, broken = read(tree, texts=draft.texts, trust=trust)
    obscured = tuple(f"{section}." for fault in faults for section in fault.obscures)
    clear = [fault for fault in broken if not any(f"{key}.".startswith(obscured) for key in fault.keys)]
    raise_all([*faults, *clear], draft.place, _REMEDY)
    return config


class _Draft:
    """The tree under construction, and the place that each part of it came from."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.texts: dict[str, str] = {}  # values as typed on the command line, by key
        self.literals: set[str] = set()  # keys in which `${...}` is plain text
        self._chosen: dict[str, Choice] = {}
        self._places: dict[str, str] = {}

    def start_from(self, base: Mapping[str, Any]) -> None:
        """Starts from a saved configuration, in which everything is resolved."""
        self._merge((), base, lambda key: _SAVED)
        self.literals = {""}

    def add(self, layer: Layer) -> None:
        """Merges a recipe's choices, then its values, over the tree."""
        if not self.tree:
            self._chosen = {choice.group: choice for choice in layer.choices}
            self.tree = self._composed()
        self.choose(layer.choices)
        self._merge((), layer.values, layer.place)

    def choose(self, choices: Sequence[Choice]) -> None:
        """Replaces the sections of the chosen groups, outer ones first."""
        if not choices:
            return
        self._chosen |= {choice.group: choice for choice in choices}
        composed = self._composed()
        for choice in sorted(choices, key=lambda choice: choice.group.count("/")):
            path = choice.group.split("/")
            self._set(path, _at(composed, path) if choice.option else None, choice.place)

    def apply(self, override: Override, faults: list[Fault]) -> None:
        """Sets, merges or deletes what one override names."""
        path = override.key.split(".")
        owner: Any = self.tree
        for part in path[:-1]:
            owner = owner.get(part) if isinstance(owner, dict) else owner
        if override.deletes:
            self._delete(override, owner, faults)
        elif owner is not None and not isinstance(owner, dict):
            section = override.key.rpartition(".")[0]
            what = f"`{override.key}` does not exist: `{section}` is {show(owner)}, not a section"
            faults.append(Fault(what, place=override.place))
        elif isinstance(override.value, dict):
            self._merge(path, override.value, lambda key: override.place)
        else:
            if override.selects:
                self._replace_unless(path[:-1], path[-1], override.value, override.place)
            self._set(path, override.value, override.place)
            self.texts[override.key] = override.text
            if override.literal:
                self.literals.add(override.key)

    def _composed(self) -> dict[str, Any]:
        """The shipped YAML with the choices so far."""
        return compose_shipped({group: choice.option for group, choice in self._chosen.items() if choice.option})

    def _delete(self, override: Override, owner: Any, faults: list[Fault]) -> None:
        """Removes the key, so that it takes its default; `~key=value` only if that is its value."""
        name = override.key.rpartition(".")[2]
        if isinstance(owner, dict) and name in owner:
            if override.value in (None, owner[name]):
                del owner[name]
                self._forget(override.key)
            else:
                what = f"`{override.key}` is {show(owner[name])}, not {show(override.value)}, and was not removed"
                faults.append(Fault(what, place=override.place))
        elif override.key not in all_keys():
            near = nearest(override.key, all_keys())
            hint = f"; did you mean `~{near}`?" if near else ""
            faults.append(Fault(f"there is no `{override.key}` to remove{hint}", place=override.place))

    def place(self, key: str) -> str | None:
        """Where the key was set: the key itself, else the nearest section around it, else any key inside it."""
        around = key
        while around and around not in self._places:
            around = around.rpartition(".")[0]
        if around in self._places:
            return self._places[around]
        return next((place for known, place in self._places.items() if known.startswith(f"{key}.")), None)

    def is_literal(self, key: str) -> bool:
        """Whether `${...}` in that value is plain text: marked so, or from a saved configuration."""
        return key in self.literals or ("" in self.literals and self.place(key) == _SAVED)

    def _merge(self, path: Sequence[str], values: Mapping[str, Any], place: Callable[[str], str]) -> None:
        """Merges a mapping over the section at `path`; replaces the section if its kind changes or on `_delete_`."""
        deletes = path and isinstance(values.get("_delete_"), bool)
        if path and (not isinstance(_at(self.tree, path), dict) or (deletes and values["_delete_"])):
            self._set(path, {}, place(".".join(path)))
        if deletes:
            values = {name: value for name, value in values.items() if name != "_delete_"}
        selector = "_target_" if "_target_" in values else SELECTORS.get(".".join(path), "_target_")
        if selector in values:
            self._replace_unless(path, selector, values[selector], place(".".join(path)))
        for name, value in values.items():
            inner = [*path, str(name)]
            key = ".".join(inner)
            if isinstance(value, Mapping):
                self._merge(inner, value, place)
            elif value is None and key in section_keys():
                continue  # `training:` with nothing below it sets nothing
            else:
                self._set(inner, value, place(key))

    def _replace_unless(self, path: Sequence[str], selector: str, value: Any, place: str) -> None:
        owner = _at(self.tree, path)
        if path and (not isinstance(owner, dict) or owner.get(selector) != value):
            self._set(path, {selector: value}, place)

    def _set(self, path: Sequence[str], value: Any, place: str) -> None:
        owner = self.tree
        for part in path[:-1]:
            if not isinstance(owner.get(part), dict):
                owner[part] = {}
            owner = owner[part]
        owner[path[-1]] = value
        self._forget(".".join(path))
        self._places[".".join(path)] = place

    def _forget(self, key: str) -> None:
        def is_outside(known: str) -> bool:
            return not f"{known}.".startswith(f"{key}.")

        self._places = {known: place for known, place in self._places.items() if is_outside(known)}
        self.texts = {known: text for known, text in self.texts.items() if is_outside(known)}
        self.literals = set(filter(is_outside, self.literals))


def _at(tree: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The value at `path` in the tree, or None."""
    found: Any = tree
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found

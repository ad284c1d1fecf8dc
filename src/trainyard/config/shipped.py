"""The YAML of `conf/`, composed as Hydra composes it: `defaults:` lists of groups, each in its own section.

Hydra itself is not used, because its composition changes process-wide state (`GlobalHydra`, the version base,
plugins and resolvers) that belongs to the calling program, stops at the first fault and takes 0.1 s. The tests
compose every group and recipe both ways. Supports only the syntax that `conf/` uses.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from trainyard.config.faults import raise_all
from trainyard.config.yamlfile import YamlFile


def compose_shipped(chosen: Mapping[str, str]) -> dict[str, Any]:
    """The base configuration of every run, unresolved.

    Args:
        chosen: options by group, such as `training/optimizer`, replacing those that `conf/` names.
    """
    return _composed("", "config", chosen)


def _composed(group: str, option: str, chosen: Mapping[str, str]) -> dict[str, Any]:
    """One file of a group merged with its `defaults:` list; `_self_` comes last unless listed."""
    own = copy.deepcopy(_read(f"{group}{option}.yaml"))
    defaults = own.pop("defaults", [])
    tree: dict[str, Any] = {}
    for entry in defaults if "_self_" in defaults else [*defaults, "_self_"]:
        if entry == "_self_":
            _merge(tree, own)
        elif isinstance(entry, str):  # another option of the same group
            _merge(tree, _composed(group, entry, chosen))
        else:
            [(section, default)] = entry.items()
            inner = chosen.get(f"{group}{section}", default)
            if inner is not None:
                _merge(tree, {section: _composed(f"{group}{section}/", inner, chosen)})
    return tree


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

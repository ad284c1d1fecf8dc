"""Resolves `${...}` with OmegaConf, and reports every reference that leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from trainyard.config.faults import Fault, show
from trainyard.config.fields import all_keys
from trainyard.wording import nearest

_OF_HYDRA = re.compile(r"\$\{(now|hydra|python_version):")  # resolvers that Hydra adds to OmegaConf's


def resolve(tree: Mapping[str, Any], is_literal: Callable[[str], bool], faults: list[Fault]) -> dict[str, Any]:
    """A resolved copy of the tree; a reference that cannot be resolved becomes null and a fault.

    The tree has every key that may be referred to. Where `is_literal` holds for a key, the `${...}` in its value is
    plain text, such as another run's note, and stays unchanged.
    """
    from omegaconf import OmegaConf

    literal = _escaped(tree, "", is_literal)
    if _OF_HYDRA.search(repr(literal)) and not OmegaConf.has_resolver("now"):
        from hydra.core.utils import setup_globals

        setup_globals()  # a Hydra program has registered them already, perhaps with its own replacements
    nodes = OmegaConf.create(literal, flags={"allow_objects": True})
    return {name: _resolved(value, nodes, name, name, faults) for name, value in literal.items()}


def _escaped(value: Any, key: str, is_literal: Callable[[str], bool]) -> Any:
    if isinstance(value, Mapping):
        inner = {name: f"{key}.{name}" if key else name for name in value}
        return {name: _escaped(item, inner[name], is_literal) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item, key, is_literal) for item in value]
    if isinstance(value, str) and "${" in value and is_literal(key):
        return re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", value)
    return value


def _resolved(value: Any, nodes: Any, name: str | int, key: str, faults: list[Fault]) -> Any:
    """The resolved value; its node in OmegaConf's copy is `nodes[name]`."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(value, dict):
        return {part: _resolved(item, nodes[name], part, f"{key}.{part}", faults) for part, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, nodes[name], index, key, faults) for index, item in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    try:
        found = nodes[name]
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    except (OmegaConfBaseException, RecursionError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        wanted = re.search(r"\$\{([\w.]+)\}", value)
        near = nearest(wanted[1], all_keys()) if wanted else None
        hint = f"; did you mean `${{{near}}}`?" if near and wanted and near != wanted[1] else ""
        what = f"`{key}` is {show(value)}, which cannot be resolved: {reason}{hint}"
        faults.append(Fault(what, (key,), obscures=(key,)))
        return None

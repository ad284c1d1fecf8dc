"""Between a `Config` and plain dicts and YAML: `from_dict(to_dict(config)) == config`, always."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard.config.faults import raise_all
from trainyard.config.fields import plain
from trainyard.config.reader import read
from trainyard.config.schema import Config


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as dicts, lists and scalars, in the order of the schema; safe for JSON and YAML."""
    as_dict: dict[str, Any] = plain(config)
    return as_dict


def from_dict(mapping: Mapping[str, Any], *, where: str = "", trust: bool = False) -> Config:
    """The configuration that `to_dict` wrote; keys that are absent take their defaults.

    Args:
        mapping: plain values. Strings are taken as they are: `${...}` is not resolved.
        where: what the mapping was read from, for messages.
        trust: accept `_target_` objects outside the allow-list.

    Raises:
        ConfigError: every fault, together.
        UnsafeTargetError: the only faults are targets outside the allow-list.
    """
    config, faults = read(mapping, trust=trust)
    raise_all(faults, lambda key: where or None)
    return config


def to_yaml(config: Config) -> str:
    """The configuration as YAML that any YAML 1.1 or 1.2 reader reads as the same values."""
    import yaml

    from trainyard.config.yamlfile import dumper

    return str(yaml.dump(to_dict(config), Dumper=dumper(), sort_keys=False, allow_unicode=True, width=110))

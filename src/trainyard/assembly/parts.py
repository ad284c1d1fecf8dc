"""Building one part of a training from its `_target_` section, and errors that say which section is at fault."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.config.targets import build_target
from trainyard.errors import ConfigError


def build_part(key: str, target: Mapping[str, Any], *args: Any, of: Any, trust: bool, remedy: str, **extra: Any) -> Any:
    """What a `_target_` section builds, of the wanted type; errors name the section's key."""
    try:
        part = build_target(target, *args, trust=trust, **extra)
    except ConfigError as error:
        problems = [f"`{key}`: {problem}" for problem in error.problems]
        raise ConfigError(problems, f"{error.remedy} {remedy}".strip(), keys=[key]) from error
    if not isinstance(part, of):
        raise ConfigError.of(key, target["_target_"], f"builds a {type(part).__name__}", remedy)
    return part


@contextlib.contextmanager
def advising(remedy: str) -> Iterator[None]:
    """Adds what to do to a ConfigError that does not say it."""
    try:
        yield
    except ConfigError as error:
        if error.remedy:
            raise
        raise ConfigError(error.problems, remedy, keys=error.keys, value=error.value) from error

"""`_target_` sections: from a dotted name in a config file to the object it names.

A config from someone else's run must not execute their code. A target is therefore accepted only from the parts
of packages listed here, must be a class defined there too (`torch.nn.os` is not), and is checked before anything
is called. Nothing is imported before the written name has passed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import types
from collections.abc import Mapping
from typing import Any

from trainyard.config.faults import show
from trainyard.errors import ConfigError, UnsafeTargetError
from trainyard.wording import nearest, suggestion

# Prefixes of target names, and the module in which the object must be defined. Deliberately narrow: other parts
# of these packages have classes that start processes or open files.
ALLOWED: Mapping[str, str] = {
    "torch.nn.": "torch.nn",
    "torch.optim.": "torch.optim",
    "transformers.optimization.": "transformers.optimization",
    "transformers.get_": "transformers.optimization",
    "transformers.Adafactor": "transformers.optimization",
    "trainyard.models.": "trainyard.models",
    "trainyard.tasks.losses.": "trainyard.tasks.losses",
    "audiomentations.": "audiomentations",
}
# Calling a function may do anything; these only build a scheduler.
FUNCTIONS = frozenset(
    f"transformers.optimization.get_{name}"
    for name in (
        "constant_schedule",
        "constant_schedule_with_warmup",
        "cosine_schedule_with_warmup",
        "cosine_with_hard_restarts_schedule_with_warmup",
        "inverse_sqrt_schedule",
        "linear_schedule_with_warmup",
        "polynomial_decay_schedule_with_warmup",
        "wsd_schedule",
    )
)
# Modules that were renamed since older versions saved configurations.
_MOVED: Mapping[str, str] = {"trainyard.training.losses.": "trainyard.tasks.losses."}
_CONTROLS = frozenset({"_target_", "_partial_"})


def with_current_targets(tree: Any) -> Any:
    """A copy of plain values in which every `_target_` that an older version wrote has its current name."""
    if isinstance(tree, Mapping):
        return {
            key: _current(value) if key == "_target_" and isinstance(value, str) else with_current_targets(value)
            for key, value in tree.items()
        }
    return [with_current_targets(value) for value in tree] if isinstance(tree, list | tuple) else tree


def _current(name: str) -> str:
    old = next((old for old in _MOVED if name.startswith(old)), "")
    return _MOVED.get(old, "") + name.removeprefix(old)


def validate_target(spec: Mapping[str, Any], *, trust: bool = False) -> None:
    """Checks a section and the sections nested in it, without importing or calling anything.

    Raises:
        UnsafeTargetError: a target outside the allow-list, unless `trust`.
        ConfigError: no `_target_`, not a dotted name, or a key that starts with `_` and is unknown.
    """
    if "_target_" not in spec:
        raise ConfigError([f"{show(dict(spec))} has no `_target_`, the class to build, such as torch.optim.AdamW"])
    _validate(spec, trust)


def build_target(spec: Mapping[str, Any], /, *args: Any, trust: bool = False, **extra: Any) -> Any:
    """The object that the section describes, with positional arguments and `extra` keywords over the section's.

    `_partial_: true` makes a `functools.partial` in place of the object. Arguments that are sections with a `_target_`
    are built first. `trust` accepts any importable callable.

    Raises:
        UnsafeTargetError: a target outside the allow-list, or one that resolves to an object outside it.
        ConfigError: a target that does not exist, or arguments that it does not accept.
    """
    validate_target(spec, trust=trust)
    name = spec["_target_"]
    target = _resolve(name, trust)
    given = {key: _built(value, trust) for key, value in spec.items() if key not in _CONTROLS} | extra
    partial = spec.get("_partial_", False)
    _check_arguments(name, target, args, given, partial)
    if partial:
        return functools.partial(target, *args, **given)
    try:
        return target(*args, **given)
    except (TypeError, ValueError) as error:
        raise ConfigError([f"{name} rejects its arguments {_show_arguments(given)}: {error}"]) from error


def target_accepts(spec: Mapping[str, Any], argument: str, *, trust: bool = False, by_name: bool = False) -> bool:
    """Whether the section's target takes a keyword argument of that name; with `by_name`, `**kwargs` does not count.

    Raises:
        UnsafeTargetError: as `build_target`.
        ConfigError: the target does not exist.
    """
    validate_target(spec, trust=trust)
    parameters = _parameters(_resolve(spec["_target_"], trust))
    if parameters is None:
        return not by_name
    return argument in _keywords(parameters) or (not by_name and _takes_any(parameters))


def _validate(value: Any, trust: bool) -> None:
    if isinstance(value, list | tuple):
        for item in value:
            _validate(item, trust)
    if not isinstance(value, Mapping):
        return
    if "_target_" in value:
        name = value["_target_"]
        parts = name.split(".") if isinstance(name, str) else []
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            raise ConfigError([f"`_target_` is {show(name)}, expected a dotted name such as torch.optim.AdamW"])
        if not isinstance(value.get("_partial_", False), bool):
            raise ConfigError([f"`_partial_` of {name} is {show(value['_partial_'])}, expected true or false"])
        unknown = sorted(key for key in value if str(key).startswith("_") and key not in _CONTROLS)
        if unknown:
            problem = f"{name} has the unknown key `{unknown[0]}`{suggestion(unknown[0], _CONTROLS)}"
            raise ConfigError([problem], "Remove or rename the key.", keys=unknown)
        private = any(part.startswith("_") for part in parts)
        if not trust and (private or not name.startswith(tuple(ALLOWED))):
            raise _unsafe(name)
    for item in value.values():
        _validate(item, trust)


def _built(value: Any, trust: bool) -> Any:
    if isinstance(value, Mapping) and "_target_" in value:
        return build_target(value, trust=trust)
    if isinstance(value, Mapping):
        return {key: _built(item, trust) for key, item in value.items()}
    return [_built(item, trust) for item in value] if isinstance(value, list | tuple) else value


def _resolve(name: str, trust: bool) -> Any:
    """The object of that dotted name, checked against the allow-list."""
    parts = name.split(".")
    found = _imported(parts[0], name)
    for index, part in enumerate(parts[1:], start=1):
        owner = ".".join(parts[:index])
        # Checked before each step: an allowed module may import one that is not allowed.
        if not trust and isinstance(found, types.ModuleType) and found.__name__.split(".")[0] != parts[0]:
            raise _unsafe(name)
        if hasattr(found, part):
            found = getattr(found, part)
        elif hasattr(found, "__path__") and importlib.util.find_spec(f"{owner}.{part}"):
            found = _imported(f"{owner}.{part}", name)
        else:
            near = nearest(part, [item for item in dir(found) if not item.startswith("_")])
            hint = f"; did you mean `{owner}.{near}`?" if near else ""
            raise ConfigError([f"`_target_` is {name}, but {owner} has no `{part}`{hint}"])
    if isinstance(found, types.ModuleType):
        raise ConfigError([f"`_target_` is {name}, which is a module, expected a class in it"])
    if not trust and not _is_allowed(name, found):
        raise _unsafe(name)
    if not callable(found):
        raise ConfigError([f"`_target_` is {name}, a {type(found).__name__}, expected a class"])
    return found


def _imported(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = error.name or module
        remedy = f"Install {package}, add its folder to PYTHONPATH, or choose another target."
        raise ConfigError([f"`_target_` is {name}, but {package} cannot be imported: {error}"], remedy) from error


def _is_allowed(name: str, found: Any) -> bool:
    home = str(getattr(found, "__module__", ""))
    if not isinstance(found, type):
        return isinstance(found, types.FunctionType) and f"{home}.{found.__qualname__}" in FUNCTIONS
    return any(
        name.startswith(prefix) and (home == module or home.startswith(f"{module}."))
        for prefix, module in ALLOWED.items()
    )


def _check_arguments(name: str, target: Any, args: tuple[Any, ...], given: Mapping[str, Any], partial: bool) -> None:
    parameters = _parameters(target)
    if parameters is None:
        return
    keywords = _keywords(parameters)
    unknown = [key for key in given if key not in keywords]
    if unknown and not _takes_any(parameters):
        problems = [
            f"{name} takes no argument `{key}` (given {_show_value(given[key])}){suggestion(key, keywords)}"
            for key in unknown
        ]
        raise ConfigError(problems, "Remove or rename the arguments.", keys=unknown)
    try:
        signature = inspect.Signature(list(parameters.values()))
        (signature.bind_partial if partial else signature.bind)(*args, **given)
    except TypeError as error:
        remedy = f"It takes: {', '.join(keywords) or 'no arguments'}."
        raise ConfigError([f"{name} cannot be built from {_show_arguments(given)}: {error}"], remedy) from error


def _parameters(target: Any) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):  # written in C, without a signature
        return None


def _keywords(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in parameters.items() if parameter.kind in by_name]


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())


def _show_value(value: Any) -> str:
    """Plain values as written; for others the type, because a repr may print a whole tensor."""
    return show(value) if isinstance(value, str | int | float | list | dict | None) else type(value).__name__


def _show_arguments(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_show_value(value)}" for key, value in given.items()) or "no arguments"


def _unsafe(name: str) -> UnsafeTargetError:
    packages = ", ".join(dict.fromkeys(ALLOWED.values()))
    what = f"The target {name} is not allowed in a configuration; allowed are classes of {packages}."
    return UnsafeTargetError(what, "If you trust the author of this configuration, add --trust.", value=name)

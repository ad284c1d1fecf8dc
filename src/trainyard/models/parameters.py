"""Freezes parts of a network, by name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from trainyard.errors import ConfigError
from trainyard.wording import listed, suggestion


def freeze(model: nn.Module, names: Sequence[str]) -> list[str]:
    """Freezes the named parts; returns the names of all frozen parameters.

    Running statistics are not frozen: a batch norm inside a frozen part still updates its mean and variance in
    training mode, unless the model keeps that part in eval mode.

    Args:
        model: changed in place.
        names: parameters (`stages.0.0.weight`) or modules (`stages.0`), which include every parameter below them.
            `stages.1` is not a prefix of `stages.10`.

    Raises:
        ConfigError: a name that is neither a parameter nor a module with parameters; nothing is frozen.
    """
    parameters = dict(model.named_parameters())
    modules = [name for name, module in model.named_modules() if name and any(True for _ in module.parameters())]
    problems = []
    chosen: dict[str, None] = {}
    for name in names:
        found = [key for key in parameters if key == name or key.startswith(f"{name}.")]
        if not found:
            near = suggestion(name, [*modules, *parameters], few=0)
            problems.append(f"the model has no parameter or part {name!r} to freeze{near}")
        chosen.update(dict.fromkeys(found))
    if problems:
        raise ConfigError(problems, f"Its parts are: {listed(modules)}.")
    for key in chosen:
        parameters[key].requires_grad_(False)
    return list(chosen)

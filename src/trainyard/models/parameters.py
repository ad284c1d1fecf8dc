"""Which weights of a network train.

Freezing is by name, so that a config can say it. It knows `nn.Module` only, not what a network is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from torch import nn

from trainyard.errors import ConfigError


def freeze(model: nn.Module, names: Sequence[str]) -> list[str]:
    """Stop the training of the named parts; returns the names of all parameters it froze.

    Parameters freeze; running statistics do not. A batch norm inside a frozen part still moves its
    mean and variance in training mode, unless the model keeps that part in eval mode.

    Args:
        model: changed in place.
        names: parameters (`stages.0.0.weight`) or modules (`stages.0`), which stand for every
            parameter below them. `stages.1` is not a prefix of `stages.10`.

    Raises:
        ConfigError: a name that is neither a parameter nor a module with parameters. Nothing is frozen then.
    """
    parameters = dict(model.named_parameters())
    modules = [name for name, module in model.named_modules() if name and any(True for _ in module.parameters())]
    problems = []
    chosen: dict[str, None] = {}
    for name in names:
        found = [key for key in parameters if key == name or key.startswith(f"{name}.")]
        if not found:
            nearest = get_close_matches(name, [*modules, *parameters], n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            problems.append(f"the model has no parameter or part {name!r} to freeze{hint}")
        chosen.update(dict.fromkeys(found))
    if problems:
        raise ConfigError(problems, f"Its parts are: {', '.join(modules[:20])}.")
    for key in chosen:
        parameters[key].requires_grad_(False)
    return list(chosen)

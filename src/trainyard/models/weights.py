"""Reads published weights, and loads those that fit.

A published file rarely matches a network completely (other classes, three channels instead of one), and a silent
partial load looks like a bad hyper-parameter. A report therefore lists every tensor. Knows state dicts only, no
checkpoints of runs.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trainyard.errors import ConfigError

_WRAPPERS = ("state_dict", "model", "model_state_dict")  # keys under which files keep the state dict
_PREFIXES = ("module.", "model.", "_orig_mod.")  # of DataParallel, of Lightning, of torch.compile
_NAMED = 3  # tensors of each kind that a description names


@dataclass(frozen=True)
class Report:
    """The result of loading each tensor of the file `where` into a model, as names."""

    where: str
    matched: tuple[str, ...]  # loaded unchanged
    reshaped: Mapping[str, str]  # loaded after summing the input channels, with a description
    skipped: Mapping[str, str]  # in both, but left as initialised, because the shapes differ; with both shapes
    missing: tuple[str, ...]  # in the model only: left as initialised
    unexpected: tuple[str, ...]  # in the file only

    def describe(self) -> str:
        """One paragraph for a log."""
        total = len(self.matched) + len(self.reshaped) + len(self.skipped) + len(self.missing)
        parts = [f"{len(self.matched) + len(self.reshaped)} of the model's {total} tensors were loaded"]
        parts += [f"{name}: {done}" for name, done in self.reshaped.items()]
        skipped = [f"{name} ({shapes})" for name, shapes in self.skipped.items()]
        for found, what in (
            (skipped, "of another shape, left as initialised"),
            (self.missing, "not in the file, left as initialised"),
            (self.unexpected, "in the file only, not used"),
        ):
            if found:
                more = ", …" if len(found) > _NAMED else ""
                parts.append(f"{len(found)} {what}: {', '.join(found[:_NAMED])}{more}")
        return f"Weights from {self.where}: {'; '.join(parts)}."


def read_weights(path: Path | str) -> dict[str, Any]:
    """The contents of a `.safetensors` file, or of one written by torch.save, on the CPU.

    No file, or one that holds no weights or would run code when read, is a ConfigError.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError.of("model.weights", path, "does not exist", "Set it to a .pth or .safetensors file.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        whole = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, LookupError, RuntimeError, ValueError, OSError) as error:
        raise _unreadable(path, type(error).__name__) from error
    except SafetensorError as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(whole, Mapping):
        raise _unreadable(path, f"it holds a {type(whole).__name__}")
    return dict(whole)


def load_matching(model: nn.Module, state: Mapping[str, Any], where: str) -> Report:
    """Loads every tensor of `state` whose name and shape match into `model`, and reports the others.

    Prefixes of common wrappers are removed from names, and published names are replaced by this network's
    (`model.published_names`). The first convolution of weights for colour images is summed over its input channels
    for a network with one channel, which gives the same output as for a grey image.

    `state` is a state dict, or a mapping that holds one as `state_dict`, `model` or `model_state_dict`; `where` is the
    file, for the report. If nothing fits, a ConfigError is raised.
    """
    own = model.state_dict()
    given = {_spelled(name, model, own): tensor for name, tensor in _unwrapped(state).items()}
    fitting: dict[str, Tensor] = {}
    reshaped, skipped = {}, {}
    for name, tensor in given.items():
        if name not in own:
            continue
        target = own[name]
        if tensor.shape == target.shape:
            fitting[name] = tensor
        elif tensor.ndim == 4 and tensor.shape[1] == 3 and target.shape == (len(tensor), 1, *tensor.shape[2:]):
            fitting[name] = tensor.sum(dim=1, keepdim=True)
            reshaped[name] = "3 input channels summed into 1"
        else:
            skipped[name] = f"{_size(tensor)} in the file, {_size(target)} in the model"
    if not fitting:
        some = ", ".join(list(given)[:_NAMED]) or "nothing"
        why, remedy = (
            f"fits this network with no tensor; it holds {some}",
            "Choose the model.name and sizes of the weights",
        )
        raise ConfigError.of("model.weights", where, why, f"{remedy}, or set model.weights=null.")
    model.load_state_dict(fitting, strict=False)
    return Report(
        where=where,
        matched=tuple(name for name in fitting if name not in reshaped),
        reshaped=reshaped,
        skipped=skipped,
        missing=tuple(name for name in own if name not in given),
        unexpected=tuple(name for name in given if name not in own),
    )


def _unwrapped(state: Mapping[str, Any]) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        inner = state.get(key)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            return _unwrapped(inner)
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def _spelled(name: str, model: nn.Module, own: Mapping[str, Tensor]) -> str:
    """The name in this network's spelling."""
    published: Mapping[str, str] = getattr(model, "published_names", {})
    while name not in own and name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    for theirs, ours in published.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def _unreadable(path: Path, why: str) -> ConfigError:
    remedy = "Set it to a .safetensors file, or to a .pth file written by torch.save(model.state_dict(), path)."
    return ConfigError.of("model.weights", path, f"cannot be read as weights: {why}", remedy)

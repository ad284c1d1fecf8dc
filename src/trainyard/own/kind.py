"""A user's own model and data, built from the `_target_` of a configuration; see `config.kinds`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainyard.config.kinds import Files
from trainyard.config.schema import Config
from trainyard.config.targets import build_target, target_accepts
from trainyard.data.arrays import to_unit
from trainyard.data.dataset import Dataset, Fetch, Indices, Remembers
from trainyard.data.items import Items, require_shape
from trainyard.errors import CheckpointError, ConfigError, DataError
from trainyard.own.dataset import Targets, own_dataset
from trainyard.own.items import as_items
from trainyard.own.schema import OwnData, OwnModel
from trainyard.wording import did_you_mean

__all__ = ["build", "describe", "load", "preprocessing", "read_new", "rebuild"]

_RETURNED = ("train", "val", "test", "classes", "ids", "digest", "target")


def load(
    config: Config, *, trust: bool = False, item_shape: Sequence[int] | None = None, files: Files | None = None
) -> Dataset:
    """The data that the target of `config.data` returns.

    A model that is not the user's own gets float32 items, of which 8-bit ones are scaled to [0, 1].
    """
    data = config.data
    assert isinstance(data, OwnData)
    if data.target is None:
        raise _only_given("data", f"{data.given} that was", "data._target_=my_package.load")
    path = str(data.target["_target_"])
    module = path.rpartition(".")[0]
    with _in_section("data.target"):
        found = build_target(data.target, trust=trust)
    name = data.dataset or module.rpartition(".")[2]
    if isinstance(found, Dataset):
        dataset = replace(found, name=data.dataset or found.name)
    else:
        targets: Targets = "classes" if config.task is None else "any"
        dataset = own_dataset(**_splits(found, path), name=name, targets=targets, split=data.split)
    described = describe_items(dataset)
    if hasattr(import_module(module), "read_new"):
        described["read_new"] = f"{module}.read_new"
    if not isinstance(config.model, OwnModel) and described["dtype"] != "float32":
        described["scaled"] = described["dtype"] == "uint8"
        dataset = replace(dataset, fetch=_AsFloat(dataset.fetch))
    return replace(dataset, preprocessing={**described, **dataset.preprocessing})


def describe_items(dataset: Dataset) -> dict[str, Any]:
    """The shape and the type of an item: `preprocessing`, where nothing is done to it."""
    dtype = str(dataset.fetch(np.zeros(1, dtype=np.int64)).dtype).removeprefix("torch.")
    return {"kind": "own", "item_shape": [int(size) for size in dataset.item_shape], "dtype": dtype}


def preprocessing(config: Config, item_shape: Sequence[int]) -> dict[str, Any]:
    """How an item becomes the input of a model; `load` adds its type, and where new items are read."""
    return {"kind": "own", "item_shape": [int(size) for size in item_shape]}


def read_new(
    path: Path, preprocessing: Mapping[str, Any], *, files: Files, cache_dir: Path, cache_mb: float, trust: bool = False
) -> Items:
    """The items at `path`: (ids, x) as the function `read_new` beside the target of the data returns them.

    Without such a function, `path` is an .npz with `x`, and optionally `ids`.
    """
    if "read_new" in preprocessing:
        with _in_section("data.target"):
            names, x = build_target({"_target_": preprocessing["read_new"]}, path, trust=trust)
    else:
        names, x = _read_npz(path)
    items = as_items(x, str(path))
    item_shape, dtype = tuple(preprocessing["item_shape"]), preprocessing.get("dtype", "float32")
    require_shape(path, items, item_shape)
    items = items.to(getattr(torch, dtype))
    if "scaled" in preprocessing:
        items = to_unit(items)
    ids = tuple(map(str, names)) if names is not None else tuple(f"{path.name}[{at}]" for at in range(len(items)))
    if len(ids) != len(items) or not ids:
        what = f"{path} holds {len(items)} items and {len(ids)} ids."
        raise DataError(what, "Give one id for each item.", value=len(ids), place=path)
    return Items(ids, lambda indices: items[torch.from_numpy(indices)])


def build(
    *,
    name: str,
    item_shape: Sequence[int],
    classes: Sequence[str],
    trust: bool = False,
    target: Mapping[str, Any] | None,
    given: str | None = None,
    first_weights: str | None = None,
) -> nn.Module:
    """The network that `target` builds; it is passed `item_shape` and `classes` where it has such arguments.

    A module of the class `given` to `trainyard.fit` cannot be built again: that is a ConfigError.
    """
    if target is None:
        raise _only_given("model", f"a module of class {given} that was", "model._target_=my_package.Net")
    offered = {"item_shape": tuple(item_shape), "classes": tuple(classes)}
    with _in_section("model.target"):
        missing = [key for key in offered if key not in target]
        taken = {key: offered[key] for key in missing if target_accepts(target, key, trust=trust, by_name=True)}
        model = build_target(target, trust=trust, **taken)
    if not isinstance(model, nn.Module):
        what = f"`model.target` is {target['_target_']}, which builds a {type(model).__name__}"
        remedy = "Name a class that is a torch.nn.Module, or a function that returns one."
        raise ConfigError([what], remedy, keys=["model.target"])
    return model


def describe(
    *,
    name: str,
    item_shape: Sequence[int],
    classes: Sequence[str],
    target: Mapping[str, Any] | None,
    given: str | None = None,
    first_weights: str | None = None,
) -> dict[str, Any]:
    """The contents of `config.json` for `build` with the same arguments."""
    path = given or str((target or {}).get("_target_"))
    return {
        "model_type": f"trainyard-{name}",
        "architectures": [path.rpartition(".")[2]],
        "item_shape": [int(size) for size in item_shape],
        "id2label": {str(index): label for index, label in enumerate(classes)},
        "label2id": {label: index for index, label in enumerate(classes)},
        "target": None if target is None else dict(target),
        "given": given,
    }


def rebuild(config: Mapping[str, Any], files: Files | None = None, *, trust: bool = False) -> nn.Module:
    """The network that `describe` described, with new weights."""
    missing = [key for key in ("item_shape", "id2label", "target") if key not in config]
    if missing:
        what = f"config.json of a model of the user's own lacks {', '.join(missing)}."
        remedy = "Use the config.json that was saved with the weights."
        raise CheckpointError(what, remedy, value=missing, place="config.json")
    classes = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]
    kept = {"item_shape": config["item_shape"], "target": config["target"], "given": config.get("given")}
    return build(name="own", classes=classes, trust=trust, **kept)


class _AsFloat:
    """A fetch whose items become float32, 8-bit ones in [0, 1]."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    def cached(self, indices: Indices) -> bool:
        """Whether the items are in memory."""
        fetch: object = self._fetch
        return isinstance(fetch, Remembers) and fetch.cached(indices)

    def __call__(self, indices: Indices) -> Tensor:
        """The items at `indices`, float32."""
        return to_unit(self._fetch(indices))


@contextlib.contextmanager
def _in_section(key: str) -> Iterator[None]:
    """Adds the key of a section to a ConfigError about its target."""
    try:
        yield
    except ConfigError as error:
        if any("." in name for name in error.keys):  # it says which setting; an argument's name alone does not
            raise
        problems = [f"`{key}`: {problem}" for problem in error.problems]
        remedy = error.remedy or "Correct the name, or the arguments beside it."
        raise ConfigError(problems, remedy, keys=[key]) from error


def _only_given(section: str, what: str, short: str) -> ConfigError:
    problem = f"`{section}` is {what} given to trainyard.fit; the configuration cannot build it again"
    remedy = f"Continue with `trainyard.fit(…, resume=…)` from code that has it, or train with {short}."
    return ConfigError([problem], remedy, keys=[f"{section}.target"])


def _splits(found: Any, path: str) -> dict[str, Any]:
    """The arguments of `own_dataset` in what the target of the data returned."""
    if not isinstance(found, Mapping):
        kind = type(found).__name__
        remedy = 'Return a trainyard.data.dataset.Dataset, or a mapping {"train": …, "val": …, "test": …}.'
        raise DataError(f"{path} returned a {kind}.", remedy, value=kind, place=path)
    unknown = next((str(key) for key in found if key not in _RETURNED), None)
    if unknown is not None:
        remedy = did_you_mean(unknown, _RETURNED, then=f"The keys are {', '.join(_RETURNED)}.")
        raise DataError(f"{path} returned a mapping with the key {unknown!r}.", remedy, value=unknown, place=path)
    splits = {key: found[key] for key in ("train", "val", "test") if key in found}
    return {"splits": splits, **{key: found[key] for key in found if key not in splits}}


def _read_npz(path: Path) -> tuple[Any, Any]:
    """The ids, if there are any, and `x` of an .npz."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "x" not in arrays:
                what = f"{path} has no array `x`, it has {', '.join(arrays.files)}."
                raise DataError(what, "Save the items with np.savez(path, x=items).", value=arrays.files, place=path)
            return arrays.get("ids"), arrays["x"]
    except (OSError, ValueError, EOFError) as error:
        remedy = "Give an .npz with `x`, or write a function `read_new(path)` beside the one that loads the data."
        raise DataError(f"{path} cannot be read as an .npz: {error}.", remedy, place=path) from error

"""Building a user's own network and data from a target."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_regression
from torch import nn

from trainyard.config.compose import compose
from trainyard.errors import ConfigError, DataError, UnsafeTargetError
from trainyard.models import build_model, from_model_config, model_config
from trainyard.own import kind

X = np.arange(40 * 2 * 2, dtype=np.uint8).reshape(40, 1, 2, 2)
Y = np.arange(40) % 2


class Shaped(nn.Module):
    def __init__(self, item_shape: Any, classes: Any = (), width: int = 1) -> None:
        super().__init__()
        self.given = (item_shape, classes, width)


class Anything(nn.Module):
    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.given = given


@pytest.fixture(autouse=True)
def module() -> Iterator[types.ModuleType]:
    """A package of the user's own; tests put their functions into it."""
    made = types.ModuleType("their_package")
    made.Shaped, made.Anything = Shaped, Anything  # type: ignore[attr-defined]
    made.load = lambda **given: {"train": (X, Y), **given}  # type: ignore[attr-defined]
    sys.modules["their_package"] = made
    yield made
    del sys.modules["their_package"]


def loaded(*overrides: str, trust: bool = True) -> Any:
    return kind.load(compose(overrides=["data._target_=their_package.load", *overrides], trust=True), trust=trust)


def test_a_network_is_passed_what_it_names() -> None:
    facts = {"item_shape": (4,), "classes": ("a", "b"), "trust": True}
    target = {"_target_": "their_package.Shaped", "width": 3}
    assert build_model("own", target=target, **facts).given == ((4,), ("a", "b"), 3)
    assert build_model("own", target={**target, "classes": 7}, **facts).given == ((4,), 7, 3)
    assert build_model("own", target={"_target_": "their_package.Anything", "a": 1}, **facts).given == {"a": 1}


def test_a_checkpoint_builds_it_again_with_trust_alone() -> None:
    described = model_config(
        "own", item_shape=(4,), classes=("a", "b"), target={"_target_": "their_package.Shaped", "width": 3}
    )
    assert from_model_config(described, trust=True).given == ((4,), ("a", "b"), 3)
    with pytest.raises(UnsafeTargetError):
        from_model_config(described)


@pytest.mark.parametrize(
    "target",
    [
        {"_target_": "their_package.Missing"},
        {"_target_": "their_package.load"},
        {"_target_": "no_such.Net"},
        {"_target_": "their_package.Shaped", "widht": 3},
    ],
)
def test_targets_that_build_no_network(target: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as raised:
        build_model("own", item_shape=(4,), classes=("a", "b"), target=target, trust=True)
    assert raised.value.keys == ("model.target",)
    assert raised.value.remedy


def test_a_module_that_was_given_cannot_be_built_again() -> None:
    described = model_config("own", item_shape=(4,), classes=("a", "b"), target=None, given="their_package.Shaped")
    with pytest.raises(ConfigError) as raised:
        from_model_config(described, trust=True)
    assert "trainyard.fit(" in raised.value.remedy
    assert raised.value.keys == ("model.target",)


def test_their_own_network_gets_items_as_they_are_and_ours_gets_floats() -> None:
    own = loaded("model._target_=their_package.Shaped")
    assert own.fetch(np.array([3])).dtype == torch.uint8
    assert own.preprocessing["dtype"] == "uint8"
    ours = loaded("model=cnn")
    torch.testing.assert_close(ours.fetch(np.array([3])), torch.from_numpy(X[3:4]).float() / 255)
    assert own.fingerprint()["digest"] == ours.fingerprint()["digest"]


def test_splits_that_are_missing_are_held_out() -> None:
    splits = loaded("data.split.val_fraction=0.25", "data.split.test_fraction=0.25").fingerprint()["splits"]
    assert splits == {"train": 20, "val": 10, "test": 10}


def test_a_dataset_is_taken_as_it_is(module: Any) -> None:
    made = replace(loaded(), name="theirs")
    module.load = lambda: made
    assert loaded().name == "theirs"
    assert loaded("data.dataset=other").name == "other"


@pytest.mark.parametrize(
    ("returned", "value"), [([1], "list"), ({"train": (X, Y), "tset": (X, Y)}, "tset"), ({"val": (X, Y)}, None)]
)
def test_what_a_function_may_not_return(module: Any, returned: Any, value: object) -> None:
    module.load = lambda: returned
    with pytest.raises(DataError) as raised:
        loaded()
    assert raised.value.value == value
    assert raised.value.remedy


def test_code_is_run_with_trust_alone(module: Any) -> None:
    module.load = lambda: pytest.fail("it was called")
    with pytest.raises(UnsafeTargetError):
        loaded(trust=False)


def read_new(path: Path, described: dict[str, Any], *, trust: bool = True) -> Any:
    return kind.read_new(path, described, files={}, cache_dir=path.parent, cache_mb=0, trust=trust)


def test_new_items_come_from_an_npz_or_from_their_own_reader(module: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "new.npz", x=X[:3], ids=["a", "b", "c"])
    described = dict(loaded("model=cnn").preprocessing)
    items = read_new(tmp_path / "new.npz", described, trust=False)
    assert items.ids == ("a", "b", "c")
    torch.testing.assert_close(items.fetch(np.array([2])), torch.from_numpy(X[2:3]).float() / 255)
    module.read_new = lambda path: ([path.name], X[5:6])
    described = dict(loaded("model._target_=their_package.Shaped").preprocessing)
    assert described["read_new"] == "their_package.read_new"
    assert read_new(tmp_path / "a.txt", described).ids == ("a.txt",)
    with pytest.raises(UnsafeTargetError):
        read_new(tmp_path / "a.txt", described, trust=False)


@pytest.mark.parametrize("arrays", [{"y": X}, {"x": X[:, :, 0]}, {"x": X, "ids": ["a"]}, None])
def test_new_items_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any] | None) -> None:
    path = tmp_path / "new.npz"
    if arrays is not None:
        np.savez(path, **arrays)
    with pytest.raises(DataError) as raised:
        read_new(path, {"item_shape": [1, 2, 2], "dtype": "uint8"})
    assert raised.value.place == str(path)


def test_targets_that_are_not_classes_are_told_apart_by_their_bytes(module: Any) -> None:
    module.load = toy_regression.load
    one, other = (loaded("task._target_=toy_regression.Regression", f"data.items={count}") for count in (60, 60))
    assert one.fingerprint() == other.fingerprint()
    assert one.classes == ()
    assert one.labels.dtype == np.float32
    labels = one.labels.copy()
    labels[4] = np.nextafter(labels[4], np.float32(9))
    assert replace(one, labels=labels).fingerprint()["label_digest"] != one.fingerprint()["label_digest"]

"""Fixtures that tests of several packages share."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainyard.layouts import LAYOUTS, load_layout
from trainyard.runs import RunReader, RunWriter, Yard, create_run, find_homes
from trainyard.testing.contracts import HOSTILE_NAMES, UNSAFE_NAMES

# Decoded sound and features of the tests stay among themselves.
_CACHE = tempfile.mkdtemp(prefix="trainyard-tests-")
_OWNER = os.getpid()  # forked children must leave it to us
os.environ["TRAINYARD_CACHE"] = _CACHE


def pytest_unconfigure() -> None:
    """Removes the cache of this process's tests."""
    if os.getpid() == _OWNER:
        shutil.rmtree(_CACHE, ignore_errors=True)


# Small and quick, with every kind of file that a run leaves.
SMALL = [
    "model=mlp",
    "model.hidden=[16]",
    "training.epochs=2",
    "training.log_every=7",
    "checkpoint.every_steps=15",
    "outputs.val_predictions_every=1",
    "run.project=demo",
    "run.device=cpu",
]

NewRun = Callable[..., RunWriter]


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """An empty yard."""
    return Yard(tmp_path / "yard", create=True)


@pytest.fixture(params=LAYOUTS)
def layout_name(request: pytest.FixtureRequest) -> str:
    """Each of the layouts that ship."""
    return str(request.param)


@pytest.fixture
def new_run(yard: Yard) -> Iterator[NewRun]:
    """Makes a run in `yard`: `new_run("shared", name="a")`. Those not ended are abandoned after the test."""
    with contextlib.ExitStack() as stack:

        def make(layout: str = "grouped", **arguments: Any) -> RunWriter:
            given = {"project": "demo", "dataset": "digits", "model": "mlp", **arguments}
            run = create_run(yard, load_layout(layout), **given)
            stack.callback(run.abandon)
            return run

        yield make


@pytest.fixture
def hostile_names() -> tuple[str, ...]:
    """Names that are ugly but legal."""
    return HOSTILE_NAMES


@pytest.fixture
def unsafe_names() -> tuple[str, ...]:
    """Names that must be refused everywhere."""
    return UNSAFE_NAMES


@pytest.fixture
def small() -> list[str]:
    """Overrides of the digits recipe for a run of half a second."""
    return list(SMALL)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunReader]:
    """The finished run of each layout, in a yard of its own; trained once, only to be read."""
    import torch

    from trainyard.config.compose import compose
    from trainyard.running.train import train

    torch.set_num_threads(1)
    made: dict[str, RunReader] = {}

    def of(layout: str) -> RunReader:
        if layout not in made:
            yard = Yard(tmp_path_factory.mktemp(layout) / "yard", create=True)
            overrides = [*SMALL, f"layout={layout}"]
            train(compose("digits", overrides), yard.root, overrides=overrides)
            (home,) = find_homes(yard)
            made[layout] = RunReader(yard, home)
        return made[layout]

    return of

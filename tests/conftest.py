"""Fixtures that tests of several packages share."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainyard.layouts import LAYOUTS, load_layout
from trainyard.runs import RunWriter, Yard, create_run
from trainyard.testing.contracts import HOSTILE_NAMES, UNSAFE_NAMES

# Decoded sound and features of the tests stay among themselves.
_CACHE = tempfile.TemporaryDirectory(prefix="trainyard-tests-")
os.environ["TRAINYARD_CACHE"] = _CACHE.name

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

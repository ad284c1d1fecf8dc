"""Layer weights of runs, written and read back, without an encoder in sight."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from typing import Any

import pytest

from trainyard.analysis import layer_weights
from trainyard.runs import RunReader


def test_what_a_run_left_is_read_back(new_run: Any) -> None:
    shares = [0.1, 0.25, 1 / 3, 1 - 0.35 - 1 / 3]
    with new_run("grouped") as run:
        run.write(layer_weights.KIND, layer_weights.to_csv(shares))
    found = layer_weights.read(RunReader(run.yard, run.home))
    assert found == pytest.approx(shares, abs=1e-9)
    rows = list(csv.DictReader(io.StringIO(layer_weights.to_csv(shares))))
    assert [row["layer"] for row in rows] == ["0", "1", "2", "3"]


def test_a_run_without_them_has_none(new_run: Any) -> None:
    with new_run("grouped") as run:
        pass
    assert layer_weights.read(RunReader(run.yard, run.home)) is None


def test_the_newest_that_is_still_there_counts(new_run: Any) -> None:
    with new_run("grouped") as run:
        run.write(layer_weights.KIND, layer_weights.to_csv([0.5, 0.5]))
        path = run.write(layer_weights.KIND, layer_weights.to_csv([0.25, 0.75]))
    assert layer_weights.read(RunReader(run.yard, run.home)) == [0.25, 0.75]
    path.unlink()
    assert layer_weights.read(RunReader(run.yard, run.home)) is None


def test_side_by_side_a_shorter_encoder_leaves_cells_empty() -> None:
    table = layer_weights.wide_csv({"a,b/one": [0.5, 0.25, 0.25], "two": [0.125, 0.875]})
    assert list(csv.reader(io.StringIO(table))) == [
        ["run", "layer_0", "layer_1", "layer_2"],
        ["a,b/one", "0.5", "0.25", "0.25"],
        ["two", "0.125", "0.875", ""],
    ]
    assert layer_weights.wide_csv({}) == "run\n"


def test_it_needs_no_array_library() -> None:
    code = "import sys, trainyard.analysis.layer_weights; print({'numpy', 'torch', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"

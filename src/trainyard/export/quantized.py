"""The comparison of float and int8: size, score and latency of two ONNX files, measured on this machine.

An int8 network is smaller; whether it is also faster depends on the processor. Knows no runs and no training.
"""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from trainyard.export.onnx import run, session

_WARM_UP = 5  # runs that are not counted, because the first ones allocate memory


@dataclass(frozen=True)
class Row:
    """The measurements of one file."""

    precision: str  # float32 or int8
    size_bytes: int
    score: float  # of its outputs, as the caller measures it
    items: int  # number of scored items
    mean_ms: float  # of one item by ONNX Runtime with one thread
    median_ms: float
    runs: int  # number of timed runs


def quantization_table(
    float_path: Path, int8_path: Path, inputs: Tensor, score: Callable[[Tensor], float], *, runs: int = 50
) -> tuple[Row, Row]:
    """The two ONNX files compared on the same items, timed alternately, so that load on the machine affects both.

    `score` measures the outputs for all of `inputs`, float32 [N, ...], such as their accuracy; `runs` is how often one
    item is timed with each file.
    """
    paths = (float_path, int8_path)
    running = [session(path) for path in paths]
    single = inputs[:1].float().cpu().numpy()
    times: list[list[float]] = [[], []]
    for _ in range(runs + _WARM_UP):
        for each, taken in zip(running, times, strict=True):
            feed = {each.get_inputs()[0].name: single}
            begin = time.perf_counter()
            each.run(None, feed)
            taken.append((time.perf_counter() - begin) * 1000)

    def row(which: int, precision: str) -> Row:
        taken, size_bytes = times[which][_WARM_UP:], paths[which].stat().st_size
        scored = score(torch.from_numpy(run(running[which], inputs)))
        mean_ms, median_ms = statistics.fmean(taken), statistics.median(taken)
        return Row(precision, size_bytes, scored, len(inputs), mean_ms, median_ms, runs)

    return row(0, "float32"), row(1, "int8")


def as_csv(rows: Sequence[Row], metric: str) -> str:
    """The rows as CSV, with a header in which the score is called `metric`."""
    text = io.StringIO()
    names = [metric if field.name == "score" else field.name for field in fields(Row)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(astuple(row) for row in rows)
    return text.getvalue()

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainyard.tracking.tensorboard import TensorBoardSink
from trainyard.training.events import EpochEnded, StepLogged
from trainyard.training.progress import Best


def step(number: int, value: float) -> StepLogged:
    return StepLogged(number, number / 10, {"step_loss": value})


def epoch(number: int) -> EpochEnded:
    return EpochEnded(
        number * 10,
        number,
        3,
        {"loss": 0.5, "learning_rate": 0.1},
        {"loss": 0.25, "accuracy": 0.75},
        Best(),
        True,
        None,
        1.0,
        0.0,
    )


def written(directory: Path, *events: StepLogged | EpochEnded, purge_after: int | None = None) -> None:
    sink = TensorBoardSink(directory, purge_after=purge_after)
    for event in events:
        sink.emit(event)
    sink.close()


def read(directory: Path) -> dict[str, list[tuple[int, float]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorboard's own
        accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0})
        accumulator.Reload()
        tags = accumulator.Tags()["scalars"]
        return {tag: [(e.step, round(e.value, 6)) for e in accumulator.Scalars(tag)] for tag in tags}


def test_tags_are_split_and_metric(tmp_path: Path) -> None:
    written(tmp_path, step(5, 1.0), epoch(1), step(15, 2.0))
    assert read(tmp_path) == {
        "train/step_loss": [(5, 1.0), (15, 2.0)],
        "train/loss": [(10, 0.5)],
        "train/learning_rate": [(10, 0.1)],
        "val/loss": [(10, 0.25)],
        "val/accuracy": [(10, 0.75)],
    }


def test_resumed_within_a_second_nothing_is_lost_and_nothing_twice(tmp_path: Path) -> None:
    """Three attempts at once: their files are named by the second."""
    written(tmp_path, *(step(n, n) for n in range(1, 8)))
    written(tmp_path, *(step(n, 100 + n) for n in range(5, 10)), purge_after=4)
    written(tmp_path, *(step(n, 200 + n) for n in range(7, 12)), purge_after=6)
    expected = [*range(1, 5), 105, 106, *range(207, 212)]
    assert read(tmp_path)["train/step_loss"] == [(n, float(v)) for n, v in enumerate(expected, 1)]
    assert len(list(tmp_path.iterdir())) == 3


def test_resumed_from_the_beginning_only_the_new_events_count(tmp_path: Path) -> None:
    written(tmp_path, step(1, 1.0), step(2, 2.0))
    written(tmp_path, step(1, 3.0), purge_after=0)
    assert read(tmp_path)["train/step_loss"] == [(1, 3.0)]


def test_a_torn_file_is_read_up_to_where_it_tears(tmp_path: Path) -> None:
    """A killed process may leave half an event; the next attempt's file is read all the same."""
    written(tmp_path, *(step(n, n) for n in range(1, 8)))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    written(tmp_path, *(step(n, n) for n in range(5, 9)), purge_after=4)
    assert [s for s, _ in read(tmp_path)["train/step_loss"]] == list(range(1, 9))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    written(tmp_path, step(1, value))
    ((number, read_back),) = read(tmp_path)["train/step_loss"]
    assert number == 1
    assert read_back == value or read_back != read_back


def test_emitting_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    sink = TensorBoardSink(tmp_path)
    started = time.perf_counter()
    for number in range(100):
        sink.emit(step(number, 1.0))
    assert time.perf_counter() - started < 2.0
    sink.close()

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard import jsonl
from trainyard.errors import BadNameError, DiskFullError
from trainyard.runs import read_history
from trainyard.runs.history import History
from trainyard.testing import faults


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def steps(path: Path) -> list[int]:
    return [row["step"] for row in read_history(path)]


def test_what_was_logged_is_read_back(path: Path) -> None:
    history = History(path)
    before = time.time()
    history.log({"loss": 0.5, "bad": math.nan, "worst": math.inf, "n": 3}, 1, 0.5, "train")
    history.log({"f1/ä": Fraction(1, 4), "flag": True}, 2, None, "val")
    history.sync()
    rows = read_history(path)
    history.close()
    for row in rows:
        assert before - 0.001 <= row.pop("time") <= time.time() + 0.001
    assert repr(rows) == repr(
        [
            {"step": 1, "epoch": 0.5, "split": "train", "loss": 0.5, "bad": math.nan, "worst": math.inf, "n": 3},
            {"step": 2, "epoch": None, "split": "val", "f1/ä": 0.25, "flag": 1.0},
        ]
    )


rows = st.lists(
    st.tuples(
        st.dictionaries(st.text().filter(lambda key: key not in ("step", "epoch", "split", "time")), st.floats()),
        st.integers(0, 2**40),
        st.none() | st.floats(0, 1e6),
        st.sampled_from(["train", "val", "test"]),
    )
)


@settings(max_examples=30)
@given(rows)
def test_any_rows_are_read_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple]) -> None:  # type: ignore[type-arg]
    path = tmp_path_factory.mktemp("history") / "h"
    history = History(path)
    for values, step, epoch, split in rows:
        history.log(values, step, epoch, split)
    history.close()
    found = [{k: v for k, v in row.items() if k != "time"} for row in read_history(path)]
    assert repr(found) == repr(
        [{"step": step, "epoch": epoch, "split": split, **values} for values, step, epoch, split in rows]
    )


def test_arrays_and_tensors_of_one_number_are_numbers(path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    history = History(path)
    history.log({"a": numpy.float32(0.5), "b": numpy.array(2)}, numpy.int64(3), numpy.float32(1.0), "train")
    history.close()
    assert [(row["a"], row["b"], row["step"], row["epoch"]) for row in read_history(path)] == [(0.5, 2.0, 3, 1.0)]


def test_what_is_no_number_is_refused_at_once(path: Path) -> None:
    history = History(path)
    with pytest.raises(ValueError, match="could not convert"):
        history.log({"name": "resnet"}, 1, None, "train")  # type: ignore[dict-item]
    for name in ("step", "epoch", "split", "time"):
        with pytest.raises(BadNameError, match=name):
            history.log({name: 1.0}, 1, None, "train")
    history.close()
    assert read_history(path) == []


def test_a_resume_takes_back_the_rows_after_its_step(path: Path) -> None:
    first = History(path)
    for step in range(1, 6):
        first.log({"loss": step}, step, None, "train")
    first.close()
    second = History(path)
    second.take_back(3, 2)
    second.log({"loss": 40}, 4, None, "train")
    second.take_back(3, 3)  # rows still queued are among those taken back
    second.log({"loss": 400}, 4, None, "train")
    second.close()
    assert [(row["step"], row["loss"]) for row in read_history(path)] == [(1, 1), (2, 2), (3, 3), (4, 400)]
    assert [row["loss"] for row in read_history(path, superseded=True)] == [1, 2, 3, 4, 5, 40, 400]
    third = History(path)
    third.take_back(-1, 4)
    third.close()
    assert read_history(path) == []


def test_many_threads_lose_no_row(path: Path) -> None:
    history = History(path)

    def work(worker: int) -> None:
        for n in range(500):
            history.log({"n": n}, worker, None, "train")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        history.sync()
    for thread in threads:
        thread.join()
    history.close()
    found = read_history(path)
    assert len(found) == 4000
    for worker in range(8):
        assert [row["n"] for row in found if row["step"] == worker] == list(range(500))


def test_rows_are_on_disk_soon_without_being_asked(path: Path) -> None:
    history = History(path)
    for step in range(5):
        history.log({"loss": 1.0}, step, None, "train")
        faults.wait_for(lambda step=step: steps(path) == list(range(step + 1)), timeout_s=2)
    history.close()


def test_a_kill_loses_at_most_half_a_second_of_rows(path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from trainyard.runs.history import History
history = History(Path({str(path)!r}))
step = 0
print("ready", flush=True)
while True:
    step += 1
    history.log({{"loss": 1.0, "at": time.time()}}, step, None, "train")
    time.sleep(0.002)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1.5)
        killed = time.time()
        process.send_signal(signal.SIGKILL)
    found = read_history(path)
    assert [row["step"] for row in found] == list(range(1, len(found) + 1))
    assert killed - found[-1]["at"] <= 0.5
    history = History(path)
    history.log({"loss": 2.0}, 0, None, "train")
    history.close()
    assert len(read_history(path)) == len(found) + 1


@pytest.mark.parametrize("kind", ["write", "fsync"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_failed_disk_shows_in_what_is_called_next(kind: str, error: int, path: Path) -> None:
    history = History(path)
    history.log({"loss": 1.0}, 1, None, "train")
    history.sync()
    expected = DiskFullError if error == errno.ENOSPC else OSError
    with faults.failing(1, kinds={kind}, error=error) as calls:
        history.log({"loss": 2.0}, 2, None, "train")
        faults.wait_for(lambda: calls.fired and not history._thread.is_alive())  # type: ignore[union-attr]
        for action in (lambda: history.log({"loss": 3.0}, 3, None, "train"), history.sync, history.close):
            with pytest.raises(expected):
                action()
    history.close()  # a second time is nothing
    assert steps(path) == [1]
    after = History(path)
    after.log({"loss": 2.0}, 2, None, "train")
    after.close()
    assert steps(path) == [1, 2]


def test_a_failed_sync_is_not_forgotten(path: Path) -> None:
    history = History(path)
    with faults.failing(1, kinds={"write"}):
        history._thread = threading.current_thread()  # no thread of its own: only sync writes
        history.log({"loss": 1.0}, 1, None, "train")
        with pytest.raises(OSError, match="injected"):
            history.sync()
        with pytest.raises(OSError, match="injected"):
            history.log({"loss": 2.0}, 2, None, "train")
    history._thread = None
    with pytest.raises(OSError, match="injected"):
        history.close()


def test_nothing_is_logged_after_the_end(path: Path) -> None:
    for used in (True, False):
        history = History(path)
        if used:
            history.log({"loss": 1.0}, 1, None, "train")
        history.close()
        with pytest.raises(ValueError, match="ended"):
            history.log({"loss": 2.0}, 2, None, "train")
    assert steps(path) == [1]


def test_torn_rows_are_passed_over(path: Path) -> None:
    history = History(path)
    for step in (1, 2, 3):
        history.log({"loss": 1.0}, step, None, "train")
        history.sync()
    history.close()
    size = path.stat().st_size
    for cut in range(1, 40):
        faults.truncate(path, size - cut)
        assert steps(path) == [1, 2]
    assert read_history(path.with_name("missing")) == []
    with path.open("ab") as file:
        file.write(jsonl.encode_line({"resume": 1, "attempt": 2})[:-5])
    assert steps(path) == [1, 2]

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import faults
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard import jsonl
from trainyard.errors import BadNameError, DiskFullError
from trainyard.runs import RunReader, Yard, read_history, resume_run
from trainyard.runs.history import History


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
        with pytest.raises(BadNameError) as caught:
            history.log({name: 1.0}, 1, None, "train")
        assert caught.value.value == name
        assert caught.value.remedy
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
    lines = jsonl.read_lines(path)[0]  # the file keeps them
    assert [line["values"]["loss"] for line in lines if "values" in line] == [1, 2, 3, 4, 5, 40, 400]
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


def test_a_row_is_in_the_file_once_its_call_returned(path: Path) -> None:
    history = History(path)
    for step in range(5):
        history.log({"loss": 1.0}, step, None, "train")
        assert steps(path) == list(range(step + 1))
    history.close()


def test_rows_are_durable_soon_without_being_asked(path: Path) -> None:
    history = History(path)
    with faults.failing(kinds={"fsync"}) as calls:
        for rows in (1, 2):
            history.log({"loss": 1.0}, rows, None, "train")
            faults.wait_for(lambda rows=rows: len(calls.made) == rows, timeout_s=2)
        history.sync()
        history.close()
        assert len(calls.made) == 2, "there was nothing more to do"


@settings(max_examples=200)
@given(
    st.dictionaries(st.text(), st.floats() | st.integers() | st.booleans()),
    st.integers(0, 2**40),
    st.none() | st.floats(),
    st.text(),
)
def test_a_line_is_the_one_that_the_slower_encoder_writes(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, float], step: int, epoch: float | None, split: str
) -> None:
    if {"step", "epoch", "split", "time"} & values.keys():
        return
    path = tmp_path_factory.mktemp("history") / "h"
    history = History(path)
    history.log(values, step, epoch, split)
    history.close()
    (record,) = jsonl.read_lines(path)[0]
    now = record["time"]
    plain = {key: float(value) if isinstance(value, bool) else value for key, value in values.items()}
    expected = jsonl.encode_line({"step": step, "epoch": epoch, "split": split, "time": now, "values": plain})
    stamp = b'"time":%b,' % json.dumps(now).encode()
    body = path.read_bytes()[18:].replace(b'"time":%.3f,' % now, stamp, 1)
    assert body == expected[18:]


def test_names_that_never_repeat_do_not_fill_the_memory(path: Path) -> None:
    history = History(path)
    for n in range(2500):
        history.log({f"metric {n}": 1.0}, n, None, "train")
    assert len(history._templates) <= 1000
    history.close()
    assert steps(path) == list(range(2500))


_VICTIMS = """
import os, random, signal, sys, time
from pathlib import Path
from trainyard.layouts import load_layout
from trainyard.runs import Yard, create_run
yard = Yard(sys.argv[1], create=True)
rng = random.Random(0)
for n in range(int(sys.argv[2])):
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        run = create_run(yard, load_layout("grouped"), project="p", dataset="d", model="m", name=f"victim-{n}")
        step = 0
        while True:
            step += 1
            run.log({"loss": 1 / step, "accuracy": 0.5}, step=step)
            os.write(writing, b"%d\\n" % step)
    os.close(writing)
    seen = b""
    killed_after = time.monotonic() + rng.uniform(0.0, 0.04)
    while time.monotonic() < killed_after or b"\\n" not in seen:
        seen = (seen + os.read(reading, 65536))[-100:]
    os.kill(pid, signal.SIGKILL)
    while more := os.read(reading, 65536):
        seen = (seen + more)[-100:]
    os.close(reading)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    print(n, int(seen.split(b"\\n")[-2]), flush=True)
"""


def test_a_kill_loses_no_row_that_was_logged(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _VICTIMS, str(tmp_path / "yard"), "50"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    logged = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [n for n, _ in logged] == list(range(50))
    assert max(last for _, last in logged) > 100
    yard = Yard(tmp_path / "yard")
    for n, last in logged:
        home = yard.root / "p/d" / f"victim-{n}"
        found = [(row["step"], row["loss"]) for row in RunReader(yard, home).history()]
        assert last <= len(found) <= last + 1, "the one whose call did not return may be there"
        assert found == [(step, 1 / step) for step in range(1, len(found) + 1)]
        with resume_run(yard, home) as run:  # cuts a torn line off and goes on
            run.begin_attempt(last)
            run.log({"loss": 2.0}, step=last + 1)
        rows = RunReader(yard, home).history()
        assert [row["step"] for row in rows] == list(range(1, last + 2))
        assert rows[-1]["loss"] == 2.0


@pytest.mark.parametrize("kind", ["write", "fsync"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_row_that_cannot_be_written_is_an_error_of_its_own_call(kind: str, error: int, path: Path) -> None:
    history = History(path)
    history.log({"loss": 1.0}, 1, None, "train")
    history.sync()
    expected = DiskFullError if error == errno.ENOSPC else OSError
    with faults.failing(1, kinds={kind}, error=error) as calls:
        if kind == "write":
            with pytest.raises(expected):
                history.log({"loss": 2.0}, 2, None, "train")
            assert steps(path) == [1]
            history.log({"loss": 3.0}, 3, None, "train")  # there is room again
            history.close()
            assert steps(path) == [1, 3]
        else:
            history.log({"loss": 2.0}, 2, None, "train")
            assert steps(path) == [1, 2]
            faults.wait_for(lambda: calls.fired and not history._thread.is_alive())  # type: ignore[union-attr]
            for action in (lambda: history.log({"loss": 3.0}, 3, None, "train"), history.sync, history.close):
                with pytest.raises(expected):
                    action()
            assert steps(path) == [1], "what a failed fsync leaves on the disk is not known"
    history.close()  # a second time is nothing
    kept = steps(path)
    after = History(path)
    after.log({"loss": 2.0}, 4, None, "train")
    after.close()
    assert steps(path) == [*kept, 4]


def test_a_sync_that_was_asked_for_says_that_it_failed(path: Path) -> None:
    history = History(path)
    with faults.failing(1, kinds={"fsync"}):
        history.log({"loss": 1.0}, 1, None, "train")
        for action in (history.sync, history.sync, lambda: history.log({"loss": 2.0}, 2, None, "train")):
            with pytest.raises(OSError, match="injected"):
                action()
    with pytest.raises(OSError, match="injected"):
        history.close()
    assert steps(path) == []


def test_a_forked_child_does_not_write_into_its_parents_history(path: Path) -> None:
    history = History(path)
    history.log({"loss": 1.0}, 1, None, "train")
    pid = os.fork()
    if not pid:
        try:
            history.log({"loss": 2.0}, 2, None, "train")
        except ValueError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    history.close()
    assert steps(path) == [1]


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

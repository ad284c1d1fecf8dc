"""Several events in one append: all of them are in the journal, or a prefix that the writer never counts on."""

from __future__ import annotations

import errno
import json
import signal
import threading
from pathlib import Path
from typing import Any

import faults
import pytest

from trainyard.errors import TrainyardError
from trainyard.layouts import load_layout
from trainyard.runs import RunReader, RunWriter, Yard, create_run, resume_run
from trainyard.runs.events import Progressed, Summarised, Warned
from trainyard.runs.journal import read_journal

WHO: dict[str, Any] = {"project": "demo", "dataset": "digits", "model": "mlp"}


@pytest.fixture
def run(yard: Yard) -> RunWriter:
    return create_run(yard, load_layout("grouped"), **WHO)


def warnings(run: RunWriter) -> list[str]:
    """As a reader finds them on disk."""
    return RunReader(run.yard, run.home).snapshot.warnings


def write_three(run: RunWriter) -> None:
    with run.batch():
        for text in ("one", "two", "three"):
            run.event(Warned(text))


def test_events_of_a_batch_are_one_write_one_fsync_and_one_snapshot(run: RunWriter) -> None:
    with faults.failing() as calls:
        with run.batch():
            run.event(Warned("one"))
            with run.batch():
                run.event(Progressed(10, 1.0, {"val_loss": 0.5}))
            run.summary(accuracy=0.5)
            assert calls.made == [], "an inner batch ends with the outer one"
            assert run.snapshot.warnings == ["one"], "this process knows at once"
            assert warnings(run) == []
        assert calls.made == ["write", "fsync", "open", "write", "rename"]
    found = RunReader(run.yard, run.home).snapshot
    assert (found.warnings, found.step, found.summary) == (["one"], 10, {"accuracy": 0.5})
    assert found == run.snapshot
    with faults.failing() as calls:
        with run.batch():
            pass
        run.flush()
        assert calls.made == []


def test_what_was_flushed_is_durable_before_the_batch_ends(run: RunWriter) -> None:
    with run.batch():
        run.event(Warned("one"))
        run.flush()
        assert warnings(run) == ["one"]
        run.event(Warned("two"))
        assert warnings(run) == ["one"]
    assert warnings(run) == ["one", "two"]


def test_events_before_an_error_have_happened(run: RunWriter) -> None:
    def fail() -> None:
        with run.batch():
            run.event(Warned("one"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert warnings(run) == ["one"]


def test_another_threads_event_is_durable_when_its_call_returns(run: RunWriter) -> None:
    with run.batch():
        run.event(Warned("one"))
        other = threading.Thread(target=run.warn, args=("two",))
        other.start()
        other.join()
        assert warnings(run) == ["one", "two"], "in the order in which they happened"
        run.event(Warned("three"))
        assert warnings(run) == ["one", "two"]
    assert warnings(run) == ["one", "two", "three"]


@pytest.mark.parametrize("end", ["finish", "abandon"])
def test_ending_the_run_inside_a_batch_loses_nothing(run: RunWriter, end: str) -> None:
    with run.batch():
        run.event(Warned("one"))
        getattr(run, end)()
    assert warnings(run) == ["one"]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("kind", ["write", "fsync"])
def test_a_batch_that_fails_leaves_no_event_behind(run: RunWriter, kind: str, error: int) -> None:
    run.event(Warned("before"))
    with faults.failing(1, kinds={kind}, error=error), pytest.raises((OSError, TrainyardError)):
        write_three(run)
    assert run.snapshot.warnings == warnings(run) == ["before"]
    write_three(run)
    assert run.snapshot.warnings == warnings(run) == ["before", "one", "two", "three"]
    folded = read_journal(run.home / ".run" / "journal.jsonl")
    assert [event.text for event in folded[0] if isinstance(event, Warned)] == ["before", "one", "two", "three"]


def test_every_fault_of_a_batch_leaves_all_or_nothing_and_the_next_one_works(yard: Yard) -> None:
    def check(run: RunWriter) -> None:
        assert run.snapshot.warnings == warnings(run)
        assert warnings(run) in ([], ["one", "two", "three"])

    def succeeded(run: RunWriter) -> None:
        assert warnings(run)[-3:] == ["one", "two", "three"]
        run.finish()

    tried = faults.sweep(
        write_three, check, fresh=lambda: create_run(yard, load_layout("grouped"), **WHO), succeeded=succeeded
    )
    assert tried == 5


class _NothingWorks(faults.FaultyCalls):
    """Neither writes nor cutting a file off."""

    def truncate(self, fd: int, size: int) -> None:
        raise OSError(errno.EIO, "truncate fails, too")


def test_a_batch_that_could_not_even_be_cut_off_is_taken_back_before_the_next_event(run: RunWriter) -> None:
    with faults.installed(_NothingWorks(1, kinds={"fsync"})):
        with pytest.raises(OSError, match="injected"):
            write_three(run)
        with pytest.raises(OSError, match="truncate"):
            run.event(Warned("four"))
    run.event(Summarised({"accuracy": 1.0}))
    assert run.snapshot.warnings == warnings(run) == []
    assert run.snapshot.summary == {"accuracy": 1.0}


def test_a_batch_whose_events_another_thread_failed_to_write_says_so(run: RunWriter) -> None:
    def fail() -> None:
        with faults.failing(1, kinds={"write"}), pytest.raises(OSError, match="injected"):
            run.warn("two")

    def batch() -> None:
        with run.batch():
            run.event(Warned("one"))
            other = threading.Thread(target=fail)
            other.start()
            other.join()

    with pytest.raises(OSError, match="injected"):
        batch()
    assert run.snapshot.warnings == warnings(run) == []
    write_three(run)
    assert warnings(run) == ["one", "two", "three"]


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
def test_a_kill_in_a_batch_leaves_a_run_that_resumes(yard: Yard, nth: int) -> None:
    run = create_run(yard, load_layout("grouped"), **WHO)
    run.abandon()
    code = f"""
from pathlib import Path
from trainyard import durable
from trainyard.runs import Yard, resume_run
from trainyard.runs.events import Warned
import faults
run = resume_run(Yard({str(yard.root)!r}), Path({str(run.home)!r}))
durable.calls = faults.KillingCalls({nth})
with run.batch():
    for text in ("one", "two", "three"):
        run.event(Warned(text))
"""
    assert faults.run_killed(code).returncode == -signal.SIGKILL
    found = warnings(run)
    assert found == ["one", "two", "three"][: len(found)]
    assert len(found) == 3 or nth == 1, "once it was written, a kill of the process loses nothing"
    with resume_run(yard, run.home) as again:
        again.begin_attempt(None)
    assert warnings(run) == found
    assert json.loads((run.home / ".run" / "run.json").read_text())["warnings"] == found
    assert list(Path(run.home).rglob(".tmp-*")) == []

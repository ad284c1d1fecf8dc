from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from happenings import happenings
from hypothesis import given

from trainyard import jsonl
from trainyard.errors import CorruptError
from trainyard.runs import BestStep, Event, RunReader, Yard
from trainyard.runs import events as module
from trainyard.runs.events import Dropped, Progressed, Published, TaskChosen, decode, encode
from trainyard.runs.journal import Journal, read_journal
from trainyard.runs.snapshot import fold

GOLDEN = Path(__file__).with_name("golden")  # written by the version before events had types


@given(happenings)
def test_an_event_reads_back_from_its_line_as_it_was(event: Event) -> None:
    record = jsonl.decode_line(jsonl.encode_line(encode(event)))
    assert record is not None
    assert decode(record) == event
    later = {**record, "a key of a later version": 1}
    assert decode(later) == event


def test_every_event_has_a_journal_name_of_its_own_and_can_be_folded() -> None:
    kinds = {kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Event)} - {Event}
    assert len({kind.journal_name for kind in kinds}) == len(kinds)
    assert all(kind.__dataclass_params__.frozen for kind in kinds)  # type: ignore[attr-defined]
    events = [*read_journal(GOLDEN / "journal.jsonl")[0], TaskChosen("t", [], {})]
    assert {type(event) for event in events} == kinds
    fold(events)  # a TypeError for one that the snapshot does not know


def test_journals_of_older_versions_are_encoded_as_they_were() -> None:
    lines = (GOLDEN / "journal.jsonl").read_bytes().splitlines(keepends=True)
    events, size = read_journal(GOLDEN / "journal.jsonl")
    assert len(events) == len(lines) > 25
    assert size == sum(map(len, lines))
    for line, event in zip(lines, events, strict=True):
        record = encode(event)
        if record.get("best"):
            assert record["best"].pop("metric") is None  # the one key that was added since
        assert jsonl.encode_line(record) == line


def test_a_run_of_an_older_version_reads_as_it_did(tmp_path: Path) -> None:
    own = tmp_path / "yard" / "p" / ".run"
    own.mkdir(parents=True)
    shutil.copy(GOLDEN / "journal.jsonl", own)
    before: dict[str, Any] = json.loads((GOLDEN / "run.json").read_text())
    for has_snapshot in (False, True):
        if has_snapshot:
            shutil.copy(GOLDEN / "run.json", own)
        found = RunReader(Yard(tmp_path / "yard"), own.parent).snapshot
        assert found.best == BestStep(30, 3, 1 / 30, None)
        assert found.task == {}
        now = json.loads(json.dumps(found.to_dict()))
        assert now.pop("task") == {}
        assert now["best"].pop("metric") is None
        assert repr(sorted(now.items())) == repr(sorted(before.items()))


def test_a_best_step_without_its_metric_and_keys_of_a_later_version(tmp_path: Path) -> None:
    with_extra = {"at": "t", "event": "progress", "step": 3, "epoch": 1, "metrics": {}, "later": 1}
    event = decode({**with_extra, "best": {"step": 3, "epoch": 1, "value": 0.5, "later": 2}})
    assert event == Progressed(3, 1, {}, BestStep(3, 1, 0.5), at="t")
    assert decode({"at": "t", "event": "of a later version"}) is None
    assert decode({"at": "t", "event": "dropped", "step": 1, "place": "best", "path": "p"}) == Dropped(
        1, "best", "p", at="t"
    )


@pytest.mark.parametrize("missing", [field.name for field in dataclasses.fields(Published)][1:])
def test_a_key_that_was_always_there_may_not_be_missing(missing: str) -> None:
    record = encode(Published(1, "best", "p", at="t"))
    del record[missing]
    with pytest.raises(CorruptError) as caught:
        decode(record)
    assert caught.value.value == [missing]
    assert caught.value.place == "event published of t"
    assert caught.value.remedy


def test_a_task_is_in_the_snapshot(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.add(TaskChosen("classification", ["f1_macro"], {"f1_macro": "max"}))
    journal.flush()
    journal.close()
    task = {"name": "classification", "headline": ["f1_macro"], "directions": {"f1_macro": "max"}}
    assert fold(read_journal(tmp_path / "journal.jsonl")[0]).task == task
    record = jsonl.read_lines(tmp_path / "journal.jsonl")[0][0]
    assert list(record.items())[1:] == [("event", "task"), *task.items()]

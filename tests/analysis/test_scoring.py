from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from trainyard.analysis.classification.scoring import MultiLabel, SingleLabel
from trainyard.analysis.scoring import SCORINGS, scoring_class
from trainyard.errors import UnsafeTargetError


@pytest.mark.parametrize("name", SCORINGS)
def test_every_shipped_task_is_imported_under_its_recorded_name(name: str) -> None:
    found = scoring_class(name)
    assert found.name == name
    assert f"{found.__module__}.{found.__qualname__}" == SCORINGS[name]
    assert scoring_class(name, trust=True) is found


def test_the_shipped_tasks() -> None:
    assert {name: scoring_class(name) for name in SCORINGS} == {"single_label": SingleLabel, "multi_label": MultiLabel}


@pytest.mark.parametrize("name", [None, ""])
def test_a_run_that_recorded_no_task_has_classes(name: str | None) -> None:
    assert scoring_class(name) is SingleLabel


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that leaves a file when its code runs; the file."""
    path = tmp_path / "ran"
    (tmp_path / "somebodys_task.py").write_text(f"open({str(path)!r}, 'w').close()\nclass Words:\n    name = 'words'\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "somebodys_task", raising=False)
    return path


def test_the_code_of_another_task_runs_only_when_it_is_trusted(marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsafeTargetError) as raised:
        scoring_class("somebodys_task.Words")
    assert raised.value.value == "somebodys_task.Words"
    assert "--trust" in raised.value.remedy
    assert not marker.exists()
    assert "somebodys_task" not in sys.modules
    found = scoring_class("somebodys_task.Words", trust=True)
    assert (found.__name__, found.name) == ("Words", "words")
    assert marker.exists()
    monkeypatch.delitem(sys.modules, "somebodys_task")


@pytest.mark.parametrize("name", ["somebodys_task.Phrases", "no_such_module_at_all.Task", "word", ".", "a."])
def test_a_task_that_cannot_be_imported_is_refused(marker: Path, name: str) -> None:
    with pytest.raises(UnsafeTargetError) as raised:
        scoring_class(name, trust=True)
    assert raised.value.value == name
    assert raised.value.remedy
    assert "--trust" not in raised.value.remedy
    sys.modules.pop("somebodys_task", None)


def test_a_missing_library_of_a_shipped_task_is_reported_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as an unsafe task: `verify` tells the two apart."""
    monkeypatch.delitem(sys.modules, "trainyard.analysis.classification.scoring")
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ModuleNotFoundError):
        scoring_class("single_label")

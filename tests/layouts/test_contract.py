"""The shipped layouts and a user's own hold the layout contract; broken ones do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainyard.errors import BadNameError
from trainyard.layouts import Layout, load_layout
from trainyard.testing.contracts import LayoutContract

OWN = Path(__file__).with_name("own_layout.yaml")


class TestGrouped(LayoutContract):
    layout = "grouped"


class TestShared(LayoutContract):
    layout = "shared"


class TestDated(LayoutContract):
    layout = "dated"


class TestTrials(LayoutContract):
    layout = "trials"


class TestFiles(LayoutContract):
    layout = "files"


class TestOwn(LayoutContract):
    layout = OWN


BASE = {"home": "{run}/", "checkpoint": "{home}{epoch}.pth"}


@pytest.mark.parametrize(
    ("kinds", "test"),
    [
        ({"checkpoint": "{home}{epoch}/"}, "test_has_a_home_and_checkpoints"),
        ({"log": "{home}a.log", "summary": "{home}a.log"}, "test_every_kind_reads_back"),
        ({"log": "logs/{project}.log"}, "test_a_taken_home_has_alternatives"),
    ],
)
def test_a_broken_layout_breaks_the_contract(kinds: dict[str, str], test: str) -> None:
    class Broken(LayoutContract):
        layout = Layout("broken", "run", "pth", {**BASE, **kinds})

    with pytest.raises((AssertionError, BadNameError)):
        getattr(Broken(), test)()


@pytest.mark.parametrize("test", ["test_no_two_records_share_a_path", "test_no_record_is_below_a_file"])
def test_the_contract_does_not_rely_on_check(test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Layout, "check", lambda self, facts: None)

    class Unchecked(LayoutContract):
        layout = load_layout("shared" if "share" in test else "grouped")

    with pytest.raises(AssertionError):
        getattr(Unchecked(), test)()

"""A config found in someone's run does not run their code."""

from __future__ import annotations

import json

import pytest
from command_line import Kept

from trainyard import jsonl


@pytest.fixture
def poisoned(empty: Kept) -> Kept:
    """A yard with a crashed-looking run whose recorded optimizer is a function of os."""
    assert empty("train", "model=mlp", "training.epochs=1", "outputs.plots=false", "run.name=evil").code == 0
    own = next(empty.root.rglob("evil/.run"))
    events, _ = jsonl.read_lines(own / "journal.jsonl")
    events[0]["config"]["training"]["optimizer"] = {"_target_": "os.system", "command": "true"}
    kept = [event for event in events if event["event"] != "ended"]
    (own / "journal.jsonl").write_bytes(
        b"".join(jsonl.encode_line({k: v for k, v in e.items() if k != "crc"}) for e in kept)
    )
    (own / "run.json").unlink()
    assert json.loads(empty("show", "evil", "--json").out)["state"] == "crashed"
    return empty


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_a_foreign_target_is_refused_without_trust(poisoned: Kept, command: str) -> None:
    outcome = poisoned(command, "evil")
    assert outcome.code == 2
    assert "os.system" in outcome.err
    assert "--trust" in outcome.err


@pytest.mark.parametrize("command", ["train", "resume", "evaluate"])
def test_trust_is_offered(empty: Kept, command: str) -> None:
    assert "--trust" in empty(command, "--help").out

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import linear, trainee, written

from trainyard.errors import CheckpointError
from trainyard.training.checkpoint.read import load


@pytest.mark.parametrize("layout", ["grouped", "shared", "files"])
@pytest.mark.parametrize("damage", ["empty", "half", "noise"])
def test_an_unreadable_checkpoint_is_named(new_run, layout: str, damage: str) -> None:
    path = written(trainee(linear()), new_run(layout))
    files = [path] if path.is_file() else [p for p in path.iterdir() if p.name != "manifest.json"]
    for file in files:
        data = file.read_bytes()
        os.unlink(file)
        file.write_bytes({"empty": b"", "half": data[: len(data) // 2], "noise": os.urandom(len(data))}[damage])
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert caught.value.place == str(path)
    assert "trainyard verify" in caught.value.remedy


def test_a_file_of_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"weights": 1}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "other.pth")
    assert caught.value.value == ["weights"]
    assert caught.value.place == str(tmp_path / "other.pth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "empty")
    assert caught.value.place == str(tmp_path / "empty")
    assert "verify" not in caught.value.remedy, "it is not damaged"


class Payload:
    def __reduce__(self) -> Any:
        return os.mkdir, ("PWNED",)


def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError):
        load(tmp_path / "evil.pth")
    assert not (tmp_path / "PWNED").exists()

"""Runs on sound that take a second, ways to break one off, and what two of them have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile

from trainyard.app.train import resume, train
from trainyard.config.compose import compose
from trainyard.data.vocal_bursts import synthesise
from trainyard.runs import RunReader, Yard, find_homes
from trainyard.training.state import load, seed_everything
from trainyard.training.step import Step

CLASSES = ("hum", "cough", "sigh")
SPLIT = ["data.split.val_fraction=0.25", "data.split.test_fraction=0.25"]
BURSTS = [f"data.classes=[{','.join(CLASSES)}]", "data.speakers=4", "data.takes=1", *SPLIT]
FIT = ["data.clip_seconds=0.4", "training.batch_size=2", "training.epochs=2", "run.device=cpu"]
ENCODER = ["model.hidden_size=16", "model.num_layers=2", "model.num_heads=2", "model.ffn_size=32", "model.projector=8"]
NETWORK = ["model=panns_cnn14", "model.width=1", "data.n_mels=32", "data.n_fft=400", "data.hop_length=160"]
QUIET = ["outputs.plots=false", "tracker=none"]


def trained(recipe: str, overrides: Sequence[str], yard: Yard) -> RunReader:
    """The run that training leaves."""
    home = train(compose(recipe, overrides), yard.root, overrides=overrides)
    assert home is not None
    return RunReader(yard, home)


def again(run: RunReader) -> RunReader:
    """The run as it is now."""
    return RunReader(run.yard, run.home)


class Pulled(BaseException):
    """The plug, at a moment when nothing expects it."""


def broken_off(recipe: str, overrides: Sequence[str], yard: Yard, steps: int) -> RunReader:
    """A run that fails after so many steps; the random generators are left in disorder."""
    whole, taken = Step.__call__, 0

    def pulled(self: Step, batches: Any) -> Any:
        nonlocal taken
        if taken == steps:
            raise Pulled
        taken += 1
        return whole(self, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "__call__", pulled)
        with pytest.raises(Pulled):
            train(compose(recipe, overrides), yard.root, overrides=overrides)
    seed_everything(12345)
    (home,) = find_homes(yard)
    return RunReader(yard, home)


def resumed(run: RunReader) -> RunReader:
    """The run after it was continued to its end."""
    resume(run.yard, run.home)
    return again(run)


def left_behind(run: RunReader) -> dict[str, Any]:
    """What must be the same to the bit in two runs that did the same."""
    assert run.snapshot.state == "finished"
    path = run.locate(run.snapshot.checkpoints[-1])
    assert path is not None
    last = load(path)
    assert last.optimizer is not None
    assert last.rng is not None
    return {
        "steps": [checkpoint.step for checkpoint in run.snapshot.checkpoints],
        "weights": {name: tensor.numpy().tobytes() for name, tensor in last.model.items()},
        "optimizer": [state["exp_avg"].numpy().tobytes() for state in last.optimizer["state"].values()],
        "rng": last.rng[0]["torch"].numpy().tobytes(),
        "history": [{key: value for key, value in row.items() if key != "time"} for row in run.history()],
        "predictions": {
            record.kind + str(record.facts): hashlib.sha256(run.resolve(record.path).read_bytes()).hexdigest()
            for record in run.snapshot.records
            if "predictions" in record.kind or record.kind in ("per_class", "layer_weights")
        },
        "summary": run.snapshot.summary,
        "best": run.snapshot.best,
    }


def write_bursts(folder: Path) -> Path:
    """A folder of recordings for each of the classes, 16 bits at 16 kHz: four speakers, one take each."""
    for kind in CLASSES:
        (folder / kind).mkdir(parents=True)
        for speaker in range(4):
            sound = synthesise(kind, speaker, 0, sample_rate=16000)
            soundfile.write(folder / kind / f"s{speaker}.wav", sound, 16000, subtype="PCM_16")
    return folder


def recorded(run: RunReader) -> set[str]:
    """Every file that the journal knows, by its own path or by the folder that it was recorded with."""
    known = [run.resolve(record.path) for record in run.snapshot.records]
    known += [run.resolve(path) for one in run.snapshot.checkpoints for path in one.paths.values()]
    found: set[str] = set()
    for path in known:
        assert path.exists(), path
        inside = path.rglob("*") if path.is_dir() else [path]
        found |= {run.yard.relative(file) for file in inside if file.is_file()}
    return found


def files(yard: Yard) -> set[str]:
    """Every file of the yard but those it keeps for itself."""
    found = (path for path in yard.root.rglob("*") if path.is_file())
    return {yard.relative(path) for path in found if not {".yard", ".run"} & set(path.parts)}


def numbers(text: str) -> dict[str, list[float]]:
    """The probabilities in a CSV of predictions, by item."""
    rows = [line.split(",") for line in text.splitlines()[1:]]
    return {row[0]: [float(cell) for cell in row[-len(CLASSES) :]] for row in rows}

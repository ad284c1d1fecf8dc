"""Small yards of real runs, made with the public functions that training uses."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainyard.checkpoints import commit, publish
from trainyard.layouts import load_layout
from trainyard.runs import BestStep, RunReader, RunWriter, Yard, create_run
from trainyard.runs.events import Progressed

Tree = dict[str, tuple[str, int] | None]


def tree(yard: Yard, *, own: bool = False) -> Tree:
    """Every path outside the trash: a file's digest and number of links, None for a directory.

    What a run or the yard writes for itself is left out, unless `own` asks for the runs' part.
    """
    found: Tree = {}
    for folder, folders, names in os.walk(yard.root):
        if Path(folder) == yard.root:
            folders[:] = [name for name in folders if name != ".yard"]
        if not own:
            folders[:] = [name for name in folders if name != ".run"]
        for name in folders:
            found[yard.relative(Path(folder, name)) + "/"] = None
        for name in names:
            path = Path(folder, name)
            if name != "lock":
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[yard.relative(path)] = (digest, path.stat().st_nlink)
    return found


def facts(run: RunReader) -> dict[str, Any]:
    """The snapshot without what only says how long the journal is, records in any order."""
    found = run.snapshot.to_dict()
    del found["journal_bytes"]
    found["records"].sort(key=lambda record: record["path"])
    return found


def content(name: str, size: int = 6000) -> bytes:
    """Bytes that differ from name to name."""
    return (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]


def save(run: RunWriter, step: int, loss: float, *, epoch: float | None = None, best: bool = False) -> None:
    """A checkpoint of a few files, one of them a frozen object, as training makes it."""
    directory = run.layout.checkpoint_format != "pth"
    metrics = {"val_loss": loss}

    def put(name: str) -> Callable[[Path], None]:
        return lambda path: (path.write_bytes(content(f"{run.id} {step} {name}")), None)[1]

    if directory:
        frozen = run.yard.objects.create(lambda path: (path.write_bytes(content("frozen", 20_000)), None)[1])
        weights = "model.safetensors" if run.layout.checkpoint_format == "hf" else "pytorch_model.bin"
        names = (weights, "config.json", "optimizer.pt", "rng_state.pth", "trainer_state.json")
        files, linked = {name: put(name) for name in names}, {"frozen.safetensors": frozen}
    else:
        files, linked = {"": put("all")}, {}
    epoch = step / 10 if epoch is None else epoch
    checkpoint = commit(run, files, step=step, epoch=epoch, metrics=metrics, linked=linked)
    if best:
        run.event(Progressed(step, epoch, metrics, BestStep(step, epoch, loss, "val_loss")))
        publish(run, checkpoint, "best")


LOSSES = {10: 0.9, 20: 0.5, 30: 0.4, 40: 0.6, 50: 0.7}


def train(
    yard: Yard, layout: str, name: str = "cnn", losses: Mapping[int, float] = LOSSES, **options: Any
) -> RunWriter:
    """A run with a checkpoint an epoch and a few records; still open."""
    config = {"training": {"monitor": "val_loss", "mode": "min"}}
    run = create_run(
        yard, load_layout(layout), project="p", dataset="d", model="m", name=name, config=config, **options
    )
    lowest = float("inf")
    for step, loss in losses.items():
        save(run, step, loss, best=loss < lowest)
        lowest = min(loss, lowest)
    run.write("log", f"log of {name}\n")
    run.write("history", "step,val_loss\n" + "".join(f"{s},{v}\n" for s, v in losses.items()))
    run.write("final_predictions", "a,b\n1,2\n", split="test")
    return run


def trained(yard: Yard, layout: str, name: str = "cnn", **options: Any) -> RunReader:
    """The same, ended."""
    run = train(yard, layout, name, **options)
    run.finish()
    return RunReader(yard, run.home)


def reread(run: RunReader) -> RunReader:
    """The run as it is on disk now."""
    return RunReader(run.yard, run.home)

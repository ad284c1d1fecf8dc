"""A yard of many finished runs, for measuring: `python -m benchmarks.make_yard DIRECTORY --runs 10000`.

Each run has what a real one has in `.run/`: a journal of its events and the snapshot folded from it (4-5 KB),
a lock, its config; in the grouped layout. Checkpoints and other files are only named, not made.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from trainyard.runs.events import (
    AttemptBegan,
    BestStep,
    CheckpointCommitted,
    Created,
    DataSeen,
    Ended,
    Event,
    Progressed,
    RecordWritten,
    Summarised,
)

PROJECTS = ("birds", "factory", "speech", "xray")
DATASETS = ("digits", "fashion", "recanvo", "vivae", "chest")
MODELS = ("mlp", "cnn", "resnet", "whisper_base_lora", "unet")
START = datetime(2026, 1, 1, tzinfo=UTC)


def events(number: int, rng: random.Random) -> list[Event]:
    """The journal of run `number`: ten epochs, three checkpoints kept, a dozen files, finished."""
    project, dataset, model = (rng.choice(names) for names in (PROJECTS, DATASETS, MODELS))
    name = f"{model}-{number}"
    home = f"{project}/{dataset}/{name}/"
    clock = START + timedelta(minutes=7 * number)
    run_id = hashlib.sha256(str(number).encode()).hexdigest()[:8]
    found: list[Event] = []

    def add(event: Event) -> None:
        nonlocal clock
        clock += timedelta(seconds=rng.uniform(0.5, 20))
        found.append(replace(event, at=clock.isoformat(timespec="milliseconds").replace("+00:00", "Z")))

    config = {
        "data": {"source": "npz", "path": f"/data/{dataset}.npz", "dataset": dataset, "split": {"seed": 0}},
        "model": {"name": model, "hidden": [rng.choice((64, 128, 453))], "dropout": rng.choice((0.0, 0.1, 0.5))},
        "run": {"project": project, "name": None, "seed": rng.randrange(5), "tags": [], "note": ""},
        "training": {
            "epochs": 10,
            "batch_size": rng.choice((32, 64, 128)),
            "learning_rate": 10 ** rng.uniform(-4, -2),
            "optimizer": {"_target_": "torch.optim.AdamW", "weight_decay": 0.01},
            "precision": "fp32",
            "monitor": "val_loss",
        },
        "layout": "grouped",
    }
    facts = {
        "project": project,
        "dataset": dataset,
        "run": name,
        "model": model,
        "id": run_id,
        "date": f"{clock:%Y-%m-%d}",
        "time": f"{clock:%H-%M-%S}",
        "timestamp": f"{clock:%Y%m%d-%H%M%S}",
    }
    tags = rng.sample(["paper", "baseline", "ablation", "keep"], rng.randrange(3))
    seed = config["run"]["seed"]
    add(Created(run_id, project, dataset, model, name, "grouped", home, facts, seed, tags, "", config))
    add(AttemptBegan(1, 1000 + number, "bench", None))
    add(DataSeen({"fingerprint": rng.randbytes(16).hex(), "items": 1797, "classes": [str(n) for n in range(10)]}))
    loss, accuracy = rng.uniform(0.5, 2.0), rng.uniform(0.5, 0.99)
    for epoch in range(1, 11):
        step = epoch * 157
        metrics = {
            "train_loss": loss / epoch,
            "train_learning_rate": config["training"]["learning_rate"],
            "val_loss": 1.1 * loss / epoch + rng.uniform(0, 0.05),
            "val_accuracy": accuracy * epoch / 10,
            "val_balanced_accuracy": accuracy * epoch / 10.2,
            "val_f1_macro": accuracy * epoch / 10.5,
        }
        add(Progressed(step, epoch, metrics, BestStep(step, epoch, metrics["val_loss"], "val_loss")))
        if epoch > 7:
            files = [
                {"name": file, "size": rng.randrange(1_000, 5_000_000), "sha256": rng.randbytes(32).hex()}
                for file in ("config.json", "model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json")
            ]
            paths = {"checkpoint": f"{home}checkpoint-{step}/"}
            add(CheckpointCommitted(step, float(epoch), "hf", {"val_loss": metrics["val_loss"]}, files, paths))
    for kind, path in (
        ("config", "config.yaml"),
        ("log", "train.log"),
        ("history", "history.csv"),
        ("summary", "summary.json"),
        ("final_predictions", "predictions/test.csv"),
        ("per_class", "stats/per_class_test.csv"),
        ("learning_curves", "learning_curves.png"),
        ("confusion_matrix", "confusion_matrix_test.png"),
    ):
        add(RecordWritten(kind, home + path, rng.randrange(500, 90_000), rng.randbytes(32).hex(), {}))
    last = {k: v for k, v in metrics.items() if k.startswith("val_")}
    add(Summarised({**last, "test_accuracy": accuracy, "best_step": 1570}))
    state = rng.choices(("finished", "failed", "stopped"), (90, 6, 4))[0]
    add(Ended(state, "RuntimeError: out of memory" if state == "failed" else None))
    return found


def snapshots(count: int) -> Iterator[tuple[list[Event], Any]]:
    """(events, snapshot) of each run."""
    from trainyard.runs.snapshot import fold

    rng = random.Random(0)
    for number in range(count):
        journal = events(number, rng)
        yield journal, fold(journal)


def make(root: Path, count: int) -> None:
    """Writes a yard of `count` runs below `root`, which must not hold any."""
    import yaml

    from trainyard.jsonl import encode_line
    from trainyard.runs.events import encode

    (root / ".yard").mkdir(parents=True)
    for journal, snapshot in snapshots(count):
        own = root / snapshot.home / ".run"
        own.mkdir(parents=True)
        lines = b"".join(encode_line(encode(event)) for event in journal)
        snapshot.journal_bytes = len(lines)
        (own / "journal.jsonl").write_bytes(lines)
        (own / "run.json").write_text(json.dumps(snapshot.to_dict()) + "\n")
        (own / "config.yaml").write_text(
            yaml.dump(snapshot.config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))
        )
        (own / "lock").touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--runs", type=int, default=10_000)
    options = parser.parse_args()
    start = time.perf_counter()
    make(options.directory, options.runs)
    print(f"{options.runs} runs in {options.directory} ({time.perf_counter() - start:.1f} s)")


if __name__ == "__main__":
    main()

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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

PROJECTS = ("birds", "factory", "speech", "xray")
DATASETS = ("digits", "fashion", "recanvo", "vivae", "chest")
MODELS = ("mlp", "cnn", "resnet", "whisper_base_lora", "unet")
START = datetime(2026, 1, 1, tzinfo=UTC)


def events(number: int, rng: random.Random) -> list[dict[str, Any]]:
    """The journal of run `number`: ten epochs, three checkpoints kept, a dozen files, finished."""
    project, dataset, model = (rng.choice(names) for names in (PROJECTS, DATASETS, MODELS))
    name = f"{model}-{number}"
    home = f"{project}/{dataset}/{name}/"
    clock = START + timedelta(minutes=7 * number)
    run_id = hashlib.sha256(str(number).encode()).hexdigest()[:8]
    found: list[dict[str, Any]] = []

    def add(event: str, **data: Any) -> None:
        nonlocal clock
        clock += timedelta(seconds=rng.uniform(0.5, 20))
        found.append({"at": clock.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "event": event, **data})

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
    add(
        "created",
        id=run_id,
        name=name,
        project=project,
        dataset=dataset,
        model=model,
        layout="grouped",
        home=home,
        facts=facts,
        seed=config["run"]["seed"],
        tags=rng.sample(["paper", "baseline", "ablation", "keep"], rng.randrange(3)),
        note="",
        config=config,
    )
    add("attempt", n=1, pid=1000 + number, host="bench", resumed_from=None)
    add("data", data={"fingerprint": rng.randbytes(16).hex(), "items": 1797, "classes": [str(n) for n in range(10)]})
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
        best = {"step": step, "epoch": epoch, "metric": "val_loss", "value": metrics["val_loss"]}
        add("progress", step=step, epoch=epoch, metrics=metrics, best=best)
        if epoch > 7:
            files = [
                {"name": file, "size": rng.randrange(1_000, 5_000_000), "sha256": rng.randbytes(32).hex()}
                for file in ("config.json", "model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json")
            ]
            add(
                "checkpoint",
                step=step,
                epoch=float(epoch),
                format="hf",
                metrics={"val_loss": metrics["val_loss"]},
                files=files,
                paths={"checkpoint": f"{home}checkpoint-{step}/"},
            )
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
        add(
            "record",
            kind=kind,
            path=home + path,
            size=rng.randrange(500, 90_000),
            sha256=rng.randbytes(32).hex(),
            facts={},
        )
    add(
        "summary",
        values={
            **{k: v for k, v in metrics.items() if k.startswith("val_")},
            "test_accuracy": accuracy,
            "best_step": 1570,
        },
    )
    state = rng.choices(("finished", "failed", "stopped"), (90, 6, 4))[0]
    add("ended", state=state, error="RuntimeError: out of memory" if state == "failed" else None)
    return found


def snapshots(count: int) -> Iterator[tuple[list[dict[str, Any]], Any]]:
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

    (root / ".yard").mkdir(parents=True)
    for journal, snapshot in snapshots(count):
        own = root / snapshot.home / ".run"
        own.mkdir(parents=True)
        lines = b"".join(encode_line(event) for event in journal)
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

"""Runs of a user's own loop with made-up predictions on emotions: what `analyse` and `verify` look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import trainyard
from trainyard.analysis.classification.decisions import Decision, tune
from trainyard.analysis.classification.metrics import multi_label_metrics, single_label_metrics

EMOTIONS = ("joy", "anger", "fear", "love", "none of these")
Arrays = tuple[np.ndarray, np.ndarray]


def texts(split: str, n: int) -> list[str]:
    """Some of them hostile, two of them the same."""
    odd = ["so, good", 'she said "no"\nand left', "NA", "", "same", "same", "😀 \t\0", " lead "]
    return [*odd, *(f"{split} sentence {number}" for number in range(n))][:n]


def drawn(seed: int, split: str, n: int, *, skill: float, multi: bool = True) -> Arrays:
    """Labels, which depend on the split alone, and probabilities that know something of them."""
    truth = np.random.default_rng(len(split)).random((n, len(EMOTIONS))) < (0.5, 0.3, 0.2, 0.1, 0.05)
    if not multi:
        truth = np.eye(len(EMOTIONS), dtype=bool)[np.random.default_rng(len(split)).integers(0, 4, n)]
    noise = np.random.default_rng(seed).normal(size=truth.shape)
    logits = skill * (2 * truth - 1) + noise - 0.5
    scores = 1 / (1 + np.exp(-logits)) if multi else np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return (truth if multi else truth.argmax(axis=1)), scores.astype(np.float32)


def emotional(
    yard: Path,
    name: str,
    *,
    seed: int = 0,
    skill: float = 1.0,
    n: int = 60,
    layout: str = "grouped",
    config: dict[str, Any] | None = None,
    mode: Any = "per_class",
) -> str:
    """A finished run with label sets, thresholds tuned on validation and kept in its checkpoint; its id."""
    with trainyard.start_run(
        "feelings",
        name=None if layout in ("dated", "files") else name,
        dataset="talk",
        model="tiny",
        yard=yard,
        layout=layout,
        seed=seed,
        config=config or {},
    ) as run:
        labels, scores = drawn(seed, "val", n, skill=skill)
        decision, _ = tune(scores, labels, mode, EMOTIONS)
        keep(run, decision)
        for split in ("val", "test"):
            labels, scores = drawn(seed, split, n, skill=skill)
            chosen = decision.choose(scores)
            run.save_predictions(
                texts(split, n),
                labels,
                scores,
                EMOTIONS,
                chosen=chosen,
                split=split,
                item_column="text",
                label_column="emotion",
            )
            metrics = multi_label_metrics(scores, chosen, labels)
            run.summary(**{f"{split}_{key}": value for key, value in metrics.items()}, **{f"{split}_loss": 0.5})
    return run.id


def keep(run: trainyard.Run, decision: Decision) -> None:
    """A checkpoint with the decision where trained ones have it."""
    state: dict[str, Any] = {}
    if run._writer.layout.checkpoint_format != "pth":
        text = json.dumps({"step": 1, "decision": decision.to_dict(EMOTIONS)})
        state["metrics.json"] = lambda path: path.write_text(text)
    run.save_checkpoint(state, step=1, epoch=1, best=True)


def single(yard: Path, name: str, *, seed: int = 0, skill: float = 1.0, n: int = 60, layout: str = "grouped") -> str:
    """A finished run with one label an item; its id."""
    with trainyard.start_run(
        "digits", name=None if layout in ("dated", "files") else name, yard=yard, layout=layout, seed=seed
    ) as run:
        for split in ("val", "test"):
            labels, scores = drawn(seed, split, n, skill=skill, multi=False)
            run.save_predictions(
                [f"{split}/{number}.png" for number in range(n)], labels, scores, EMOTIONS, split=split
            )
            metrics = single_label_metrics(scores, labels)
            run.summary(**{f"{split}_{key}": value for key, value in metrics.items()})
    return run.id

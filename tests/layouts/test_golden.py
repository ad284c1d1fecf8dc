"""The picture of every shipped layout, kept as a file, so that a change of a tree is seen in review.

Regenerate: `python tests/layouts/test_golden.py`
"""

from __future__ import annotations

from pathlib import Path

import pytest

from trainyard.layouts import LAYOUTS, load_layout

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", LAYOUTS)
def test_tree_is_the_golden_one(name: str) -> None:
    golden = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert load_layout(name).tree() == golden, "if meant: python tests/layouts/test_golden.py"


def test_no_golden_tree_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(LAYOUTS)


# Written by hand from the documented trees of the five systems, not from the tables.
DOCUMENTED = {
    "grouped": {"metrics_table": "demo/metrics.csv", "checkpoint": "demo/digits/cnn/checkpoint-120/"},
    "shared": {
        "checkpoint": "checkpoints/cnn_epoch_3.pth",
        "best": "checkpoints/cnn_best.pth",
        "final": "checkpoints/cnn_final.pth",
        "log": "logs/cnn_20260131-204301.log",
        "error_log": "logs/cnn_20260131-204301_errors.log",
        "performance_log": "logs/cnn_20260131-204301_performance.log",
        "evaluation_log": "logs/evaluation_20260131-214301.log",
        "home": "artifacts/cnn/",
        "summary": "results/cnn_results.json",
        "confusion_matrix": "results/cnn_plots.png",
    },
    "dated": {
        "hydra_config": "2026-01-31/20-43-01/.hydra/config.yaml",
        "hydra_settings": "2026-01-31/20-43-01/.hydra/hydra.yaml",
        "hydra_overrides": "2026-01-31/20-43-01/.hydra/overrides.yaml",
        "log": "2026-01-31/20-43-01/main.log",
        "best": "2026-01-31/20-43-01/best_mlp.pth",
        "tensorboard": "2026-01-31/20-43-01/",
    },
    "trials": {
        "default_config": "experiment_demo/default_config.yaml",
        "controller_log": "experiment_demo/mp.log",
        "best": "experiment_demo/cnn/best_checkpoints/epoch_3.pt",
        "checkpoint": "experiment_demo/cnn/checkpoints/epoch_3.pt",
        "tensorboard": "experiment_demo/cnn/dashboard/",
        "config": "experiment_demo/cnn/config.yaml",
        "metadata": "experiment_demo/cnn/metadata.json",
        "results": "experiment_demo/cnn/results.json",
        "log": "experiment_demo/cnn/train.log",
    },
    "files": {
        "best": "demo/run-20260131-204301-k3v9x0aq/files/checkpoint/mlp-20260131-204301/",
        "predictions": "demo/run-20260131-204301-k3v9x0aq/files/predictions/"
        "val_epoch3_predictions_mlp_20260131-204301.csv",
        "per_class": "demo/run-20260131-204301-k3v9x0aq/files/stats/per_class_metrics_mlp_20260131-204301.csv",
        "artifact_manifest": "demo/run-20260131-204301-k3v9x0aq/files/artifact/0123456789abcdef/wandb_manifest.json",
        "wandb_config": "demo/run-20260131-204301-k3v9x0aq/files/config.yaml",
        "log": "demo/run-20260131-204301-k3v9x0aq/files/output.log",
        "requirements": "demo/run-20260131-204301-k3v9x0aq/files/requirements.txt",
        "wandb_metadata": "demo/run-20260131-204301-k3v9x0aq/files/wandb-metadata.json",
        "wandb_summary": "demo/run-20260131-204301-k3v9x0aq/files/wandb-summary.json",
    },
}
FACTS = {
    "project": "demo",
    "dataset": "digits",
    "run": "cnn",
    "model": "mlp",
    "date": "2026-01-31",
    "time": "20-43-01",
    "timestamp": "20260131-204301",
    "moment": "20260131-214301",
    "id": "k3v9x0aq",
    "step": 120,
    "epoch": 3,
    "split": "val",
    "artifact_id": "0123456789abcdef",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_paths_are_the_documented_ones(name: str) -> None:
    layout = load_layout(name)
    assert {kind: layout.path(kind, FACTS) for kind in DOCUMENTED[name]} == DOCUMENTED[name]


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for shipped in LAYOUTS:
        (GOLDEN / f"{shipped}.txt").write_text(load_layout(shipped).tree(), encoding="utf-8")

"""Finding runs among 10,000: filter, sort, page; and building the index from the files.

The same five questions (by state and dataset, by a metric, by a hyper-parameter, by tag, by name; each sorted by a
metric, pages of 50) are put in turn, 1st and 3rd page alike. Trainyard answers through `Index.query`, which first
looks for changes, as `trainyard runs` does. MLflow answers through `MlflowClient.search_runs` on SQLite, filled
with the same runs: 10 parameters, the last value of 8 metrics and 3 tags each, inserted in bulk into its own
tables with its own indexes, which takes seconds where its API would take minutes. `files read one by one` is what
there is without any index.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import US, Column, Measure, Tool, arguments, begin, chosen, interleave, scratch, show
from benchmarks.make_yard import make, snapshots

PAGE = 50
OURS = (
    "state:finished dataset:digits sort:metrics.val_loss",
    "metrics.val_accuracy>0.9 sort:-metrics.val_f1_macro",
    "config.training.batch_size:64 sort:-summary.test_accuracy",
    "tag:paper sort:metrics.val_loss",
    "name:cnn* sort:-metrics.val_accuracy",
)
MLFLOW = (
    ("attributes.status = 'FINISHED' and params.dataset = 'digits'", "metrics.val_loss ASC"),
    ("metrics.val_accuracy > 0.9", "metrics.val_f1_macro DESC"),
    ("params.`training.batch_size` = '64'", "metrics.test_accuracy DESC"),
    ("tags.paper = 'true'", "metrics.val_loss ASC"),
    ("attributes.run_name LIKE 'cnn%'", "metrics.val_accuracy DESC"),
)


def percentiles(ask: Callable[[int, int], int], rounds: int) -> dict[str, float]:
    """Median and 95th percentile of all questions, `rounds` times, on the first and the third page."""
    seconds = []
    for _ in range(rounds):
        for question in range(len(OURS)):
            for page in (0, 2):
                start = time.perf_counter()
                found = ask(question, page)
                seconds.append(time.perf_counter() - start)
                if found != PAGE:
                    raise RuntimeError(f"question {question}, page {page}: {found} runs instead of {PAGE}")
    return {"median_s": statistics.median(seconds), "p95_s": statistics.quantiles(seconds, n=20)[-1]}


def trainyard(root: str) -> Measure:
    from trainyard.index import Index
    from trainyard.runs import Yard

    index = Index(Yard(root))
    index.refresh()

    def ask(question: int, page: int) -> int:
        return len(index.query(OURS[question], limit=PAGE, offset=page * PAGE).rows)

    return lambda: percentiles(ask, 10)


def by_hand(root: str) -> Measure:
    """Every run.json read and parsed for each question."""

    def ask(question: int, page: int) -> int:
        runs = [json.loads(path.read_bytes()) for path in Path(root).glob("*/*/*/.run/run.json")]
        meets, key = (
            (lambda r: r["state"] == "finished" and r["dataset"] == "digits", lambda r: r["metrics"]["val_loss"]),
            (lambda r: r["metrics"]["val_accuracy"] > 0.9, lambda r: -r["metrics"]["val_f1_macro"]),
            (lambda r: r["config"]["training"]["batch_size"] == 64, lambda r: -r["summary"]["test_accuracy"]),
            (lambda r: "paper" in r["tags"], lambda r: r["metrics"]["val_loss"]),
            (lambda r: r["name"].startswith("cnn"), lambda r: -r["metrics"]["val_accuracy"]),
        )[question]
        return len(sorted(filter(meets, runs), key=key)[page * PAGE : (page + 1) * PAGE])

    def measure() -> dict[str, float]:
        start = time.perf_counter()
        ask(0, 0)
        seconds = time.perf_counter() - start
        return {"median_s": seconds, "p95_s": seconds}

    return measure


def mlflow_sqlite(count: int) -> Measure:
    from mlflow import MlflowClient

    uri = f"sqlite:///{Path.cwd()}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("bench")
    _fill_mlflow(client._tracking_client.store.engine, experiment, count)

    tokens: dict[tuple[int, int], str | None] = {}  # where a page begins, learned from the page before it

    def ask(question: int, page: int) -> int:
        text, order = MLFLOW[question]
        found = client.search_runs(
            [experiment], text, order_by=[order], max_results=PAGE, page_token=tokens.get((question, page))
        )
        tokens[question, page + 1] = found.token
        return len(found)

    for question in range(len(MLFLOW)):
        for page in (0, 1):  # not timed: only the pages asked for are
            ask(question, page)

    return lambda: percentiles(ask, 1)


def _fill_mlflow(engine: Any, experiment: str, count: int) -> None:
    from mlflow.store.tracking.dbmodels import models

    tables: dict[Any, list[dict[str, Any]]] = {
        table: [] for table in (models.SqlRun, models.SqlParam, models.SqlLatestMetric, models.SqlMetric, models.SqlTag)
    }
    status = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
    for number, (_, run) in enumerate(snapshots(count)):
        key = f"{number:032x}"
        tables[models.SqlRun].append(
            {
                "run_uuid": key,
                "name": run.name,
                "status": status[run.state],
                "experiment_id": int(experiment),
                "start_time": 1_767_225_600_000 + number,
                "end_time": 1_767_225_600_000 + number + 60_000,
                "lifecycle_stage": "active",
                "user_id": "bench",
                "source_type": "LOCAL",
                "source_name": "train.py",
                "artifact_uri": f"file:///mlruns/{key}",
            }
        )
        training = run.config["training"]
        params = {
            "project": run.project,
            "dataset": run.dataset,
            "model": run.model,
            "layout": run.layout,
            "seed": run.seed,
            "hidden": run.config["model"]["hidden"],
            "dropout": run.config["model"]["dropout"],
            **{f"training.{name}": training[name] for name in ("epochs", "batch_size", "learning_rate")},
        }
        tables[models.SqlParam] += [{"run_uuid": key, "key": k, "value": str(v)} for k, v in params.items()]
        values = {**run.metrics, "test_accuracy": run.summary["test_accuracy"], "best_value": run.best.value}
        rows = [
            {"run_uuid": key, "key": k, "value": v, "step": run.step, "timestamp": 1_767_225_600_000, "is_nan": False}
            for k, v in values.items()
        ]
        tables[models.SqlLatestMetric] += rows
        tables[models.SqlMetric] += rows
        tags = {"mlflow.runName": run.name, "mlflow.user": "bench", **dict.fromkeys(run.tags, "true")}
        tables[models.SqlTag] += [{"run_uuid": key, "key": k, "value": v} for k, v in tags.items()]
    with engine.begin() as connection:
        for table, rows in tables.items():
            connection.execute(table.__table__.insert(), rows)


def rebuild(root: str) -> Measure:
    """The index deleted and built again from the runs' files; then looked at again with nothing changed."""
    from trainyard.index import Index
    from trainyard.runs import Yard

    def measure() -> dict[str, float]:
        for path in Path(root, ".yard").glob("index.sqlite*"):
            path.unlink()
        start = time.perf_counter()
        Index(Yard(root)).refresh()
        built = time.perf_counter()
        Index(Yard(root)).refresh()
        return {"build_s": built - start, "again_s": time.perf_counter() - built}

    return measure


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--runs", type=int, default=10_000)
    options = begin(parser, "mlflow")
    with scratch() as directory:
        root = directory / "yard"
        make(root, options.runs)
        tools = [
            Tool(US, trainyard, {"root": str(root)}),
            Tool("files read one by one", by_hand, {"root": str(root)}),
            Tool("MLflow, SQLite", mlflow_sqlite, {"count": options.runs}),
        ]
        results = interleave(chosen(tools, options.only), options.repeats)
        show(
            f"filter, sort and page among {options.runs:,} runs",
            results,
            [Column("median_s", "median", "ms", 1e3, 1), Column("p95_s", "95th percentile", "ms", 1e3, 1)],
            US,
        )
        if not options.only or US in options.only:
            built = interleave([Tool(US, rebuild, {"root": str(root)})], 3, warm_up=0)
            show(
                f"index of {options.runs:,} runs, from their files",
                built,
                [
                    Column("build_s", "built", "s", ratio=False),
                    Column("again_s", "looked at again, nothing changed", "ms", 1e3, 1, ratio=False),
                ],
                US,
            )
        shutil.rmtree(root)


if __name__ == "__main__":
    main()

"""`trainyard evaluate`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from trainyard.cli import options
from trainyard.cli.options import echo_json, find_run


@click.command("evaluate")
@options.run_argument
@options.yard_option
@options.choice_option("--split", ["train", "val", "test"], "test")
@options.checkpoint_option
@options.device_option
@options.trust_option
@options.out_option("Also write the predictions to this file, as CSV.")
@options.json_option
def command(run: str, yard_root: Path, split: str, out: Path | None, as_json: bool, **how: Any) -> None:
    """Evaluate a run's checkpoint on a split.

    Uses the run's own data and settings. The results are stored with the run and compared with
    those that it recorded. How often its test split is used is counted.
    """
    from trainyard import durable
    from trainyard.running.evaluate import evaluate_run

    reader = find_run(yard_root, run)
    found = evaluate_run(reader, split, **how)
    if out is not None:
        durable.write_text(out, found.table)
    if as_json:
        told = {name: getattr(found, name) for name in ("step", "metrics", "recorded", "times_tested")}
        echo_json({"run": reader.snapshot.id, "split": split, **told})
        return
    click.echo(f"{reader.snapshot.name} ({reader.snapshot.id}), checkpoint of step {found.step}, {split} split")
    width = max(map(len, found.metrics), default=0)
    for key, value in found.metrics.items():
        before = found.recorded.get(key)
        same = before == value or (before is not None and math.isnan(before) and math.isnan(value))
        note = "" if before is None else f"  recorded {before:.6f}{'' if same else '  differs'}"
        click.echo(f"  {key:<{width}}  {value:.6f}{note}")
    if split == "test" and found.times_tested > 1:
        click.echo(f"The test split has been used {found.times_tested} times for this run; do not select models on it.")

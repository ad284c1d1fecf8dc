"""`trainyard export`."""

from __future__ import annotations

from pathlib import Path

import click

from trainyard.cli import options
from trainyard.cli.options import echo_json, find_run

_FORMATS = "onnx; int8 of a model trained with model.qat=true; a speech encoder's peft adapter, or the merged encoder."


@click.command("export")
@options.run_argument
@options.choice_option("--format", ["onnx", "int8", "adapter", "merged"], "onnx", _FORMATS)
@options.checkpoint_option
@options.yard_option
@options.trust_option
@options.json_option
def command(run: str, format: str, checkpoint: str | None, yard_root: Path, trust: bool, as_json: bool) -> None:
    """Export a run's model for use in other programs.

    Files are written to the run's folder for exports. ONNX is published only after ONNX Runtime has
    reproduced the model's outputs on the run's own data.
    """
    reader = find_run(yard_root, run)
    from trainyard.running.export import export_run

    done = export_run(reader, format, checkpoint=checkpoint, trust=trust)
    if as_json:
        echo_json([{"path": str(path), "measured": what} for path, what in done])
        return
    for path, what in done:
        click.echo(f"{path}  {what}")

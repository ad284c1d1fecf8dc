"""`trainyard predict`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from trainyard.cli import options
from trainyard.cli.options import counted, find_run


@click.command("predict")
@options.run_argument
@click.argument("data", type=click.Path(path_type=Path))
@options.yard_option
@options.checkpoint_option
@options.device_option
@options.trust_option
@options.out_option("Write to this file instead of printing.")
def command(run: str, data: Path, yard_root: Path, out: Path | None, **how: Any) -> None:
    """Predict new data with a run's checkpoint.

    DATA is of the kind that the run was trained on: an image, a folder of images or an .npz with
    `images`; a recording or a folder of recordings; a .txt with one text per line, or a table of texts.
    Prints CSV: id or text, pred_label or pred_labels, and a probability for each class.
    """
    from trainyard import durable
    from trainyard.running.predict import predict_items

    text = predict_items(find_run(yard_root, run), data, **how)
    if out is None:
        click.echo(text, nl=False)
    else:
        durable.write_text(out, text)
        rows = len(re.findall(r'(?:[^"\r\n]|"[^"]*")*\r\n', text))  # a quoted text may contain line breaks
        click.echo(f"{counted(rows - 1, 'prediction')} in {out}")

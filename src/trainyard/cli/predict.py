"""`trainyard predict`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from trainyard.cli.options import (
    checkpoint_option,
    counted,
    device_option,
    find_run,
    out_option,
    run_argument,
    trust_option,
    yard_option,
)


@click.command("predict")
@run_argument
@click.argument("data", type=click.Path(path_type=Path))
@yard_option
@checkpoint_option
@device_option
@trust_option
@out_option("Write to this file instead of printing.")
def command(
    run: str, data: Path, yard_root: Path, checkpoint: str | None, device: str, trust: bool, out: Path | None
) -> None:
    """Predict new data with a run's checkpoint.

    DATA is of the kind that the run was trained on: an image, a folder of images or an .npz with
    `images`; a recording or a folder of recordings; a .txt with one text per line, or a table of texts.
    Prints CSV: id or text, pred_label or pred_labels, and a probability for each class.
    """
    from trainyard import durable
    from trainyard.running.predict import predict_items

    text = predict_items(find_run(yard_root, run), data, checkpoint=checkpoint, device=device, trust=trust)
    if out is None:
        click.echo(text, nl=False)
    else:
        durable.write_text(out, text)
        rows = len(re.findall(r'(?:[^"\r\n]|"[^"]*")*\r\n', text))  # a quoted text may contain line breaks
        click.echo(f"{counted(rows - 1, 'prediction')} in {out}")

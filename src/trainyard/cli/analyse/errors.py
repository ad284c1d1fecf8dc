"""`trainyard analyse errors`."""

from __future__ import annotations

from pathlib import Path

import click

from trainyard.cli.analyse import common
from trainyard.cli.options import echo_json, find_run, json_option, number_option, out_option, run_argument, yard_option


@click.command("errors")
@run_argument
@yard_option
@common.split_option
@common.label_option
@number_option("--limit", 10, "Mistakes and pairs of labels to show.")
@out_option("Write all mistakes to this file instead, as CSV.")
@json_option
def command(
    run: str, yard_root: Path, split: str, label: str | None, limit: int, out: Path | None, as_json: bool
) -> None:
    """The most confident mistakes, and which labels are confused.

    The probability of a mistake is that of the label that the model got most wrong: predicted although
    the item does not have it, or missed.
    """
    from trainyard.analysis.classification.errors import mistakes, mixups
    from trainyard.analysis.classification.recorded import labelled
    from trainyard.analysis.csv_cells import records_csv

    common.require_suffix(out, ".csv")
    reader = find_run(yard_root, run)
    labels, found = labelled(reader, split)
    at = common.number_of(label, found.classes, reader)
    wrong, pairs = mistakes(labels, found, label=at), mixups(labels, found, label=at)[:limit]
    if out is not None:
        common.write(out, f"{len(wrong):,} mistakes", table=lambda: records_csv([vars(mistake) for mistake in wrong]))
        return
    if as_json:
        about = {"run": reader.snapshot.id, "split": split, "label": label}
        counts = {"items": len(found.items), "wrong": len(wrong)}
        listed = [common.as_json(mistake) for mistake in wrong[:limit]]
        echo_json({**about, **counts, "mistakes": listed, "pairs": [vars(pair) for pair in pairs]})
        return
    of = f" about {label}" if label is not None else ""
    share = f"{len(wrong):,} of {len(found.items):,} items are wrong{of} ({len(wrong) / len(found.items):.1%})"
    click.echo(f"{common.title(reader)}, {split}: {share}")
    if not wrong or not limit:
        return
    click.echo()
    common.print_table(
        ("probability", "of", "is", "predicted", "item"),
        [(one.probability, one.label, one.true, one.predicted, one.item) for one in wrong[:limit]],
        left=5,
    )
    click.echo()
    shares = [None if pair.share is None else f"{pair.share:.1%}" for pair in pairs]
    rows = [([p.true], [p.predicted], p.count, share) for p, share in zip(pairs, shares, strict=True)]
    common.print_table(("missed", "chosen instead", "items", "of its items"), rows, left=2)

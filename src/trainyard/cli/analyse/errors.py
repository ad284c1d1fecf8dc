"""`trainyard analyse errors`."""

from __future__ import annotations

from pathlib import Path

import click

from trainyard.cli.analyse import common
from trainyard.cli.options import echo_json, find_run, json_option, out_option, run_argument, yard_option


@click.command("errors")
@run_argument
@yard_option
@common.split_option
@common.label_option
@common.limit_option("Mistakes and pairs of labels to show.")
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
    wrong, pairs = mistakes(labels, found, label=at), mixups(labels, found, label=at)
    if out is not None:
        common.write(out, f"{len(wrong):,} mistakes", table=lambda: records_csv([vars(mistake) for mistake in wrong]))
        return
    if as_json:
        echo_json(
            {
                "run": reader.snapshot.id,
                "split": split,
                "label": label,
                "items": len(found.items),
                "wrong": len(wrong),
                "mistakes": [common.as_json(mistake) for mistake in wrong[:limit]],
                "pairs": [vars(pair) for pair in pairs[:limit]],
            }
        )
        return
    about = f" about {label}" if label is not None else ""
    share = f"{len(wrong):,} of {len(found.items):,} items are wrong{about} ({len(wrong) / len(found.items):.1%})"
    click.echo(f"{common.title(reader)}, {split}: {share}")
    if not wrong or not limit:
        return
    click.echo()
    common.print_table(
        ("probability", "of", "is", "predicted", "item"),
        [
            (
                common.score(mistake.probability),
                common.one_line(mistake.label),
                common.set_of(mistake.true),
                common.set_of(mistake.predicted),
                common.one_line(mistake.item),
            )
            for mistake in wrong[:limit]
        ],
        left=5,
    )
    click.echo()
    common.print_table(
        ("missed", "chosen instead", "items", "of its items"),
        [
            (
                common.set_of([pair.true]),
                common.set_of([pair.predicted]),
                f"{pair.count:,}",
                "-" if pair.share is None else f"{pair.share:.1%}",
            )
            for pair in pairs[:limit]
        ],
        left=2,
    )

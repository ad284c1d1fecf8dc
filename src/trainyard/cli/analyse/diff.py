"""`trainyard analyse diff`."""

from __future__ import annotations

from pathlib import Path

import click

from trainyard.cli.analyse import common
from trainyard.cli.options import counted, echo_json, find_run, json_option, number_option, out_option, yard_option

_WORDS = {"broken": "right → wrong", "fixed": "wrong → right", "other": "wrong → wrong"}


@click.command("diff")
@click.argument("first", metavar="RUN_A")
@click.argument("second", metavar="RUN_B")
@yard_option
@common.split_option
@common.label_option
@number_option("--limit", 10, "Items to show.")
@out_option("Write a file instead: a picture of the classes for .png, the items for .csv.")
@json_option
def command(
    first: str, second: str, yard_root: Path, split: str, label: str | None, limit: int, out: Path | None, as_json: bool
) -> None:
    """Which items two runs predict differently.

    Both runs must have predicted the same items. For items with one label, a class counts its own items;
    for items with several, it counts the decisions whether an item has the label.
    """
    from trainyard.analysis.classification import label_plots
    from trainyard.analysis.classification.differences import by_class, flips
    from trainyard.analysis.classification.recorded import pair
    from trainyard.analysis.csv_cells import records_csv

    common.require_suffix(out, ".png", ".csv")
    readers = find_run(yard_root, first), find_run(yard_root, second)
    labels, one, other = pair(*readers, split)
    at = common.number_of(label, one.classes, readers[0])
    changed, classes = flips(labels, one, other, label=at), by_class(labels, one, other)
    counts = {word: sum(flip.change == word for flip in changed) for word in _WORDS}
    if out is not None:
        heading = f"{readers[0].snapshot.name} → {readers[1].snapshot.name}: {split}"
        common.write(
            out,
            counted(len(changed), "changed item"),
            table=lambda: records_csv([vars(flip) for flip in changed]),
            picture=lambda: label_plots.flips(classes, heading),
        )
        return
    if as_json:
        what = {"runs": [reader.snapshot.id for reader in readers], "split": split, "label": label}
        listed = [common.as_json(flip) for flip in changed[:limit]]
        by_label = [vars(row) for row in classes]
        echo_json({**what, "items": len(one.items), **counts, "classes": by_label, "flips": listed})
        return
    totals = ", ".join(f"{counts[word]:,} {words}" for word, words in _WORDS.items())
    about = f" about {label}" if label is not None else ""
    click.echo(f"{common.title(readers[0])} → {common.title(readers[1])}")
    click.echo(f"{split}: {len(changed):,} of {len(one.items):,} items changed{about}: {totals}")
    if not changed:
        return
    moved = sorted((row for row in classes if row.broken or row.fixed), key=lambda row: row.fixed - row.broken)
    if moved:
        click.echo()
        cells = [(row.label, row.support, row.broken, row.fixed, f"{row.fixed - row.broken:+,}") for row in moved]
        common.print_table(("class", "items", "right → wrong", "wrong → right", "net"), cells)
    if limit:
        click.echo()
        rows = [(_WORDS[flip.change], flip.true, flip.first, flip.second, flip.item) for flip in changed[:limit]]
        common.print_table(("change", "is", "before", "after", "item"), rows, left=5)

"""The weights that heads give to the layers of their encoders: a table for each run, and one of several runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from trainyard.runs import RunReader

KIND = "layer_weights"


def to_csv(weights: Sequence[float]) -> str:
    """The table of a run: layer and weight; layer 0 is the input of the first block."""
    return "layer,weight\n" + "".join(f"{layer},{weight:.9g}\n" for layer, weight in enumerate(weights))


def read(reader: RunReader) -> list[float] | None:
    """The weights of a run, layer 0 first; None if it recorded none, or the file was removed."""
    for record in reversed(reader.snapshot.records):
        if record.kind == KIND and (path := reader.resolve(record.path)).exists():
            with path.open(encoding="utf-8", newline="") as file:
                return [float(row["weight"]) for row in csv.DictReader(file)]
    return None


def wide_csv(weights: Mapping[str, Sequence[float]]) -> str:
    """One row per run, one column per layer; encoders with fewer layers have empty cells."""
    layers = max(map(len, weights.values()), default=0)
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["run", *(f"layer_{layer}" for layer in range(layers))])
    for run, shares in weights.items():
        table.writerow([run, *(f"{share:.9g}" for share in shares), *[""] * (layers - len(shares))])
    return text.getvalue()

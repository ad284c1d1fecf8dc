"""The weights that the heads of runs give to the layers of their encoders: read back, side by side.

A run writes them as a table of layers; here they are collected over runs. Draws nothing and
needs no array library, so that it starts at once.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from trainyard.runs import RunReader

KIND = "layer_weights"


def to_csv(weights: Sequence[float]) -> str:
    """The table a run leaves: layer and weight, layer 0 being the input of the first block."""
    return "layer,weight\n" + "".join(f"{layer},{weight:.9g}\n" for layer, weight in enumerate(weights))


def read(reader: RunReader) -> list[float] | None:
    """The shares that a run left, layer 0 first; None when it left none, or the file is gone."""
    for record in reversed(reader.snapshot.records):
        if record.kind == KIND and (path := reader.resolve(record.path)).exists():
            with path.open(encoding="utf-8", newline="") as file:
                return [float(row["weight"]) for row in csv.DictReader(file)]
    return None


def wide_csv(weights: Mapping[str, Sequence[float]]) -> str:
    """One row a run, one column a layer; an encoder with fewer layers leaves cells empty."""
    layers = max(map(len, weights.values()), default=0)
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["run", *(f"layer_{layer}" for layer in range(layers))])
    for run, shares in weights.items():
        table.writerow([run, *(f"{share:.9g}" for share in shares), *[""] * (layers - len(shares))])
    return text.getvalue()

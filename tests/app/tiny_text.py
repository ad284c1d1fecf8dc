"""Settings that train on texts in half a second, and texts, some of which are hard to keep."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas

SIZES = ["model.hidden_size=16", "model.num_layers=1", "model.num_heads=2", "model.ffn_size=32"]
FIT = ["training.epochs=2", "training.precision=fp32", "training.batch_size=16", "run.device=cpu"]
QUARTERS = ["data.split.val_fraction=0.25", "data.split.test_fraction=0.25"]
FEW = ["data.sentences=100", *QUARTERS]
TINY = [*SIZES, *FIT, *FEW]

CLASSES = ("calm", "glad", "sad")
WORDS = {"calm": "the sea is still", "glad": "what a fine day", "sad": "nobody came at all"}
# What a CSV, a spreadsheet or a tokenizer may trip over; distinct, and each of them with something to read.
HARD = (
    'she said "no", twice', 'a cell, or "two"', "tabs\there\tand there", "one line\nand another", "carriage\r\nreturn",
    "\U0001f642 \U0001f469\u200d\U0001f467 smile", "nothing\x00 in between", "  blanks around  ", "NA", "'quoted'", '"',
    "=1+1", "É é \ufb01 İstanbul", "back\\slash \\n", "日本語", "1,5", "null",
)  # fmt: skip


def rows(count: int) -> list[tuple[str, list[str]]]:
    """Texts of one label each, or of two, or of none; no two alike."""
    made = []
    for number in range(count):
        first, second = CLASSES[number % 3], CLASSES[(number // 3) % 3]
        names = sorted({first, second}) if number % 4 else [first]
        names = [] if number % 11 == 10 else names
        made.append((" and ".join([*(WORDS[name] for name in names), f"that is {number}"]), names))
    return made


def write_csv(path: Path, lines: Sequence[Sequence[str]], header: Sequence[str] = ("text", "label")) -> Path:
    """A CSV, or a TSV by its name, with a header."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.getvalue().encode())
    return path


def write_jsonl(path: Path, objects: Sequence[dict[str, Any]]) -> Path:
    """An object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects).encode())
    return path


def probabilities(table: pandas.DataFrame) -> npt.NDArray[np.float64]:
    """The columns of probabilities, [N, C]."""
    columns = [name for name in table.columns if name.startswith("pred_prob_")]
    return table[columns].to_numpy()


def label_sets(column: Any, classes: Sequence[str]) -> npt.NDArray[np.bool_]:
    """A column of JSON lists as bool [N, C]."""
    return np.array([[name in json.loads(cell) for name in classes] for cell in column])

"""Settings that train on texts in half a second, texts that are hard to keep, and what a run says of them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas
import torch
from tiny_runs import QUIET

from trainyard.models import huggingface
from trainyard.running.predict import predict_items
from trainyard.runs import RunReader, Yard

SIZES = ["model.hidden_size=16", "model.num_layers=1", "model.num_heads=2", "model.ffn_size=32"]
FIT = ["training.epochs=2", "training.precision=fp32", "training.batch_size=16", "run.device=cpu"]
QUARTERS = ["data.split.val_fraction=0.25", "data.split.test_fraction=0.25"]
FEW = ["data.sentences=100", *QUARTERS]
TINY = [*SIZES, *FIT, *FEW]
SHORT = [*TINY, *QUIET, "training.epochs=1"]
ONE = ["data.multi_label=false", "training/criterion=cross_entropy"]

CLASSES = ("calm", "glad", "sad")
WORDS = {"calm": "the sea is still", "glad": "what a fine day", "sad": "nobody came at all"}
# What a CSV, a spreadsheet or a tokenizer may trip over; distinct, and each of them with something to read.
HARD = (
    'she said "no", twice',
    'a cell, or "two"',
    "tabs\there\tand there",
    "one line\nand another",
    "carriage\r\nreturn",
    "\U0001f642 \U0001f469\u200d\U0001f467 smile",
    "nothing\x00 in between",
    "  blanks around  ",
    "NA",
    "'quoted'",
    '"',
    "=1+1",
    "É é \ufb01 İstanbul",
    "back\\slash \\n",
    "日本語",
    "1,5",
    "null",
)


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


def of_a_table(overrides: Sequence[str]) -> list[str]:
    """The same without what concerns made-up sentences."""
    return [word for word in overrides if not word.startswith("data.sentences")]


def new(folder: Path) -> Yard:
    return Yard(folder / "yard", create=True)


def best_of(run: RunReader) -> Path:
    """The directory of the best checkpoint, in the layout `files`."""
    (path,) = (run.home / "files/checkpoint").iterdir()
    return path


def kept_of(path: Path) -> dict[str, Any]:
    """The metrics.json of a checkpoint."""
    found: dict[str, Any] = json.loads((path / "metrics.json").read_text())
    return found


def table_of(run: RunReader, which: str) -> pandas.DataFrame:
    """The predictions of a split, or as `val_epoch1` after an epoch, in the layout `files`."""
    (path,) = run.home.glob(f"files/predictions/{which}_predictions_*.csv")
    return pandas.read_csv(path)


def final(run: RunReader, split: str) -> pandas.DataFrame:
    """The predictions of the chosen checkpoint, in any layout."""
    records = [one for one in run.snapshot.records if one.kind == "final_predictions" and one.facts["split"] == split]
    return pandas.read_csv(run.resolve(records[-1].path))


def best_epoch(run: RunReader) -> int:
    assert run.snapshot.best is not None
    return int(run.snapshot.best.epoch or 0)


def results(run: RunReader) -> dict[str, Any]:
    return {key: value for key, value in run.snapshot.summary.items() if key.startswith(("val_", "test_"))}


def said_again(run: RunReader, path: Path, **options: Any) -> pandas.DataFrame:
    return pandas.read_csv(io.StringIO(predict_items(run, path, device="cpu", **options)))


def assert_same_predictions(one: pandas.DataFrame, other: pandas.DataFrame, column: str = "text") -> None:
    """Of the same items in the same order, the labels are the same, and the probabilities but for rounding."""
    assert list(one[column]) == list(other[column])
    label = "pred_labels" if "pred_labels" in one else "pred_label"
    assert list(one[label]) == list(other[label])
    np.testing.assert_allclose(probabilities(one), probabilities(other), atol=1e-6)


def thresholds_of(run: RunReader) -> dict[str, float]:
    found: dict[str, float] = kept_of(best_of(run))["decision"]["thresholds"]
    return found


@contextlib.contextmanager
def in_transformers() -> Iterator[None]:
    """Its libraries say nothing and try nothing that is not needed."""
    with huggingface.errors_only(), huggingface.without_torchao():
        yield


def theirs_of(path: Path) -> tuple[Any, Any]:
    """What plain transformers makes of a checkpoint: its classifier and its tokenizer."""
    with in_transformers():
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        return AutoModelForSequenceClassification.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)


def their_logits(path: Path, texts: Sequence[str]) -> torch.Tensor:
    """What plain transformers says of texts with a checkpoint, [N, C]."""
    model, tokenizer = theirs_of(path)
    with torch.no_grad():
        logits: torch.Tensor = model(
            **tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        ).logits
    return logits

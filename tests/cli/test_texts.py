"""What a user can get wrong with texts, and what the commands say of it: designed messages, nothing half-made left."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pandas
import pytest
import torch
from command_line import Kept, refused
from tiny_text import CLASSES, HARD, SHORT, SIZES, label_sets, rows, write_csv, write_jsonl
from tiny_texts import theirs

from trainyard.text.sources.sentences import EMOTIONS

EMOTIONAL = ("emotions", *SHORT)
NAMED = f"data.classes=[{','.join(CLASSES)}]"
LINES = [[text, ",".join(labels)] for text, labels in rows(40)]


def of(path: Path, *more: str) -> tuple[str, ...]:
    """The recipe on a table or a folder of tables."""
    kept = (word for word in SHORT if not word.startswith("data.sentences"))
    return ("emotions", "data=text", f"data.path={path}", *kept, *more)


def pretrained(path: Path | str, *more: str) -> tuple[str, ...]:
    """The recipe from a directory; 30 tokens are what the tiny ones take."""
    kept = (word for word in EMOTIONAL if not word.startswith("model."))
    chosen = ("model=text_encoder", "model.type=auto", f"model.path={path}", "model.size=base", "model.pretrained=true")
    return (*kept, *chosen, "data.max_tokens=30", *more)


REFUSED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "too many labels an item": (
        ("training.thresholds.mode=top_k", "training.thresholds.k=50"),
        ("training.thresholds.k", "50", "1 to 8"),
    ),
    "a threshold that is none": (("training.thresholds.value=2",), ("training.thresholds.value", "2")),
    "several labels and cross-entropy": (
        ("training/criterion=cross_entropy",),
        ("CrossEntropyLoss", "data.multi_label", "bce"),
    ),
    "one label and cross-entropy a label": (("data.multi_label=false",), ("BCEWithLogitsLoss", "cross_entropy")),
    "an emotion that is none": (("data.classes=[joy,angr]",), ("'angr'", "Did you mean 'anger'?")),
    "a vocabulary without room": (("model.vocabulary=10",), ("model.vocabulary", "10", "100")),
    "a text without room": (("data.max_tokens=2",), ("data.max_tokens", "2", "3")),
    "a metric that is none": (("training.monitor=val_f1_makro",), ("val_f1_makro", "'val_f1_macro'")),
    "a network that reads no text": (
        ("model=mlp", "training.head_learning_rate=null"),
        ("`model.name` is mlp", "distilbert"),
    ),
    "a checkpoint that is not there": (("run.checkpoint_path=none.pth",), ("run.checkpoint_path", "none.pth")),
    "weights that nobody published": (("model.pretrained=true",), ("mini", "model.pretrained=false")),
    "an emotion without a weight": (
        ("training.class_weights=[1,2]",),
        ("training.class_weights", "2 numbers", "8 classes", "anger, fear"),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_anything_is_written(what: str, empty: Kept) -> None:
    arguments, says = REFUSED[what]
    sizes = () if arguments[0] not in ("model=mlp", "model.pretrained=true") else SIZES
    refused(empty, *(word for word in EMOTIONAL if word not in sizes), *arguments, says=says)


BAD: dict[str, tuple[list[list[str]], tuple[str, ...], tuple[str, ...]]] = {
    "no text": ([*LINES, ["   ", "sad"], ["", "sad"]], (), ("row 42: ", "row 43: ", "2 texts")),
    "a label out of range": ([*LINES, ["fine", "1,3"]], (NAMED,), ("row 42: label 3", "0 to 2")),
    "a label below": ([*LINES, ["fine", "-1"]], (NAMED,), ("row 42: label -1", "0 to 2")),
    "an unknown label": ([*LINES, ["fine", "gald"]], (NAMED,), ("row 42", "'gald'", "`glad`")),
    "a label twice": ([*LINES, ["fine", "sad,sad"]], (), ("row 42: label 'sad'",)),
    "one class": ([["fine", "sad"], ["well", "sad"]], (), ("one class (sad)", "second class")),
    "no label where one must be": (
        [["fine", ""], *LINES],
        ("data.multi_label=false", "training/criterion=cross_entropy"),
        ("row 2: ", "data.on_bad_item=skip"),
    ),
    "another column": (LINES, ("data.text_column=txt",), ("'txt'", "text, label", "'text'")),
    "a cell too many": ([*LINES, ["fine", "sad", "much"]], (), ("row 42", "3 cells")),
    "a label that none has": (
        LINES,
        ("data.classes=[calm,glad,sad,dull]", "training.class_weights=balanced"),
        ("'dull'", "training.class_weights=none"),
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_tables(what: str, empty: Kept, tmp_path: Path) -> None:
    lines, more, says = BAD[what]
    refused(empty, *of(write_csv(tmp_path / "texts.csv", lines), *more), says=says)


def test_bad_files(empty: Kept, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    for line, says in (
        ('{"text": 3, "label": []}', ("row 2 has 3 ", "'text'")),
        ('{"text": "\\ud800", "label": ["sad"]}', ("row 2", "surrogate")),
        ('{"text": "fine"', ("row 2", "JSON")),
        ('["fine", "sad"]', ("row 2", "a list", "one object")),
        ('{"text": "fine", "label": 1.5}', ("row 2 has 1.5 ", "label")),
        ('{"said": "fine", "label": []}', ("row 2", "'text'", "said, label")),
    ):
        bad.write_text(f'{{"text": "well", "label": ["glad"]}}\n{line}\n')
        refused(empty, *of(bad), says=says)
    bad = tmp_path / "bad.csv"
    bad.write_bytes(b"text,label\nfine,sad\n\xff\xfe,glad\n")
    refused(empty, *of(bad), says=("not UTF-8", "line 3"))
    bad.write_text('text,label\n"fine,sad\n')
    refused(empty, *of(bad), says=("CSV", "line 2", "quotes"))
    refused(empty, *of(tmp_path / "none.csv"), says=("none.csv",))
    refused(empty, *of(tmp_path), says=("train", "bad.csv"))
    for data in ("text", "goemotions"):
        kept = (word for word in SHORT if not word.startswith("data."))
        refused(empty, "emotions", f"data={data}", *kept, says=("`data.corpus`", "data.path=…"))


def test_a_folder_with_a_test_split_alone(empty: Kept, tmp_path: Path) -> None:
    write_csv(tmp_path / "texts/test.tsv", LINES)
    refused(empty, *of(tmp_path / "texts"), says=("test.tsv", "train, val and test"))


def test_texts_that_are_skipped_are_reported(empty: Kept, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "texts.csv", [*LINES, ["", "sad"], ["fine", "gald"]])
    done = empty("train", *of(path, NAMED, "data.on_bad_item=skip", "run.name=skips"))
    assert done.code == 0, done
    (warning,) = (text for text in empty.run("skips").snapshot.warnings if "Skipped" in text)
    assert "row 42: " in warning
    assert "'gald'" in warning
    assert warning.replace("\n", "\n" + " " * 12) in empty("show", "skips").out


# -- published encoders


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    theirs("bert", folder / "bert")
    theirs("gpt2", folder / "gpt2", "ForSequenceClassification", bos_token_id=0, eos_token_id=2)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "gpt2/tokenizer_config.json").write_text(json.dumps(config))
    for name, lost in (("mute", "tok*"), ("hollow", "model.safetensors"), ("nameless", "config.json")):
        shutil.copytree(folder / "bert", folder / name)
        for path in folder.glob(f"{name}/{lost}"):
            path.unlink()
        (folder / name / "vocab.txt").unlink(missing_ok=name == "mute")
    return folder


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("bert", ("data.max_tokens=128",), ("data.max_tokens=128", "the 42 tokens that the model takes")),
        ("gpt2", (), ("no padding token", "pad_token in its tokenizer_config.json")),
        ("mute", (), ("mute", "tokenizer.json")),
        ("hollow", (), ("model.path=", "hollow", "model.safetensors")),
        ("nameless", (), ("model.path=", "nameless")),
        ("nowhere", (), ("neither a directory that exists nor a hub id",)),
        ("bert", ("model.type=roberta",), ("model.type=roberta", "'bert'", "Set model.type=bert")),
    ],
)
def test_what_cannot_be_built_on(
    name: str, more: tuple[str, ...], says: tuple[str, ...], published: Path, empty: Kept
) -> None:
    refused(empty, *pretrained(published / name, *more), says=says)


@pytest.mark.parametrize("train", ["true", "false"])
def test_a_checkpoint_of_somebody_else_is_no_checkpoint_of_a_run(train: str, published: Path, empty: Kept) -> None:
    asked = (f"run.checkpoint_path={published / 'bert'}", f"run.train={train}")
    refused(empty, *EMOTIONAL, *asked, says=("run.checkpoint_path", str(published / "bert"), "model.path"))


def test_a_hub_id_that_cannot_be(empty: Kept) -> None:
    refused(empty, *pretrained("./none/here"), says=("./none/here", "neither a directory that exists nor a hub id"))


def test_scores_that_are_all_equal(empty: Kept, tmp_path: Path) -> None:
    """A network that says the same of every text: nothing to tune, which is told."""
    labels = dict(enumerate(EMOTIONS))
    model = theirs("bert", tmp_path / "dull", "ForSequenceClassification", id2label=labels, num_labels=len(labels))
    with torch.no_grad():
        model.classifier.weight.mul_(1e-12)  # not 0: gradients that are 0 are another fault
    model.save_pretrained(tmp_path / "dull")
    still = ("training.learning_rate=1e-30", "training.head_learning_rate=1e-30")
    done = empty("train", *pretrained(tmp_path / "dull", *still, "run.name=dull"))
    assert done.code == 0, done
    run = empty.run("dull")
    says = f"All validation scores of {', '.join(map(repr, EMOTIONS[:5]))} and 3 more are equal: the threshold is 0.5"
    assert says in done.out.replace("\n", " ")
    assert any(says in warning for warning in run.snapshot.warnings)
    (metrics,) = run.home.glob("files/checkpoint/*/metrics.json")
    assert set(json.loads(metrics.read_text())["decision"]["thresholds"].values()) == {0.5}
    (path,) = run.home.glob("files/predictions/test_predictions*.csv")
    table = pandas.read_csv(path)
    assert (table.filter(like="pred_prob_").nunique() == 1).all()
    assert set(table["pred_labels"]) == {"[]"}
    assert run.snapshot.summary["test_auc_macro"] == 0.5
    assert run.snapshot.summary["test_f1_macro"] == 0


# -- what a trained run says


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A run `hard` on texts that are hard to keep, one label of which is in train alone. Only to be read."""
    folder = tmp_path_factory.mktemp("hard")
    parts = ("train", "val", "test")
    texts = [*HARD, *(f"{text} {number}" for number, text in enumerate(HARD))]
    lines = [[text, CLASSES[number % 2], parts[number % 3]] for number, text in enumerate(texts)]
    lines += [[text, "|".join(labels), "train"] for text, labels in rows(20)]
    path = write_csv(folder / "texts.csv", lines, ("text", "label", "part"))
    kept = Kept(folder / "yard")
    said = ("data.split_column=part", "data.label_separator='|'", "run.name=hard", "run.project=p")
    done = kept("train", *of(path, *said))
    assert done.code == 0, done
    assert "No validation item has the label 'sad': the threshold is 0.5, not tuned." in done.out
    return kept


def test_what_a_label_lacks_is_reported(hard: Kept) -> None:
    shown = hard("show", "hard")
    assert shown.code == 0, shown
    for words in ("The val split has no items of class sad", "No validation item has the label 'sad'"):
        assert words in shown.out
    for command in (("show", "hard"), ("runs",), ("evaluate", "hard", "--split", "val")):
        assert hard(*command, "--json").json, command


def test_evaluate_gives_the_recorded_numbers_and_the_very_table(hard: Kept, tmp_path: Path) -> None:
    out = tmp_path / "test.csv"
    done = hard("evaluate", "hard", "--json", "--device", "cpu", "--out", out)
    assert done.code == 0, done
    assert done.json["metrics"] == done.json["recorded"]
    assert len(done.json["metrics"]) > 15
    (path,) = hard.run("hard").home.glob("files/predictions/test_predictions*.csv")
    assert out.read_bytes() == path.read_bytes()
    text = hard("evaluate", "hard", "--device", "cpu").out
    assert "differs" not in text
    assert "test split has been used" in text


def test_hard_texts_come_back_byte_for_byte(hard: Kept, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "new.jsonl", [{"text": text} for text in HARD])
    printed = hard("predict", "hard", path, "--device", "cpu")
    assert printed.code == 0, printed
    done = hard("predict", "hard", path, "--device", "cpu", "--out", tmp_path / "said.csv")
    assert done.out == f"{len(HARD)} predictions in {tmp_path / 'said.csv'}\n"
    said = (tmp_path / "said.csv").read_bytes()
    assert printed.out.encode() == said
    table = list(csv.reader(io.StringIO(said.decode(), newline=""), strict=True))
    assert table[0] == ["text", "pred_labels", *(f"pred_prob_{name}" for name in CLASSES)]
    assert [row[0] for row in table[1:]] == [f'"{text}"' if text in ("NA", "null") else text for text in HARD]
    by_csv = hard("predict", "hard", write_csv(tmp_path / "new.csv", [[text] for text in HARD], ("text",)))
    assert by_csv.out.encode() == said
    decision = json.loads(next(hard.run("hard").home.glob("files/checkpoint/*/metrics.json")).read_text())["decision"]
    frame = pandas.read_csv(tmp_path / "said.csv")
    chosen = frame.filter(like="pred_prob_").to_numpy() >= [decision["thresholds"][name] for name in CLASSES]
    assert (label_sets(frame["pred_labels"], CLASSES) == chosen).all()


def test_a_line_is_a_text(hard: Kept, tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    path.write_bytes(b'the "sea", is still\r\n\n  \nnobody\x00 came\tat all\n')
    table = list(csv.reader(io.StringIO(hard("predict", "hard", path).out, newline=""), strict=True))
    assert [row[0] for row in table[1:]] == ['the "sea", is still', "nobody\x00 came\tat all"]


def test_what_cannot_be_predicted(hard: Kept, tmp_path: Path) -> None:
    def file(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    for path, says in (
        (tmp_path / "none.txt", ("none.txt cannot be read", "No such file")),
        (file("picture.png", "x"), ("picture.png", ".txt")),
        (tmp_path, (str(tmp_path), ".txt")),
        (file("blank.txt", "\n \n"), ("has no texts",)),
        (file("other.csv", "said,label\nfine,sad\n"), ("'text'", "said, label")),
        (file("empty.csv", "text,id\nfine,1\n ,2\n"), ("row 3: it has no text",)),
        (file("odd.jsonl", '{"text": null}\n'), ("row 1 has null",)),
    ):
        out = tmp_path / "out.csv"
        outcome = hard("predict", "hard", path, "--out", out)
        assert outcome.code == 2, outcome
        assert all(words in outcome.err for words in says), outcome.err
        assert "\n  → " in outcome.err
        assert not out.exists()

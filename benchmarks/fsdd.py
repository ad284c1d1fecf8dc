"""Spoken digits (FSDD): what the `spectrogram` recipe reaches, and what margins, a teacher and int8 change.

3,000 recordings at 8 kHz of ten digits by six speakers. Two questions: the official split (recordings 0 to
4 of each digit and speaker are the test, 300), and the harder one of a speaker never heard (each left out
in turn, 500 recordings). Every row is `trainyard train spectrogram data=fsdd …` in a process of its own,
timed from start to end; a random forest on MFCC statistics stands beside it. Comparisons are over three
seeds, mean and spread; one seed differs from the next by more than most methods do.

Needs the folder with fsdd.tgz in TRAINYARD_DATA. A yard given with --yard keeps the runs, and those that
are finished in it are not trained again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
SEEDS = (0, 1, 2)
SMALL = [
    "model=cnn",
    "model.channels=[16,32,48,64]",
    "model.dropout=0.0",
    "augmentations=light",
    "training.epochs=10",
    "training.label_smoothing=0",
    "data.split.test_groups=[george]",
    "data.split.val_fraction=0",
    "training.monitor=train_loss",
]
LEFT_OUT = ["data.split.val_fraction=0", "training.monitor=train_loss"]
EDGE = ["training.epochs=8"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="any of recipe, margins, distillation, qat; all when none is given")
    parser.add_argument("--yard", type=Path, help="keep the runs here, and go on with those that are there")
    options = parser.parse_args()
    folder = os.environ.get("TRAINYARD_DATA")
    if not folder or not Path(folder, "fsdd.tgz").exists():
        print("skipped: TRAINYARD_DATA names no folder with fsdd.tgz")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(Path(folder, "fsdd.tgz")) as archive:
            archive.extractall(scratch, filter="data")
        trainer = Trainer(Path(scratch) / "fsdd", options.yard or Path(scratch) / "yard")
        parts = {"recipe": recipe, "margins": margins, "distillation": distillation, "qat": qat}
        for name in options.parts or parts:
            parts[name](trainer)
    return 0


class Trainer:
    """Trains runs of one yard, each once."""

    def __init__(self, data: Path, yard: Path) -> None:
        self.data, self.yard = data, yard
        self.times = yard.with_name(f"{yard.name}-seconds.jsonl")

    def run(self, name: str, *settings: str) -> Any:
        """The finished run called `name`, trained with these settings unless it is there already."""
        import trainyard

        if self.yard.exists() and (found := trainyard.open(self.yard).runs(f"name:{name} state:finished")):
            return found[0]
        command = [
            sys.executable,
            "-m",
            "trainyard",
            "train",
            "spectrogram",
            "data=fsdd",
            f"data.path={self.data}",
            "run.project=fsdd",
            f"run.name={name}",
            "--yard",
            str(self.yard),
            *settings,
        ]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        run = trainyard.open(self.yard).runs(f"name:{name} state:finished")[0]
        with self.times.open("a") as file:
            file.write(json.dumps({"run": run.id, "seconds": round(time.perf_counter() - began, 1)}) + "\n")
        return run

    def seconds(self, run: Any) -> float:
        """How long its process took."""
        rows = [json.loads(line) for line in self.times.read_text().splitlines()]
        return next(float(row["seconds"]) for row in rows if row["run"] == run.id)


def accuracy(run: Any) -> float:
    return 100 * float(run.summary["test_accuracy"])


def recipe(trainer: Trainer) -> None:
    official = trainer.run("official")
    took, peer = trainer.seconds(official), 100 * forest(trainer.data, None)
    print(f"official split: {accuracy(official):.1f} % in {took:.0f} s", flush=True)
    print(f"  (a random forest on MFCC statistics: {peer:.1f} %)", flush=True)
    scores, forests = [], []
    for speaker in SPEAKERS:
        run = trainer.run(f"without_{speaker}", *LEFT_OUT, f"data.split.test_groups=[{speaker}]")
        scores.append(accuracy(run))
        forests.append(100 * forest(trainer.data, speaker))
        took = f"{trainer.seconds(run):.0f} s"
        print(f"  without {speaker:<9} {scores[-1]:5.1f} % in {took} (forest {forests[-1]:.1f} %)", flush=True)
    print(f"leave one speaker out: {statistics.mean(scores):.1f} % (forest {statistics.mean(forests):.1f} %)")


def margins(trainer: Trainer) -> None:
    print("margins (a small network, george left out, 3 seeds)")
    compare(
        trainer,
        {
            "george_small": [],
            "george_arcface": ["training.use_arcface=arcface"],
            "george_circle": ["training.use_arcface=circle"],
        },
        SMALL,
    )


def distillation(trainer: Trainer) -> None:
    teacher = trainer.run("without_george", *LEFT_OUT, "data.split.test_groups=[george]")
    path = teacher.best_checkpoint().local_path
    print(f"distillation (a small network, george left out, 3 seeds; its teacher reaches {accuracy(teacher):.1f} %)")
    on = [
        "training.distillation.enabled=true",
        f"training.distillation.teacher_model_path={path}",
        "training.distillation.alpha=0.7",
        "training.distillation.temperature=4",
    ]
    compare(trainer, {"george_small": [], "george_taught": on}, SMALL)


def qat(trainer: Trainer) -> None:
    print("quantisation-aware training (mobilenet_v2, official split, 3 seeds)")
    compare(trainer, {"float": ["model=mobilenet_v2"], "qat": ["model=mobilenet_v2_qat"]}, ["model.width=0.35", *EDGE])
    for seed in SEEDS:
        run = trainer.run(f"qat_{seed}")
        for table in run.files(pattern="*quantisation*.csv"):
            for row in csv.DictReader(table.read().decode().splitlines()):
                size, score = float(row["size_bytes"]) / 1e6, 100 * float(row["accuracy"])
                print(
                    f"  seed {seed} as {row['precision']:<8} {size:.2f} MB  {score:.1f} %  "
                    f"{float(row['median_ms']):.2f} ms an item (ONNX Runtime, 1 thread)"
                )


def compare(trainer: Trainer, ways: dict[str, list[str]], common: list[str]) -> None:
    for way, settings in ways.items():
        runs = [
            trainer.run(
                f"{way}_{seed}",
                *[s for s in settings if s.startswith("model=")],
                *common,
                *[s for s in settings if not s.startswith("model=")],
                f"run.seed={seed}",
            )
            for seed in SEEDS
        ]
        scores = [accuracy(run) for run in runs]
        each, took = ", ".join(f"{score:.1f}" for score in scores), statistics.mean(map(trainer.seconds, runs))
        spread = f"{statistics.mean(scores):5.1f} ± {statistics.stdev(scores):.1f} %"
        print(f"  {way:<14} {spread} ({each}) in {took:.0f} s", flush=True)


def forest(data: Path, speaker: str | None) -> float:
    """Accuracy of a random forest on the means and deviations of 20 MFCCs, on the same test recordings."""
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    rows, labels, tested = mfcc_statistics(data)
    test = np.array([index < 5 if speaker is None else speaker == who for who, index in tested])
    model = RandomForestClassifier(300, random_state=0, n_jobs=2).fit(rows[~test], labels[~test])
    return float(model.score(rows[test], labels[test]))


def mfcc_statistics(data: Path, _known: dict[Path, Any] = {}) -> Any:  # noqa: B006  (a cache)
    if data not in _known:
        import librosa
        import numpy as np
        import soundfile

        rows, labels, tested = [], [], []
        for path in sorted((data / "recordings").glob("*.wav")):
            digit, speaker, index = path.stem.split("_")
            sound, rate = soundfile.read(path, dtype="float32")
            found = librosa.feature.mfcc(y=sound, sr=rate, n_mfcc=20, n_fft=256, hop_length=80, n_mels=40)
            rows.append(np.concatenate([found.mean(1), found.std(1)]))
            labels.append(int(digit))
            tested.append((speaker, int(index)))
        _known[data] = np.array(rows), np.array(labels), tested
    return _known[data]


if __name__ == "__main__":
    sys.exit(main())

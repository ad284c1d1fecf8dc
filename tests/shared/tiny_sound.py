"""Settings that train on sound in a second, and recordings."""

from __future__ import annotations

from pathlib import Path

import soundfile

from trainyard.audio.vocal_bursts import synthesise

CLASSES = ("hum", "cough", "sigh")
SPLIT = ["data.split.val_fraction=0.25", "data.split.test_fraction=0.25"]
BURSTS = [f"data.classes=[{','.join(CLASSES)}]", "data.speakers=4", "data.takes=1", *SPLIT]
FIT = ["data.clip_seconds=0.4", "training.batch_size=2", "training.epochs=2", "run.device=cpu"]
ENCODER = ["model.hidden_size=16", "model.num_layers=2", "model.num_heads=2", "model.ffn_size=32", "model.projector=8"]
NETWORK = ["model=panns_cnn14", "model.width=1", "data.n_mels=32", "data.n_fft=400", "data.hop_length=160"]


def write_bursts(folder: Path) -> Path:
    """A folder of recordings for each of the classes, 16 bits at 16 kHz: four speakers, one take each."""
    for kind in CLASSES:
        (folder / kind).mkdir(parents=True)
        for speaker in range(4):
            sound = synthesise(kind, speaker, 0, sample_rate=16000)
            soundfile.write(folder / kind / f"s{speaker}.wav", sound, 16000, subtype="PCM_16")
    return folder


def numbers(text: str) -> dict[str, list[float]]:
    """The probabilities in a CSV of predictions, by item."""
    rows = [line.split(",") for line in text.splitlines()[1:]]
    return {row[0]: [float(cell) for cell in row[-len(CLASSES) :]] for row in rows}

"""What the commands are given when it comes to sound: settings that train in a second, and recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

CLASSES = ("cough", "hum", "sigh")
BURSTS = (
    f"data.classes=[{','.join(CLASSES)}]",
    "data.speakers=4",
    "data.takes=1",
    "data.split.val_fraction=0.25",
    "data.split.test_fraction=0.25",
)
FIT = (
    "data.clip_seconds=0.4",
    "training.batch_size=4",
    "training.epochs=1",
    "run.device=cpu",
    "outputs.plots=false",
    "tracker=none",
)
ENCODER = ("model.hidden_size=16", "model.num_layers=2", "model.num_heads=2", "model.ffn_size=32", "model.projector=8")
NETWORK = ("model=panns_cnn14", "model.width=1", "data.n_mels=32", "data.n_fft=400", "data.hop_length=160")
VOCALIZATIONS = ("vocalizations", *FIT, *ENCODER)
SPECTROGRAM = ("spectrogram", *FIT, *NETWORK)


def tone(path: Path, pitch: float, seconds: float = 0.5) -> Path:
    """A recording of 16 bits at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * 16000)) / 16000
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * pitch * time), 16000, subtype="PCM_16")
    return path


def a_folder(root: Path, *, each: int = 4) -> Path:
    """A folder of tones for each of the classes."""
    for number, name in enumerate(CLASSES):
        for item in range(each):
            tone(root / name / f"{item}.wav", 300 + 500 * number + 20 * item)
    return root

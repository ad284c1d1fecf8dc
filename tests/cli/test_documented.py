"""The commands that people know from elsewhere, typed as they stand."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from command_line import in_a_process, trainyard

from trainyard.audio.corpora.recanvo import LABELS
from trainyard.models import huggingface


def write_recanvo(root: Path) -> None:
    """Four speakers with two recordings of each of the first three labels, in the corpus's own grammar."""
    root.mkdir(parents=True)
    rows = []
    for number in range(24):
        name = f"200126_2142_00-{number:02d}-14.06--00-13-15.294.wav"
        label = number % 3
        time = np.arange(4000) / 8000
        soundfile.write(root / name, 0.3 * np.sin(2 * np.pi * (300 + 400 * label + number) * time), 8000)
        rows.append((name, f"P{number // 6 + 1:02d}", LABELS[label]))
    with (root / "dataset_file_directory.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("Filename", "Participant", "Label"), *rows])


def write_hub_cache(hub: Path) -> None:
    """A Whisper called openai/whisper-base, but tiny, where huggingface_hub keeps what it downloaded."""
    config_class, model_class = huggingface.model_classes("WhisperConfig", "WhisperModel")
    torch.manual_seed(0)
    config = config_class(
        d_model=16,
        encoder_layers=6,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        vocab_size=60,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    home = hub / "models--openai--whisper-base"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    with huggingface.errors_only():
        model_class(config).save_pretrained(home / "snapshots" / ("0" * 40))


def test_the_experiment_of_a_published_encoder(tmp_path: Path) -> None:
    """Its file need not be there: the path says it all. Data and weights lie where such things lie."""
    write_recanvo(tmp_path / "data" / "recanvo")
    write_hub_cache(tmp_path / "hub")
    done: subprocess.CompletedProcess[str] = in_a_process(
        "train",
        "experiments_configs/recanvo/whisper_base_lora_012.py",
        cwd=tmp_path,
        env={"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "note: There is no file experiments_configs/recanvo/whisper_base_lora_012.py" in done.stderr
    home = tmp_path / "outputs" / "vocalizations" / "recanvo" / "whisper_base_lora_012"
    [checkpoint] = [path for path in home.glob("checkpoint-*") if (path / "optimizer.pt").exists()]
    names = {path.name for path in checkpoint.iterdir()}
    assert {"config.json", "optimizer.pt", "scheduler.pt", "trainer_state.json", "training_args.bin"} <= names
    assert {"rng_state.pth", "adapter_model.safetensors", "model.safetensors.index.json"} <= names
    assert json.loads((checkpoint / "config.json").read_bytes())["max_source_positions"] == 350  # 7 s
    assert (tmp_path / "outputs" / "vocalizations" / "whisper_base_lora_012_weights.png").exists()
    with (tmp_path / "outputs" / "vocalizations" / "metrics.csv").open() as file:
        assert [row["split"] for row in csv.DictReader(file)] == ["val", "test"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["model=efficientnet_v2_qat", "training.epochs=50"],
        ["training.distillation.enabled=false"],
        ["run.train=false", "run.test=true", "run.checkpoint_path=best_cnn.pth"],
    ],
)
def test_changes_to_the_spectrogram_recipe_are_understood(words: list[str]) -> None:
    outcome = trainyard("train", "spectrogram", *words, "--print-config")
    assert outcome.code == 0, outcome.err
    assert "layout: dated" in outcome.out
    assert ("qat: true" in outcome.out) == ("model=efficientnet_v2_qat" in words)

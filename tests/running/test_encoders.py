"""`trainyard train vocalizations`, from the config to its last file, with encoders that train in a second."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import QUIET, again, broken_off, files, left_behind, recorded, resumed, trained
from tiny_sound import BURSTS, CLASSES, ENCODER, FIT, SPLIT, numbers, write_bursts

from trainyard.analysis import layer_weights, plots
from trainyard.assembly.setup import load_dataset
from trainyard.audio.vocal_bursts import synthesise
from trainyard.config.compose import compose
from trainyard.data.batches import Batches
from trainyard.errors import ConfigError
from trainyard.models import huggingface
from trainyard.running.evaluate import evaluate_run
from trainyard.running.predict import predict_items
from trainyard.runs import RunReader, Yard

SECOND = "data.clip_seconds=1.0"  # transformers' extractor of Whisper's features knows whole seconds alone
SHARED = ["model.hidden_size=32", "model.ffn_size=64"]  # frozen weights that are worth a shard of their own
LORA = [
    *BURSTS,
    *FIT,
    *ENCODER,
    *SHARED,
    SECOND,
    "model.method=lora",
    "training.batch_size=4",
    "training.learning_rate=0.03",
    "run.name=listener",
]
METRICS = [
    "loss",
    "accuracy",
    "balanced_accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "precision_weighted",
    "recall_weighted",
    "f1_weighted",
]


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    return Yard(tmp_path_factory.mktemp("encoders") / "yard", create=True)


@pytest.fixture(scope="module")
def wavs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bursts(tmp_path_factory.mktemp("recordings") / "mouths")


@pytest.fixture(scope="module")
def lora(yard: Yard) -> RunReader:
    """Made of made-up bursts."""
    return trained("vocalizations", LORA, yard)


@pytest.fixture(scope="module")
def of_files(yard: Yard, lora: RunReader, wavs: Path) -> RunReader:
    """The same model, of the same name, on recordings: made after `lora`."""
    others = [word for word in LORA if word not in BURSTS]
    return trained("vocalizations", ["data=audio_folder", f"data.path={wavs}", *SPLIT, *others], yard)


def test_the_tree_is_that_of_the_document(lora: RunReader) -> None:
    home = "vocalizations/vocal_bursts/listener"
    saved = [
        "config.json",
        "model.safetensors.index.json",
        "model-frozen.safetensors",
        "model-trained.safetensors",
        "adapter_model.safetensors",
        "adapter_config.json",
        "preprocessor_config.json",
        "trainer_state.json",
        "training_args.bin",
        "manifest.json",
    ]
    resumable = ["optimizer.pt", "scheduler.pt", "rng_state.pth"]  # of the newest: checkpoint.keep_optimizer=last
    wanted = {f"{home}/checkpoint-2/{name}" for name in saved}
    wanted |= {f"{home}/checkpoint-4/{name}" for name in [*saved, *resumable]}
    wanted |= {
        f"{home}/{name}"
        for name in (
            "config.yaml",
            "environment.json",
            "train.log",
            "history.csv",
            "summary.json",
            "learning_curves.png",
            "confusion_matrix_test.png",
            "confusion_matrix_val.png",
            "predictions/test.csv",
            "predictions/val.csv",
            "stats/per_class_test.csv",
            "stats/per_class_val.csv",
            "layer_weights.csv",
        )
    }
    wanted |= {"vocalizations/metrics.csv", "vocalizations/listener_weights.png"}
    found = {name for name in files(lora.yard) if "/mouths/" not in name}
    events = {name for name in found if re.fullmatch(rf"{home}/tensorboard/events\.out\.tfevents\.\S+", name)}
    assert len(events) == 1
    assert found - events == wanted


def test_a_checkpoint_of_the_recipe_as_it_stands_has_the_files_of_the_document(tmp_path: Path) -> None:
    """The whole encoder trains: its frozen convolutions do not make a file of their own."""
    wide = ["model.hidden_size=64", "model.ffn_size=96"]
    run = trained(
        "vocalizations",
        [*BURSTS, *FIT, *ENCODER, *wide, *QUIET, "training.epochs=1"],
        Yard(tmp_path / "y", create=True),
    )
    [checkpoint] = run.home.glob("checkpoint-*")
    assert {file.name for file in checkpoint.iterdir()} == {
        "config.json",
        "model.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "trainer_state.json",
        "training_args.bin",
        "rng_state.pth",
        "manifest.json",
        "preprocessor_config.json",
    }


def test_every_file_is_in_the_journal(lora: RunReader) -> None:
    assert {name for name in files(lora.yard) if "/mouths/" not in name} == recorded(lora)


def test_the_table_has_a_row_a_split_with_every_metric(yard: Yard, lora: RunReader, of_files: RunReader) -> None:
    with (yard.root / "vocalizations/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["dataset"], row["split"]) for row in rows] == [
        (run.snapshot.name, run.snapshot.dataset, split) for run in (lora, of_files) for split in ("val", "test")
    ]
    assert list(rows[0]) == ["run", "id", "dataset", "model", "split", *METRICS]
    for row, run in zip(rows, [lora, lora, of_files, of_files], strict=True):
        assert row["model"] == "whisper_mini_lora"
        for name in METRICS:
            assert float(row[name]) == run.snapshot.summary[f"{row['split']}_{name}"]


def test_layer_weights_sum_to_one_and_are_those_of_the_best_checkpoint(lora: RunReader) -> None:
    path = lora.home / "layer_weights.csv"
    with path.open(newline="") as file:
        shares = [float(row["weight"]) for row in csv.DictReader(file)]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(1, abs=1e-7)
    saved = load_file(lora.home / f"checkpoint-{lora.snapshot.summary['best_step']}/model-trained.safetensors")
    assert shares == pytest.approx(torch.softmax(saved["layer_weights"], 0).tolist(), abs=1e-6)
    assert layer_weights.read(lora) == shares


def test_data_sets_of_one_name_share_the_picture(yard: Yard, lora: RunReader, of_files: RunReader) -> None:
    shares = {run.snapshot.dataset: layer_weights.read(run) for run in (of_files, lora)}
    assert list(shares) == ["mouths", "vocal_bursts"]
    wanted = plots.layer_weights(shares, "vocalizations / listener")
    assert (yard.root / "vocalizations/listener_weights.png").read_bytes() == wanted
    for run in (lora, of_files):
        assert "vocalizations/listener_weights.png" in {record.path for record in again(run).snapshot.records}


def test_without_plots_there_is_the_table_alone(tmp_path: Path) -> None:
    run = trained(
        "vocalizations", [*BURSTS, *FIT, *ENCODER, *QUIET, "training.epochs=1"], Yard(tmp_path / "y", create=True)
    )
    assert (run.home / "layer_weights.csv").exists()
    assert not list(run.yard.root.rglob("*.png"))


def theirs(checkpoint: Path) -> tuple[Any, Any]:
    """What plain transformers makes of a checkpoint: its extractor and its model."""
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    with huggingface.errors_only(), huggingface.without_torchao():
        return (
            AutoFeatureExtractor.from_pretrained(checkpoint),
            AutoModelForAudioClassification.from_pretrained(checkpoint).eval(),
        )


def test_plain_transformers_hears_what_the_run_predicted(lora: RunReader) -> None:
    """From the sound to the probabilities; of a short clip, the mean leaves its padding out."""
    extractor, model = theirs(lora.home / f"checkpoint-{lora.snapshot.summary['best_step']}")
    assert model.config.id2label == dict(enumerate(CLASSES))
    heard = {"whole": 0, "short": 0}

    def read(split: str) -> str:
        return (lora.home / f"predictions/{split}.csv").read_text()

    for name, said in (numbers(read("val")) | numbers(read("test"))).items():
        kind, speaker = re.fullmatch(r"(\w+)/s(\d\d)_00", name).groups()  # type: ignore[union-attr]
        sound = synthesise(kind, int(speaker), 0, sample_rate=16000)
        begin = max(len(sound) - 16000, 0) // 2
        sound = sound[begin : begin + 16000]
        features = extractor(sound, sampling_rate=16000, return_tensors="pt").input_features
        with torch.no_grad():
            logits = model(features).logits
            if len(sound) == 16000:
                heard["whole"] += 1
            else:
                heard["short"] += 1
                assert not np.allclose(said, torch.softmax(logits, 1)[0].numpy(), atol=1e-3)
                hidden = torch.stack(model.encoder(features, output_hidden_states=True).hidden_states, dim=1)
                mixed = (hidden * torch.softmax(model.layer_weights, 0).view(-1, 1, 1)).sum(1)
                vectors = -(-len(sound) // 320)
                logits = model.classifier(model.projector(mixed)[:, :vectors].mean(1))
        wanted = torch.softmax(logits, 1)[0].numpy()
        np.testing.assert_allclose(said, wanted, atol=1e-5)
    assert all(heard.values()), heard


def test_predict_agrees_with_the_run(of_files: RunReader, wavs: Path) -> None:
    said = numbers(predict_items(of_files, wavs, device="cpu"))
    assert len(said) == 12
    for split in ("val", "test"):
        for name, shares in numbers((of_files.home / f"predictions/{split}.csv").read_text()).items():
            assert said[name] == pytest.approx(shares, abs=1e-6)
    alone = numbers(predict_items(of_files, wavs / "hum/s0.wav", device="cpu"))
    assert alone == {"s0.wav": pytest.approx(said["hum/s0.wav"], abs=1e-6)}


@pytest.mark.parametrize("which", ["lora", "of_files"])
def test_evaluate_gives_the_recorded_metrics(which: str, request: pytest.FixtureRequest) -> None:
    found = evaluate_run(request.getfixturevalue(which), "val", device="cpu")
    assert set(found.metrics) == set(METRICS)
    assert found.metrics == found.recorded


SURE = [*BURSTS, *FIT, *ENCODER, *QUIET, "training.epochs=3", "checkpoint.every_steps=2", "training.log_every=1"]
BROKEN = {
    "whisper, sound and features changed": [
        "model.method=full",
        "augmentations=strong",
        "data.crop=random",
        "model.dropout=0.2",
    ],
    "LoRA with dropout, sound changed": [
        "model=wavlm",
        "model.size=mini",
        "model.method=lora",
        "model.pretrained=false",
        "model.lora_dropout=0.3",
        "augmentations=waveform",
        "training.grad_accumulation=2",
        "training.batch_size=1",
    ],
}


@pytest.mark.parametrize("what", BROKEN)
def test_resumed_inside_an_epoch_it_ends_with_the_same_bits(what: str, tmp_path: Path) -> None:
    overrides = [*SURE, *BROKEN[what]]
    whole = trained("vocalizations", overrides, Yard(tmp_path / "whole", create=True))
    broken = broken_off("vocalizations", overrides, Yard(tmp_path / "broken", create=True), steps=5)
    assert [one.step for one in broken.snapshot.checkpoints] == [2, 3, 4]
    ended = resumed(broken)
    assert ended.snapshot.attempts[1].resumed_from == 4, "inside the second epoch of three steps"
    assert left_behind(ended) == left_behind(whole)


def test_one_seed_is_one_run_and_another_is_another(tmp_path: Path) -> None:
    overrides = [*SURE, *BROKEN["whisper, sound and features changed"]]
    runs = [
        left_behind(trained("vocalizations", [*overrides, f"run.seed={seed}"], Yard(tmp_path / name, create=True)))
        for name, seed in (("one", 4), ("again", 4), ("other", 5))
    ]
    assert runs[0] == runs[1]
    assert runs[0]["weights"] != runs[2]["weights"]
    assert runs[0]["predictions"] != runs[2]["predictions"]
    sound = [
        next(iter(Batches(data, data.indices("train"), 6, shuffle=False, seed=seed, augment=True).epoch(0))).inputs
        for data in [load_dataset(compose("vocalizations", overrides))]
        for seed in (4, 5)
    ]
    assert not torch.equal(*sound), "another seed changes the sound in another way"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A Whisper that transformers wrote."""
    config_class, model_class = huggingface.model_classes("WhisperConfig", "WhisperModel")
    torch.manual_seed(5)
    config = config_class(
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        vocab_size=60,
        num_mel_bins=80,
        pad_token_id=0,
    )
    with huggingface.errors_only():
        model_class(config).save_pretrained(tmp_path / "published")
    return tmp_path / "published"


def test_what_training_began_with_is_not_needed_afterwards(published: Path, tmp_path: Path) -> None:
    """Resume, evaluate, predict: a checkpoint has everything."""
    overrides = [
        *BURSTS,
        *FIT,
        *QUIET,
        "model.pretrained=true",
        f"model.path={published}",
        "model.size=base",
        "model.method=lora",
        "model.layers=0-2",
        "checkpoint.every_steps=2",
        "model.projector=8",
    ]
    whole = trained("vocalizations", overrides, Yard(tmp_path / "whole", create=True))
    assert any("0-2" in warning for warning in whole.snapshot.warnings), "a layer too many is clipped, and told"
    broken = broken_off("vocalizations", overrides, Yard(tmp_path / "broken", create=True), steps=2)
    shutil.rmtree(published)
    ended = resumed(broken)
    assert left_behind(ended) == left_behind(whole)
    found = evaluate_run(whole, "test", device="cpu")
    assert found.metrics == found.recorded
    sounds = write_bursts(tmp_path / "sounds")
    assert len(numbers(predict_items(whole, sounds, device="cpu"))) == 12


def test_a_whisper_of_other_features_is_refused(published: Path, tmp_path: Path) -> None:
    config = json.loads((published / "config.json").read_text())
    (published / "config.json").write_text(json.dumps({**config, "num_mel_bins": 20}))
    overrides = [*BURSTS, *FIT, "model.pretrained=true", f"model.path={published}", "model.size=base"]
    with pytest.raises(ConfigError, match="20 mel bands") as caught:
        trained("vocalizations", overrides, Yard(tmp_path / "y", create=True))
    assert caught.value.remedy

"""`trainyard export`: each format of the runs it is for, and what the others are told."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Kept, tree
from safetensors.torch import load_file
from sound_runs import BURSTS, FIT, SPECTROGRAM, VOCALIZATIONS, a_folder, tone

from trainyard.assembly.setup import load_dataset
from trainyard.config.convert import from_dict
from trainyard.models import from_model_config, huggingface
from trainyard.training.checkpoint.read import load
from trainyard.training.checkpoint.restore import load_weights


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Runs `lora`, `full` and `bottleneck` of encoders, `net` of a spectrogram network; only to be read."""
    folder = tmp_path_factory.mktemp("exports")
    kept = Kept(folder / "yard")
    tones = a_folder(folder / "tones")
    files = ("data=audio_folder", f"data.path={tones}", "data.split.val_fraction=0.25")
    runs = {
        "lora": (*VOCALIZATIONS, *files, "model.method=lora", "training.learning_rate=0.03"),
        "full": (*VOCALIZATIONS, *BURSTS, "model.method=full"),
        "bottleneck": (*VOCALIZATIONS, *BURSTS, "model.method=adapter"),
        "net": (*SPECTROGRAM, *BURSTS),
    }
    for name, words in runs.items():
        done = kept("train", *words, f"run.name={name}")
        assert done.code == 0, done
    shutil.rmtree(tones)  # an adapter and a merged model ask for no data
    return kept


@pytest.fixture
def yard(made: Kept, tmp_path: Path) -> Kept:
    """A copy, to export in."""
    shutil.copytree(made.root, tmp_path / "yard")
    return Kept(tmp_path / "yard")


def test_onnx_gives_the_run_s_answers(yard: Kept) -> None:
    import onnxruntime

    outcome = yard("export", "net")
    assert outcome.code == 0, outcome
    run = yard.run("net")
    path = run.home / "exports/panns_cnn14_step-2.onnx"
    assert outcome.out.startswith(f"{path}  ")
    assert "from the model on 3 items" in outcome.out
    told = json.loads(path.with_suffix(".json").read_text())
    assert told["classes"] == ["cough", "hum", "sigh"]
    assert (told["run"], told["step"], told["compared_on"]) == (run.snapshot.id, 2, "test")
    assert "padding" not in told
    data = load_dataset(from_dict(run.snapshot.config, where="the run"))
    assert told["preprocessing"]["features"] == "log-mel"
    running = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits = running.run(None, {told["input"]["name"]: data.fetch(data.indices("test")).numpy()})[0]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    rows = (run.home / "predictions/test.csv").read_text().splitlines()[1:]
    said = [[float(cell) for cell in row.split(",")[-3:]] for row in rows]
    np.testing.assert_allclose(shares, said, atol=1e-5)
    assert f"{run.snapshot.home}exports/" in {record.path for record in run.snapshot.records}
    assert yard("verify").code == 0
    assert "exports" in yard("show", "net").out
    again = yard("export", "net", "--format", "onnx", "--checkpoint", "last", "--json")
    assert again.code == 0, again
    assert [Path(entry["path"]).name for entry in again.json] == ["panns_cnn14_step-2.onnx"]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_an_adapter_and_a_merged_model(yard: Kept) -> None:
    """The adapter on its encoder, by peft, and the merged one, by transformers, say what the checkpoint says."""
    from peft import PeftModel
    from transformers import AutoModelForAudioClassification

    merged, adapter = (yard("export", "lora", "--format", name) for name in ("merged", "adapter"))
    assert (merged.code, adapter.code) == (0, 0), (merged, adapter)
    run = yard.run("lora")
    folder = run.home / "exports"
    stem = "whisper_mini_lora_step-2"
    assert {path.name for path in folder.iterdir()} == {f"{stem}_merged", f"{stem}_adapter"}
    assert yard("verify").code == 0
    loaded = load(run.home / "checkpoint-2", weights_only=True)
    own = from_model_config(loaded.model_config).eval()
    load_weights(own, loaded.model, "the checkpoint")
    inputs = torch.randn(3, 80, 40, generator=torch.Generator().manual_seed(0))
    with huggingface.errors_only(), huggingface.without_torchao(), torch.no_grad():
        wanted = own(inputs)
        whole = AutoModelForAudioClassification.from_pretrained(folder / f"{stem}_merged").eval()
        torch.testing.assert_close(whole(inputs).logits, wanted, rtol=0, atol=1e-5)
        shutil.copytree(run.home / "checkpoint-2", "base", ignore=shutil.ignore_patterns("adapter_*"))
        base = AutoModelForAudioClassification.from_pretrained("base").eval()
        assert not torch.allclose(base(inputs).logits, wanted, atol=1e-4), "the LoRA changes nothing"
        on_top = PeftModel.from_pretrained(base, folder / f"{stem}_adapter").eval()
        torch.testing.assert_close(on_top(inputs).logits, wanted, rtol=0, atol=1e-5)
    assert "the encoder is in base/" in adapter.out
    names = set(load_file(folder / f"{stem}_adapter/adapter_model.safetensors"))
    assert names
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    twice = yard("export", "lora", "--format", "merged")
    assert twice.code == 2
    assert f"{stem}_merged" in twice.err
    assert "remove it" in twice.err


def test_an_adapter_is_loaded_by_the_lines_of_its_readme(
    yard: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process that knows nothing of Trainyard, from a recording to the probabilities that the run told."""
    config_class, model_class = huggingface.model_classes("WhisperConfig", "WhisperForConditionalGeneration")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)
    with huggingface.errors_only():
        model_class(
            config_class(
                d_model=16,
                encoder_layers=2,
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
        ).save_pretrained("whisper")
    for number, name in enumerate(("hum", "sigh")):
        for item in range(4):
            tone(tmp_path / "tones" / name / f"{item}.wav", 300 + 500 * number + 20 * item, seconds=0.4)
    words = (
        "vocalizations",
        *FIT,
        "data=audio_folder",
        "data.path=tones",
        "data.split.val_fraction=0.25",
        "model.pretrained=true",
        "model.path=whisper",
        "model.projector=8",
        "model.method=lora",
        "training.learning_rate=0.03",
    )
    done = yard("train", *words, "run.name=based")
    assert done.code == 0, done
    exported = yard("export", "based", "--format", "adapter", "--json")
    assert exported.code == 0, exported
    folder, base = Path(exported.json[0]["path"]), str(tmp_path / "whisper")
    assert exported.json[0]["measured"] == (
        f"peft's LoRA and head.safetensors; the encoder is {base}; README.md has the lines of Python that load all"
    )
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == base
    assert yard("verify").code == 0

    lines = "".join(re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL))
    run = yard.run("based")
    row = next(csv.DictReader((run.home / "predictions/val.csv").read_text().splitlines()))
    script = f"""
import json, sys, soundfile
sound = soundfile.read(sys.argv[1], dtype="float32")[0]
{lines}
assert not any(name.partition(".")[0] == "trainyard" for name in sys.modules)
print("told", json.dumps([inputs["input_features"].tolist(), logits.tolist(), label]))
"""
    said = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "tones" / row["id"])],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert said.returncode == 0, said.stderr
    (told,) = (line for line in said.stdout.splitlines() if line.startswith("told "))
    inputs, logits, label = json.loads(told.removeprefix("told "))
    checkpoint = run.home / "checkpoint-2"
    loaded = load(checkpoint, weights_only=True)
    own = from_model_config(loaded.model_config).eval()
    load_weights(own, loaded.model, "the checkpoint")
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(logits), own(torch.tensor(inputs)), rtol=0, atol=1e-5)
    shares = torch.tensor(logits).softmax(1)[0].tolist()
    assert shares == pytest.approx([float(row[f"pred_prob_{name}"]) for name in ("hum", "sigh")], abs=1e-5)
    assert label == row["pred_label"]

    done = yard("train", *words, "run.name=onward", f"run.checkpoint_path={checkpoint}")
    assert done.code == 0, done
    exported = yard("export", "onward", "--format", "adapter")
    assert "the encoder is in base/" in exported.out, "it came from a run, whatever that one had begun from"
    assert yard("verify").code == 0


def test_an_encoder_as_onnx_says_that_it_takes_no_lengths(yard: Kept) -> None:
    outcome = yard("export", "full")
    assert outcome.code == 0, outcome
    assert "it takes no lengths: give it whole clips" in outcome.out
    told = json.loads((yard.run("full").home / "exports/whisper_mini_full_step-2.json").read_text())
    assert told["padding"] == "counted as sound: the graph takes no lengths"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("net", "--format", "int8"), ("net was not trained for int8", "model.qat=true")),
        (("net", "--format", "adapter"), ("run net ", "--format onnx")),
        (("net", "--format", "merged"), ("run net ", "--format onnx")),
        (("full", "--format", "adapter"), ("model.method=full", "model.method=lora")),
        (("full", "--format", "int8"), ("full was not trained for int8",)),
        (("bottleneck", "--format", "merged"), ("model.method=adapter", "model.method=lora")),
        (("bottleneck", "--format", "adapter"), ("model.method=adapter", "model.method=lora")),
        (("net", "--format", "tflite"), ("tflite", "onnx")),
        (("net", "--checkpoint", "7"), ("7",)),
        (("lora", "--format", "onnx"), ("tones", "data.path")),
        (("nobody",), ("nobody",)),
    ],
)
def test_refused(made: Kept, arguments: tuple[str, ...], says: tuple[str, ...]) -> None:
    before = tree(made.root)
    outcome = made("export", *arguments)
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert all(words in outcome.err for words in says), outcome.err
    assert {path: digest for path, digest in tree(made.root).items() if ".run/lock" not in path} == {
        path: digest for path, digest in before.items() if ".run/lock" not in path
    }

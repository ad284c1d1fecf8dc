"""What a user can get wrong with sound, and what `show` tells of it: designed messages, nothing half-made left."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import Kept, refused
from sound_runs import BURSTS, CLASSES, FIT, SPECTROGRAM, VOCALIZATIONS, a_folder, tone


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return a_folder(tmp_path / "tones")


def of(folder: Path, *more: str) -> tuple[str, ...]:
    return ("data=audio_folder", f"data.path={folder}", "data.split.val_fraction=0.25", *more)


def test_bad_files_are_named_and_why(empty: Kept, folder: Path) -> None:
    (folder / "hum/torn.wav").write_bytes((folder / "hum/0.wav").read_bytes()[:30])
    (folder / "sigh/empty.wav").write_bytes(b"")
    (folder / "sigh/words.wav").write_text("nothing to hear")
    tone(folder / "cough/nothing.wav", 300, seconds=0)
    tone(folder / "cough/long.wav", 300, seconds=3)
    limits = "data.max_seconds=2"
    names = ("cough/long.wav", "cough/nothing.wav", "hum/torn.wav", "sigh/empty.wav", "sigh/words.wav")
    says = (*names, "5 recordings cannot be used", "data.on_bad_file=skip", "limit of 2 s")
    for recipe in (SPECTROGRAM, VOCALIZATIONS):
        refused(empty, *recipe, *of(folder), limits, says=says)
    done = empty("train", *SPECTROGRAM, *of(folder), limits, "data.on_bad_file=skip", "run.name=skips")
    assert done.code == 0, done
    (warning,) = (text for text in empty.run("skips").snapshot.warnings if "Skipped" in text)
    assert all(name in warning for name in names)
    shown = [line.strip() for line in empty("show", "skips").out.splitlines()]
    first, *bad = warning.splitlines()
    at = shown.index(f"warning   {first}")
    assert shown[at + 1 : at + 1 + len(bad)] == [line.strip() for line in bad], "each below the other"


def test_a_class_of_one_recording_trains_and_is_reported(empty: Kept, folder: Path) -> None:
    for name in ("1.wav", "2.wav", "3.wav"):
        (folder / "sigh" / name).unlink()
    done = empty("train", *SPECTROGRAM, *of(folder), "run.name=one")
    assert done.code == 0, done
    run = empty.run("one").snapshot
    assert run.data["class_counts"]["train"]["sigh"] == 1
    assert any("no items of class sigh" in warning for warning in run.warnings)
    assert "no items of class sigh" in done.out


def test_a_speaker_in_two_official_splits(empty: Kept, folder: Path) -> None:
    table = folder.parent / "calls.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "speaker", "part"])
        for name in CLASSES:
            for item, part in enumerate(("train", "train", "val", "test")):
                writer.writerow([f"tones/{name}/{item}.wav", name, f"s{item // 2}", part])
    columns = ("data.group_column=speaker", "data.split_column=part")
    data = ("data=audio_csv", f"data.path={table}", *columns)
    refused(empty, *SPECTROGRAM, *data, "data.split.on_leak=error", says=("s1", "more than one split"))
    done = empty("train", *SPECTROGRAM, *data, "run.name=leaks")
    assert done.code == 0, done
    (warning,) = (text for text in empty.run("leaks").snapshot.warnings if "more than one split" in text)
    assert warning in done.out
    assert warning in empty("show", "leaks").out


REFUSED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "a layer out of range": ((*VOCALIZATIONS, "model.layers=7"), ("model.layers", "7", "0")),
    "an unknown method": ((*VOCALIZATIONS, "model.method=lorra"), ("model.method", "lora")),
    "a margin on an encoder": ((*VOCALIZATIONS, "training.use_arcface=arcface"), ("use_arcface", "cosine head")),
    "another rate": ((*VOCALIZATIONS, "data.sample_rate=8000"), ("data.sample_rate", "16000")),
    "half a step of Whisper's": ((*VOCALIZATIONS, "data.clip_seconds=0.415"), ("data.clip_seconds", "0.02")),
    "a clip that is too short": (
        ("vocalizations", *FIT, "model=hubert", "model.size=mini", "model.pretrained=false", "data.clip_seconds=0.01"),
        ("data.clip_seconds", "0.025"),
    ),
    "masks for a waveform": (
        ("vocalizations", *FIT, "model=hubert", "model.pretrained=false", "augmentations=specaugment"),
        ("augmentations.spectrogram", "hubert"),
    ),
    "a directory that is not there": (
        ("vocalizations", *FIT, "model.size=base", "model.pretrained=true", "model.path=./none/here"),
        ("./none/here", "neither a directory that exists nor a hub id"),
    ),
    "too many mels": ((*SPECTROGRAM, "data.n_mels=200"), ("data.n_mels", "too many", "n_fft")),
    "a window that is too long": ((*SPECTROGRAM, "data.n_fft=8192"), ("data.n_fft", "longer than a clip")),
    "a clip that is too small": ((*SPECTROGRAM, "data.clip_seconds=0.2"), ("halves", "clips")),
    "weights that are not there": ((*SPECTROGRAM, "model.weights=none.pth"), ("model.weights", "none.pth")),
    "a teacher that is not there": (
        (*SPECTROGRAM, "training.distillation={enabled: true, teacher_model_path: none.pth}"),
        ("teacher_model_path", "none.pth"),
    ),
    "no teacher": ((*SPECTROGRAM, "training.distillation.enabled=true"), ("teacher_model_path",)),
    "a checkpoint that is not there": (
        (*SPECTROGRAM, "run.train=false", "run.checkpoint_path=none.pth"),
        ("run.checkpoint_path", "none.pth"),
    ),
    "a burst that is none": ((*SPECTROGRAM, "data.classes=[hum,hmm]"), ("hmm", "hum")),
    "a table where a folder is meant": (
        ("spectrogram", "data=audio_folder", f"data.path={__file__}"),
        ("is a file, not a folder", "data=audio_csv"),
    ),
    "recordings that are not there": (("spectrogram", "data=fsdd", "data.path=none"), ("none", "data.path")),
    "an augmentation that is none": (
        (*SPECTROGRAM, "augmentations.waveform={_target_: audiomentations.Nothing}"),
        ("augmentations.waveform", "Nothing"),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_anything_is_written(what: str, empty: Kept) -> None:
    arguments, says = REFUSED[what]
    bursts = () if "data=fsdd" in arguments else BURSTS
    refused(empty, arguments[0], *bursts, *arguments[1:], says=says)


def test_a_hub_id_without_a_network_fails_at_once(empty: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    http_error: Any = errors.HTTPError  # type: ignore[attr-defined]

    def unreachable(*arguments: Any, **more: Any) -> None:
        raise http_error("there is no way")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    began = time.monotonic()
    refused(
        empty,
        "vocalizations",
        *BURSTS,
        *FIT,
        "model.size=base",
        "model.pretrained=true",
        "model.path=trainyard-tests/none",
        says=("model.path=trainyard-tests/none", "the hub cannot be reached", "model.pretrained=false"),
    )
    assert time.monotonic() - began < 10


def test_a_teacher_of_other_classes(empty: Kept, tmp_path: Path) -> None:
    teachers = Kept(tmp_path / "teachers" / "yard")
    few = ("data.classes=[cough,hum]", *BURSTS[1:])
    assert teachers("train", *SPECTROGRAM, *few, "run.name=teacher").code == 0
    (path,) = teachers.run("teacher").home.glob("best_*.pth")
    teacher = ("training.distillation.enabled=true", f"training.distillation.teacher_model_path={path}")
    refused(empty, *SPECTROGRAM, *BURSTS, *teacher, says=("teacher_model_path", "'sigh'"))
    swapped = ("data.classes=[hum,cough]", *BURSTS[1:])
    refused(empty, *SPECTROGRAM, *swapped, *teacher, says=("in another order", "'cough' for the teacher"))
    refused(empty, *SPECTROGRAM, *few, "data.n_mels=40", *teacher, says=("items of shape (1, 32, 41)", "(1, 40, 41)"))


def test_show_tells_of_the_cache_and_evaluate_and_predict_work(empty: Kept, folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = empty(
        "train", *SPECTROGRAM, *of(folder), "run.name=first", f"system.cache_dir={cache}", "system.cache_mb=10"
    )
    assert done.code == 0, done
    shown = empty("show", "first").out
    assert "  cache     waveform: 12 entries" in shown
    assert "            log-mel: 12 entries" in shown
    assert "of at most 10.5 MB, " in shown
    assert list(cache.iterdir())
    kept = empty("show", "first", "--json").json["data"]["cache"]
    assert kept["log-mel"]["directory"].startswith(str(cache))
    assert kept["log-mel"]["misses"] == 12
    measured = empty("evaluate", "first", "--json", "--device", "cpu").json
    assert measured["metrics"] == measured["recorded"]
    predicted = empty("predict", "first", folder, "--device", "cpu")
    assert predicted.code == 0, predicted
    assert len(predicted.out.splitlines()) == 13
    assert predicted.out.startswith("id,pred_label,pred_prob_cough,pred_prob_hum,pred_prob_sigh\r\n")
    for path, words in (
        (tmp_path / "here", f"{tmp_path / 'here'}"),
        (tmp_path / "gone.wav", f"{tmp_path / 'gone.wav'}"),
    ):
        outcome = empty("predict", "first", path)
        assert outcome.code == 2
        assert words in outcome.err
    none = empty(
        "train", *SPECTROGRAM, *of(folder), "run.name=none", f"system.cache_dir={tmp_path / 'no'}", "system.cache_mb=0"
    )
    assert none.code == 0, none
    assert not (tmp_path / "no").exists()
    summaries = [empty.run(name).snapshot.summary for name in ("first", "none")]
    assert {**summaries[0], "times_tested": 1} == summaries[1]


def test_a_clip_that_changed_since_is_refused(empty: Kept, folder: Path) -> None:
    assert empty("train", *SPECTROGRAM, *of(folder), "run.name=then").code == 0
    tone(folder / "hum/0.wav", 50)
    outcome = empty("evaluate", "then", "--device", "cpu")
    assert outcome.code == 2
    assert "content of the items changed" in outcome.err

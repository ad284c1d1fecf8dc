"""Values and combinations that cannot be, each on both sides of its border."""

from __future__ import annotations

import pytest

from trainyard.config.compose import compose
from trainyard.config.schema import Config
from trainyard.errors import ConfigError, UnsafeTargetError

NPZ = ["data=npz", "data.path=x.npz"]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("training.epochs=1", "training.epochs=0"),
        ("training.batch_size=1", "training.batch_size=0"),
        ("training.learning_rate=1e-9", "training.learning_rate=0"),
        ("training.learning_rate=5", "training.learning_rate=-0.1"),
        ("training.label_smoothing=0.99", "training.label_smoothing=1"),
        ("training.grad_clip=0.1", "training.grad_clip=0"),
        ("training.grad_clip=null", "training.grad_clip=-1"),
        ("training.grad_accumulation=1", "training.grad_accumulation=0"),
        ("training.monitor=val_f1", "training.monitor=' '"),
        ("training.monitor=x", "training.monitor="),
        ("training.early_stopping.patience=1", "training.early_stopping.patience=0"),
        ("training.early_stopping.min_delta=0", "training.early_stopping.min_delta=-1"),
        ("training.log_every=1", "training.log_every=0"),
        ("training.class_weights=[0,2]", "training.class_weights=[0,0]"),
        ("training.class_weights=[1.5]", "training.class_weights=[-1,1]"),
        ("training.class_weights=balanced", "training.class_weights=[]"),
        ("checkpoint.keep_last=1", "checkpoint.keep_last=0"),
        ("checkpoint.keep_last=null", "checkpoint.keep_last=-1"),
        ("checkpoint.keep_best=0", "checkpoint.keep_best=-1"),
        ("checkpoint.keep_every=1", "checkpoint.keep_every=0"),
        ("checkpoint.every_epochs=1", "checkpoint.every_epochs=0"),
        ("checkpoint.every_steps=1", "checkpoint.every_steps=0"),
        ("outputs.val_predictions_every=0", "outputs.val_predictions_every=-1"),
        ("run.seed=4294967295", "run.seed=4294967296"),
        ("run.seed=0", "run.seed=-1"),
        ("run.project=p", "run.project="),
        ("run.device=cuda:1", "run.device=cuda:x"),
        ("run.device=mps", "run.device=gpu"),
        ("data.split.val_fraction=0.79", "data.split.val_fraction=1"),
        ("data.split.test_fraction=0.01", "data.split.test_fraction=-0.1"),
        ("data.split.seed=0", "data.split.seed=-1"),
        ("model.channels=[1]", "model.channels=[0]"),
        ("model.channels=[3,4]", "model.channels=[]"),
        ("model.dropout=0", "model.dropout=1"),
        ("layout=x", "layout="),
    ],
)
def test_bounds(good: str, bad: str) -> None:
    assert isinstance(compose("digits", [good]), Config)
    key = bad.partition("=")[0]
    with pytest.raises(ConfigError) as caught:
        compose("digits", [bad])
    (told,) = caught.value.problems
    assert f"`{key}` is " in told
    assert f"command line: `{bad}`" in told


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        (
            ["data.split.val_fraction=0.4", "data.split.test_fraction=0.5"],
            ["data.split.val_fraction=0.5", "data.split.test_fraction=0.5"],
            ["val_fraction` 0.5", "test_fraction` 0.5", "make 1", "below 1"],
        ),
        (["run.train=false", "run.checkpoint_path=x.pth"], ["run.train=false"], ["run.checkpoint_path=…"]),
        (["run.test=false"], ["run.train=false", "run.test=false"], ["both false", "nothing to do"]),
        (
            [*NPZ, "data.split.test_fraction=0"],
            ["data.split.test_fraction=0"],
            ["data.split.test_fraction", "add run.test=false"],
        ),
        (
            ["data.split.val_fraction=0", "training.monitor=train_loss"],
            ["data.split.val_fraction=0"],
            ['no "val_loss" to monitor', "training.monitor=train_loss"],
        ),
        (
            ["training/optimizer=adamw", "training.learning_rate=1"],
            ["training.optimizer.lr=1"],
            ["`training.optimizer.lr` is 1", "`training.learning_rate`"],
        ),
        ([*NPZ, "data.classes=[a,b]"], [*NPZ, "data.classes=[a,b,a]"], ['names "a" more than once']),
        ([*NPZ, "data.classes=null"], [*NPZ, "data.classes=[a]"], ["two or more"]),
        ([*NPZ, "run.test=false"], ["data=npz", "data.path="], ['`data.path` is ""', "a path"]),
        (["model=mlp", "model.hidden=[]"], ["model=mlp", "model.hidden=[3,0]"], ["1 or more each"]),
    ],
)
def test_combinations(good: list[str], bad: list[str], words: list[str]) -> None:
    assert isinstance(compose("digits", good), Config)
    with pytest.raises(ConfigError) as caught:
        compose("digits", bad)
    (told,) = caught.value.problems
    for word in words:
        assert word in told


SOUND = ["data=vocal_bursts"]
WHISPER = [*SOUND, "model=whisper"]
NET = [*SOUND, "model=efficientnet_v2"]
WAVLM = [*SOUND, "model=wavlm"]
CIRCLE = ["training.use_arcface=circle"]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("data.speakers=1", "data.speakers=0"),
        ("data.takes=1", "data.takes=0"),
        ("data.clip_seconds=0.5", "data.clip_seconds=0"),
        ("data.min_seconds=0", "data.min_seconds=-1"),
        ("data.n_fft=2", "data.n_fft=1"),
        ("data.hop_length=1", "data.hop_length=0"),
        ("data.n_mels=1", "data.n_mels=0"),
        ("data.fmin=20", "data.fmin=-1"),
        ("data.fmax=4000", "data.fmax=8001"),
        ("data.top_db=null", "data.top_db=0"),
        ("data.path=null", "data.path="),
        ("data.workers=0", "data.workers=-1"),
        ("data.split.test_fraction=0.3", "data.split.test_fraction=1"),
        ("model.size=tiny", "model.size=hug"),
        ("model.layers=012", "model.layers=0-"),
        ("model.layers=0-5", "model.layers=0-7"),
        ("model.layers=null", "model.layers=abc"),
        ("model.layers=3-6", "model.layers=21"),
        ("model.dropout=0.5", "model.dropout=1"),
        ("model.projector=1", "model.projector=0"),
        ("model.lora_rank=1", "model.lora_rank=0"),
        ("model.lora_alpha=0.5", "model.lora_alpha=0"),
        ("model.lora_dropout=0", "model.lora_dropout=1"),
        ("model.adapter_size=1", "model.adapter_size=0"),
        ("model.prompt_length=1", "model.prompt_length=0"),
        ("model.path=./mine", "model.path="),
        ("augmentations.spectrogram.time_masks=2", "augmentations.spectrogram.time_masks=-1"),
        ("augmentations.spectrogram.time_width=1", "augmentations.spectrogram.time_width=1.1"),
        ("augmentations.spectrogram.freq_masks=2", "augmentations.spectrogram.freq_masks=-1"),
        ("augmentations.spectrogram.freq_width=0", "augmentations.spectrogram.freq_width=-0.1"),
        ("augmentations.spectrogram.max_masked=1", "augmentations.spectrogram.max_masked=2"),
        ("augmentations.spectrogram.time_shift=0.1", "augmentations.spectrogram.time_shift=-0.1"),
        ("augmentations.spectrogram.freq_stretch=0.1", "augmentations.spectrogram.freq_stretch=1"),
        ("system.cache_mb=0", "system.cache_mb=-1"),
        ("system.audio_dir=x", "system.audio_dir="),
        ("system.cache_dir=null", "system.cache_dir="),
        ("training.distillation.alpha=1", "training.distillation.alpha=1.1"),
        ("training.distillation.temperature=0.5", "training.distillation.temperature=0"),
    ],
)
def test_bounds_of_sound_and_encoders(good: str, bad: str) -> None:
    assert isinstance(compose("digits", [*WHISPER, good]), Config)
    key = bad.partition("=")[0]
    with pytest.raises(ConfigError) as caught:
        compose("digits", [*WHISPER, bad])
    (told,) = caught.value.problems
    assert f"`{key}` is " in told
    assert f"command line: `{bad}`" in told


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (["model=panns_cnn14", "model.width=1"], ["model=panns_cnn14", "model.width=0"]),
        (["model=mobilenet_v2", "model.width=0.35"], ["model=mobilenet_v2", "model.width=0"]),
        (["model=efficientnet_v2", "model.trainable_blocks=0"], ["model=efficientnet_v2", "model.trainable_blocks=-1"]),
        (["model=efficientnet_v2", "model.weights=null"], ["model=efficientnet_v2", "model.weights="]),
        (
            ["training.use_arcface=circle", "training.margin.scale=1"],
            ["training.use_arcface=circle", "training.margin.scale=0"],
        ),
        (
            ["training.use_arcface=circle", "training.margin.margin=0"],
            ["training.use_arcface=circle", "training.margin.margin=-1"],
        ),
        (["model.pretrained=false", "model.num_layers=1"], ["model.pretrained=false", "model.num_layers=0"]),
        (["model.pretrained=false", "model.ffn_size=1"], ["model.pretrained=false", "model.ffn_size=0"]),
    ],
)
def test_bounds_of_networks(good: list[str], bad: list[str]) -> None:
    start = WHISPER if "model.pretrained=false" in good else SOUND
    assert isinstance(compose("digits", [*start, *good]), Config)
    with pytest.raises(ConfigError) as caught:
        compose("digits", [*start, *bad])
    (told,) = caught.value.problems
    assert f"`{bad[-1].partition('=')[0]}` is " in told


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        (WHISPER, ["model=whisper"], ["`model.name` is encoder", "`data.source` is digits", "data=vocal_bursts"]),
        (
            [*WHISPER, "data.sample_rate=16000"],
            [*WHISPER, "data.sample_rate=8000"],
            ["`data.sample_rate` is 8000", "16000 Hz"],
        ),
        ([*WHISPER, "data.clip_seconds=30"], [*WHISPER, "data.clip_seconds=31"], ["`data.clip_seconds` is 31", "30 s"]),
        (
            [*SOUND, "model=wavlm", "data.clip_seconds=31"],
            [*SOUND, "model=wavlm", "model.size=tiny"],
            ['`model.size` is "tiny"', "wavlm"],
        ),
        (
            [*WHISPER, "model.pretrained=false"],
            [*WHISPER, "model.pretrained=false", "model.path=x"],
            ['`model.path` is "x"', "`model.pretrained` is false"],
        ),
        (
            [*WHISPER, "model.pretrained=false", "model.hidden_size=32", "model.num_heads=4"],
            [*WHISPER, "model.pretrained=false", "model.hidden_size=32", "model.num_heads=5"],
            ["`model.hidden_size` 32", "`model.num_heads` 5", "multiple"],
        ),
        (WHISPER, [*WHISPER, "model.hidden_size=32"], ["model.pretrained=false"]),
        (
            [*WHISPER, "model.size=mini", "model.pretrained=false"],
            [*WHISPER, "model.size=mini"],
            ["`model.size` is mini", "no weights are published", "model.pretrained=false"],
        ),
        (
            [*WHISPER, "model.pretrained=false", "model.num_layers=2", "model.layers='1'"],
            [*WHISPER, "model.pretrained=false", "model.num_layers=2", "model.layers=45"],
            ["of an encoder with 2 layers"],
        ),
        ([*WHISPER, "model.path=x", "model.layers=40-50"], [*WHISPER, "model.layers=40-50"], ["with 6 layers"]),
        (
            [*WHISPER, "model.layers=012", "model.method=full"],
            [*WHISPER, "model.layers=012", "model.method=frozen"],
            ['`model.layers` is "012"', "model.method=frozen changes no layer"],
        ),
        (["data=audio_folder", "data.path=x"], ["data=audio_folder"], ["`data.corpus` is folder", "add data.path=…"]),
        (SOUND, [*SOUND, "data.path=x"], ['`data.path` is "x"', "synthesised", "set data.corpus"]),
        (
            ["data=audio_csv", "data.path=x", "data.group_column=who"],
            ["data=audio_folder", "data.path=x", "data.group_column=who"],
            ['`data.group_column` is "who"', "data.corpus=folder", "data.corpus=csv"],
        ),
        (
            [*SOUND, "data.fmin=7999"],
            [*SOUND, "data.fmin=8000"],
            ["`data.fmin` is 8000 Hz", "half of `data.sample_rate`", "no band"],
        ),
        (
            [*SOUND, "data.fmin=3000", "data.fmax=4000"],
            [*SOUND, "data.fmin=4000", "data.fmax=4000"],
            ["`data.fmin`", "not below `data.fmax`"],
        ),
        (
            [*SOUND, "data.fmax=8000"],
            [*SOUND, "data.fmax=9000"],
            ["`data.fmax` is 9000 Hz", "`data.sample_rate` 16000"],
        ),
        (
            [*SOUND, "data.min_seconds=2", "data.max_seconds=2"],
            [*SOUND, "data.min_seconds=3", "data.max_seconds=2"],
            ["`data.min_seconds` 3", "`data.max_seconds` 2"],
        ),
        (
            [*SOUND, "data.split.test_groups=[a]"],
            ["data.split.test_groups=[a]"],
            ["`data.split.test_groups`", "data.source=digits"],
        ),
        (
            ["data=csv", "data.path=x", "data.split.test_groups=[a]", "data.group_column=who"],
            ["data=csv", "data.path=x", "data.split.test_groups=[a]"],
            ["`data.split.test_groups`", "data.group_column=…"],
        ),
        ([*NET, "training.use_arcface=arcface"], [*WHISPER, "training.use_arcface=circle"], ["has no cosine head"]),
        (
            [*NET, "training.use_arcface=circle", "training.margin.scale=30"],
            [*NET, "training.margin.scale=30"],
            ["`training.margin.scale` is 30", "training.use_arcface=arcface or circle"],
        ),
        (
            ["training.distillation.enabled=true", "training.distillation.teacher_model_path=x"],
            ["training.distillation.enabled=true"],
            ["`training.distillation.enabled` is true", "`training.distillation.teacher_model_path` names no teacher"],
        ),
        (
            [*NET, "model.norm=group"],
            [*NET, "model.norm=group", "model.qat=true"],
            ["`model.norm` is group", "model.qat=false"],
        ),
        (
            [*NET, "training.precision=bf16"],
            [*SOUND, "model=efficientnet_v2_qat", "training.precision=bf16"],
            ["`training.precision` is bf16", "model.qat=false"],
        ),
        (
            [*SOUND, "augmentations.waveform={_target_: audiomentations.Gain}"],
            ["augmentations.waveform={_target_: audiomentations.Gain}"],
            ["`augmentations.waveform`", "`data.source` is digits", "data=vocal_bursts"],
        ),
        (
            [*SOUND, "augmentations.spectrogram.time_masks=1"],
            ["augmentations.spectrogram.time_masks=1"],
            ["`augmentations.spectrogram` (time_masks)", "`data.source` is digits"],
        ),
    ],
)
def test_combinations_of_sound_and_encoders(good: list[str], bad: list[str], words: list[str]) -> None:
    assert isinstance(compose("digits", good), Config)
    with pytest.raises(ConfigError) as caught:
        compose("digits", bad)
    (told,) = caught.value.problems
    for word in words:
        assert word in told
    assert "command line" in told


@pytest.mark.parametrize(("said", "meant"), [("csv", "audio_csv"), ("image_folder", "audio_folder")])
@pytest.mark.parametrize("recipe", ["spectrogram", "vocalizations"])
def test_who_names_pictures_is_told_how_recordings_are_named(recipe: str, said: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(recipe, [f"data={said}", "data.path=x"])
    assert all(f"choose recordings, such as data={meant}, or" in told for told in caught.value.problems)


def test_a_waveform_has_no_spectrogram_to_mask() -> None:
    masks = "augmentations.spectrogram.freq_masks=1"
    assert isinstance(compose("digits", [*WHISPER, masks]), Config)
    with pytest.raises(ConfigError) as caught:
        compose("digits", [*WAVLM, masks])
    (told,) = caught.value.problems
    assert "use augmentations.waveform" in told


def test_all_of_them_are_told_at_once() -> None:
    wrong = ["data.sample_rate=8000", "data.clip_seconds=40", "model.size=hug", "training.use_arcface=arcface"]
    wrong += ["model.lora_rank=0", "model.hidden_size=8", "training.distillation.enabled=true", "system.cache_mb=-1"]
    with pytest.raises(ConfigError) as caught:
        compose("digits", [*WHISPER, *wrong])
    assert len(caught.value.problems) == len(wrong)


def test_a_transform_outside_the_allow_list() -> None:
    inner = "{_target_: audiomentations.Compose, transforms: [{_target_: os.system, command: ls}]}"
    with pytest.raises(UnsafeTargetError, match=r"os\.system") as caught:
        compose("digits", [*SOUND, f"augmentations.waveform={inner}"])
    assert "`augmentations.waveform`" in caught.value.what
    trusted = compose("digits", [*SOUND, f"augmentations.waveform={inner}"], trust=True)
    assert trusted.augmentations.waveform is not None


def test_a_wrong_type_is_not_judged_twice() -> None:
    with pytest.raises(ConfigError) as caught:
        compose("digits", ["data.split.val_fraction=lots", "data.split.test_fraction=0.95"])
    (told,) = caught.value.problems
    assert "expected a number" in told

"""Experiment files: what path, file, bases and recipe say, and which of them wins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainyard.audio.schema import AudioData, EncoderModel
from trainyard.config.compose import compose, from_dict, to_dict, to_yaml
from trainyard.config.names import default_run_name, model_label
from trainyard.config.schema import Config
from trainyard.errors import ConfigError, UnsafeTargetError
from trainyard.images.schema import DigitsData
from trainyard.models.schema import CnnModel, EfficientNetV2Model, MlpModel, PannsCnn14Model

BASE_LORA_012 = EncoderModel(layers="012")
VOCALIZATIONS = compose("vocalizations")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: str, text: str = "") -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return path


def experiment(path: str, *overrides: str, data: str | None = "x", **more: Any) -> Config:
    return compose(path, [*([f"data.path={data}"] if data else []), *overrides], **more)


def faults(path: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        compose(path, overrides)
    assert caught.value.remedy
    return caught.value.problems


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        [
            "experiments/recanvo/whisper_base_lora_012.py",
            "experiments_configs/recanvo/whisper_base_lora_012.py",
            "recanvo/whisper_base_lora_012.py",
            "../elsewhere/recanvo/../recanvo/whisper_base_lora_012.py",
        ],
    )
    def test_a_file_that_is_not_there_is_what_its_path_says(self, path: str) -> None:
        notes: list[str] = []
        config = experiment(path, notes=notes)
        assert config.model == BASE_LORA_012
        assert isinstance(config.data, AudioData)
        assert (config.data.corpus, config.data.dataset) == ("recanvo", "recanvo")
        assert (config.recipe, config.run.name) == (path, None)
        assert (default_run_name(config), model_label(config)) == ("whisper_base_lora_012",) * 2
        assert config.training == VOCALIZATIONS.training
        (note,) = notes
        assert path in note
        assert "recanvo" in note

    def test_a_network_is_an_experiment_too(self) -> None:
        config = experiment("e/fsdd/efficientnet_v2_qat.py")
        assert config.model == EfficientNetV2Model(qat=True)
        chosen = compose("spectrogram", ["data=fsdd", "data.path=x", "model=efficientnet_v2_qat", "data.dataset=fsdd"])
        assert to_dict(config) | {"recipe": ""} == to_dict(chosen) | {"recipe": ""}
        assert experiment("e/fsdd/whisper_base_lora.py").data == AudioData(corpus="fsdd", path="x", dataset="fsdd")
        assert experiment("e/vocal_bursts/cnn.py", data=None).model == CnnModel()

    def test_an_empty_file_says_what_its_path_says(self) -> None:
        notes: list[str] = []
        missing = experiment("a/recanvo/whisper_base_lora_012.py")
        config = experiment(write("b/recanvo/whisper_base_lora_012.py"), notes=notes)
        assert to_dict(config) | {"recipe": ""} == to_dict(missing) | {"recipe": ""}
        assert notes == []

    def test_what_the_file_says_wins_over_what_its_path_says(self) -> None:
        path = write(
            "e/recanvo/whisper_base_lora_012.py",
            'model = dict(size="small", lora_rank=4)\ndata = dict(corpus="vivae", dataset="d", path="p")\n',
        )
        config = compose(path)
        assert config.model == EncoderModel(size="small", layers="012", lora_rank=4)
        assert isinstance(config.data, AudioData)
        assert (config.data.corpus, config.data.dataset, config.data.path) == ("vivae", "d", "p")
        assert default_run_name(config) == "whisper_small_lora_012"

    def test_the_command_line_wins_over_all(self) -> None:
        path = write("e/recanvo/mine.py", 'model = dict(type="whisper")\ndata = dict(path="p")\nrun = dict(name="n")\n')
        config = compose(path, ["model.size=tiny", "data.dataset=d", "run.name=m", "training.epochs=1"])
        assert config.model == EncoderModel(size="tiny")
        assert (config.data.dataset, config.run.name, config.training.epochs) == ("d", "m", 1)
        assert compose(path, ["model=mlp"]).model == MlpModel()

    def test_a_name_that_is_no_model_names_the_run_alone(self) -> None:
        config = experiment(
            write("e/mine/try.py", 'model = dict(name="mlp")\ndata = dict(source="digits")\n'), data=None
        )
        assert (config.model, config.data) == (MlpModel(), DigitsData(dataset="mine"))
        assert (default_run_name(config), model_label(config)) == ("try", "mlp")
        assert config.training == from_dict({}).training  # nothing lies beneath an mlp

    def test_the_folder_is_where_the_file_lies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write("e/vivae/mine.py", 'data = dict(path="x")\n')
        monkeypatch.chdir("e/vivae")
        for path in ("mine.py", "./mine.py", "../vivae/mine.py", os.path.abspath("mine.py")):
            config = compose(path)
            assert isinstance(config.data, AudioData)
            assert (config.data.corpus, config.data.dataset) == ("vivae", "vivae")

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("e/recanvo/whisper_bse_lora.py", ["`bse`", "`base`"]),
            ("e/recanvo/whisper_base_lora_x.py", ["`x`"]),
            ("e/recanvoo/whisper_base_lora.py", ["`recanvoo`", "`recanvo`"]),
            ("e/recanv/whispr_base_lora.py", ["`recanvo`", "`whisper`"]),
            ("odd.py", ["`odd`"]),
            ("recipes/odd.py", ["`recipes`", "`odd`"]),
        ],
    )
    def test_a_path_that_says_nothing_is_told_with_the_nearest(self, path: str, words: list[str]) -> None:
        (told,) = faults(path, "model.lora_rank=3", "data.path=x")
        for word in ["there is no file", path, *words]:
            assert word in told

    def test_layers_that_the_encoder_has_not(self) -> None:
        (told,) = faults("e/recanvo/whisper_base_lora_5-9.py", "data.path=x")
        assert '`model.layers` is "5-9"' in told
        assert "the name of e/recanvo/whisper_base_lora_5-9.py" in told

    def test_a_corpus_without_its_path_lies_where_corpora_lie(self) -> None:
        config = experiment("e/recanvo/whisper_base_lora.py", "system.audio_dir=x", data=None)
        assert config.data.dataset == "recanvo"
        assert config.data == AudioData(corpus="recanvo", dataset="recanvo")


class TestFiles:
    def test_a_model_may_leave_out_that_it_is_an_encoder(self) -> None:
        config = experiment(write("e/cnvve/a.py", 'model = dict(type="wavlm", size="large", method="adapter")\n'))
        assert config.model == EncoderModel(type="wavlm", size="large", method="adapter")
        assert config.training == VOCALIZATIONS.training

    def test_data_may_leave_out_that_it_is_sound(self) -> None:
        config = compose(write("e/mine/a.py", 'data = dict(corpus="fsdd", path="x")\n'))
        assert config.data == AudioData(corpus="fsdd", path="x", dataset="mine")

    def test_the_same_in_yaml_is_the_same(self) -> None:
        sections: dict[str, Any] = {
            "model": {"name": "mlp", "hidden": [3]},
            "training": {"epochs": 3, "optimizer": {"_target_": "torch.optim.SGD", "momentum": 0.5}},
            "data": {"source": "digits", "dataset": "d"},
        }
        python = compose(write("e/a.py", "".join(f"{name} = {value!r}\n" for name, value in sections.items())))
        plain = compose(write("e/a.yaml", yaml.safe_dump(sections)))
        assert to_dict(python) | {"recipe": ""} == to_dict(plain) | {"recipe": ""}

    def test_faults_have_their_lines(self) -> None:
        path = write(
            "e/recanvo/a.py",
            'data = dict(path="x")\nmodel = dict(\n    type="whisper",\n    layer="012",\n    size=3,\n)\n'
            "training = dict(epochs=0)\nrun = dict(seed=-1)\n",
        )
        told = faults(path, "run.tags=3")
        assert len(told) == 5
        for words, line in [("did you mean `model.layers`?", 4), ("`model.size` is 3, expected text", 5)]:
            assert any(words in one and f"({path}, line {line})" in one for one in told)
        assert any("`training.epochs` is 0" in one and "line 7" in one for one in told)

    def test_interpolation_is_that_of_yaml(self) -> None:
        path = write("e/recanvo/a.py", 'data = dict(path="x")\nrun = dict(note="${data.corpus} ${training.epochs}")\n')
        assert compose(path).run.note == "recanvo 10"

    def test_targets_are_checked(self) -> None:
        path = write("e/a.py", 'data = dict(source="digits")\ntraining = dict(optimizer=dict(_target_="os.system"))\n')
        with pytest.raises(UnsafeTargetError):
            compose(path)
        assert compose(path, trust=True).training.optimizer == {"_target_": "os.system"}

    def test_a_broken_file_is_told_once(self) -> None:
        path = write("e/recanvo/whisper_base_lora.py", "model = dict(type=\n")
        (told,) = faults(path, "model.lora_rank=4", "data.path=x")
        assert f"({path}, line 1)" in told

    def test_files_that_cannot_be_read(self) -> None:
        Path("e/recanvo/a.py").mkdir(parents=True)
        (told,) = faults("e/recanvo/a.py")
        assert "cannot be read: Is a directory" in told
        Path("e/recanvo/b.py").symlink_to("gone.py")
        (told,) = faults("e/recanvo/b.py")
        assert "cannot be read: No such file" in told

    def test_the_resolved_configuration_is_a_recipe_again(self) -> None:
        config = experiment("e/recanvo/whisper_base_lora_012.py")
        again = compose(write("saved.yaml", to_yaml(config)))
        assert to_dict(again) | {"recipe": ""} == to_dict(config) | {"recipe": ""}
        assert compose(base=to_dict(config)) == config


class TestBases:
    def test_files_are_merged_and_the_later_wins(self) -> None:
        write("e/base.py", "model = dict(lora_rank=4, dropout=0.1)\ntraining = dict(epochs=3, batch_size=7)\n")
        write("e/other.yaml", "training: {epochs: 4, grad_clip: 2}\nmodel: {dropout: 0.2}\n")
        path = write(
            "e/recanvo/whisper_base_lora_012.py",
            '_base_ = ["../base.py", "../other.yaml"]\ndata = dict(path="x")\ntraining = dict(grad_clip=5)\n',
        )
        config = compose(path)
        assert config.model == EncoderModel(layers="012", lora_rank=4, dropout=0.2)
        training = config.training
        assert (training.epochs, training.batch_size, training.grad_clip) == (4, 7, 5.0)
        assert training.class_weights == VOCALIZATIONS.training.class_weights == "balanced", "the recipe lies beneath"

    def test_bases_of_bases_are_relative_to_their_file(self) -> None:
        write("e/common/deep.py", "training = dict(epochs=3)\nrun = dict(seed=1)\n")
        write("e/base.py", '_base_ = "common/deep.py"\nrun = dict(seed=2)\n')
        config = experiment(write("e/recanvo/a.py", '_base_ = "../base.py"\n'))
        assert (config.training.epochs, config.run.seed) == (3, 2)

    def test_a_named_recipe_lies_beneath_in_place_of_the_usual(self) -> None:
        path = write("e/recanvo/whisper_base_lora.py", '_base_ = "spectrogram"\ndata = dict(path="x")\n')
        config = compose(path)
        assert config.training == compose("spectrogram").training
        assert config.model == EncoderModel(), "of a recipe the model does not count where there is one"
        assert isinstance(config.data, AudioData)
        assert config.data.corpus == "recanvo"
        again = experiment(write("e/recanvo/whisper_tiny_full.py", '_base_ = ["vocalizations"]\n'))
        assert again.model == EncoderModel(size="tiny", method="full")

    def test_without_a_model_of_its_own_an_experiment_has_the_recipes(self) -> None:
        config = compose(write("e/mine/a.py", '_base_ = "vocalizations"\nrun = dict(seed=3)\n'))
        assert config.model == VOCALIZATIONS.model
        assert (config.data.dataset, config.run.seed) == ("mine", 3)

    def test_a_recipe_by_way_of_yaml(self) -> None:
        write("e/base.yaml", "defaults: [digits, model: mlp]\nmodel: {hidden: [5]}\n")
        config = compose(write("e/mine/a.py", '_base_ = "../base.yaml"\n'))
        assert (config.model, config.data) == (MlpModel(hidden=(5,)), DigitsData(dataset="mine"))
        assert config.training == compose("digits").training

    def test_a_base_that_says_the_data_is_not_overruled_by_the_folder(self) -> None:
        write("e/base.py", 'data = dict(corpus="folder", path="p", dataset="d")\n')
        data = compose(write("e/recanvo/a.py", '_base_ = "../base.py"\nmodel = dict(type="whisper")\n')).data
        assert isinstance(data, AudioData)
        assert (data.corpus, data.path, data.dataset) == ("folder", "p", "d")

    def test_nothing_that_a_base_says_is_lost_to_the_kind_said_above_it(self) -> None:
        write("e/base.py", "model = dict(width=8, dropout=0.3)\ndata = dict(n_mels=32)\n")
        write("e/lower.py", "model = dict(norm='group')\n_base_ = 'base.py'\n")
        config = experiment(write("e/fsdd/panns_cnn14.py", '_base_ = "../lower.py"\n'))
        assert config.model == PannsCnn14Model(width=8, dropout=0.3, norm="group")
        assert isinstance(config.data, AudioData)
        assert (config.data.n_mels, config.data.corpus) == (32, "fsdd")

    def test_a_base_may_say_where_the_data_lies(self) -> None:
        write("e/base.py", 'data = dict(path="/data", clip_seconds=3)\n')
        data = compose(write("e/recanvo/whisper_base_lora.py", '_base_ = "../base.py"\n')).data
        assert isinstance(data, AudioData)
        assert (data.corpus, data.path, data.clip_seconds) == ("recanvo", "/data", 3.0)

    def test_a_section_may_be_replaced(self) -> None:
        write("e/base.py", 'training = dict(epochs=3, optimizer=dict(_target_="torch.optim.SGD", momentum=0.9))\n')
        text = (
            '_base_ = "../base.py"\ndata = dict(source="digits")\ntraining = dict({}optimizer=dict({}lr_decay=0.5))\n'
        )
        merged = compose(write("e/mine/a.py", text.format("", ""))).training
        assert (merged.epochs, merged.optimizer["momentum"], merged.optimizer["lr_decay"]) == (3, 0.9, 0.5)
        target = '_delete_=True, _target_="torch.optim.SGD", '
        inner = compose(write("e/mine/b.py", text.format("", target))).training
        assert inner.epochs == 3
        assert inner.optimizer == {"_target_": "torch.optim.SGD", "lr_decay": 0.5}
        outer = compose(write("e/mine/c.py", text.format("_delete_=True, ", target))).training
        assert outer.epochs == Config().training.epochs
        kept = compose(write("e/mine/d.py", text.format("", "_delete_=False, "))).training
        assert kept.optimizer == merged.optimizer
        write("e/mine/e.py", text.format("_delete_=3, ", ""))
        (told,) = faults("e/mine/e.py")
        assert "unknown key `training._delete_`" in told

    @pytest.mark.parametrize(
        ("base", "words"),
        [
            ("gone.py", "cannot be read: No such file"),
            ("gone.yaml", "cannot be read: No such file"),
            ("spectogram", "did you mean `spectrogram`?"),
            ("a.py", "includes itself"),
            ("loop.py", "includes itself"),
            ("loop.yaml", "includes itself"),
            ("broken.py", "broken.py, line 2"),
        ],
    )
    def test_a_base_that_cannot_be(self, base: str, words: str) -> None:
        write("e/recanvo/loop.py", '_base_ = "a.py"\n')
        write("e/recanvo/loop.yaml", "defaults: [loop.yaml]\n")
        write("e/recanvo/broken.py", "\n1 / 0\n")
        path = write("e/recanvo/a.py", f'data = dict(path="x")\n_base_ = {base!r}\n')
        (told,) = faults(path)
        assert words in told
        assert base in told

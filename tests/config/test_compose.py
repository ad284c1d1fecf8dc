"""Composing: layers and what replaces what, checked against Hydra itself where it can say; and every
kind of fault, each told with its value, its place and the nearest valid name."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainyard.config.compose import compose, from_dict, shipped_recipes, to_dict, to_yaml
from trainyard.config.schema import Config, SplitOptions
from trainyard.errors import ConfigError, UnsafeTargetError
from trainyard.images.schema import DigitsData, ImageFolderData, NpzData
from trainyard.models.schema import CnnModel, MlpModel

ADAMW = {"_target_": "torch.optim.AdamW"}


def faults(*overrides: str, recipe: str = "digits", **more: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        compose(recipe, overrides, **more)  # type: ignore[arg-type]
    assert caught.value.remedy
    return caught.value.problems


def fault(*overrides: str, recipe: str = "digits", **more: object) -> str:
    told = faults(*overrides, recipe=recipe, **more)
    assert len(told) == 1, told
    return told[0]


def yaml_file(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


class TestRecipes:
    def test_digits_is_the_default(self) -> None:
        config = compose()
        assert config == compose("digits")
        assert (config.recipe, config.run.project) == ("digits", "digits")
        assert (config.data, config.model) == (DigitsData(), CnnModel())
        assert config.training.scheduler == {
            "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
            "T_max": config.training.epochs,
        }

    def test_mnist_mlp_is_784_453_10(self) -> None:
        config = compose("mnist_mlp", ["data.path=mnist.npz"])
        assert config.model == MlpModel(hidden=(453,))
        assert config.data == NpzData("mnist.npz", dataset="mnist")

    def test_recipe_without_its_path_says_what_to_add(self) -> None:
        told = fault(recipe="mnist_mlp")
        assert "`data.path` is required by data=npz" in told
        assert "data.path=" in told
        assert "recipe mnist_mlp, line" in told

    @pytest.mark.parametrize("recipe", shipped_recipes())
    @pytest.mark.parametrize("overrides", [[], ["training.epochs=5"], ["training/optimizer=sgd"]])
    def test_hydra_itself_composes_the_same(self, recipe: str, overrides: list[str]) -> None:
        from hydra import compose as hydra_compose
        from hydra import initialize_config_module
        from omegaconf import OmegaConf

        added = ["data.path=x.npz"] if recipe == "mnist_mlp" else []
        with initialize_config_module("trainyard.conf", version_base="1.3"):
            plain = OmegaConf.to_container(
                hydra_compose("config", [f"recipe={recipe}", *overrides, *added]), resolve=True
            )
        assert from_dict({**plain, "recipe": recipe}) == compose(recipe, [*overrides, *added])

    def test_a_file_is_laid_over_the_defaults(self, tmp_path: Path) -> None:
        path = yaml_file(
            tmp_path,
            "defaults:\n  - model: mlp\n  - override /training/optimizer: sgd\n"
            "model: {hidden: [7, 8]}\ntraining:\n  learning_rate: 1e-3\n  optimizer: {momentum: 0.5}\n"
            "run:\n",
        )
        config = compose(path)
        assert config.model == MlpModel(hidden=(7, 8))
        assert config.training.learning_rate == 0.001
        assert config.training.optimizer == {"_target_": "torch.optim.SGD", "momentum": 0.5, "nesterov": True}
        assert config.recipe == path

    def test_an_empty_file_is_the_schema(self, tmp_path: Path) -> None:
        path = yaml_file(tmp_path, "# nothing yet\n")
        assert replace(compose(path), recipe="digits") == Config()

    def test_a_file_may_build_on_others(self, tmp_path: Path) -> None:
        yaml_file(tmp_path, "defaults: [digits]\ntraining: {epochs: 3, batch_size: 7}\n", "parent.yaml")
        path = yaml_file(tmp_path, "defaults: [parent.yaml, model: mlp, _self_]\ntraining: {epochs: 4}\n")
        config = compose(path)
        assert (config.run.project, config.model.name) == ("digits", "mlp")
        assert (config.training.epochs, config.training.batch_size) == (4, 7)

    def test_a_saved_configuration_is_a_recipe(self, tmp_path: Path) -> None:
        config = compose("mnist_mlp", ["data.path=x.npz", "training.grad_clip=1", "~training.scheduler"])
        path = yaml_file(tmp_path, to_yaml(config))
        assert replace(compose(path), recipe="mnist_mlp") == config

    def test_a_section_has_its_own_default_however_little_is_reported(self, tmp_path: Path) -> None:
        """Sound holds out a tenth for the test; other data, a fifth."""
        overrides = ["data=vocal_bursts", "data.split.seed=3"]
        wanted = SplitOptions(test_fraction=0.1, seed=3)
        assert compose("digits", overrides).data.split == wanted
        assert from_dict({"data": {"source": "audio", "split": {"seed": 3}}}).data.split == wanted
        assert compose("digits", ["data.split.seed=3"]).data.split == SplitOptions(seed=3)

    def test_digits_that_yaml_takes_for_a_number(self, tmp_path: Path) -> None:
        text = "defaults: [data: vocal_bursts, model: whisper]\nmodel: {layers: 012}\n"
        assert "`model.layers` is 10, expected text or null; put it in quotes" in fault(
            recipe=yaml_file(tmp_path, text)
        )
        quoted = yaml_file(tmp_path, text.replace("012", "'012'"))
        assert compose(quoted).model.layers == "012"  # type: ignore[union-attr]
        assert compose(quoted, ["model.layers=345"]).model.layers == "345"  # type: ignore[union-attr]

    def test_yaml_runs_no_python(self, tmp_path: Path) -> None:
        yaml_file(tmp_path, "raise SystemExit\n", "base.py")
        told = fault(recipe=yaml_file(tmp_path, "defaults: [base.py]\n"))
        assert "YAML does not run Python" in told

    def test_recipe_override_wins(self) -> None:
        assert compose("digits", ["recipe=mnist_mlp", "data.path=x"]).recipe == "mnist_mlp"

    @pytest.mark.parametrize(
        ("text", "line", "words"),
        [
            ("training:\n  epochs: [1\nrun: {}\n", 3, "not valid YAML"),
            ("training:\n\tepochs: 1\n", 2, "not valid YAML"),
            ("run: {}\ntraining:\n  epoch: 3\n", 3, "did you mean `training.epochs`?"),
            ("training: {epochs: 1}\nmodel: {}\ntraining: {epochs: 2}\n", 3, "`training` is given twice"),
            ("run: {}\n7: x\n", 2, "the key `7` is not text"),
            ("\nrun: {note: !!python/object/apply:os.system [ls]}\n", 2, "python/object"),
            ("run:\n  seed: one\n", 2, '`run.seed` is "one", expected a whole number'),
            ("training.epochs: 3\n", 1, "`epochs:` below it"),
            ("defaults:\n  - modle: cnn\n", 1, "no group `modle`; did you mean `model`?"),
            ("defaults:\n  - model: cn\n", 1, "no choice `cn`; did you mean `cnn`?"),
            ("defaults:\n  - digts\n", 1, 'no recipe "digts"; did you mean `digits`?'),
            ("defaults: cnn\n", 1, "expected a list"),
            ("defaults: [[model, cnn]]\n", 1, "expected `GROUP: CHOICE`"),
            ("- a\n- b\n", 1, "expected `key: value` lines"),
            ("a: &a [*a]\n", None, "not valid YAML"),
        ],
    )
    def test_a_bad_file_is_told_with_its_line(self, tmp_path: Path, text: str, line: int | None, words: str) -> None:
        path = yaml_file(tmp_path, text)
        told = fault(recipe=path)
        assert words in told
        assert (f"{path}, line {line}" if line else path) in told

    def test_aliases_of_aliases_are_refused_quickly(self, tmp_path: Path) -> None:
        lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
        assert "values" in fault(recipe=yaml_file(tmp_path, "\n".join(lines)))

    @pytest.mark.parametrize(
        ("recipe", "words"),
        [
            ("digts", 'no recipe "digts"; did you mean `digits`?'),
            ("nothing-like-it", "valid: digits, emotions, mnist_mlp"),
            ("missing/x.yaml", "cannot be read: No such file"),
            ("recipes/mine.txt", "is not a .yaml file"),
            ("recipes/mine.py", "there is no file"),
            ("", "valid: digits"),
        ],
    )
    def test_an_unknown_recipe_is_reported(self, recipe: str, words: str) -> None:
        assert words in fault(recipe=recipe)

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "latin.yaml").write_bytes(b"run: {note: caf\xe9}\n")
        (tmp_path / "folder.yaml").mkdir()
        assert "not UTF-8 at byte 15" in fault(recipe=str(tmp_path / "latin.yaml"))
        assert "cannot be read: Is a directory" in fault(recipe=str(tmp_path / "folder.yaml"))

    def test_a_recipe_that_builds_on_itself(self, tmp_path: Path) -> None:
        yaml_file(tmp_path, "defaults: [b.yaml]\n", "a.yaml")
        yaml_file(tmp_path, "defaults: [a.yaml]\n", "b.yaml")
        assert "includes itself" in fault(recipe=str(tmp_path / "a.yaml"))


class TestOverrides:
    def test_values(self) -> None:
        config = compose(
            "digits", ["training.epochs=5", "+run.tags=[a,b]", "++layout=shared", "training.grad_clip=1", "run.seed=3"]
        )
        assert (config.training.epochs, config.run.tags, config.layout) == (5, ("a", "b"), "shared")
        assert config.training.grad_clip == 1.0
        assert isinstance(config.training.grad_clip, float)

    def test_choosing_a_group_replaces_the_section(self) -> None:
        config = compose("mnist_mlp", ["model=cnn", "data=image_folder", "data.path=photos"])
        assert config.model == CnnModel()
        assert config.data == ImageFolderData("photos")  # the recipe's data.dataset went with its section
        assert compose("mnist_mlp", ["model=mlp", "data.path=x"]).model == MlpModel()

    @pytest.mark.parametrize("order", [1, -1])
    def test_choices_come_before_values_in_any_order(self, order: int) -> None:
        overrides = ["model=mlp", "model.hidden=[453]", "data=npz", "data.path=x.npz"]
        config = compose("digits", overrides[::order])
        assert config.model == MlpModel(hidden=(453,))
        assert config.data == NpzData("x.npz")

    @pytest.mark.parametrize("order", [1, -1])
    def test_another_target_replaces_the_section(self, order: int) -> None:
        overrides = ["training.optimizer._target_=torch.optim.SGD", "training.optimizer.momentum=0.9"]
        config = compose("digits", ["training/optimizer=adam", *overrides[::order]])
        assert config.training.optimizer == {"_target_": "torch.optim.SGD", "momentum": 0.9}
        scheduler = "training.scheduler._target_=torch.optim.lr_scheduler.ExponentialLR"
        assert compose("digits", [scheduler, "training.scheduler.gamma=0.5"]).training.scheduler == {
            "_target_": "torch.optim.lr_scheduler.ExponentialLR",
            "gamma": 0.5,
        }

    def test_the_same_target_keeps_the_section(self) -> None:
        config = compose("digits", ["training/optimizer=sgd", "training.optimizer._target_=torch.optim.SGD"])
        assert config.training.optimizer["momentum"] == 0.9

    def test_selecting_by_value_is_choosing(self) -> None:
        config = compose("digits", ["model.channels=[8]", "model.name=mlp", "~model.channels"])
        assert config.model == MlpModel()
        assert compose("digits", ["data={source: npz, path: x}"]).data == NpzData("x")

    def test_taking_away(self) -> None:
        config = compose("digits", ["~training.scheduler", "~training.epochs", "~run.note"])
        assert config.training.scheduler is None
        assert config.training.epochs == Config().training.epochs
        assert compose("digits", ["training/scheduler=null"]).training.scheduler is None
        assert compose("digits", ["~training.epochs=12"]).training.epochs == Config().training.epochs
        assert "is 12, not 13" in fault("~training.epochs=13")
        assert "did you mean `~training.epochs`?" in fault("~training.epoch")

    def test_interpolation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOMEWHERE", "here")
        config = compose(
            "digits", ["training.log_every=${training.epochs}", "run.note=${oc.env:SOMEWHERE}", "training.epochs=9"]
        )
        assert (config.training.log_every, config.run.note) == (9, "here")
        assert config.training.scheduler is not None
        assert config.training.scheduler["T_max"] == 9
        assert compose("digits", ["run.seed=${data.split.seed}"]).run.seed == 0  # a default of the schema
        assert compose("digits", ["run.tags=['${run.project}', b]"]).run.tags == ("digits", "b")

    @pytest.mark.parametrize(
        ("override", "words"),
        [
            ("run.seed=${training.epoch}", "did you mean `${training.epochs}`?"),
            ("run.seed=${run.seed}", "cannot be resolved"),
            ("run.note=${nope:x}", "cannot be resolved"),
            ("run.note=${data}", "expected text"),
        ],
    )
    def test_interpolation_that_leads_nowhere(self, override: str, words: str) -> None:
        told = fault(override)
        assert words in told
        assert override in told

    def test_text_needs_no_quotes_where_only_text_goes(self) -> None:
        texts = ["Données (2)/ü.npz", "a,b", "it's 5 o'clock", "2024", "007", "1e5", "a=b", "x: [y"]
        for text in texts:
            config = compose("mnist_mlp", [f"data.path={text}", f"run.note={text}"])
            assert (config.data.path, config.run.note) == (text, text)  # type: ignore[union-attr]
        assert compose("digits", ["run.note='x y'"]).run.note == "x y"
        assert compose("digits", ["run.name=null"]).run.name is None

    @pytest.mark.parametrize(
        ("override", "words"),
        [
            ("model=cn", ["no choice `cn`", "did you mean `cnn`?", "valid: bert, cnn, distilbert, ", "whisper"]),
            ("model=whispr", ["no choice `whispr`", "did you mean `whisper`?"]),
            ("data=recanvoo", ["no choice `recanvoo`", "did you mean `recanvo`?"]),
            ("model.method=lora", ["unknown key `model.method`", "a key of model=encoder", "this is model=cnn"]),
            ("model.typ=whisper", ["did you mean `model.type`, a key of model=encoder", "This is model=cnn"]),
            ("training.use_arcface=arcfase", ["one of arcface, circle or null", "did you mean `arcface`?"]),
            ("training.use_arcface=true", ["`training.use_arcface` is true", "or null"]),
            ("training.margin.scal=3", ["did you mean `training.margin.scale`?"]),
            ("training.distilation.enabled=true", ["did you mean `training.distillation`?"]),
            ("augmentations.waveform=Compose", ["a mapping with `_target_`"]),
            ("augmentations=lite", ["`augmentations` has no choice `lite`", "light"]),
            ("system.audio_directory=x", ["did you mean `system.audio_dir`?"]),
            ("data=nzp", ["no choice `nzp`", "did you mean `npz`?"]),
            ("model=3", ["`model` is 3, expected a section with `name`", "mlp|cnn"]),
            ("training/optimizer=adamww", ["no choice `adamww`", "did you mean `adamw`?"]),
            ("training/optimiser=sgd", ["no group `training/optimiser`", "did you mean `training/optimizer`?"]),
            ("training/epochs=3", ["the key is written `training.epochs`"]),
            ("training.optimizer=sgd", ['is "sgd", expected a mapping', "training/optimizer=sgd"]),
            ("trainig.epochs=3", ["unknown key `trainig`", "did you mean `training`?"]),
            ("training.epoch=3", ["unknown key `training.epoch`", "did you mean `training.epochs`?"]),
            ("epochs=3", ["unknown key `epochs`", "did you mean `training.epochs`?"]),
            ("data.split.tset_fraction=0.1", ["did you mean `data.split.test_fraction`?", "valid: by_group, on_leak"]),
            ("training.early_stopping.zzz=1", ["`training.early_stopping` takes: min_delta, patience"]),
            ("model.hidden=[453]", ["unknown key `model.hidden`", "a key of model=mlp", "this is model=cnn"]),
            ("data.group_column=who", ["a key of data=csv", "this is data=digits"]),
            ("training.epochs=ten", ['`training.epochs` is "ten"', "a whole number"]),
            ("training.epochs=1.5", ["`training.epochs` is 1.5", "a whole number"]),
            ("training.epochs=true", ["`training.epochs` is true", "a whole number"]),
            ("training.epochs=null", ["`training.epochs` is null", "a whole number"]),
            ("training.epochs={a: 1}", ['is {"a": 1}', "a whole number"]),
            ("training.learning_rate=nan", ["a finite number"]),
            ("training.learning_rate=fast", ['is "fast"', "expected a number"]),
            ("run.train=1", ["`run.train` is 1", "true or false"]),
            ("run.train=yess", ['is "yess"', "true or false"]),
            ("run.tags=a", ['`run.tags` is "a"', "a list of texts"]),
            ("run.tags=[a,3]", ["`run.tags[1]` is 3", "expected text"]),
            ("training.class_weights=[1,x]", ["`training.class_weights[1]`", "expected a number"]),
            ("training.class_weights=even", ["one of none, balanced or a list of numbers"]),
            ("training.precision=fp61", ["one of fp32, bf16, fp16", "did you mean `fp16`?"]),
            ("tracker=tensorbord", ["did you mean `tensorboard`?"]),
            ("model.name=cn", ['`model.name` is "cn"', "did you mean `cnn`?"]),
            ("training=null", ["`training` is null", "expected a section"]),
            ("training.epochs.x=3", ["`training.epochs` is 12, not a section"]),
            ("training.optimizer={lr: 1}", ["is 1, but the learning rate is `training.learning_rate`"]),
            ("training.optimizer.weight_decay=inf", ["a finite number"]),
            ("training.criterion._target_=CrossEntropyLoss", ["expected a dotted name"]),
            ("training.epochs=[1,2", ["cannot be parsed", "[1,2"]),
            ("training.epochs", ["not of the form key=value"]),
            ("", ["not of the form key=value"]),
            ("=3", ["unknown key ``"]),
            ("training.epochs=1,2", ["sweep"]),
            ("model@x=cnn", ["names a package"]),
            ("run.note='unclosed", ["cannot be parsed"]),
            ("clé=3", ["cannot be parsed"]),
            ("_target_=os.system", ["unknown key `_target_`"]),
            ("recipe=digts", ['no recipe "digts"; did you mean `digits`?']),
        ],
    )
    def test_a_fault_is_told_with_value_place_and_nearest(self, override: str, words: list[str]) -> None:
        told = fault(override)
        for word in words:
            assert word in told
        if not override.startswith("recipe"):
            assert "command line" in told
            assert override in told

    def test_all_faults_are_told_at_once(self, tmp_path: Path) -> None:
        path = yaml_file(tmp_path, "training:\n  batch_sise: 8\n  epochs: 0\nrun: {seed: -1}\n")
        told = faults("training.precision=fp61", "modle=cnn", "run.tags=[", "data=csv", recipe=path)
        assert len(told) == 7
        joined = "\n".join(told)
        for words in ("batch_size", "epochs` is 0", "seed` is -1", "fp16", "`model`?", "run.tags=[", "data.path"):
            assert words in joined
        assert f"{path}, line 2" in joined

    def test_one_slip_is_told_once(self) -> None:
        assert "no choice `mpl`" in fault("model=mpl", "model.hidden=[453]", "model.dropout=0.1")
        assert "no recipe" in fault("model.hidden=[3]", recipe="mnist_mpl")

    def test_unsafe_target(self) -> None:
        with pytest.raises(UnsafeTargetError) as caught:
            compose("digits", ["training.optimizer._target_=os.system"])
        assert "os.system" in caught.value.what
        assert "torch.optim" in caught.value.what
        assert "training.optimizer" in caught.value.what
        assert "--trust" in caught.value.remedy
        assert caught.value.exit_code == 2
        told = faults("training.optimizer._target_=os.system", "training.epochs=0")
        assert len(told) == 2
        config = compose("digits", ["training.optimizer._target_=my.own.Optimizer"], trust=True)
        assert config.training.optimizer == {"_target_": "my.own.Optimizer"}

    @settings(deadline=None, max_examples=25)
    @given(st.text(max_size=30))
    @example("a=" + "[" * 2000)
    @example("run.note=\udcff")
    @example("a=int(x)")
    @example("~=")
    def test_any_text_is_a_configuration_or_a_designed_fault(self, text: str) -> None:
        for override in (text, f"run.note={text}", f"training.epochs={text}", f"training.optimizer.a={text}"):
            with suppress(ConfigError, UnsafeTargetError):
                assert isinstance(compose("digits", [override]), Config)


class TestLike:
    BASE = Config(
        data=NpzData("x.npz", split=SplitOptions(seed=3)),
        model=MlpModel(hidden=(9,)),
        recipe="mnist_mlp",
        layout="dated",
    )

    def test_repeats(self) -> None:
        assert compose(base=to_dict(self.BASE)) == self.BASE

    def test_overrides_apply_on_top(self) -> None:
        config = compose(base=to_dict(self.BASE), overrides=["model.dropout=0.5", "training/scheduler=cosine"])
        assert config.model == MlpModel(hidden=(9,), dropout=0.5)
        assert (config.data, config.layout, config.recipe) == (self.BASE.data, "dated", "mnist_mlp")
        assert config.training.scheduler == {
            "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
            "T_max": self.BASE.training.epochs,
        }

    def test_a_group_replaces_its_section(self) -> None:
        assert compose(base=to_dict(self.BASE), overrides=["model=cnn"]).model == CnnModel()
        assert compose(base=to_dict(self.BASE), overrides=["data=digits"]).data == DigitsData()

    def test_faults(self) -> None:
        base = to_dict(self.BASE)
        base["training"]["epoch"] = 3
        told = fault(base=base)
        assert "did you mean `training.epochs`?" in told
        assert "the other run" in told
        assert "its recipe" in fault("recipe=digits", base=to_dict(self.BASE))

    def test_unsafe_target_of_somebody_else(self) -> None:
        base = to_dict(self.BASE)
        base["training"]["criterion"] = {"_target_": "subprocess.Popen", "args": ["ls"]}
        with pytest.raises(UnsafeTargetError, match=r"subprocess\.Popen"):
            compose(base=base)

    @settings(deadline=None, max_examples=40)
    @given(st.text(alphabet=st.sampled_from("\\${}ab'\":. ?\n"), max_size=12))
    @example("${run.seed}")
    @example("\\\\${oc.env:HOME}\\")
    @example("???")
    def test_nothing_in_it_is_resolved_again(self, note: str) -> None:
        base = replace(self.BASE, run=replace(self.BASE.run, note=note, tags=(note,)))
        assert compose(base=to_dict(base), overrides=["training.log_every=${training.epochs}"]).run == base.run


class TestManners:
    """Hydra keeps its state in globals; none of it is ours to touch. Each in a process with nothing initialised yet."""

    def test_an_outer_hydra_program_is_left_alone(self) -> None:
        run_python("""
            from hydra import compose as hydra_compose, initialize_config_module
            from hydra.core.config_store import ConfigStore
            from hydra.core.global_hydra import GlobalHydra
            from hydra.version import VersionBase
            from omegaconf import OmegaConf
            from trainyard.config.compose import compose

            with initialize_config_module("trainyard.conf", version_base="1.2"):
                OmegaConf.register_new_resolver("now", lambda pattern: "the program's own", replace=True)
                outer, stored = GlobalHydra.instance().hydra, str(ConfigStore.instance().repo)
                config = compose("digits", ["model=mlp", "run.note=${now:%Y}"])
                assert (config.model.name, config.run.note) == ("mlp", "the program's own")
                assert GlobalHydra.instance().hydra is outer
                assert str(ConfigStore.instance().repo) == stored
                assert str(VersionBase.instance().getbase()) == "1.2"
                assert hydra_compose("config").model.name == "cnn"
            """)

    def test_inside_a_main_of_hydra_and_its_threads(self, tmp_path: Path) -> None:
        run_python(
            """
            from concurrent.futures import ThreadPoolExecutor
            import hydra
            from hydra.core.global_hydra import GlobalHydra
            from hydra.core.hydra_config import HydraConfig
            from trainyard.config.compose import compose

            def model(name):
                return compose("digits", [f"model={name}", "run.note=${hydra:job.name}"])

            @hydra.main(config_path=None, config_name=None, version_base="1.3")
            def main(config):
                outer = GlobalHydra.instance().hydra
                with ThreadPoolExecutor(8) as pool:
                    configs = list(pool.map(model, ["mlp", "cnn"] * 8))
                assert [config.model.name for config in configs] == ["mlp", "cnn"] * 8
                assert {config.run.note for config in configs} == {HydraConfig.get().job.name}
                assert GlobalHydra.instance().hydra is outer

            main()
            """,
            cwd=tmp_path,
        )

    def test_threads(self) -> None:
        run_python("""
            from concurrent.futures import ThreadPoolExecutor
            from trainyard.config.compose import compose

            with ThreadPoolExecutor(8) as pool:
                configs = list(pool.map(lambda name: compose("digits", [f"model={name}"]), ["mlp", "cnn"] * 8))
            assert [config.model.name for config in configs] == ["mlp", "cnn"] * 8
            """)

    def test_imports_are_light(self) -> None:
        run_python("""
            import sys
            from trainyard.config.compose import compose
            import trainyard.config.targets, trainyard.config.names
            assert not {"hydra", "omegaconf"} & set(sys.modules)
            compose("digits")
            assert "hydra" not in sys.modules
            compose("digits", ["model=mlp"])
            heavy = {"torch", "transformers", "pandas", "matplotlib", "sklearn", "numpy"}
            assert not heavy & set(sys.modules), heavy & set(sys.modules)
            """)


def test_resolvers_of_hydra() -> None:
    run_python("""
        import sys, time
        from trainyard.config.compose import compose
        overrides = ["run.note=${run.name}", "run.name=run-${now:%Y}", "run.project=py${python_version:}"]
        run = compose("digits", overrides).run
        assert run.name in (f"run-{time.localtime().tm_year}", f"run-{time.localtime().tm_year - 1}")
        assert run.note == run.name
        assert run.project == "py{}.{}".format(*sys.version_info)
        """)


def run_python(code: str, cwd: Path | None = None) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", dedent(code)], check=True, timeout=60, cwd=cwd)

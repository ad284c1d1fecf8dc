"""Targets: what may be built, every known way out of the allow-list, and arguments that do not fit."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import torch

from trainyard.config.convert import from_dict
from trainyard.config.targets import build_target, target_accepts, validate_target
from trainyard.errors import ConfigError, UnsafeTargetError

ADAMW = "torch.optim.AdamW"


def parameters() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.ones(2))]


def test_builds_with_positional_spec_and_extra_arguments() -> None:
    optimizer = build_target({"_target_": ADAMW, "betas": [0.8, 0.9], "lr": 9}, parameters(), lr=0.5)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["betas"] == (0.8, 0.9)
    assert optimizer.defaults["lr"] == 0.5


def test_schedulers_and_criteria() -> None:
    optimizer = torch.optim.SGD(parameters(), lr=1.0)
    spec = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 4}
    scheduler = build_target(spec, optimizer)
    expected = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD(parameters(), lr=1.0), 4)
    assert scheduler.get_last_lr() == expected.get_last_lr()
    loss = build_target({"_target_": "torch.nn.CrossEntropyLoss"}, label_smoothing=0.1)
    assert loss.label_smoothing == 0.1


def test_nested_targets_and_partials() -> None:
    spec = {"_target_": "torch.nn.TransformerEncoder", "num_layers": 1, "enable_nested_tensor": False}
    layer = {"_target_": "torch.nn.TransformerEncoderLayer", "d_model": 4, "nhead": 2}
    assert isinstance(build_target({**spec, "encoder_layer": layer}), torch.nn.TransformerEncoder)
    partial = build_target({"_target_": ADAMW, "_partial_": True, "lr": 0.1})
    assert isinstance(partial, functools.partial)
    assert partial(parameters()).defaults["lr"] == 0.1


def test_lists_of_targets_are_built() -> None:
    import audiomentations

    gain = {"_target_": "audiomentations.Gain", "min_gain_db": -3.0, "max_gain_db": -3.0, "p": 1.0}
    spec = {"_target_": "audiomentations.Compose", "transforms": [gain, {**gain, "p": 0.0}]}
    validate_target(spec)
    chain = build_target(spec)
    assert [type(part) for part in chain.transforms] == [audiomentations.Gain] * 2
    heard = chain(torch.ones(8).numpy() * 0.5, sample_rate=16000)
    assert heard == pytest.approx(0.5 * 10 ** (-3 / 20))


def test_the_spec_is_not_changed() -> None:
    spec: dict[str, Any] = {"_target_": ADAMW, "betas": [0.8, 0.9]}
    build_target(spec, parameters(), lr=1e-3)
    assert spec == {"_target_": ADAMW, "betas": [0.8, 0.9]}


def test_own_models_and_listed_functions() -> None:
    spec: dict[str, Any] = {"_target_": "trainyard.models.MLP"}
    mlp = build_target(spec, 4, [3], 2, 0.0)
    assert mlp(torch.ones(1, 4)).shape == (1, 2)
    spec = {"_target_": "transformers.get_constant_schedule_with_warmup", "num_warmup_steps": 2}
    scheduler = build_target(spec, torch.optim.SGD(parameters(), lr=1.0))
    assert isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR)


ESCAPES = [
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "torchx.optim.AdamW",
    "torch.load",
    "torch.hub.load",
    "torch.os.system",
    "torch.serialization.pickle.loads",
    "torch.utils.data.DataLoader",
    "torch.utils.cpp_extension.load",
    "torch.utils.tensorboard.SummaryWriter",
    "torch.package.PackageImporter",
    "torch.PyTorchFileWriter",
    "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler",
    "torch.multiprocessing.Process",
    "torch.nn.functional.cross_entropy",
    "torch.nn.init.zeros_",
    "torch.nn.modules.container.operator.methodcaller",
    "torch.nn.modules.container.OrderedDict",
    "torch.nn.modules.module.functools.partial",
    "torch.nn.modules.module.torch.load",
    "torch.optim.optimizer.functools.partial",
    "torch.optim.lr_scheduler.partial",
    "torch.optim.lr_scheduler.warnings.sys.exit",
    "torch.optim.lr_scheduler.math.sqrt",
    "torch.optim._functional.Tensor",
    "torch.optim.AdamW.step",
    "torch.optim.AdamW.__init__.__globals__",
    "torch.nn.Module.__subclasses__",
    "torch.nn.Linear.mro",
    "transformers.pipeline",
    "transformers.AutoModel",
    "transformers.Trainer",
    "transformers.get_scheduler",
    "transformers.Adafactor.step",
    "transformers.optimization.math.sqrt",
    "transformers.optimization.torch.load",
    "audiomentations.core.audio_loading_utils.load_sound_file",
    "audiomentations.augmentations.gain.random.SystemRandom",
    "trainyard.config.pyfile.PythonFile",
    "trainyard.durable.write_bytes",
    "trainyard.jsonl.Appender",
    "trainyard.errors.TrainyardError",
    "trainyard.config.compose.compose",
    "trainyard.models.build_model",
    "trainyard.models.kind.math.prod",
    "trainyard.models.mlp.torch.load",
]


@pytest.mark.parametrize("target", ESCAPES)
def test_every_way_out_is_closed(target: str) -> None:
    with pytest.raises(UnsafeTargetError) as caught:
        build_target({"_target_": target})
    assert target in caught.value.what
    assert "torch.optim" in caught.value.what
    assert "--trust" in caught.value.remedy


@pytest.mark.parametrize("place", ["argument", "list", "mapping", "partial"])
def test_nested_targets_are_checked_before_anything_is_built(place: str) -> None:
    bad = {"_target_": "os.system", "command": "false"}
    value: Any = {"argument": bad, "list": [[bad]], "mapping": {"a": bad}, "partial": {**bad, "_partial_": True}}[place]
    spec = {"_target_": "torch.nn.Identity", "x": value}
    for check in (validate_target, build_target):
        with pytest.raises(UnsafeTargetError, match=r"os\.system"):
            check(spec)


def test_validation_imports_nothing() -> None:
    code = (
        "import sys\n"
        "from trainyard.config.targets import validate_target\n"
        "validate_target({'_target_': 'torch.optim.AdamW'})\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_trust_opens_the_rest() -> None:
    assert build_target({"_target_": "collections.Counter"}, "aab", trust=True) == Counter("aab")
    assert build_target({"_target_": "math.sqrt"}, 4.0, trust=True) == 2.0
    nested = {"_target_": "builtins.dict", "a": {"_target_": "collections.Counter"}}
    assert build_target(nested, trust=True) == {"a": Counter()}
    with pytest.raises(ConfigError, match="module"):
        build_target({"_target_": "os.path"}, trust=True)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, ["no `_target_`"]),
        ({"_target_": 3}, ["`_target_` is 3", "dotted name"]),
        ({"_target_": "AdamW"}, ['"AdamW"', "dotted name"]),
        ({"_target_": "torch.optim."}, ["dotted name"]),
        ({"_target_": "torch.optim.Adam W"}, ["dotted name"]),
        ({"_target_": "torch.optim.AdmW"}, ["torch.optim has no `AdmW`", "did you mean `torch.optim.AdamW`?"]),
        ({"_target_": "torch.optim.lr_schedular.StepLR"}, ["did you mean `torch.optim.lr_scheduler`?"]),
        ({"_target_": "torch.nn.functional"}, ["is a module"]),
        ({"_target_": ADAMW, "_partail_": True}, ["`_partail_`", "did you mean `_partial_`?"]),
        ({"_target_": ADAMW, "_partial_": "yes"}, ['`_partial_` of torch.optim.AdamW is "yes"']),
        ({"_target_": ADAMW, "beta": 1}, ["`beta` (given 1)", "did you mean `betas`?", ADAMW]),
        ({"_target_": ADAMW, "weight_decya": 1}, ["did you mean `weight_decay`?"]),
        ({"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": -1}, ["rejects its arguments", "momentum"]),
    ],
)
def test_faults_name_the_target_and_the_nearest(spec: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_target(spec, parameters())
    for word in words:
        assert word in str(caught.value)


def test_a_missing_argument_is_named() -> None:
    spec = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR"}
    with pytest.raises(ConfigError, match="'T_max'") as caught:
        build_target(spec, torch.optim.SGD(parameters(), lr=1.0))
    assert "eta_min" in caught.value.remedy


def test_two_unknown_arguments_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        build_target({"_target_": ADAMW, "beta": 1, "epsilon": 2}, parameters())
    assert len(caught.value.problems) == 2


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    with pytest.raises(ConfigError, match="audiomentations") as caught:
        build_target({"_target_": "audiomentations.Gain"})
    assert "Install audiomentations" in caught.value.remedy


def test_target_accepts() -> None:
    assert target_accepts({"_target_": ADAMW}, "fused")
    assert not target_accepts({"_target_": "torch.optim.LBFGS"}, "fused")
    assert target_accepts({"_target_": "torch.nn.CrossEntropyLoss"}, "label_smoothing")
    assert not target_accepts({"_target_": "torch.nn.MSELoss"}, "label_smoothing")
    with pytest.raises(UnsafeTargetError):
        target_accepts({"_target_": "os.system"}, "command")


def test_a_saved_configuration_may_name_targets_where_they_used_to_be() -> None:
    saved = {"training": {"criterion": {"_target_": "trainyard.training.losses.FocalLoss", "gamma": 1.5}}}
    config = from_dict({"data": {"source": "text"}, "model": {"name": "text_encoder", "pretrained": False}, **saved})
    assert config.training.criterion == {"_target_": "trainyard.tasks.losses.FocalLoss", "gamma": 1.5}
    assert build_target(config.training.criterion).gamma == 1.5

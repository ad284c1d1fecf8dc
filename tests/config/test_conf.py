"""The shipped YAML: every choice of every group builds, and says nothing that the schema says already."""

from __future__ import annotations

from importlib.resources import files

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from trainyard.config.compose import compose
from trainyard.config.recipes import groups
from trainyard.config.targets import build_target
from trainyard.config.yamlfile import YamlFile

CHOICES = [(group, option) for group, options in groups().items() for option in options if group != "recipe"]


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_every_choice_composes(group: str, option: str) -> None:
    path = ["data.path=x"] if group == "data" and option != "digits" else []
    config = compose("digits", [f"{group}={option}", *path])
    if group in ("data", "model"):
        section = getattr(config, group)
        assert option == (section.source if group == "data" else section.name)


@pytest.mark.parametrize("option", groups()["training/scheduler"])
def test_every_scheduler_builds(option: str) -> None:
    spec = compose("digits", [f"training/scheduler={option}"]).training.scheduler
    assert spec is not None
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    assert build_target(spec, optimizer).optimizer is optimizer


@pytest.mark.parametrize("option", groups()["training/optimizer"])
def test_every_optimizer_builds(option: str) -> None:
    spec = compose("digits", [f"training/optimizer={option}"]).training.optimizer
    assert isinstance(build_target(spec, [torch.nn.Parameter(torch.ones(1))], lr=0.1), torch.optim.Optimizer)


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_every_choice_opens_with_what_it_is(group: str, option: str) -> None:
    text = (files("trainyard.conf") / group / f"{option}.yaml").read_text(encoding="utf-8")
    assert text.startswith(("#", "_target_"))


scalars = st.one_of(
    st.sampled_from(
        [
            "1e-3",
            "1E5",
            "-2e+4",
            ".5",
            "-.5e3",
            "1.",
            "+1",
            "0x1f",
            "010",
            "1_000",
            "on",
            "null",
            "2024-01-01",
            "0_E0",
            "0_.5e1",
            "._5",
        ]
    ),
    st.from_regex(r"\A[-+]?[0-9._eE+-]{1,8}\Z"),
)


@settings(deadline=None)
@given(scalars)
def test_scalars_are_read_as_hydra_reads_them(text: str) -> None:
    """OmegaConf is the oracle; a plain scalar that it refuses must be refused here too."""
    document = f"key: {text}\n"
    ours = YamlFile("x", document)
    try:
        theirs = OmegaConf.to_container(OmegaConf.create(document))
    except (ValueError, yaml.YAMLError):
        assert ours.faults
        return
    assert ours.values == theirs
    assert type(ours.values["key"]) is type(theirs["key"])  # type: ignore[index,call-overload]

"""What artifacts may be called, and what references mean."""

from __future__ import annotations

import pytest

from trainyard.artifacts.names import LATEST, Reference, check_alias, check_name, check_path, derived_name, parse
from trainyard.errors import BadNameError
from trainyard.testing.contracts import HOSTILE_NAMES, UNSAFE_NAMES


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("model", Reference("model", None, LATEST)),
        ("model:latest", Reference("model", None, "latest")),
        ("model:v3", Reference("model", None, "v3")),
        ("model:best", Reference("model", None, "best")),
        ("demo/model:v0", Reference("model", "demo", "v0")),
        ("a:b/model", Reference("model", "a:b", LATEST)),  # a project may have a colon
        ("v3", Reference("v3", None, LATEST)),  # and an artifact may be called like a version
    ],
)
def test_references(text, meant):
    assert parse(text) == meant
    assert parse(text).number == (int(meant.version[1:]) if meant.version in ("v3", "v0") else None)


@pytest.mark.parametrize("name", UNSAFE_NAMES, ids=ascii)
def test_unsafe_names_are_refused_everywhere(name):
    for refused in (check_name, check_alias):
        with pytest.raises(BadNameError) as caught:
            refused(name)
        assert caught.value.value == name
        assert caught.value.remedy
    if "/" not in name:
        with pytest.raises(BadNameError):
            parse(f"{name}/model")
        with pytest.raises(BadNameError):
            check_path(f"a/{name}/b")


@pytest.mark.parametrize(
    "text", ["", ":v1", "model:", "model:v01", "model:7", "a/b/model", "/model", "model/", "m:v1:v2", "../x", "demo/.."]
)
def test_references_that_cannot_be(text):
    with pytest.raises(BadNameError):
        parse(text)


@pytest.mark.parametrize("alias", ["v1", "v01", "7", "V2", "a:b"])
def test_an_alias_cannot_look_like_a_version(alias):
    with pytest.raises(BadNameError):
        check_alias(alias)


@pytest.mark.parametrize(
    "path", ["../a", "/etc/passwd", "a//b", "a/./b", "a/../b", "", "a/", "nul\0", ".run/journal.jsonl"]
)
def test_paths_that_leave_the_artifact(path):
    with pytest.raises(BadNameError) as caught:
        check_path(path)
    assert caught.value.value == path
    assert caught.value.remedy


@pytest.mark.parametrize("run", [*HOSTILE_NAMES, "a:b", "x" * 255, "é" * 127], ids=ascii)
def test_any_run_has_artifacts(run):
    name = derived_name("predictions", run)
    assert check_name(name) == name
    assert len(name.encode()) <= 255
    assert name.startswith("predictions-")


def test_long_names_stay_apart():
    names = {derived_name("model", "x" * 254 + last) for last in "abc"}
    assert len(names) == 3

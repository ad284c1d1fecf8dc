"""The grid: every experiment of it is one, its files say what their paths say, and no file is written over."""

from __future__ import annotations

import ast
import errno
from pathlib import Path

import pytest

from trainyard.audio.schema import CORPORA, ENCODERS, METHODS
from trainyard.audio.study import grid as module
from trainyard.audio.study.grid import (
    DATASETS,
    Experiment,
    experiment_text,
    grid,
    layer_sets,
    layers_of,
    names,
    write_experiments,
)
from trainyard.audio.study.layers import parse_layers
from trainyard.config.compose import compose, to_dict
from trainyard.config.names import parse_name
from trainyard.errors import ConfigError, DiskFullError, UserError


@pytest.mark.parametrize(
    ("count", "sets"),
    [
        (4, ("01", "23")),
        (6, ("012", "345", "01", "23", "45")),
        (12, ("0-5", "6-11", "0-3", "4-7", "8-11")),
        (24, ("0-11", "12-23", "0-7", "8-15", "16-23")),
        (32, ("0-15", "16-31")),
    ],
)
def test_halves_and_thirds(count: int, sets: tuple[str, ...]) -> None:
    assert layer_sets(count) == sets
    halves = [layer for text in sets[:2] for layer in parse_layers(text, count)[0]]
    thirds = [layer for text in sets[2:] for layer in parse_layers(text, count)[0]]
    assert halves == list(range(count))
    assert thirds in ([], list(range(count)))


def test_the_whole_grid() -> None:
    """Counted by hand: 13 names of whisper tiny and large, 25 of any other size, frozen ones having no layers."""
    assert len(list(names())) == len(set(names())) == 2 * 13 + 3 * 25 + 4 * 2 * 25
    assert len(grid()) == 7 * 301
    assert len(DATASETS) == 7
    assert set(DATASETS) <= set(CORPORA)
    every = [parse_name(name) for name in names()]
    assert {(one["type"], one["size"], one["method"]) for one in every if one} == {
        (kind, size, method) for kind, sizes in ENCODERS.items() for size in sizes for method in METHODS
    }


@pytest.mark.parametrize("name", ["whisper_base_lora_012", "wav2vec2_base_frozen", "hubert_large_adapter"])
def test_the_documented_names_are_in_it(name: str) -> None:
    assert Experiment("recanvo", name) in grid()


def test_a_name_outside_it_trains_all_the_same() -> None:
    assert "whisper_small_lora_7-12" not in names()
    assert compose("e/recanvo/whisper_small_lora_7-12.py", ["data.path=x"]).model.layers == "7-12"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", sorted(names())[::7])
def test_every_file_is_what_its_path_says(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recanvo" / f"{name}.py"
    missing = compose(str(path), ["data.path=x"])
    write_experiments(tmp_path, [Experiment("recanvo", name)])
    assert compose(str(path), ["data.path=x"]) == missing
    moved = tmp_path / "mine" / "any.py"
    moved.parent.mkdir()
    path.rename(moved)
    there = compose(str(moved), ["data.path=x", "data.dataset=recanvo"])
    assert to_dict(there) | {"recipe": ""} == to_dict(missing) | {"recipe": ""}


def test_the_layers_of_a_name() -> None:
    assert layers_of("whisper_base_lora_012") == (0, 1, 2)
    assert layers_of("whisper_tiny_full") == (0, 1, 2, 3)
    assert layers_of("whisper_tiny_frozen") == ()


def test_a_file_is_python_of_plain_values() -> None:
    tree = ast.parse(experiment_text("recanvo", "whisper_base_lora_012"))
    assert ast.get_docstring(tree)
    assert [type(node) for node in tree.body] == [ast.Expr, ast.Assign, ast.Assign]
    with pytest.raises(ConfigError) as caught:
        experiment_text("recanvo", "nothing")
    assert "`nothing`" in caught.value.what


@pytest.mark.parametrize(
    ("patterns", "count"),
    [
        (["whisper_base"], 25),
        (["whisper_base_lora"], 6),
        (["whisper_base_lora_012"], 1),
        (["*_lora_*"], 2 * 2 + 11 * 5),
        (["*_frozen"], 13),
        (["whisper_tiny_frozen", "whisper_tiny"], 13),
    ],
)
def test_patterns(patterns: list[str], count: int) -> None:
    assert len(grid(["recanvo"], patterns)) == count
    assert len(grid(models=patterns)) == 7 * count


def test_faults_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        grid(["recanvoo", "fsdd"], ["whisper_bse", "zzz*"])
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    for words in ("`recanvo`", "`fsdd`", "`base`", "`zzz*`"):
        assert words in told


class TestWriting:
    ONE = Experiment("recanvo", "whisper_base_lora_012")

    def test_files_that_are_there_stay(self, tmp_path: Path) -> None:
        found = grid(["recanvo", "vivae"], ["whisper_base_lora"])
        first = write_experiments(tmp_path / "e", found)
        assert len(first.new) == 12
        assert sorted(path for path in (tmp_path / "e").rglob("*") if path.is_file()) == sorted(first.new)
        first.new[0].write_text("mine\n")
        first.new[1].unlink()
        second = write_experiments(tmp_path / "e", found)
        assert (second.new, second.changed) == ([first.new[1]], [first.new[0]])
        assert len(second.same) == 10
        assert first.new[0].read_text() == "mine\n"

    def test_what_is_no_file_counts_as_changed(self, tmp_path: Path) -> None:
        path = tmp_path / self.ONE.path
        path.mkdir(parents=True)
        assert write_experiments(tmp_path, [self.ONE]).changed == [path]

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "recanvo").write_text("a file")
        with pytest.raises(UserError, match="cannot be written") as caught:
            write_experiments(tmp_path, [self.ONE])
        assert caught.value.exit_code == 2

    def test_a_full_disk_leaves_no_half_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(path: Path, text: str) -> None:
            with path.open("x") as file:
                try:
                    file.write(text[:10])
                    raise OSError(errno.ENOSPC, "No space left on device")
                except OSError:
                    path.unlink()
                    raise

        monkeypatch.setattr(module, "_write_new", full)
        with pytest.raises(DiskFullError, match="No space left"):
            write_experiments(tmp_path, [self.ONE])
        assert not (tmp_path / self.ONE.path).exists()

"""`trainyard experiments`: the grid as a list, as JSON and as files; and training what it lists."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Kept, trainyard

from trainyard.audio.study.grid import grid
from trainyard.layouts import load_layout
from trainyard.runs import Yard, create_run


def test_it_lists_a_page_and_counts_all():
    outcome = trainyard("experiments")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "2107 experiments: 301 models on 7 corpora"
    assert lines[1].split() == ["dataset", "name", "layers", "changed", "finished", "runs"]
    assert len(lines) == 2 + 30 + 1
    assert lines[-1] == "1-30 of 2107; more with --offset 30"
    assert max(map(len, lines)) <= 100


def test_filters_and_pages():
    outcome = trainyard("experiments", "--dataset", "recanvo", "--model", "whisper_base_lora", "--limit", 2)
    assert outcome.out.splitlines() == [
        "6 experiments: 6 models on 1 corpus",
        "dataset  name                   layers changed  finished runs",
        "recanvo  whisper_base_lora      0 to 5          -",
        "recanvo  whisper_base_lora_012  0 to 2          -",
        "1-2 of 6; more with --offset 2",
    ]
    both = trainyard("experiments", "--dataset", "vivae", "--dataset", "cnvve", "--model", "*_frozen", "--offset", 25)
    assert [line.split()[:3] for line in both.out.splitlines()[2:]] == [["vivae", "unispeech_sat_large_frozen", "none"]]


def test_json_is_the_whole_grid():
    outcome = trainyard("experiments", "--json")
    assert outcome.code == 0
    assert [(one["dataset"], one["name"]) for one in outcome.json] == [(one.dataset, one.name) for one in grid()]
    assert next(one for one in outcome.json if one["path"] == "recanvo/whisper_base_lora_012.py") == {
        "dataset": "recanvo",
        "name": "whisper_base_lora_012",
        "path": "recanvo/whisper_base_lora_012.py",
        "model": {"name": "encoder", "type": "whisper", "size": "base", "method": "lora", "layers": "012"},
        "changed_layers": [0, 1, 2],
        "finished_runs": 0,
    }


def test_it_counts_the_finished_runs_of_the_yard(empty: Kept):
    yard, layout = Yard(empty.root, create=True), load_layout("grouped")
    for state in ("finished", "finished", "failed"):
        with create_run(yard, layout, project="p", dataset="recanvo", model="whisper_base_lora_012") as run:
            run.finish(state, "why" if state == "failed" else None)
    (one,) = empty("experiments", "--model", "whisper_base_lora_012", "--dataset", "recanvo", "--json").json
    assert one["finished_runs"] == 2
    assert empty("experiments", "--model", "whisper_base_lora_012").out.splitlines()[-3].split()[-1] == "2"


def test_it_writes_files_and_keeps_those_that_are_there():
    arguments = ("experiments", "mine", "--dataset", "recanvo", "--model", "whisper_base_lora")
    outcome = trainyard(*arguments)
    assert (outcome.code, outcome.out) == (0, "wrote 6 files to mine/\n")
    path = Path("mine/recanvo/whisper_base_lora_012.py")
    assert 'type="whisper"' in path.read_text()
    path.write_text("training = dict(epochs=1)\n")
    Path("mine/recanvo/whisper_base_lora_345.py").unlink()
    outcome = trainyard(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "wrote 1 file to mine/, 4 files already there",
        "kept 1 file that you changed:",
        f"  {path}",
    ]
    assert path.read_text() == "training = dict(epochs=1)\n"
    outcome = trainyard(*arguments, "--json")
    assert {kind: len(paths) for kind, paths in outcome.json.items()} == {"new": 0, "same": 5, "changed": 1}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--dataset", "recanvoo"], ("`recanvoo`", "`recanvo`")),
        (["--model", "whisper_bse"], ("fits `whisper_bse`", "did you mean `base`?")),
        (["--model", "*_lorra_*"], ("`*_lorra_*`",)),
        (["a_file"], ("is a file",)),
        (["mine", "--limit", "3"], ("--limit", "--offset", "--dataset")),
        (["--limit", "0"], ("--limit",)),
    ],
)
def test_what_cannot_be_is_refused_and_writes_nothing(words, says):
    Path("a_file").write_text("")
    outcome = trainyard("experiments", *words)
    assert (outcome.code, outcome.out) == (2, "")
    for word in says:
        assert word in outcome.err
    assert "\n  → " in outcome.err
    assert [path.name for path in Path().iterdir()] == ["a_file"]


def test_a_folder_that_cannot_be_written():
    Path("mine").mkdir()
    Path("mine/recanvo").write_text("")
    outcome = trainyard("experiments", "mine", "--dataset", "recanvo")
    assert outcome.code == 2
    assert "mine/recanvo/whisper_tiny_frozen.py cannot be written" in outcome.err


@pytest.mark.parametrize("written", [False, True])
def test_what_is_listed_can_be_trained(written):
    if written:
        trainyard("experiments", "experiments_configs", "--dataset", "recanvo")
    path = "experiments_configs/recanvo/whisper_base_lora_012.py"
    outcome = trainyard("train", path, "data.path=there", "--print-config")
    assert outcome.code == 0
    assert "layers: '012'" in outcome.out
    assert f"recipe: {path}" in outcome.out
    assert "dataset: recanvo" in outcome.out


def test_it_is_light():
    code = (
        "import sys, json\nsys.argv = ['trainyard', 'experiments', '--limit', '1']\n"
        "from trainyard.cli.main import app\n"
        "app.main(prog_name='trainyard', standalone_mode=False)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    heavy = {"torch", "transformers", "numpy", "pandas", "matplotlib", "hydra", "omegaconf", "yaml", "librosa"}
    assert not heavy & set(json.loads(done.stdout.splitlines()[-1]))

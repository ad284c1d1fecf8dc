"""A user's own loop, kept in a yard, and read back."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import killing
import numpy as np
import pandas
import pytest
import torch
import yaml
from faults import flip_byte
from torch import nn

import trainyard
from trainyard.errors import (
    BadNameError,
    CheckpointError,
    CorruptError,
    LayoutError,
    NameTakenError,
    NotResumableError,
    RunBusyError,
    RunNotFoundError,
    YardError,
)
from trainyard.layouts import LAYOUTS
from trainyard.runs import RunReader, Yard
from trainyard.upkeep.verify import Tally, verify_yard

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def bare_loop(
    steps: int, keep: Callable[[int, float, dict[str, Any]], None], state: dict[str, Any] | None = None
) -> Any:
    """Someone's own training: returns the weights after `steps`."""
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    start = 0
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    for step in range(start + 1, steps + 1):
        inputs = torch.full((3, 4), float(step))
        loss = model(inputs).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        keep(step, loss.item(), {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step})
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_whole_run_in_any_layout(tmp_path: Path, layout: str) -> None:
    yard = tmp_path / "yard"
    classes = ["cat", "dog"]
    with trainyard.start_run(
        "pets",
        config={"lr": 1e-3, "sizes": [1, 2]},
        model="net",
        layout=layout,
        yard=yard,
        seed=3,
        tags=["x"],
        note="hi",
    ) as run:

        def keep(step: int, loss: float, state: dict[str, Any]) -> None:
            run.log({"loss": loss}, step=step)
            if step % 4 == 0:
                run.log({"loss": loss / 2, "accuracy": step / 12}, step=step, epoch=step / 4, split="val")
                run.save_checkpoint(state, step=step, epoch=step / 4, metrics={"val_loss": loss / 2}, best=step == 8)

        weights = bare_loop(12, keep)
        probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
        run.save_predictions(["a", "b", "c"], [0, 1, 1], probabilities, classes, split="val", epoch=1)
        run.save_predictions(["a", "b", "c"], [0, 1, 1], probabilities, classes)
        run.save_file(b"anything", "notes/about.txt")
        run.summary(test_accuracy=2 / 3)
        home = run.home

    stored = trainyard.open(yard).run("last")
    assert (stored.project, stored.dataset, stored.model, stored.state) == ("pets", "data", "net", "finished")
    assert stored.home == home
    assert stored.config == {"lr": 1e-3, "sizes": [1, 2]}
    assert stored.summary == {"test_accuracy": 2 / 3}
    assert [row["loss"] for row in stored.history() if row["split"] == "val"] == [
        row["loss"] / 2 for row in stored.history() if row["split"] == "train" and row["step"] % 4 == 0
    ]
    points = stored.checkpoints()
    assert [(point.step, point.epoch) for point in points] == [(4, 1.0), (8, 2.0), (12, 3.0)]
    loaded = points[-1].load()
    assert same(loaded["model"], weights)
    assert loaded["step"] == 12
    torch.optim.Adam(nn.Linear(4, 2).parameters()).load_state_dict(loaded["optimizer"])
    best = stored.best_checkpoint()
    assert best is not None
    assert best.step == 8
    assert best.metrics == points[1].metrics
    files = stored.files()
    assert any(file.read() == b"anything" for file in files)
    (table,) = stored.files(kinds="final_predictions", pattern="*test*")
    assert pandas.read_csv(table.local_path)["pred_label"].tolist() == ["cat", "dog", "cat"]
    configs = [file for file in files if file.name.endswith("config.yaml") and "default" not in file.name]
    assert len(configs) == 1
    assert "lr" in yaml.safe_load(configs[0].read())
    assert list(verify_yard(Yard(yard), Tally())) == []


def test_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "['probabilities']" in done.stdout
    assert ["1.0", "100"] in [line.split()[1:] for line in done.stdout.splitlines()]


# -- how it ends


def test_an_exception_fails_the_run_and_goes_on_up(tmp_path: Path) -> None:
    def loop() -> str:
        with trainyard.start_run(yard=tmp_path / "yard") as run:
            run.log({"loss": 1.0}, step=1)
            run.log({"loss": 1 / 0}, step=2)
        return run.id

    with pytest.raises(ZeroDivisionError):
        loop()
    stored = trainyard.open(tmp_path / "yard").run("last")
    assert stored.state == "failed"
    assert len(stored.history()) == 1
    assert "ZeroDivisionError" in str(stored.error)


def test_an_interrupt_stops_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), trainyard.start_run(yard=tmp_path / "yard"):
        raise KeyboardInterrupt
    assert trainyard.open(tmp_path / "yard").run("last").state == "stopped"


def test_without_a_block_it_ends_with_finish(tmp_path: Path) -> None:
    run = trainyard.start_run(yard=tmp_path / "yard")
    assert trainyard.open(tmp_path / "yard").run(run.id).state == "running"
    run.log({"loss": 1.0}, step=1)
    run.finish()
    run.finish()
    assert trainyard.open(tmp_path / "yard").run(run.id).state == "finished"
    with pytest.raises(ValueError, match="ended"):
        run.log({"loss": 1.0}, step=2)


def test_numbers_of_any_kind_can_be_logged(tmp_path: Path) -> None:
    with trainyard.start_run(yard=tmp_path / "yard") as run:
        run.log({"a": np.float32(0.5), "b": torch.tensor(0.25), "c": 2, "d": True, "e": math.nan}, step=1)
    (row,) = trainyard.open(tmp_path / "yard").run("last").history()
    assert (row["a"], row["b"], row["c"], row["d"]) == (0.5, 0.25, 2, 1)
    assert math.isnan(row["e"])


def test_the_history_as_a_frame(tmp_path: Path) -> None:
    with trainyard.start_run(yard=tmp_path / "yard") as run:
        for step in range(5):
            run.log({"loss": step / 2}, step=step)
        run.log({"loss": 9.0, "accuracy": 1.0}, step=4, epoch=1, split="val")
    frame = trainyard.open(tmp_path / "yard").run("last").history(pandas=True)
    assert isinstance(frame, pandas.DataFrame)
    assert frame[frame["split"] == "train"]["loss"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert frame["accuracy"].isna().sum() == 5


def test_runs_are_found_by_a_query(tmp_path: Path) -> None:
    for lr in (0.1, 0.2, 0.3):
        with trainyard.start_run("p", config={"lr": lr}, yard=tmp_path / "yard") as run:
            run.summary(score=lr * 10)
    yard = trainyard.open(tmp_path / "yard")
    assert [run.config["lr"] for run in yard.runs("summary.score>1.5 sort:-summary.score")] == [0.3, 0.2]
    assert len(yard.runs()) == 3


# -- resuming


def _dies_at_seven(yard: str, layout: str) -> None:
    run = trainyard.start_run("p", yard=yard, layout=layout)

    def keep(step: int, loss: float, state: dict[str, Any]) -> None:
        run.log({"loss": loss}, step=step)
        if step % 4 == 0:
            run.save_checkpoint(state, step=step, epoch=step // 4)
        if step == 7:
            run._writer.sync_history()
            os._exit(9)

    bare_loop(12, keep)


@pytest.mark.parametrize("layout", ["grouped", "shared"])
def test_a_crashed_loop_goes_on_from_what_it_saved(tmp_path: Path, layout: str) -> None:
    """The process dies without a word at step 7; its last checkpoint is of step 4."""
    yard = tmp_path / "yard"
    process = killing.CONTEXT.Process(target=_dies_at_seven, args=(str(yard), layout))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    crashed = trainyard.open(yard).run("last")
    assert crashed.state == "crashed"
    assert [row["step"] for row in crashed.history()] == list(range(1, 8))

    with trainyard.start_run(resume="last", yard=yard) as run:
        point = run.resume_from()
        assert point is not None
        assert point.step == 4

        def keep(step: int, loss: float, state: dict[str, Any]) -> None:
            run.log({"loss": loss}, step=step)
            if step % 4 == 0:
                run.save_checkpoint(state, step=step, epoch=step // 4)

        weights = bare_loop(12, keep, point.load())
    losses: list[float] = []
    assert same(weights, bare_loop(12, lambda step, loss, state: losses.append(loss)))
    stored = trainyard.open(yard).run(run.id)
    assert [(row["step"], row["loss"]) for row in stored.history()] == list(enumerate(losses, 1))
    assert [point.step for point in stored.checkpoints()] == [4, 8, 12]
    assert stored.state == "finished"


def saved(yard: Path, *steps: int, layout: str = "grouped") -> str:
    """A run that failed after saving these steps; its id."""
    run = trainyard.start_run("p", yard=yard, layout=layout)
    for step in steps:
        run.log({"loss": 1.0}, step=step)
        run.save_checkpoint({"model": {"w": torch.full((50,), float(step))}}, step=step, epoch=step)
    run.__exit__(RuntimeError, RuntimeError("stop"), None)
    return run.id


def test_resuming_before_any_checkpoint_begins_at_the_beginning(tmp_path: Path) -> None:
    run_id = saved(tmp_path / "yard")
    with trainyard.start_run(resume=run_id, yard=tmp_path / "yard") as run:
        assert run.resume_from() is None
        run.log({"loss": 2.0}, step=1)
    stored = trainyard.open(tmp_path / "yard").run(run_id)
    assert [row["loss"] for row in stored.history()] == [2.0]


def test_resuming_takes_the_newest_checkpoint_that_is_whole(tmp_path: Path) -> None:
    yard = tmp_path / "yard"
    run_id = saved(yard, 1, 2)
    flip_byte(next(yard.rglob("checkpoint-2/model.safetensors")), -10)
    with trainyard.start_run(resume=run_id, yard=yard) as run:
        point = run.resume_from()
        assert point is not None
        assert point.step == 1
        assert point.load()["model"]["w"][0] == 1.0
        run.save_checkpoint({"model": {"w": torch.zeros(3)}}, step=3)
    assert [row["step"] for row in trainyard.open(yard).run(run_id).history()] == [1]


def test_resuming_and_training_again_over_a_damaged_step(tmp_path: Path) -> None:
    """The loop comes by the step of the damaged checkpoint again, and saves it."""
    yard = tmp_path / "yard"
    run_id = saved(yard, 1, 2)
    flip_byte(next(yard.rglob("checkpoint-2/model.safetensors")), -10)
    with trainyard.start_run(resume=run_id, yard=yard) as run:
        assert run.resume_from().step == 1  # type: ignore[union-attr]
        run.save_checkpoint({"model": {"w": torch.full((50,), 2.0)}}, step=2, epoch=2)
    points = trainyard.open(yard).run(run_id).checkpoints()
    assert [point.step for point in points] == [1, 2]
    assert points[1].load()["model"]["w"][0] == 2.0
    assert any("set aside" in warning for warning in trainyard.open(yard).run(run_id).warnings)


def test_a_chosen_step(tmp_path: Path) -> None:
    run_id = saved(tmp_path / "yard", 1, 2, 3)
    resume = {"resume": run_id, "yard": tmp_path / "yard"}
    with pytest.raises(NotResumableError, match="after step 2: 3"), trainyard.start_run(**resume) as run:
        run.resume_from(2)  # it would come by step 3 again
    home = trainyard.open(tmp_path / "yard").run(run_id).home
    assert len(RunReader(Yard(tmp_path / "yard"), home).snapshot.attempts) == 1, "nothing was begun"
    with trainyard.start_run(resume=run_id, yard=tmp_path / "yard") as run:
        assert run.resume_from(3).step == 3  # type: ignore[union-attr]
    with (
        pytest.raises(CheckpointError, match="step 7"),
        trainyard.start_run(resume=run_id, yard=tmp_path / "yard") as run,
    ):
        run.resume_from(7)


def test_a_run_that_is_being_worked_on_cannot_be_resumed(tmp_path: Path) -> None:
    with trainyard.start_run(yard=tmp_path / "yard") as run, pytest.raises(RunBusyError):
        trainyard.start_run(resume=run.id, yard=tmp_path / "yard")


# -- checkpoints


def test_what_could_not_be_loaded_again_is_refused_when_it_is_saved(tmp_path: Path, layout: str) -> None:
    with trainyard.start_run(yard=tmp_path / "yard", layout=layout) as run:
        for bad in (np.zeros(3), Path("x"), np.float64(1.0)):
            with pytest.raises(CheckpointError) as caught:
                run.save_checkpoint({"extra": bad}, step=1, epoch=1)
            assert caught.value.value
            assert "torch.from_numpy" in caught.value.remedy
        run.save_checkpoint({"extra": {"a": [1, 2.5, None, "x", torch.ones(2)]}}, step=1, epoch=1)
    (point,) = trainyard.open(tmp_path / "yard").run("last").checkpoints()
    assert point.load()["extra"]["a"][:4] == [1, 2.5, None, "x"]
    assert not list((tmp_path / "yard").rglob(".tmp-*"))


def test_tied_and_strided_weights(tmp_path: Path, layout: str) -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3, bias=False)})
    model["b"].weight = model["a"].weight
    state = {**model.state_dict(), "t": torch.arange(6.0).reshape(2, 3).t(), "part": torch.arange(6.0)[2:4]}
    with trainyard.start_run(yard=tmp_path / "yard", layout=layout) as run:
        run.save_checkpoint({"model": state}, step=1, epoch=1)
    (point,) = trainyard.open(tmp_path / "yard").run("last").checkpoints()
    assert same(point.load()["model"], state)


def test_a_function_writes_a_file_of_its_own(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        np.save(path.with_suffix(".npy"), np.arange(3))
        os.rename(path.with_suffix(".npy"), path)

    with trainyard.start_run(yard=tmp_path / "yard") as run:
        path = run.save_checkpoint({"numbers.npy": write}, step=1)
    assert np.load(path / "numbers.npy").tolist() == [0, 1, 2]
    assert (path / "manifest.json").exists()
    with trainyard.start_run(yard=tmp_path / "yard", layout="shared") as run, pytest.raises(CheckpointError) as caught:
        run.save_checkpoint({"numbers.npy": write}, step=1)
    assert caught.value.value == ["numbers.npy"]


@pytest.mark.parametrize("key", ["a/b", "../x", ".hidden", "manifest.json"])
def test_parts_with_names_that_are_none(tmp_path: Path, key: str) -> None:
    with trainyard.start_run(yard=tmp_path / "yard") as run, pytest.raises(CheckpointError):
        run.save_checkpoint({key: lambda path: path.write_text("x")}, step=1)
    assert trainyard.open(tmp_path / "yard").run("last").checkpoints() == []


def test_a_step_is_saved_once(tmp_path: Path) -> None:
    with trainyard.start_run(yard=tmp_path / "yard") as run:
        run.save_checkpoint({"a": 1}, step=1)
        with pytest.raises(CheckpointError) as caught:
            run.save_checkpoint({"a": 2}, step=1)
        assert caught.value.value == 1
    (point,) = trainyard.open(tmp_path / "yard").run("last").checkpoints()
    assert point.load() == {"a": 1}


def test_a_damaged_checkpoint_is_named(tmp_path: Path, layout: str) -> None:
    with trainyard.start_run(yard=tmp_path / "yard", layout=layout) as run:
        path = run.save_checkpoint({"model": {"w": torch.ones(30)}, "extra": 1}, step=1, epoch=1)
    for file in [path] if path.is_file() else list(path.iterdir()):
        file.write_bytes(file.read_bytes()[:20])
    (point,) = trainyard.open(tmp_path / "yard").run("last").checkpoints()
    with pytest.raises(CorruptError) as caught:
        point.load()
    assert path.name in caught.value.what


def test_checkpoints_of_trainyard_itself_are_read_too(trained: Callable[[str], Any], layout: str) -> None:
    stored = trainyard.open(trained(layout).yard.root).run("last")
    loaded = stored.checkpoints()[-1].load()
    assert set(loaded["model"]) == {"hidden.0.weight", "hidden.0.bias", "classifier.weight", "classifier.bias"}
    assert "optimizer" in loaded
    best = stored.best_checkpoint()
    assert best is not None
    assert best.step == stored.best["step"]


# -- names


def test_names(tmp_path: Path) -> None:
    yard = tmp_path / "yard"
    homes = []
    for name in (None, None, "mine"):
        with trainyard.start_run("p", name=name, model="net", yard=yard) as run:
            homes.append(run.home.relative_to(yard).as_posix())
    assert homes == ["p/data/net", "p/data/net-2", "p/data/mine"]
    with pytest.raises(NameTakenError):
        trainyard.start_run("p", name="mine", yard=yard)
    for bad in ("../x", "a/b", ""):
        with pytest.raises(BadNameError):
            trainyard.start_run("p", name=bad, yard=yard)
    with pytest.raises(LayoutError):
        trainyard.start_run("p", layout="gruoped", yard=yard)


def test_files_of_the_user(tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"abc")
    with trainyard.start_run(yard=tmp_path / "yard") as run:
        path = run.save_file(source, "deep/er/a.bin")
        source.write_bytes(b"changed")
        assert path.read_bytes() == b"abc", "a copy, not a link"
        with pytest.raises(NameTakenError):
            run.save_file(b"again", "deep/er/a.bin")
        for bad in ("../a", "/etc/a", "", ".run/journal.jsonl"):
            with pytest.raises(BadNameError):
                run.save_file(b"x", bad)


def test_a_yard_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(YardError):
        trainyard.open(tmp_path / "none")
    trainyard.start_run(yard=tmp_path / "yard").finish()
    with pytest.raises(RunNotFoundError):
        trainyard.open(tmp_path / "yard").run("nope")
    with pytest.raises(RunNotFoundError):
        trainyard.start_run(resume="nope", yard=tmp_path / "yard")


def test_without_a_yard_the_environment_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAINYARD_YARD", str(tmp_path / "named"))
    with trainyard.start_run() as run:
        assert run.home.is_relative_to(tmp_path / "named")
    with trainyard.start_run(yard=tmp_path / "given") as run:
        assert run.home.is_relative_to(tmp_path / "given")
    stopped = trainyard.start_run()
    stopped._writer.finish("stopped")
    with trainyard.start_run(resume=stopped.id) as run:
        assert run.home == stopped.home
    monkeypatch.delenv("TRAINYARD_YARD")
    with trainyard.start_run() as run:
        assert run.home.is_relative_to(tmp_path / "outputs")


# -- what it needs


def test_logging_and_files_need_no_torch(tmp_path: Path) -> None:
    code = """
    import sys
    HEAVY = {"torch", "numpy", "pandas", "sklearn", "matplotlib", "safetensors", "transformers"}
    class Blocked:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in HEAVY:
                raise ImportError(f"{name} is not installed")
    sys.meta_path.insert(0, Blocked())
    import trainyard
    with trainyard.start_run("p", config={"a": 1}, yard="yard", layout=sys.argv[1]) as run:
        for step in range(10):
            run.log({"loss": 1 / (step + 1)}, step=step)
        run.save_file(b"x", "a.txt")
        if sys.argv[1] == "grouped":
            run.save_checkpoint({"weights.bin": lambda path: path.write_bytes(b"123")}, step=9)
        run.summary(done=True)
    stored = trainyard.open("yard").run("last")
    print(stored.state, len(stored.history()), len(stored.files()) > 1)
    """
    for layout in LAYOUTS:
        (tmp_path / layout).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), layout],
            cwd=tmp_path / layout,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["finished", "10", "True"]


def test_importing_the_library_is_light() -> None:
    code = (
        "import sys, trainyard; trainyard.start_run; print([m for m in ('torch','numpy','pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr

"""One optimizer step with a margin, a teacher and class weights, cut over processes that share nothing but it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import killing
import numpy as np
import torch
from torch import nn
from toy_training import toy_dataset, toy_task

from trainyard.data.batches import Batch
from trainyard.models.heads import CosineLinear
from trainyard.tasks.margins import build_margin
from trainyard.training import process as processes
from trainyard.training.distill import Distillation
from trainyard.training.objective import Objective
from trainyard.training.step import Step

DATASET = toy_dataset(60)
WEIGHTS = np.array([0.3, 1.0, 4.0])


def batch(*indices: int) -> Batch:
    positions = np.array(indices, dtype=np.int64)
    labels = torch.from_numpy(DATASET.labels[positions])
    return Batch(DATASET.fetch(positions).reshape(-1, 6), labels, positions, len(positions))


def student(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), CosineLinear(5, 3, 10.0))


def objective(margin: str | None, *, taught: bool) -> Objective:
    """With class weights, so that its parts divide by different things."""
    teacher = Distillation(student(7), alpha=0.4, temperature=3.0) if taught else None
    return Objective(toy_task(weights=WEIGHTS), build_margin(margin, scale=10.0) if margin else None, teacher)


def _rank(rank: int, port: int, groups: list[list[list[int]]], margin: str | None, path: str) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = str(port)
    torch.set_num_threads(1)
    process = processes.start("cpu")
    model, minimised = student(), objective(margin, taught=True)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    seen: list[nn.Module] = []
    step = Step(
        process.wrap(model), minimised.task, optimizer, process, objective=minimised, after_first_backward=seen.append
    )
    loss = step([batch(*indices) for indices in groups[rank]])
    assert seen == [model], "the bare model, on each process"
    torch.save({"loss": loss, "model": model.state_dict()}, f"{path}/{rank}.pth")
    processes.stop()


def run(groups: list[list[list[int]]], margin: str | None, path: Path) -> list[dict]:
    """What each of two processes has after one step on its own micro-batches (`groups[rank]`)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [killing.CONTEXT.Process(target=_rank, args=(rank, port, groups, margin, str(path))) for rank in (0, 1)]
    for one in started:
        one.start()
    for one in started:
        one.join(120)
        if one.is_alive():
            one.kill()
    assert [one.exitcode for one in started] == [0, 0]
    return [torch.load(path / f"{rank}.pth", weights_only=True) for rank in (0, 1)]

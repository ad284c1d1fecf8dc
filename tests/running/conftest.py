from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from trainyard.config.compose import compose
from trainyard.running.train import train
from trainyard.runs import RunReader, Yard, find_homes

# Small and quick, with every kind of file that a run leaves.
SMALL = [
    "model=mlp",
    "model.hidden=[16]",
    "training.epochs=2",
    "training.log_every=7",
    "checkpoint.every_steps=15",
    "outputs.val_predictions_every=1",
    "run.project=demo",
    "run.device=cpu",
]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small() -> list[str]:
    """Overrides of the digits recipe for a run of half a second."""
    return list(SMALL)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunReader]:
    """The finished run of each layout, in a yard of its own; trained once, only to be read."""
    made: dict[str, RunReader] = {}

    def of(layout: str) -> RunReader:
        if layout not in made:
            yard = Yard(tmp_path_factory.mktemp(layout) / "yard", create=True)
            overrides = [*SMALL, f"layout={layout}"]
            train(compose("digits", overrides), yard.root, overrides=overrides)
            (home,) = find_homes(yard)
            made[layout] = RunReader(yard, home)
        return made[layout]

    return of

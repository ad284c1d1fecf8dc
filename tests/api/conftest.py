"""The API over the local transport, and over one that lets only JSON and bytes through, as a server would."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import trainyard
from trainyard.api import Api, DirectoryTransport
from trainyard.runs import environment

Connect = Callable[[Path], Api]


@pytest.fixture(autouse=True, scope="module")
def _one_look_at_the_machine() -> Iterator[None]:
    """Every run would look at packages and git anew, which takes longer than all else here.

    For a module at a time: what lasts as long as the session would reach the tests of other folders.
    """
    captured = environment.capture()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "capture", lambda: captured)
        yield


class WireTransport:
    """A transport whose every argument and answer goes through JSON, and whose bytes come in odd pieces."""

    def __init__(self, yard: Path) -> None:
        self._inner = DirectoryTransport(yard)

    @property
    def place(self) -> str:
        return "wire:" + self._inner.place

    def local_path(self, key: str, name: str) -> None:
        """What a server's paths are on its own machine says nothing here."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            return json.loads(json.dumps(getattr(self._inner, name)(*json.loads(json.dumps(arguments)))))

        return call

    def read(self, key: str, name: str, start: int) -> Iterator[bytes]:
        for piece in self._inner.read(key, name, start):
            for at in range(0, len(piece), 65_521):
                yield bytes(piece[at : at + 65_521])


@pytest.fixture(params=["local", "wire"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Opens a yard: `connect(directory)`."""
    return {"local": trainyard.open, "wire": lambda yard: Api(WireTransport(yard))}[request.param]


@pytest.fixture
def connect_remote() -> Connect:
    """Opens a yard as if it were on another machine."""
    return lambda yard: Api(WireTransport(yard))


def file(data: bytes) -> Callable[[Path], None]:
    """A part of a checkpoint: a function that writes these bytes."""

    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


@pytest.fixture(scope="session")
def checkpoint_parts() -> Callable[[bytes], dict[str, Callable[[Path], None]]]:
    """What a checkpoint directory holds, its weights made of `seed`."""

    def parts(seed: bytes) -> dict[str, Callable[[Path], None]]:
        decision = {"mode": "per_class", "thresholds": {"joy": 0.25, "anger": 0.5}, "k": None}
        metrics = {"val_f1_macro": 0.5, "decision": decision}
        return {
            "pytorch_model.bin": file(seed * 1000),
            "config.json": file(b"{}"),
            "metrics.json": file(json.dumps(metrics).encode()),
            "optimizer.pt": file(b"moments" + seed),
        }

    return parts

"""Two processes as torchrun makes them, from a server that has torch imported: seconds less for each test."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import killing


def _rank(environment: dict[str, str], arguments: tuple[Any, ...]) -> None:
    os.environ.update(environment)
    killing._work(*arguments)


def _has_checkpoint(yard: Path) -> bool:
    """Looks by os.walk, which passes over a staging folder that is renamed at this moment; rglob raises."""
    return any(
        Path(folder).name.startswith("checkpoint-") and "manifest.json" in names for folder, _, names in os.walk(yard)
    )


def run(
    yard: Path,
    overrides: Sequence[str],
    *,
    home: Path | None = None,
    kill_at_call: int | None = None,
    stop: bool = False,
    prepare: Callable[[], None] | None = None,
    timeout_s: float = 120.0,
) -> list[int]:
    """Trains (or resumes `home`) in two processes; returns their exit codes.

    Args:
        yard: where.
        overrides: of the digits recipe.
        home: of the run to resume.
        kill_at_call: rank 0 dies at this call of `durable`; the other is killed then, as torchrun does.
        stop: send rank 0 a SIGTERM once it has a checkpoint.
        prepare: called in each process before it trains.
        timeout_s: fail when it takes longer.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in (0, 1):
        environment = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }
        errors = yard.parent / f"errors-{rank}.txt"
        errors.unlink(missing_ok=True)
        arguments = (
            str(yard),
            list(overrides),
            str(home) if home else None,
            kill_at_call if rank == 0 else None,
            str(errors),
            prepare,
        )
        processes.append(killing.CONTEXT.Process(target=_rank, args=(environment, arguments)))
        processes[-1].start()
    if stop:
        from faults import wait_for

        wait_for(lambda: _has_checkpoint(yard), timeout_s=timeout_s)
        processes[0].terminate()
    processes[0].join(timeout_s)
    processes[1].join(timeout_s if processes[0].exitcode == 0 else 2.0)
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()
    return [int(process.exitcode or 0) for process in processes]

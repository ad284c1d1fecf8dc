"""Trains in a process of its own and kills it: at a moment, or at the n-th system call of a write."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from multiprocessing.context import ForkServerContext
from pathlib import Path

from trainyard import durable
from trainyard.testing.faults import KillingCalls

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trainyard.running.train", "sklearn.datasets", "matplotlib.figure"])


def _work(
    yard: str, overrides: list[str], home: str | None, kill_at_call: int | None, errors: str, trust: bool
) -> None:
    import torch

    torch.set_num_threads(1)
    try:
        from trainyard.config.compose import compose
        from trainyard.running.resume import resume
        from trainyard.running.train import train
        from trainyard.runs import Yard

        if kill_at_call is not None:
            durable.calls = KillingCalls(kill_at_call)
        if home is None:
            train(compose("digits", overrides, trust=trust), Path(yard), trust=trust)
        else:
            resume(Yard(yard), Path(home), trust=trust)
    except BaseException:
        Path(errors).write_text(traceback.format_exc())
        os._exit(3)


def run(
    yard: Path,
    overrides: list[str],
    *,
    home: Path | None = None,
    kill_after_s: float | None = None,
    kill_at_call: int | None = None,
    trust: bool = False,
) -> int:
    """Trains (or resumes `home`) and returns the exit code; -9 when it was killed."""
    errors = yard.parent / "errors.txt"
    errors.unlink(missing_ok=True)
    process = CONTEXT.Process(
        target=_work, args=(str(yard), overrides, str(home) if home else None, kill_at_call, str(errors), trust)
    )
    process.start()
    process.join(kill_after_s)
    if process.is_alive():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode is not None
    assert process.exitcode in (0, -signal.SIGKILL), errors.read_text()
    return process.exitcode

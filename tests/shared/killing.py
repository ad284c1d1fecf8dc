"""Trains in a subprocess and kills it after some time, or at the n-th system call of a write."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

from faults import KillingCalls

from trainyard import durable

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trainyard.running.train", "sklearn.datasets", "matplotlib.figure"])


def _work(
    yard: str,
    overrides: list[str],
    home: str | None,
    kill_at_call: int | None,
    errors: str,
    prepare: Callable[[], None] | None = None,
    trust: bool = False,
) -> None:
    import torch

    torch.set_num_threads(1)
    try:
        from trainyard.config.compose import compose
        from trainyard.running.resume import resume
        from trainyard.running.train import train
        from trainyard.runs import Yard

        if prepare is not None:
            prepare()
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
    prepare: Callable[[], None] | None = None,
    trust: bool = False,
) -> int:
    """Trains (or resumes `home`) and returns the exit code; -9 when it was killed.

    Args:
        yard: the yard.
        overrides: of the digits recipe.
        home: the run to resume; None trains a new one.
        kill_after_s: kills the process after so many seconds.
        kill_at_call: kills it at the n-th system call of a write.
        prepare: called in the process before the training; must be importable by name.
        trust: accept `_target_` objects outside the allow-list.
    """
    errors = yard.parent / "errors.txt"
    errors.unlink(missing_ok=True)
    process = CONTEXT.Process(
        target=_work,
        args=(str(yard), overrides, str(home) if home else None, kill_at_call, str(errors), prepare, trust),
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

"""The process that runs Weights & Biases for a run: `python -m trainyard.tracking.wandb_process`.

wandb replaces `sys.excepthook` and `sys.exit`, sets environment variables, asks for a login on the
terminal and waits for its uploads at exit; in a separate process, none of that affects the training.
Reads lines of JSON from standard input: the run to start, then `log` and `summary`, finally `finish`;
answers the first and the last on standard output with null or an error message. Outlives a killed
training long enough to write what it has received. Imports nothing of Trainyard.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO


def main() -> None:
    """Starts a run, logs what arrives, finishes it."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole job; the training says when to finish
        signal.signal(number, signal.SIG_IGN)
    os.nice(10)  # the training has priority
    messages, answers = _private_streams()
    with contextlib.suppress(BrokenPipeError), messages, answers:  # the training was killed
        try:
            run = _start(json.loads(messages.readline()))
            _answer(answers, None)
            run.finish(exit_code=_log(run, messages))
            _answer(answers, None)
        except Exception as error:
            _answer(answers, f"{type(error).__name__}: {error}")


def _private_streams() -> tuple[TextIO, TextIO]:
    """Moves standard input and output to other descriptors, so that wandb and its children write to /dev/null."""
    messages, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    return messages, answers


def _answer(answers: TextIO, error: str | None) -> None:
    print(json.dumps(error), file=answers, flush=True)


def _start(facts: Mapping[str, Any]) -> Any:
    sys.argv = facts["argv"]  # wandb stores them with the run
    import wandb

    wanted = {
        "silent": True,
        "console": "off",
        "symlink": False,
        "disable_git": True,  # it would store the user name in the remote's address
        "git_commit": facts["commit"],
        "git_remote_url": facts["remote"],
        "program": facts["argv"][0],
        "init_timeout": facts["timeout_s"],
        "finish_timeout": facts["timeout_s"],
        "finish_timeout_raises": True,
        "x_stats_pid": facts["pid"],  # system metrics of the training, not of this process
    }
    known = wandb.Settings.model_fields  # which settings exist depends on wandb's version
    settings = {key: value for key, value in wanted.items() if key in known and value is not None}
    return wandb.init(**facts["run"], resume="allow", settings=wandb.Settings(**settings))


def _log(run: Any, messages: Iterable[str]) -> int:
    """Logs until a `finish` message, or until the training is gone; returns the exit code for wandb."""
    for line in messages:
        message = json.loads(line)
        if "finish" in message:
            return int(message["finish"])
        if "summary" in message:
            run.summary.update(message["summary"])
        else:
            run.log(message["log"], step=message["step"])
    return 1


if __name__ == "__main__":
    main()

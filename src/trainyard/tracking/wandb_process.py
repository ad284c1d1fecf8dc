"""The process that talks to Weights & Biases for a run: `python -m trainyard.tracking.wandb_process`.

wandb replaces `sys.excepthook` and `sys.exit`, sets environment variables, asks for a login on the
terminal and waits for its uploads at exit; here it can do none of that to the training. Reads lines of
JSON from standard input: what to start, then `log` and `summary`, at last `finish`; answers the first and
the last on standard output with null or what went wrong. Outlives a killed training long enough to write
what it was sent. Imports nothing of Trainyard.
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
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole job: the training says when it has ended
    os.nice(10)  # the training comes first
    messages, answers = _private_streams()
    with contextlib.suppress(BrokenPipeError), messages, answers:  # the training was killed: nobody listens
        try:
            run = _start(json.loads(messages.readline()))
            _answer(answers, None)
            run.finish(exit_code=_log(run, messages))
            _answer(answers, None)
        except Exception as error:
            _answer(answers, f"{type(error).__name__}: {error}")


def _private_streams() -> tuple[TextIO, TextIO]:
    """Standard input and output under numbers that wandb and its own process do not have; theirs lead nowhere."""
    messages, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    return messages, answers


def _answer(answers: TextIO, error: str | None) -> None:
    print(json.dumps(error), file=answers, flush=True)


def _start(facts: Mapping[str, Any]) -> Any:
    sys.argv = facts["argv"]  # wandb keeps them with the run
    import wandb

    wanted = {
        "silent": True,
        "console": "off",
        "symlink": False,
        "disable_git": True,  # it would keep the user name in the remote's address
        "git_commit": facts["commit"],
        "git_remote_url": facts["remote"],
        "program": facts["argv"][0],
        "init_timeout": facts["timeout_s"],
        "finish_timeout": facts["timeout_s"],
        "finish_timeout_raises": True,
        "x_stats_pid": facts["pid"],  # system metrics of the training, not of this process
    }
    known = wandb.Settings.model_fields  # they come and go with wandb's versions
    settings = {key: value for key, value in wanted.items() if key in known and value is not None}
    return wandb.init(**facts["run"], resume="allow", settings=wandb.Settings(**settings))


def _log(run: Any, messages: Iterable[str]) -> int:
    """Logs until told to finish, or until the training is gone; returns the exit code to finish with."""
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

"""How long a command takes to answer: `trainyard --help`, and `trainyard runs` with 10,000 runs.

Whole processes, from start to exit, as the installed commands of this environment; the files are in the page
cache after the round that does not count. `python -c pass` is what no Python tool can go below.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import US, Column, Measure, Tool, arguments, begin, chosen, interleave, scratch, show
from benchmarks.make_yard import make

SCRIPTS = Path(sys.executable).parent


def command(arguments_: list[str], yard: str = "") -> Measure:
    """Seconds of one command; it must succeed and print something, unless it is the bare interpreter."""
    program = [str(SCRIPTS / arguments_[0]), *arguments_[1:]]
    environment = {**os.environ, "TRAINYARD_YARD": yard, "COLUMNS": "100"}

    def measure() -> dict[str, float]:
        start = time.perf_counter()
        done = subprocess.run(program, capture_output=True, env=environment)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(
                f"exit code {done.returncode}: {(done.stderr.decode().strip().splitlines() or [''])[-1]}"
            )
        return {"seconds": seconds}

    return measure


def main() -> None:
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--runs", type=int, default=10_000)
    options = begin(parser, "mlflow", "wandb", "trackio", "transformers", "torch")
    with scratch() as directory:
        yard = str(directory / "yard")
        make(Path(yard), options.runs)
        lines = [
            ["python", "-c", "pass"],
            ["trainyard", "--help"],
            ["trainyard", "runs"],
            ["trainyard", "runs", "state:finished", "metrics.val_accuracy>0.9", "sort:metrics.val_loss"],
            ["wandb", "--help"],
            ["trackio", "--help"],
            ["mlflow", "--help"],
            ["python", "-c", "import torch"],
            ["python", "-c", "import transformers"],
        ]
        tools = [Tool(" ".join(line), command, {"arguments_": line, "yard": yard}) for line in lines]
        results = interleave(chosen(tools, options.only), options.repeats)
        show(
            f"start to exit, {options.runs:,} runs in the yard",
            results,
            [Column("seconds", "time", "s", 1, 3)],
            f"{US} --help",
        )


if __name__ == "__main__":
    main()

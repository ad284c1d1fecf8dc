"""All benchmarks, one after the other: `python -m benchmarks [--save] [loop log_call …]`.

`--save` writes what they print to benchmarks/RESULTS.md, with the commands.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from benchmarks.common import REPOSITORY

ALL = {
    "loop": "The training loop",
    "log_call": "Logging metrics",
    "checkpoint": "Checkpoints",
    "query": "Finding runs",
    "startup": "Starting up",
    "features": "Features of sound",
    "fsdd": "Spoken digits",
    "goemotions": "Emotions in comments",
    "artifacts": "Artifacts",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(ALL)}; all when none is given")
    parser.add_argument("--save", action="store_true", help="write benchmarks/RESULTS.md")
    options = parser.parse_args()
    unknown = set(options.names) - set(ALL)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    sections, failed = [], []
    for name in options.names or ALL:
        print(f"\n== {ALL[name]} (python -m benchmarks.{name})", flush=True)
        process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{name}"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
        if process.wait():
            failed.append(name)
        sections.append(f"## {ALL[name]}\n\n`python -m benchmarks.{name}`\n\n```text\n{''.join(lines).strip()}\n```\n")
    if options.save and not failed:
        head = (
            "# Measured\n\nWritten by `make bench ARGS=--save`. Each table is one run of one command on an otherwise\n"
            "idle machine, the tools in turn, medians; what is measured and how the other tools are set up is said\n"
            "at the top of each benchmark's file.\n"
        )
        (REPOSITORY / "benchmarks" / "RESULTS.md").write_text("\n".join([head, *sections]))
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())

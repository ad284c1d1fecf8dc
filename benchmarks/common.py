"""What every benchmark shares: quiet peers, interleaved repeats, and a table of ratios of medians.

Each tool under test lives in a process of its own that is set up once and then measured in turn with
the others (A B C, A B C, …), so that no tool's threads or patches touch another and a slow minute of
the machine falls on all of them alike. A tool that is missing or fails is "not measured", with the reason.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import multiprocessing
import os
import platform
import shutil
import statistics
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# Set before any peer is imported: no network, no telemetry, no progress bars; nothing that changes its speed.
QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONWARNINGS": "ignore",
}
os.environ.update(QUIET)

Values = dict[str, float]  # what one measurement yields: {quantity: value}
Measure = Callable[[], Values]
REPOSITORY = Path(__file__).resolve().parent.parent
US = "trainyard"


@dataclass(frozen=True)
class Tool:
    """One row of a table: `setup(**options)` runs once in a process of its own and returns what is measured."""

    name: str
    setup: Callable[..., Measure]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Result:
    """The measurements of one tool, or why there are none."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    reason: str = ""


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory on the disk that holds temporary files; removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix="trainyard-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _serve(tool: Tool, pipe: Connection, directory: str) -> None:
    os.makedirs(directory, exist_ok=True)
    os.chdir(directory)
    # What peers print on their own goes to a file: stdout carries the tables only.
    with open("output.txt", "w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        try:
            with redirect_stdout(output):
                measure = tool.setup(**tool.options)
                pipe.send(("ready", {}))
                while pipe.recv():
                    pipe.send(("values", measure()))
        except EOFError:
            pass
        except BaseException as error:
            traceback.print_exc()
            pipe.send(("failed", f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"))


def interleave(tools: Sequence[Tool], repeats: int, *, warm_up: int = 1) -> dict[str, Result]:
    """The results of all tools by name: `repeats` rounds, each tool once a round, after `warm_up` more."""
    context = multiprocessing.get_context("spawn")
    results = {tool.name: Result() for tool in tools}
    with scratch() as directory:
        workers = []
        for number, tool in enumerate(tools):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(tool, theirs, str(directory / str(number))), daemon=False)
            process.start()
            theirs.close()
            workers.append((tool, ours, process))

        def ask(tool: Tool, pipe: Connection, *, request: bool = True) -> Values | None:
            if results[tool.name].reason:
                return None
            try:
                if request:
                    pipe.send(True)
                kind, payload = pipe.recv()
            except (EOFError, OSError):
                kind, payload = "failed", "its process ended"
            if kind == "failed":
                results[tool.name].reason = payload
                return None
            return payload

        for tool, pipe, _ in workers:
            ask(tool, pipe, request=False)
        for turn in range(warm_up + repeats):
            shift = turn % len(workers)  # another tool begins each round
            for tool, pipe, _ in workers[shift:] + workers[:shift]:
                values = ask(tool, pipe)
                if values is not None and turn >= warm_up:
                    for quantity, value in values.items():
                        results[tool.name].samples.setdefault(quantity, []).append(value)
        for _, pipe, process in workers:
            pipe.close()
            process.join(timeout=30)
            if process.is_alive():
                process.kill()
                process.join()
    return results


@dataclass(frozen=True)
class Column:
    """A quantity in a table: its heading, unit and how many units a measured 1.0 is."""

    quantity: str
    heading: str
    unit: str
    scale: float = 1.0
    digits: int = 2
    ratio: bool = True  # show it as a multiple of the baseline's


def show(title: str, results: Mapping[str, Result], columns: Sequence[Column], baseline: str) -> None:
    """Prints a table: medians, their spread, and ratios to `baseline`, round by round (see `_ratio`)."""
    base = results.get(baseline, Result())
    heads, rows = ["", *[c.heading for c in columns]], []
    for name, result in results.items():
        if result.reason:
            rows.append([name, f"not measured: {result.reason[:90]}"])
            continue
        cells = [name]
        for column in columns:
            values = result.samples.get(column.quantity)
            if not values:
                cells.append("-")
                continue
            middle = statistics.median(values)
            text = f"{middle * column.scale + 0.0:,.{column.digits}f} {column.unit}".rstrip()
            if len(values) > 2:
                low, high = (f"{v * column.scale:,.{column.digits}f}" for v in (min(values), max(values)))
                text += f" ({low}-{high})"
            reference = base.samples.get(column.quantity)
            if column.ratio and reference and statistics.median(reference):
                ratio = _ratio(values, reference)
                text += f"  {ratio:.2g} x" if ratio < 0.1 else f"  {ratio:,.{0 if ratio >= 100 else 2}f} x"
            cells.append(text)
        rows.append(cells)
    full = [row for row in [heads, *rows] if len(row) == len(heads)]  # the others say why they are not measured
    widths = [max(len(row[i]) for row in full) for i in range(len(heads))]
    widths[0] = max(len(row[0]) for row in rows)
    repeats = max((len(v) for r in results.values() for v in r.samples.values()), default=0)
    print(f"\n{title}")
    for row in [heads, *rows]:
        print("  " + "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip())
    note = f"median of {repeats} interleaved repeats (smallest-largest)" if repeats > 2 else ""
    if any(column.ratio for column in columns):
        note += f"{'; ' if note else ''}x: multiple of {baseline} in the same round, median"
    if note:
        print(f"  {note}")


def _ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """The median of the ratios within each round: what slows a shared machine for seconds slows both sides of them."""
    if len(values) == len(reference) and all(reference):
        return statistics.median(value / base for value, base in zip(values, reference, strict=True))
    return statistics.median(values) / statistics.median(reference)


def machine() -> str:
    """One line: processor, cores, memory, Python, and how busy it already was."""
    model = platform.processor() or platform.machine()
    memory = ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
        kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
        memory = f", {kilobytes / 2**20:.0f} GiB"
    except OSError:
        pass
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return f"{model}, {os.cpu_count()} cores{memory}, Python {platform.python_version()}{load}"


def versions(*packages: str) -> str:
    """`package version` of those that are installed."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} -")
    return ", ".join(found)


def arguments(description: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """A parser with what all benchmarks take: --repeats, --threads and --only."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds that count (default %(default)s)")
    parser.add_argument("--threads", type=int, help="threads of torch and BLAS in each tool (default: all cores)")
    parser.add_argument("--only", default="", help="comma-separated parts of the names of the tools to measure")
    return parser


def begin(parser: argparse.ArgumentParser, *packages: str) -> argparse.Namespace:
    """The parsed options, after printing what this is measured on."""
    options = parser.parse_args()
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)  # the tools' processes inherit it
    print(f"{machine()}{f', {options.threads} threads a tool' if options.threads else ''}")
    print(versions(*packages))
    return options


def chosen(tools: Sequence[Tool], only: str) -> list[Tool]:
    """The tools that `--only` names; all when it is empty."""
    parts = [part.strip().lower() for part in only.split(",") if part.strip()]
    found = [tool for tool in tools if not parts or any(part in tool.name.lower() for part in parts)]
    if not found:
        sys.exit(f"--only {only} names none of: {', '.join(tool.name for tool in tools)}")
    return found


def disk_bytes(directory: Path) -> int:
    """Bytes that a tree takes on disk, hard-linked files once."""
    seen: dict[tuple[int, int], int] = {}
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def sync_tree(directory: Path) -> None:
    """Makes every file below `directory` durable, for tools that leave that to chance."""
    for path in [directory, *directory.rglob("*")]:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

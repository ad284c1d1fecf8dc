"""Logging metrics: what one call of ten scalars costs, how fast they become durable, what a SIGKILL loses.

* call: time in the caller for one call, in bursts; what the training loop pays.
* sustained: scalars a second from the first call until all are on disk: the tool is closed and its files
  fsynced, inside the time. Tools that write behind pay here for what they put off.
* killed: a process logs a row every 5 ms and is killed with SIGKILL; afterwards the rows that the tool's own
  reader (or, for wandb, the records in its file) gives back are counted against the calls that had returned.
  Seconds lost is that number of rows times 5 ms. The machine goes on: this is a kill, not a power cut.

Each tool is used by its documented call, offline: trackio and wandb without their system monitors, MLflow
synchronous (its default) on SQLite and on files, TensorBoard by ten `add_scalar`. aim is left out: it does not
install beside the others.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import (
    REPOSITORY,
    US,
    Column,
    Measure,
    Result,
    Tool,
    arguments,
    begin,
    chosen,
    interleave,
    scratch,
    show,
    sync_tree,
)

ROW = {f"metric_{n}": n + 0.5 for n in range(10)}
PACE_S = 0.005
Log = Callable[[int], None]


@dataclass(frozen=True)
class Session:
    """A tool ready to log into the current directory."""

    log: Log  # the row of one step
    close: Callable[[], None]


# -- the tools: open a session in `directory`; count the rows there afterwards


def open_trainyard(directory: Path) -> Session:
    import trainyard

    run = trainyard.start_run(project="bench", yard=directory)
    return Session(lambda step: run.log(ROW, step=step), run.finish)


def count_trainyard(directory: Path) -> int:
    from trainyard.runs.history import read_history

    return sum(len(read_history(path)) for path in directory.rglob("history.jsonl"))


def open_trackio(directory: Path) -> Session:
    os.environ["TRACKIO_DIR"] = str(directory)
    import trackio

    run = trackio.init("bench", embed=False, auto_log_gpu=False, auto_log_cpu=False)
    return Session(lambda step: run.log(ROW, step=step), trackio.finish)


def count_trackio(directory: Path) -> int:
    os.environ["TRACKIO_DIR"] = str(directory)
    from trackio.sqlite_storage import SQLiteStorage

    return sum(SQLiteStorage.get_log_count("bench", run) for run in SQLiteStorage.get_runs("bench"))


def open_wandb(directory: Path) -> Session:
    import wandb

    settings = wandb.Settings(x_disable_stats=True, x_disable_meta=True, console="off", disable_git=True)
    run = wandb.init(project="bench", mode="offline", dir=directory, settings=settings)
    return Session(lambda step: run.log(ROW, step=step), run.finish)


def count_wandb(directory: Path) -> int:
    from wandb.proto.wandb_internal_pb2 import Record

    rows = 0
    for path in directory.rglob("*.wandb"):
        for payload in _leveldb_records(path.read_bytes()):
            record = Record()
            record.ParseFromString(payload)
            partial = record.HasField("request") and record.request.HasField("partial_history")
            rows += record.HasField("history") or partial
    return rows


def _leveldb_records(data: bytes) -> Iterator[bytes]:
    """The records of a wandb file: a LevelDB log in blocks of 32 KiB, after a header of 7 bytes in the first."""
    position, parts = 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        chunk = data[position + 7 : position + 7 + length]
        if len(chunk) < length or kind not in (1, 2, 3, 4):
            return  # torn, or the zeros after the last record
        position += 7 + length
        parts = chunk if kind in (1, 2) else parts + chunk
        if kind in (1, 4):
            yield parts


def _open_writer(writer: Any) -> Session:
    def log(step: int) -> None:
        for name, value in ROW.items():
            writer.add_scalar(name, value, step)

    return Session(log, writer.close)


def open_tensorboard(directory: Path) -> Session:
    from torch.utils.tensorboard import SummaryWriter

    return _open_writer(SummaryWriter(str(directory)))


def open_tensorboardx(directory: Path) -> Session:
    from tensorboardX import SummaryWriter

    return _open_writer(SummaryWriter(str(directory)))


def count_tensorboard(directory: Path) -> int:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    return min((len(events.Scalars(tag)) for tag in tags), default=0) if len(tags) == len(ROW) else 0


def _open_mlflow(uri: str) -> Session:
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("bench")
    mlflow.start_run()
    return Session(lambda step: mlflow.log_metrics(ROW, step=step), mlflow.end_run)


def open_mlflow_sqlite(directory: Path) -> Session:
    return _open_mlflow(f"sqlite:///{directory}/mlflow.db")


def open_mlflow_files(directory: Path) -> Session:
    return _open_mlflow(directory.as_uri())


def _count_mlflow(uri: str) -> int:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("bench")
    runs = client.search_runs([experiment.experiment_id])
    return sum(min(len(client.get_metric_history(run.info.run_id, name)) for name in ROW) for run in runs)


def count_mlflow_sqlite(directory: Path) -> int:
    return _count_mlflow(f"sqlite:///{directory}/mlflow.db")


def count_mlflow_files(directory: Path) -> int:
    return _count_mlflow(directory.as_uri())


@dataclass(frozen=True)
class Kind:
    """How to use a tool, and calls a burst: long enough for background writers to get in the way."""

    open: Callable[[Path], Session]
    count: Callable[[Path], int]
    calls: int


KINDS = {
    US: Kind(open_trainyard, count_trainyard, 200_000),
    "trackio": Kind(open_trackio, count_trackio, 30_000),
    "wandb offline": Kind(open_wandb, count_wandb, 5_000),
    "TensorBoard (torch)": Kind(open_tensorboard, count_tensorboard, 1_000),
    "TensorBoard (tensorboardX)": Kind(open_tensorboardx, count_tensorboard, 1_000),
    "MLflow, SQLite": Kind(open_mlflow_sqlite, count_mlflow_sqlite, 100),
    "MLflow, files": Kind(open_mlflow_files, count_mlflow_files, 100),
}


# -- the measurements


def burst(name: str) -> Measure:
    kind = KINDS[name]
    turns = iter(range(1_000_000))

    def measure() -> dict[str, float]:
        directory = Path.cwd() / f"burst-{next(turns)}"
        directory.mkdir()
        session = kind.open(directory)
        session.log(0)  # starts threads and files
        calls = kind.calls
        start = time.perf_counter()
        for step in range(1, calls + 1):
            session.log(step)
        called = time.perf_counter()
        session.close()
        sync_tree(directory)
        end = time.perf_counter()
        return {"call_s": (called - start) / calls, "scalars_per_s": calls * len(ROW) / (end - start)}

    return measure


def victim(name: str, directory: Path) -> None:
    """Logs a row every 5 ms until killed; `acknowledged` holds how many calls have returned."""
    with open(directory / "acknowledged", "r+b") as file:
        counter = mmap.mmap(file.fileno(), 8)
    work = directory / "work"
    work.mkdir()
    os.chdir(work)
    session = KINDS[name].open(work)
    step, due = 0, time.perf_counter()
    while True:
        session.log(step)
        step += 1
        counter[:8] = struct.pack("<Q", step)
        due = max(due + PACE_S, time.perf_counter() - 1.0)
        time.sleep(max(0.0, due - time.perf_counter()))


def again(part: str, name: str, directory: Path) -> list[str]:
    """The command that does one part of this benchmark in a process of its own."""
    return [sys.executable, "-m", "benchmarks.log_call", part, name, "--directory", str(directory)]


def kill(names: list[str], rounds: int) -> dict[str, Result]:
    """Rows lost when killed, each tool `rounds` times; the tools of a round log at the same time."""
    results = {name: Result() for name in names}
    rng = random.Random(0)
    for _ in range(rounds):
        with scratch() as directory:
            running = {}
            for number, name in enumerate(names):
                own = directory / str(number)
                own.mkdir()
                (own / "acknowledged").write_bytes(bytes(8))
                with open(own / "output.txt", "wb") as output:
                    process = subprocess.Popen(
                        again("--victim", name, own), cwd=REPOSITORY, stdout=output, stderr=output
                    )
                running[name] = (process, own)

            def acknowledged(own: Path) -> int:
                return struct.unpack("<Q", (own / "acknowledged").read_bytes())[0]

            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and any(
                process.poll() is None and acknowledged(own) < 100 for process, own in running.values()
            ):
                time.sleep(0.05)
            for process, _ in running.values():
                time.sleep(rng.uniform(0.1, 0.4))
                process.send_signal(signal.SIGKILL)
                process.wait()
            time.sleep(3)  # helpers that outlive their process may finish what they have
            for name, (_, own) in running.items():
                logged = acknowledged(own)
                if not logged:
                    tail = (own / "output.txt").read_text(errors="replace").strip().splitlines()
                    results[name].reason = tail[-1] if tail else "it logged nothing"
                    continue
                counted = subprocess.run(
                    again("--count", name, own / "work"), cwd=REPOSITORY, capture_output=True, text=True
                )
                if counted.returncode:
                    results[name].reason = counted.stderr.strip().splitlines()[-1]
                    continue
                kept = json.loads(counted.stdout.splitlines()[-1])
                lost = max(0, logged - kept)  # one may be kept whose call had not returned yet
                for quantity, value in (("logged", logged), ("lost", lost), ("lost_s", lost * PACE_S)):
                    results[name].samples.setdefault(quantity, []).append(float(value))
    return results


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--kills", type=int, default=3, help="rounds of killing (default %(default)s)")
    parser.add_argument("--victim", choices=KINDS, help="internal: log until killed")
    parser.add_argument("--count", choices=KINDS, help="internal: count what was kept")
    parser.add_argument("--directory", type=Path)
    known, _ = parser.parse_known_args()
    if known.victim:
        return victim(known.victim, known.directory)
    if known.count:
        print(json.dumps(KINDS[known.count].count(known.directory)))
        return None
    options = begin(parser, "trackio", "wandb", "tensorboard", "tensorboardX", "mlflow")
    tools = chosen([Tool(name, burst, {"name": name}) for name in KINDS], options.only)
    if options.repeats:
        results = interleave(tools, options.repeats)
        show(
            "a call with 10 scalars, and scalars a second until durable",
            results,
            [Column("call_s", "call", "µs", 1e6, 1), Column("scalars_per_s", "sustained", "scalars/s", 1, 0)],
            US,
        )
    if options.kills:
        results = kill([tool.name for tool in tools], options.kills)
        show(
            f"SIGKILL while logging a row every {PACE_S * 1e3:.0f} ms",
            results,
            [
                Column("logged", "rows logged", "", digits=0, ratio=False),
                Column("lost", "rows lost", "", digits=0, ratio=False),
                Column("lost_s", "lost", "s", digits=3, ratio=False),
            ],
            US,
        )
    return None


if __name__ == "__main__":
    main()

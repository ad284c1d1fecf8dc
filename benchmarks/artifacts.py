"""Artifacts: how fast a gigabyte is logged, logged again unchanged, and taken out.

* log: a file that is on disk and in the page cache, beside reading it through SHA-256 alone, which any store of
  content by its digest must do once. The version is durable when the call returns. `no MD5` is what every layout
  but `files` does; with MD5 both digests are taken in one pass. W&B's own `Artifact.add_file` computes MD5 and
  copies the file into its cache, which is neither durable nor in a run yet.
* again: the same call once more. Nothing changed, so there is no new version and nothing is read.
* get: to another folder, every byte checked while it is copied, and on the disk at the end; beside `cp` followed
  by a sync of the copy, and by SHA-256 of it.
* disk: what the file system has less of after logging, in multiples of the file.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import (
    US,
    Column,
    Measure,
    Tool,
    arguments,
    begin,
    chosen,
    disk_bytes,
    interleave,
    show,
    sync_tree,
)

_PIECE = 1 << 22


def make_file(path: Path, size: int) -> Path:
    """Random bytes on the disk and in the page cache."""
    with path.open("wb") as file:
        for at in range(0, size, _PIECE):
            file.write(os.urandom(min(_PIECE, size - at)))
        file.flush()
        os.fsync(file.fileno())
    return path


def timed(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def trainyard(size: int, md5: bool) -> Measure:
    from trainyard.artifacts import Artifacts
    from trainyard.runs import Yard

    source = make_file(Path("data.bin"), size)
    numbers = itertools.count()

    def measure() -> dict[str, float]:
        yard = Yard(f"yard-{next(numbers)}", create=True)
        store = Artifacts(yard)
        first = timed(lambda: store.log("data", source, md5=md5))
        before = disk_bytes(Path())
        again = timed(lambda: store.log("data", source, md5=md5))
        assert store.find("data").number == 0
        get = timed(lambda: store.get("data", "out"))
        shutil.rmtree("out")
        shutil.rmtree(yard.root)
        return {"log_s": first, "bytes_s": size / first, "again_s": again, "get_s": get, "disk": (before - size) / size}

    return measure


def sha256_alone(size: int) -> Measure:
    source = make_file(Path("data.bin"), size)

    def digest(path: Path) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def get() -> None:
        out = Path("out")
        out.mkdir()
        subprocess.run(["cp", str(source), str(out / "data.bin")], check=True)
        sync_tree(out)
        digest(out / "data.bin")

    def measure() -> dict[str, float]:
        log = timed(lambda: digest(source))
        fetched = timed(get)
        shutil.rmtree("out")
        return {"log_s": log, "bytes_s": size / log, "get_s": fetched}

    return measure


def wandb_artifact(size: int) -> Measure:
    os.environ.update(WANDB_CACHE_DIR=os.path.abspath("cache"), WANDB_DATA_DIR=os.path.abspath("data"))
    import wandb

    source = make_file(Path("data.bin"), size)

    def add() -> None:
        wandb.Artifact("data", "dataset").add_file(str(source))

    def measure() -> dict[str, float]:
        log = timed(add)
        return {"log_s": log, "bytes_s": size / log, "again_s": timed(add)}

    return measure


REFERENCE = "SHA-256 alone; cp, sync, SHA-256"


def main() -> None:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--mb", type=int, default=1000, help="size of the file (default %(default)s)")
    options = begin(parser, "wandb")
    size = options.mb * 10**6
    tools = [
        Tool(REFERENCE, sha256_alone, {"size": size}),
        Tool(f"{US}, no MD5", trainyard, {"size": size, "md5": False}),
        Tool(f"{US}, MD5 too", trainyard, {"size": size, "md5": True}),
        Tool("W&B Artifact.add_file", wandb_artifact, {"size": size}),
    ]
    results = interleave(chosen(tools, options.only), options.repeats)
    show(
        f"one file of {options.mb:,} MB",
        results,
        [
            Column("bytes_s", "logged at", "MB/s", 1e-6, 0),
            Column("again_s", "again unchanged", "ms", 1e3, 1, ratio=False),
            Column("disk", "disk", "x", 1, 3, ratio=False),
            Column("get_s", "get", "s", 1, 2),
        ],
        REFERENCE,
    )


if __name__ == "__main__":
    main()

from __future__ import annotations

import errno
import hashlib
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import faults
import pytest

from trainyard import durable
from trainyard.errors import CorruptError
from trainyard.objects import Objects

BYTES = b"frozen weights" * 100
DIGEST = hashlib.sha256(BYTES).hexdigest()


def everything(yard: Path) -> list[str]:
    return sorted(path.relative_to(yard).as_posix() for path in yard.rglob("*") if path.is_file())


def test_an_object_is_kept_once_and_linked(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    assert not objects.has(DIGEST)
    for _ in range(2):
        assert objects.create(lambda path: durable.write_bytes(path, BYTES)) == DIGEST
    (tmp_path / "same").write_bytes(BYTES)
    assert objects.put(tmp_path / "same") == DIGEST
    assert everything(tmp_path) == [f".yard/objects/{DIGEST[:2]}/{DIGEST}", "same"]
    objects.link(DIGEST, tmp_path / "run" / "weights")
    assert (tmp_path / "run" / "weights").samefile(objects.path(DIGEST))


def test_put_links_and_link_count_tells_use(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    (tmp_path / "mine").write_bytes(BYTES)
    objects.put(tmp_path / "mine")
    assert objects.unreferenced() == []
    (tmp_path / "mine").unlink()
    assert objects.unreferenced() == [(objects.path(DIGEST), len(BYTES))]


def test_a_missing_object_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptError) as raised:
        Objects(tmp_path).link(DIGEST, tmp_path / "weights")
    assert (raised.value.value, raised.value.place) == (DIGEST, str(tmp_path / "weights"))
    assert raised.value.remedy


def test_copies_where_there_are_no_links(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    (tmp_path / "mine").write_bytes(BYTES)
    for action in (lambda: objects.put(tmp_path / "mine"), lambda: objects.link(DIGEST, tmp_path / "a")):
        with faults.failing(1, kinds={"link"}, error=errno.EXDEV):
            action()
    assert (tmp_path / "a").read_bytes() == BYTES
    assert os.stat(tmp_path / "a").st_nlink == 1


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_every_fault_leaves_an_object_or_none(error: int, tmp_path: Path) -> None:
    n = 0

    def fresh() -> Objects:
        nonlocal n
        n += 1
        return Objects(tmp_path / str(n))

    def use(objects: Objects) -> None:
        digest = objects.create(lambda path: durable.write_bytes(path, BYTES))
        target = tmp_path / str(n) / "run" / "weights"
        target.unlink(missing_ok=True)
        objects.link(digest, target)

    def check(objects: Objects) -> None:
        found = everything(tmp_path / str(n))
        assert set(found) <= {f".yard/objects/{DIGEST[:2]}/{DIGEST}", "run/weights"}
        for name in found:
            assert (tmp_path / str(n) / name).read_bytes() == BYTES

    def succeeded(objects: Objects) -> None:
        check(objects)
        assert len(everything(tmp_path / str(n))) == 2

    assert faults.sweep(use, check, fresh=fresh, succeeded=succeeded, error=error) > 10


def test_what_a_kill_leaves_is_no_object_and_is_swept(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from trainyard import durable
from trainyard.objects import Objects
Objects(Path({str(tmp_path)!r})).create(lambda path: durable.write_bytes(path, {BYTES!r}))
"""
    for nth in (1, 2, 3):
        assert faults.run_killed(code, nth_call=nth, kinds={"write", "rename", "link"}).returncode == -signal.SIGKILL
        assert Objects(tmp_path).unreferenced() == []
    assert len(everything(tmp_path)) >= 1
    Objects(tmp_path).create(lambda path: durable.write_bytes(path, BYTES))
    assert everything(tmp_path) == [f".yard/objects/{DIGEST[:2]}/{DIGEST}"]


def _create_and_link(arguments: tuple[str, int]) -> None:
    yard = Path(arguments[0])
    for n in range(10):
        digest = Objects(yard).create(lambda path, n=n: durable.write_bytes(path, b"%d" % n))
        Objects(yard).link(digest, yard / f"run-{arguments[1]}" / str(n))


def test_processes_that_make_the_same_objects_share_them(tmp_path: Path) -> None:
    with ProcessPoolExecutor(6, mp_context=get_context("fork")) as pool:
        list(pool.map(_create_and_link, [(str(tmp_path), n) for n in range(6)]))
    found = everything(tmp_path)
    assert len(found) == 10 + 6 * 10
    for name in found:
        assert (tmp_path / name).read_bytes() in {b"%d" % n for n in range(10)}

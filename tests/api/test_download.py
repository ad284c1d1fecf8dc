"""Downloads: whole with the right digest or not there, whatever fails, and continued where they ended."""

from __future__ import annotations

import hashlib
import os
import signal
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import faults
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import trainyard
from trainyard.api import Api
from trainyard.api.download import Source, download
from trainyard.errors import CorruptError, DiskFullError, NameTakenError, TrainyardError, YardError

Connect = Callable[[Path], Api]
DATA = bytes(range(256)) * 40


def source(
    data: bytes = DATA,
    *,
    served: bytes | None = None,
    piece: int = 1000,
    asked: list[int] | None = None,
    digest: str | None = "right",
) -> Source:
    """A source that was recorded as `data` and gives `served`; where it was read from goes to `asked`."""

    def read(start: int) -> Iterator[bytes]:
        if asked is not None:
            asked.append(start)
        rest = (data if served is None else served)[start:]
        for at in range(0, len(rest), piece):
            yield rest[at : at + piece]

    return Source("it", len(data), hashlib.sha256(data).hexdigest() if digest == "right" else digest, read)


class CutError(Exception):
    """The connection is gone."""


def cut_after(pieces: int, data: bytes = DATA, piece: int = 1000) -> Source:
    def read(start: int) -> Iterator[bytes]:
        for at in range(start, start + pieces * piece, piece):
            yield data[at : at + piece]
        raise CutError

    return Source("it", len(data), hashlib.sha256(data).hexdigest(), read)


def names(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def partial(directory: Path) -> Path:
    (found,) = directory.glob(".part-*")
    return found


# -- as it should be


def test_it_writes_what_there_is(tmp_path: Path) -> None:
    target = tmp_path / "a/b/weights.bin"
    download([(source(), target)])
    assert target.read_bytes() == DATA
    assert names(tmp_path) == ["a/b/weights.bin"]
    other = tmp_path / "other"
    other.write_text("x")
    assert target.stat().st_mode == other.stat().st_mode


def test_an_empty_file(tmp_path: Path) -> None:
    download([(source(b""), tmp_path / "empty")])
    assert (tmp_path / "empty").read_bytes() == b""
    with pytest.raises(CorruptError) as caught:
        download([(source(b"", served=b"x"), tmp_path / "other")])
    assert (caught.value.place, caught.value.value) == ("it", 1)
    assert names(tmp_path) == ["empty"]


def test_what_is_there_already_is_not_fetched_again(tmp_path: Path) -> None:
    target = tmp_path / "it"
    target.write_bytes(DATA)
    before = target.stat()
    asked: list[int] = []
    for options in ({}, {"replace": True}, {"exist_ok": True}):
        download([(source(asked=asked), target)], **options)
    assert asked == []
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("other", [b"", b"something else", DATA[:-1], DATA[:-1] + b"\0", DATA + b"x"])
def test_a_different_file_is_replaced_only_when_asked(tmp_path: Path, other: bytes) -> None:
    target = tmp_path / "it"
    target.write_bytes(other)
    with pytest.raises(NameTakenError) as caught:
        download([(source(), target)])
    assert caught.value.place == str(target)
    assert target.read_bytes() == other
    assert "replace=True" in caught.value.remedy
    download([(source(), target)], exist_ok=True)
    assert target.read_bytes() == other
    linked = tmp_path / "linked"
    os.link(target, linked)
    download([(source(), target)], replace=True)
    assert target.read_bytes() == DATA
    assert linked.read_bytes() == other
    assert names(tmp_path) == ["it", "linked"]


def test_what_is_no_file_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "folder/inner").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"x")
    for target in (tmp_path / "folder", tmp_path / "file/it"):
        for options in ({}, {"replace": True}, {"exist_ok": True}):
            with pytest.raises(NameTakenError):
                download([(source(b"y"), tmp_path / "first"), (source(), target)], **options)
    assert names(tmp_path) == ["file"]
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(NameTakenError):
        download([(source(), dangling)])
    download([(source(), dangling)], replace=True)
    assert dangling.read_bytes() == DATA
    assert not dangling.is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_several_are_looked_at_before_the_first_is_written(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"another")
    with pytest.raises(NameTakenError):
        download([(source(), tmp_path / "a"), (source(), tmp_path / "b")])
    with faults.disk_full(len(DATA) + 10), pytest.raises(DiskFullError) as caught:
        download([(source(), tmp_path / "x/a"), (source(DATA[::-1]), tmp_path / "y/b")])
    assert caught.value.value == 2 * len(DATA), "all of them together"
    assert names(tmp_path) == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


# -- cut off


def test_it_goes_on_where_it_ended(tmp_path: Path) -> None:
    target, asked = tmp_path / "it", list[int]()
    with pytest.raises(CutError):
        download([(cut_after(3), target)])
    assert not target.exists()
    assert partial(tmp_path).read_bytes() == DATA[:3000]
    with pytest.raises(CutError):
        download([(cut_after(2), target)])
    download([(source(asked=asked), target)])
    assert asked == [5000]
    assert target.read_bytes() == DATA
    assert names(tmp_path) == ["it"]


def test_one_cut_off_at_the_very_beginning_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CutError):
        download([(cut_after(0), tmp_path / "it")])
    assert names(tmp_path) == []


def test_what_was_gathered_is_not_mixed_with_other_bytes(tmp_path: Path) -> None:
    """Another version of the file has another digest, and so begins anew."""
    target, asked = tmp_path / "it", list[int]()
    with pytest.raises(CutError):
        download([(cut_after(3), target)])
    download([(source(DATA[::-1], asked=asked), target)])
    assert asked == [0]
    assert target.read_bytes() == DATA[::-1]


@given(kept=st.binary(max_size=120), data=st.binary(max_size=100), piece=st.integers(1, 50), right=st.booleans())
@example(kept=b"xyz", data=b"abc", piece=1, right=False)
@example(kept=b"", data=b"", piece=1, right=True)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_was_left_there_the_result_is_right(
    tmp_path: Path, kept: bytes, data: bytes, piece: int, right: bool
) -> None:
    """Zeros of a power cut, another's bytes, too many: what is published has the digest."""
    kept = data[: len(kept)] if right else kept
    target = tmp_path / "it"
    target.unlink(missing_ok=True)
    mark = hashlib.sha256(hashlib.sha256(data).hexdigest().encode()).hexdigest()[:32]
    (tmp_path / f".part-{mark}").write_bytes(kept)
    download([(source(data, piece=piece), target)])
    assert target.read_bytes() == data
    assert names(tmp_path) == ["it"]


def test_gathered_bytes_that_are_wrong_are_fetched_once_more(tmp_path: Path) -> None:
    target, asked = tmp_path / "it", list[int]()
    with pytest.raises(CutError):
        download([(cut_after(3), target)])
    faults.flip_byte(partial(tmp_path), 100)
    download([(source(asked=asked), target)])
    assert asked == [3000, 0]
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("gathered", [0, 3])
@pytest.mark.parametrize("served", [DATA[:-1], DATA + b"x", DATA[:-1] + b"\0", b""])
def test_a_damaged_source_is_told_and_nothing_is_left(tmp_path: Path, served: bytes, gathered: int) -> None:
    target = tmp_path / "it"
    if gathered:
        with pytest.raises(CutError):
            download([(cut_after(gathered), target)])
    with pytest.raises(CorruptError) as caught:
        download([(source(served=served), target)])
    assert caught.value.place == "it"
    assert caught.value.remedy
    assert names(tmp_path) == []
    target.write_bytes(b"old")
    with pytest.raises(CorruptError):
        download([(source(served=served), target)], replace=True)
    assert target.read_bytes() == b"old"


def test_without_a_digest_nothing_is_continued(tmp_path: Path) -> None:
    def cut(start: int) -> Iterator[bytes]:
        yield b"half"
        raise CutError

    target = tmp_path / "log"
    with pytest.raises(CutError):
        download([(Source("it", 10, None, cut), target)])
    assert names(tmp_path) == []
    download([(source(b"0123456789", served=b"0123456789 and more", digest=None), target)])
    assert target.read_bytes() == b"0123456789 and more"


def test_two_at_once_both_get_it(tmp_path: Path) -> None:
    """The second does not write into what the first gathers."""
    target = tmp_path / "it"
    first_is_inside, second_is_done = threading.Event(), threading.Event()

    def slow(start: int) -> Iterator[bytes]:
        yield DATA[start : start + 1000]
        first_is_inside.set()
        assert second_is_done.wait(20)
        yield DATA[start + 1000 :]

    slowly = Source("it", len(DATA), hashlib.sha256(DATA).hexdigest(), slow)
    thread = threading.Thread(target=download, args=([(slowly, target)],))
    thread.start()
    assert first_is_inside.wait(20)
    download([(source(), target)])
    assert target.read_bytes() == DATA
    assert partial(tmp_path).stat().st_size == 1000
    second_is_done.set()
    thread.join(20)
    assert target.read_bytes() == DATA
    assert names(tmp_path) == ["it"]


def test_what_another_process_puts_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "it"

    def read(start: int) -> Iterator[bytes]:
        target.write_bytes(b"another's")
        yield DATA[start:]

    with pytest.raises(NameTakenError):
        download([(Source("it", len(DATA), hashlib.sha256(DATA).hexdigest(), read), target)])
    assert target.read_bytes() == b"another's"


# -- disks


def test_a_full_disk_is_foreseen(tmp_path: Path) -> None:
    with faults.disk_full(len(DATA) - 1), pytest.raises(DiskFullError) as caught:
        download([(source(), tmp_path / "deep/it")])
    assert caught.value.value == len(DATA)
    assert "root=" in caught.value.remedy
    assert "resume" not in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


class Misjudged(faults.FullDisk):
    """A disk that says it has room, until another process has filled it."""

    def free_bytes(self, directory: Path) -> int:
        return 10**12


def test_a_disk_that_fills_up_meanwhile(tmp_path: Path) -> None:
    target, asked = tmp_path / "it", list[int]()
    with faults.installed(Misjudged(2500)), pytest.raises(DiskFullError) as caught:
        download([(source(), target)])
    assert caught.value.place == str(target)
    assert "continues" in caught.value.remedy
    assert not target.exists()
    assert partial(tmp_path).read_bytes() == DATA[:2500]
    with faults.disk_full(len(DATA) - 2500):  # what is there needs no more room
        download([(source(asked=asked), target)])
    assert asked == [2500]
    assert target.read_bytes() == DATA


def test_a_real_full_disk(tmp_path: Path) -> None:
    try:
        with faults.tmpfs(tmp_path, 1):
            with pytest.raises(DiskFullError):
                download([(source(DATA * 200), tmp_path / "it")])
            assert names(tmp_path) == []
            filler = os.statvfs(tmp_path)
            (tmp_path / "filler").write_bytes(b"x" * (filler.f_bavail * filler.f_frsize - 8192))
            with faults.installed(Honest()), pytest.raises(DiskFullError):
                download([(source(DATA * 3), tmp_path / "it")])
            assert not (tmp_path / "it").exists()
            (tmp_path / "filler").unlink()
            download([(source(DATA * 3), tmp_path / "it")])
            assert (tmp_path / "it").read_bytes() == DATA * 3
            assert names(tmp_path) == ["it"]
    except faults.NotPermittedError as error:
        pytest.skip(str(error))


class Honest(faults.FaultyCalls):
    """The real calls, but for the question how much is free."""

    def free_bytes(self, directory: Path) -> int:
        return 10**12


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    with faults.failing(1, kinds={"mkdir"}, error=13), pytest.raises(YardError) as caught:
        download([(source(), tmp_path / "deep/it")])
    assert caught.value.place == str(tmp_path / "deep/it")
    assert "root=" in caught.value.remedy
    assert "--yard" not in caught.value.remedy


@pytest.mark.parametrize("old", [None, b"what was there before"])
def test_every_call_may_fail(tmp_path: Path, old: bytes | None) -> None:
    """Old or new, never neither; and the next try succeeds."""

    def prepare(state: Path) -> None:
        if old is not None:
            (state / "a").mkdir()
            (state / "a/it").write_bytes(old)

    def check(state: Path) -> None:
        target = state / "a/it"
        assert (target.read_bytes() if target.exists() else None) in (old, DATA)

    def succeeded(state: Path) -> None:
        assert (state / "a/it").read_bytes() == DATA
        assert names(state) == ["a/it"]

    tried = faults.sweep(
        lambda state: download([(source(piece=4000), state / "a/it")], replace=True),
        check,
        succeeded=succeeded,
        fresh=faults.States(tmp_path, prepare),
    )
    assert tried > 6


def test_a_killed_download_goes_on(tmp_path: Path) -> None:
    """Another process, killed with a write half done, and again; then one that reads only the rest."""
    data = os.urandom(10_000_000)
    with trainyard.start_run(yard=tmp_path / "yard") as run:
        run.save_file(data, "weights.bin")
    script = textwrap.dedent(
        f"""
        import trainyard
        run = trainyard.Api({str(tmp_path / "yard")!r}).run("last")
        run.file("extra/weights.bin").download({str(tmp_path / "out")!r})
        """
    )
    sizes = []
    for nth in (2, 1):
        done = faults.run_killed(script, nth_call=nth, kinds={"write"})
        assert done.returncode == -signal.SIGKILL, done.stderr
        sizes.append(partial(tmp_path / "out/extra").stat().st_size)
        assert names(tmp_path / "out") == [f"extra/{partial(tmp_path / 'out/extra').name}"]
    assert 0 < sizes[0] < sizes[1] < len(data)
    assert data.startswith(partial(tmp_path / "out/extra").read_bytes())
    with faults.disk_full(len(data) - sizes[1]):
        path = trainyard.Api(tmp_path / "yard").run("last").file("extra/weights.bin").download(tmp_path / "out")
    assert path.read_bytes() == data
    assert names(tmp_path / "out") == ["extra/weights.bin"]


def test_every_message_has_a_remedy(tmp_path: Path, connect: Connect) -> None:
    with trainyard.start_run(yard=tmp_path / "yard") as run:
        run.save_file(DATA, "it")
    file = connect(tmp_path / "yard").run("last").file("extra/it")
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra/it").write_bytes(b"x")
    with pytest.raises(TrainyardError) as taken:
        file.download(tmp_path)
    with faults.disk_full(5), pytest.raises(TrainyardError) as full:
        file.download(tmp_path / "other")
    for caught in (taken, full):
        assert caught.value.remedy.endswith(".")

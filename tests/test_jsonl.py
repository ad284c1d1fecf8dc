from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path

import faults
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard import durable, jsonl
from trainyard.errors import CorruptError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
records = st.dictionaries(st.text(st.characters(exclude_categories=())), json_values, min_size=1, max_size=5)


@given(records)
def test_a_line_reads_back_as_what_was_written(record: dict[str, object]) -> None:
    line = jsonl.encode_line(record)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert jsonl.decode_line(line) == record
    assert json.loads(line)  # any JSON reader can


def test_nan_and_surrogates_survive_lines_and_files(tmp_path: Path) -> None:
    record = {
        "loss": float("nan"),
        "best": float("-inf"),
        "name": "half\ud800",
        "end": "\\",
        "both": "\\\udc80",
        "é": "模型",
    }
    found = jsonl.decode_line(jsonl.encode_line(record))
    assert repr(found) == repr(record)
    durable.write_json(tmp_path / "f.json", record)
    text = (tmp_path / "f.json").read_text(encoding="utf-8")  # valid UTF-8 whatever was in it
    assert "模型" in text
    assert repr(json.loads(text)) == repr(record)
    durable.write_text(tmp_path / "f.txt", "a half\ud800")
    assert (tmp_path / "f.txt").read_text(encoding="utf-8") == "a half\\ud800"


@given(records, st.data())
def test_a_damaged_line_is_never_taken_for_a_record(record: dict[str, object], data: st.DataObject) -> None:
    line = bytearray(jsonl.encode_line(record))
    position = data.draw(st.integers(0, len(line) - 1))
    line[position] ^= data.draw(st.integers(1, 255))
    assert jsonl.decode_line(bytes(line)) is None
    cut = data.draw(st.integers(0, len(line) - 1))
    assert jsonl.decode_line(jsonl.encode_line(record)[:cut]) is None


LINES = [{"n": n, "text": "x" * n} for n in range(4)]


def write_lines(path: Path) -> None:
    appender = jsonl.Appender(path)
    for record in LINES:
        appender.append(jsonl.encode_line(record))
    appender.close()
    appender.close()


def test_a_torn_tail_is_passed_over_and_cut_off_whatever_its_length(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    write_lines(path)
    whole = path.read_bytes()
    last = len(jsonl.encode_line(LINES[-1]))
    for torn in range(1, last + 1):
        path.write_bytes(whole[: len(whole) - torn])
        assert jsonl.read_lines(path) == (LINES[:-1], len(whole) - last)
        appender = jsonl.Appender(path)
        assert path.stat().st_size == len(whole) - last
        appender.append(jsonl.encode_line({"after": torn}))
        appender.close()
        assert jsonl.read_lines(path)[0] == [*LINES[:-1], {"after": torn}]


@pytest.mark.parametrize("rubbish", [b"\0" * 100, b"\n", b'{"crc":"', b"\r\n\r", b'{"n": 1}\n'])
def test_rubbish_at_the_end_is_a_torn_tail(rubbish: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    write_lines(path)
    with path.open("ab") as file:
        file.write(rubbish)
    assert jsonl.read_lines(path)[0] == LINES
    appender = jsonl.Appender(path)
    appender.append(jsonl.encode_line({"after": 1}))
    appender.close()
    assert jsonl.read_lines(path)[0] == [*LINES, {"after": 1}]


def test_damage_with_whole_lines_after_it_is_an_error_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    write_lines(path)
    before = path.read_bytes()
    for offset in range(len(before) - len(jsonl.encode_line(LINES[-1]))):
        path.write_bytes(before)
        faults.flip_byte(path, offset)
        damaged = path.read_bytes()
        with pytest.raises(CorruptError) as raised:
            jsonl.read_lines(path)
        line = before[:offset].count(b"\n") + 1
        assert raised.value.place == f"{path}:{line}"
        assert raised.value.remedy
        with pytest.raises(CorruptError):
            jsonl.Appender(path)
        assert path.read_bytes() == damaged


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_failed_append_leaves_the_lines_before_and_the_next_one_works(error: int, tmp_path: Path) -> None:
    n = 0

    def fresh() -> jsonl.Appender:
        nonlocal n
        n += 1
        write_lines(tmp_path / str(n))
        return jsonl.Appender(tmp_path / str(n))

    line = jsonl.encode_line({"new": 1})

    def check(appender: jsonl.Appender) -> None:
        assert jsonl.read_lines(appender.path)[0] == LINES
        assert appender.size == len(appender.path.read_bytes())

    def succeeded(appender: jsonl.Appender) -> None:
        assert jsonl.read_lines(appender.path)[0] == [*LINES, {"new": 1}]
        appender.close()

    tried = faults.sweep(lambda a: a.append(line), check, fresh=fresh, succeeded=succeeded, error=error)
    assert tried == 2


def test_a_tear_that_cannot_be_cut_off_at_once_is_cut_off_before_the_next_line(tmp_path: Path) -> None:
    class Broken(faults.FaultyCalls):
        def truncate(self, fd: int, size: int) -> None:
            raise OSError(errno.EIO, "truncate fails, too")

    write_lines(tmp_path / "lines")
    appender = jsonl.Appender(tmp_path / "lines")
    with faults.installed(Broken(1, kinds={"write"})), pytest.raises(OSError, match="injected"):
        appender.append(jsonl.encode_line({"lost": 1}))
    assert (tmp_path / "lines").stat().st_size > appender.size
    assert jsonl.read_lines(tmp_path / "lines")[0] == LINES
    with faults.installed(Broken()), pytest.raises(OSError, match="truncate fails"):
        appender.append(jsonl.encode_line({"lost": 2}))
    appender.append(jsonl.encode_line({"kept": 3}))
    appender.close()
    assert jsonl.read_lines(tmp_path / "lines")[0] == [*LINES, {"kept": 3}]


def test_opening_an_appender_survives_faults_without_leaking(tmp_path: Path) -> None:
    def prepare(state: Path) -> None:
        write_lines(state / "lines")
        faults.truncate(state / "lines", -3)

    def action(state: Path) -> None:
        jsonl.Appender(state / "lines").close()
        jsonl.Appender(state / "new").close()

    before = len(os.listdir("/proc/self/fd"))
    faults.sweep(
        action,
        lambda state: jsonl.read_lines(state / "lines"),
        fresh=faults.States(tmp_path, prepare),
        succeeded=lambda state: jsonl.read_lines(state / "lines")[0] == LINES[:-1],
    )
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_closed_appender_says_so(tmp_path: Path) -> None:
    appender = jsonl.Appender(tmp_path / "lines")
    appender.close()
    with pytest.raises(ValueError, match="closed"):
        appender.append(b"x\n")


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_killed_append_keeps_every_line_that_returned(nth: int, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from trainyard import jsonl
appender = jsonl.Appender(Path({str(tmp_path)!r}) / "lines")
for n in range(3):
    appender.append(jsonl.encode_line({{"n": n, "text": "x" * n}}))
"""
    assert faults.run_killed(code, nth_call=nth, kinds={"write"}).returncode == -signal.SIGKILL
    path = tmp_path / "lines"
    assert path.stat().st_size > jsonl.read_lines(path)[1]  # half a line is there
    assert jsonl.read_lines(path)[0] == LINES[: nth - 1]
    appender = jsonl.Appender(path)
    appender.append(jsonl.encode_line({"after": 1}))
    appender.close()
    assert jsonl.read_lines(path)[0] == [*LINES[: nth - 1], {"after": 1}]

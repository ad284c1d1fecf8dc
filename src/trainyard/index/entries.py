"""The index entry of one run, read from the run's own files.

`run.json` is read as plain JSON, which is fast enough for ten thousand runs; if it is behind its journal or
damaged, the journal is folded instead. Knows no SQL and nothing of other runs.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from trainyard.errors import TrainyardError
from trainyard.runs.lock import is_alive
from trainyard.runs.reader import read_snapshot

Value = str | int | float | None

LIVE = ("created", "running")
_NAMES = ("id", "name", "project", "dataset", "model", "layout")
_TIMES = ("created", "started", "ended")
_VALUES = ("summary", "metrics", "best", "size_bytes", "step", "epoch")
_SHOWN = (*_NAMES, "state", *_TIMES, "seed", "tags", "note", *_VALUES, "parents", "error")
_NEEDED = {*_SHOWN, "config", "data"}
_LARGEST = 2**63 - 1  # the largest integer of SQLite
_REMEMBERED = 10_000  # names; bounds the memory that unusual runs can take


@dataclass(slots=True)
class Entry:
    """The index entry of one run."""

    columns: tuple[Value | bytes, ...]  # of the table `runs`, in its order, without `n`
    stamp: str
    document: str
    facts: dict[str, Value]
    tags: list[str]
    parents: list[str]


@dataclass(slots=True)
class Damaged:
    """A home whose run cannot be read, and why."""

    home: str
    stamp: str
    reason: str


def read_entry(root: str, home: str) -> Entry | Damaged | None:
    """The entry of `home` (relative, without a trailing slash) now; None when there is no run.

    The state is the current one: a run recorded as running whose lock is free is crashed.
    """
    own = f"{root}/{home}/.run"
    while True:
        stamp = stamp_of(own)
        if stamp is None:
            return None
        try:
            data = _load(own, stamp)
            written = "running" if data["state"] == "crashed" else data["state"]
            state = written
            if written in LIVE and not is_alive(Path(own, "lock")):
                if stamp_of(own) != stamp:
                    continue  # it ended between the two checks
                state = "crashed"
            return _entry(home, stamp, written in LIVE, state, data)
        except TrainyardError as error:
            reason = error.what
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"Its snapshot cannot be read ({type(error).__name__}: {error})."
        if stamp_of(own) == stamp:  # otherwise it changed or was removed while it was read
            return Damaged(home, stamp, reason)


def stamp_of(own: str) -> str | None:
    """Times and sizes of the files that hold a run's state; None when there is no run."""
    parts: list[int] = []
    for name in ("run.json", "journal.jsonl", "lock"):
        try:
            status = os.stat(f"{own}/{name}")
        except OSError:
            parts += (0, 0)
        else:
            parts += (status.st_mtime_ns, status.st_size)
    if not any(parts) and not os.path.isdir(own):
        return None
    return " ".join(map(str, parts))


def _load(own: str, stamp: str) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(f"{own}/run.json", "rb", 0) as file:
        data: dict[str, Any] = json.loads(file.read())
        if data["journal_bytes"] == int(stamp.split(" ")[3]) and data.keys() >= _NEEDED:
            return data
    return read_snapshot(Path(own).parent).to_dict()  # the journal is ahead, or run.json is damaged


def _entry(home: str, stamp: str, live: bool, state: str, data: Mapping[str, Any]) -> Entry:
    facts: dict[str, Value] = {}
    for section in ("metrics", "summary", "config"):
        _flatten(section, data[section].items(), facts)
    plain = {name: value for name, value in data["data"].items() if not isinstance(value, (dict, list))}
    _flatten("data", plain.items(), facts)
    best = data["best"] or {}
    times = [datetime.fromisoformat(data[name]).timestamp() if data[name] else None for name in _TIMES]
    _, started, ended = times
    document = {name: data[name] for name in _SHOWN}
    document["state"], document["home"] = state, home + "/"
    if data.get("task"):  # runs of the first version recorded none
        document["task"] = {key: data["task"].get(key) for key in ("name", "headline")}
    return Entry(
        columns=(
            to_text(home),
            live,
            state,
            *(text_of(data[name]) for name in (*_NAMES, "note")),
            None if data["error"] is None else text_of(data["error"]),
            *times,
            None if started is None or ended is None else ended - started,
            *(_scalar(data[name]) for name in ("seed", "step", "epoch", "size_bytes")),
            *(_scalar(best.get(name)) for name in ("metric", "value", "step", "epoch")),
        ),
        stamp=stamp,
        document=json.dumps(document),
        facts=facts,
        tags=[text_of(tag) for tag in data["tags"]],
        parents=[text_of(parent["run"]) for parent in data["parents"]],
    )


def _flatten(prefix: str, items: Iterable[tuple[Any, Any]], facts: dict[str, Value]) -> None:
    """Adds all scalars under dotted names. A list of scalars becomes one text, such as [128,64]; others are numbered.

    Ten thousand runs have a million scalars, hence the order of the branches and the cache of names.
    """
    names = _names[prefix]
    for key, value in items:
        name = names.get(key) or _name(prefix, key)
        kind = type(value)
        if kind is float or value is None:
            facts[name] = value  # SQLite stores NaN as NULL
        elif kind is dict:
            _flatten(name, value.items(), facts)
        elif kind is not list:
            facts[name] = _scalar(value)
        elif any(isinstance(item, (dict, list)) for item in value):
            _flatten(name, enumerate(value), facts)
        else:
            facts[name] = text_of(_LISTS.encode(value))


_LISTS = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_names: defaultdict[str, dict[Any, str]] = defaultdict(dict)  # prefix -> key -> dotted name


def _name(prefix: str, key: object) -> str:
    name = text_of(f"{prefix}.{key}")
    names = _names[prefix]
    if len(_names) < _REMEMBERED and len(names) < _REMEMBERED:
        names[key] = name
    return name


def _scalar(value: Any) -> Value:
    """A value as SQLite stores it: true and false as text, integers too large for it as floats."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return value if -_LARGEST <= value <= _LARGEST else float(value)
    return value if value is None or isinstance(value, float) else text_of(value)


def text_of(value: object) -> str:
    """Text that SQLite can store: lone surrogates become question marks."""
    text = str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def to_text(home: str) -> str | bytes:
    """A path as the index stores it: bytes when it is not UTF-8."""
    try:
        home.encode()
    except UnicodeEncodeError:
        return os.fsencode(home)
    return home


def from_text(home: str | bytes) -> str:
    """The inverse of `to_text`."""
    return home if isinstance(home, str) else os.fsdecode(home)

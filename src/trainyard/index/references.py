"""References to runs: by id, name, path or part of one. Never guesses between several.

Reads the rows of the index; knows nothing of how they are written.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from trainyard.errors import RunNotFoundError
from trainyard.index.entries import from_text, to_text
from trainyard.runs import Yard
from trainyard.wording import did_you_mean

LAST = ("last", "latest")
_SHOWN = 10  # candidates in a message
_SHORTEST_PREFIX = 4
_COMPARED = 5_000  # names searched for a similar one

_BY_NAME = """
SELECT home, id, project, dataset, name, created FROM runs WHERE id = ?1 COLLATE BINARY
OR name = ?1 COLLATE BINARY OR project || '/' || name = ?1 OR project || '/' || dataset || '/' || name = ?1
"""
_BY_PART = r"""
SELECT home, id, project, dataset, name, created FROM runs
WHERE (?2 AND substr(id, 1, length(?1)) = ?1 COLLATE BINARY)
OR home = ?3 OR substr(home, -length(?3) - 1) = '/' || ?3
"""
_LAST = """
SELECT home, id, project, dataset, name, created FROM runs ORDER BY created DESC NULLS LAST, n DESC LIMIT 1
"""


@dataclass(frozen=True)
class Candidate:
    """A run that a reference may mean."""

    home: str  # relative, without a trailing slash
    id: str
    title: str
    created: str


def find_on_disk(yard: Yard, reference: str) -> str | None:
    """The home at the path `reference`, relative to here or to the yard's root; None when there is none.

    Raises:
        RunNotFoundError: it is the home of a run outside of the yard.
    """
    bases = [str(yard.root)]
    with contextlib.suppress(FileNotFoundError):  # the current directory may have been removed
        bases.insert(0, os.getcwd())
    for base in bases:
        path = os.path.normpath(os.path.join(base, os.path.expanduser(reference)))
        if not os.path.isdir(os.path.join(path, ".run")):
            continue
        for root, inner in ((str(yard.root), path), (os.path.realpath(yard.root), os.path.realpath(path))):
            if inner == root or inner.startswith(root.rstrip("/") + "/"):
                home = os.path.relpath(inner, root)
                return None if home.startswith(".yard/") else home  # a run in the trash does not count
        what = f"{path} is a run, but not in the yard {yard.root}."
        remedy = f"Name its yard, or use its parent directory as one: --yard {os.path.dirname(path)}"
        raise RunNotFoundError(what, remedy, value=reference, place=path)
    return None


def find_in_index(db: sqlite3.Connection, reference: str) -> list[Candidate]:
    """The runs that match `reference`: by full name or id, otherwise by the start of an id or the end of a path."""
    if reference in LAST:
        return _candidates(db.execute(_LAST))
    text = reference.encode("utf-8", "replace").decode()
    exact = _candidates(db.execute(_BY_NAME, (text,)))
    if exact:
        return exact
    is_prefix = len(text) >= _SHORTEST_PREFIX and re.fullmatch("[a-z0-9]+", text) is not None
    tail = to_text(os.path.normpath(reference).strip("/"))
    return _candidates(db.execute(_BY_PART, (text, is_prefix, tail)))


def _candidates(rows: Iterable[tuple[str | bytes, str, str, str, str, float | None]]) -> list[Candidate]:
    found = []
    for home, id_, project, dataset, name, created in rows:
        when = "?" if created is None else f"{datetime.fromtimestamp(created):%Y-%m-%d %H:%M:%S}"
        found.append(Candidate(from_text(home), id_, f"{project}/{dataset}/{name}", when))
    return sorted(found, key=lambda candidate: (candidate.created, candidate.home), reverse=True)


def ambiguous(reference: str, candidates: list[Candidate]) -> NoReturn:
    """Raises the error that lists the runs that `reference` matches."""
    has_copies = len({candidate.id for candidate in candidates}) < len(candidates)
    lines = [f"{c.id}  {c.title}  created {c.created}{f'  in {c.home}' if has_copies else ''}" for c in candidates]
    more = [f"… and {len(candidates) - _SHOWN} more"] if len(candidates) > _SHOWN else []
    what = "\n    ".join([f"{reference!r} matches {len(candidates)} runs:", *lines[:_SHOWN], *more])
    remedy = "Give the path: some are copies with the same id." if has_copies else "Give the id."
    raise RunNotFoundError(what, remedy, value=reference)


def unknown(db: sqlite3.Connection, yard: Yard, reference: str) -> NoReturn:
    """Raises the error that suggests names similar to `reference`."""
    select = "SELECT DISTINCT name, project || '/' || name, id FROM runs ORDER BY created DESC LIMIT ?"
    names = dict.fromkeys(name for row in db.execute(select, (_COMPARED,)) for name in row)
    what = f"There is no run {reference!r} in the yard {yard.root}."
    remedy = "`trainyard runs` lists all runs; `trainyard reindex` finds runs that were copied here."
    if not names:
        what = f"There is no run {reference!r}: the yard {yard.root} has no runs."
        remedy = "`trainyard train` creates one; `trainyard reindex` finds runs that were copied here."
    hint = did_you_mean(reference, names, limit=3, then=remedy)
    raise RunNotFoundError(what, hint, value=reference, place=yard.root)

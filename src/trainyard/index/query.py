"""Terms to SQL: the fields, their types, and how their values compare. Pure.

Values always become parameters; the SQL itself contains only this file's text and key numbers.
Knows the tables of `schema`, and nothing of files or runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from trainyard.index import values
from trainyard.index.language import Part, Query, Term, escaped, fail
from trainyard.wording import did_you_mean, similar

_STATES = ("created", "running", "finished", "failed", "stopped", "crashed")
_SECTIONS = ("metrics", "summary", "config", "data")

Kind = Literal["text", "contains", "number", "size", "seconds", "moment", "age", "state", "tag", "mixed"]


@dataclass(frozen=True)
class _Field:
    kind: Kind
    sql: str  # a column; unused if there are keys
    keys: tuple[int, ...] = ()  # of `facts`; the first one that a run has is used

    def value(self, only: Literal["text", "numbers"] | None = None) -> str:
        """The SQL of a run's value, NULL where it has none; for a key, optionally only numbers or only text.

        In SQLite any text is greater than any number, and LIKE converts numbers to text.
        """
        if not self.keys:
            return self.sql
        kinds = {None: "", "text": " AND typeof(value) = 'text'", "numbers": " AND typeof(value) <> 'text'"}[only]
        found = [f"(SELECT value FROM facts WHERE key = {int(key)} AND run = r.n{kinds})" for key in self.keys]
        return found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"


_FIELDS: dict[str, _Field] = {
    **{name: _Field("text", f"r.{name}") for name in ("id", "name", "project", "dataset", "model", "layout", "home")},
    "state": _Field("state", "r.state"),
    "note": _Field("contains", "r.note"),
    "error": _Field("contains", "r.error"),
    "tag": _Field("tag", ""),
    "seed": _Field("number", "r.seed"),
    "step": _Field("number", "r.step"),
    "epoch": _Field("number", "r.epoch"),
    "size": _Field("size", "r.size"),
    "created": _Field("moment", "r.created"),
    "started": _Field("moment", "r.started"),
    "ended": _Field("moment", "r.ended"),
    "duration": _Field("seconds", "r.duration"),
    "age": _Field("age", "r.created"),
    "best.metric": _Field("text", "r.best_metric"),
    "best.value": _Field("number", "r.best_value"),
    "best.step": _Field("number", "r.best_step"),
    "best.epoch": _Field("number", "r.best_epoch"),
}
_ALIASES = {"tags": "tag", "size_bytes": "size", "run": "name"}


@dataclass(frozen=True)
class Sql:
    """The WHERE and ORDER BY of a query over `runs AS r`, with the parameters of both in order."""

    where: str
    order: str
    parameters: tuple[str | int | float, ...]


def compile_query(query: Query, keys: Mapping[str, int]) -> Sql:
    """The SQL of a query now; ages and relative times count from this moment.

    `keys` are the dotted names of all metrics, final values and configuration keys of the index, with
    their numbers. Empty in an index without runs: then any name is accepted.

    Raises:
        QueryError: a field is unknown, or a value does not fit its field; `value` is the faulty part.
    """
    compiler = _Compiler(query, keys)
    where = [compiler.term(term) for term in query.terms]
    order = [compiler.sort(part) for part in query.sorts]
    parameters = tuple(compiler.parameters)
    return Sql(" AND ".join(where) or "1", ", ".join([*order, "r.created DESC", "r.home"]), parameters)


class _Compiler:
    def __init__(self, query: Query, keys: Mapping[str, int]) -> None:
        self._query = query
        self._keys = keys
        self._now = time.time()
        self.parameters: list[str | int | float] = []

    def _fail(self, part: Part, what: str, remedy: str) -> NoReturn:
        fail(self._query.text, part.span, what, remedy)

    def _parameter(self, value: str | int | float) -> str:
        self.parameters.append(value)
        return "?"

    def term(self, term: Term) -> str:
        if term.field is None:
            choices = [self._word(value) for value in term.values]
        else:
            field = self._field(term.field, compared=True)
            if term.operator != ":" and field.kind in ("text", "contains", "state", "tag"):
                what = f"{term.field.text} is text and cannot be compared with {term.operator}"
                self._fail(term.whole, what, f"Write {term.field.text}:VALUE; * matches any text.")
            choices = [self._choice(term, field, value) for value in term.values]
        condition = f"({' OR '.join(choices)})"
        return f"{condition} IS NOT TRUE" if term.negated else condition

    def _field(self, part: Part, *, compared: bool) -> _Field:
        name = part.text
        field = _FIELDS.get(_ALIASES.get(name, name))
        if field is not None:
            return field
        if not self._keys and name.partition(".")[0] in _SECTIONS:
            return _Field("mixed", "NULL")  # no runs yet, so no known names
        sources = [name] if name in self._keys else [f"{s}.{name}" for s in ("summary", "metrics")]
        sources = [source for source in sources if source in self._keys]
        if not sources:
            self._unknown(part, compared)
        only_numbers = all(source.startswith("metrics.") for source in sources)
        return _Field("number" if only_numbers else "mixed", "", tuple(self._keys[source] for source in sources))

    def _unknown(self, part: Part, compared: bool) -> NoReturn:
        choices = dict.fromkeys([*_FIELDS, *self._keys])
        short = {key.rpartition(".")[2]: key for key in reversed(choices)}
        near = similar(part.text, [*choices, *short], limit=4)
        near = list(dict.fromkeys(name if name in choices else short[name] for name in near))[:3]
        remedy = f"Fields are {', '.join(_FIELDS)}, and the metrics.…, summary.… and config.… of the runs."
        if near:
            remedy = f"Did you mean {' or '.join(map(repr, near))}?"
        if compared:
            remedy += " To search for this text, put it in quotes."
        self._fail(part, f"No run has a field {part.text!r}", remedy)

    def _word(self, value: Part) -> str:
        start = value.pattern or f"{escaped(value.text)}%"
        anywhere = value.pattern or f"%{start}"
        parts = [self._like(f"r.{name}", anywhere) for name in ("name", "project", "dataset")]
        return " OR ".join([*parts, self._like("r.id", start)])

    def _like(self, sql: str, pattern: str) -> str:
        return f"{sql} LIKE {self._parameter(pattern)} ESCAPE '\\'"

    def _choice(self, term: Term, field: _Field, value: Part) -> str:
        sql, operator = field.value(), "=" if term.operator == ":" else term.operator
        if field.kind == "tag":
            return f"EXISTS (SELECT 1 FROM tags AS t WHERE t.run = r.n AND {self._matches('t.tag', value)})"
        if field.kind == "contains":
            return self._like(sql, f"%{value.pattern or escaped(value.text)}%")
        if field.kind == "state" and value.pattern is None and value.text.lower() not in _STATES:
            remedy = did_you_mean(value.text, _STATES, then=f"States are {', '.join(_STATES)}.")
            self._fail(value, f"{value.text!r} is not a state", remedy)
        if field.kind in ("text", "state"):
            return self._matches(sql, value)
        if operator == "=" and value.bare == "null":
            return f"{sql} IS NULL"
        if field.kind == "moment":
            return self._moment(sql, operator, value)
        if field.kind == "age":
            return self._age(sql, operator, value)
        if field.kind == "mixed":
            return self._mixed(field, operator, value)
        number = {"size": values.size, "seconds": values.seconds}.get(field.kind, values.number)(value.text)
        if number is None:
            self._bad_number(field.kind, value)
        return f"{field.value('numbers')} {operator} {self._parameter(number)}"

    def _matches(self, sql: str, value: Part) -> str:
        """Equal to the value, or like it where it has wildcards."""
        if value.pattern is not None:
            return self._like(sql, value.pattern)
        return f"{sql} = {self._parameter(value.text)} COLLATE NOCASE"

    def _mixed(self, field: _Field, operator: str, value: Part) -> str:
        number = values.number(value.bare)
        if operator != "=":
            if number is None:
                self._bad_number("number", value)
            return f"{field.value('numbers')} {operator} {self._parameter(number)}"
        if value.pattern is not None:
            return self._like(field.value("text"), value.pattern)
        if number is None:
            return self._matches(field.value(), value)
        return f"{field.value()} COLLATE NOCASE IN ({self._parameter(number)}, {self._parameter(value.text)})"

    def _bad_number(self, kind: Kind, value: Part) -> NoReturn:
        examples = {"size": ("a size", "1500, 20MB or 1.5GiB"), "seconds": ("a duration", "90s, 30m, 12h or 1d12h")}
        name, example = examples.get(kind, ("a number", "10, .97 or 1e-4"))
        self._fail(value, f"{value.text!r} is not {name}", f"Write {name} such as {example}.")

    def _moment(self, sql: str, operator: str, value: Part) -> str:
        ago = values.duration(value.text)
        if ago is not None:
            if operator == "=":
                self._fail(value, "A relative time needs < or >", f"Write >{value.text} for later than that.")
            return f"{sql} {operator} {self._parameter(self._now - ago)}"
        span = values.moment(value.text, self._now)
        if span is None:
            remedy = "Write 2026-11-01, 2026-11, 2026-11-01T20:43, today, yesterday, or a relative time such as 7d."
            self._fail(value, f"{value.text!r} is not a date", remedy)
        if operator == "=":
            return f"({sql} >= {self._parameter(span.start)} AND {sql} < {self._parameter(span.end)})"
        bound = span.end if operator in (">", "<=") else span.start  # > means after the end of the day
        return f"{sql} {'>=' if operator[0] == '>' else '<'} {self._parameter(bound)}"

    def _age(self, sql: str, operator: str, value: Part) -> str:
        ago = values.duration(value.text)
        if ago is None:
            self._fail(value, f"{value.text!r} is not a duration", "Write 30m, 12h, 7d, 2w or 1d12h.")
        if operator == "=":
            self._fail(value, "An age needs < or >", f"Write age<{value.text} for younger than that.")
        turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}[operator]
        return f"{sql} {turned} {self._parameter(self._now - ago)}"

    def sort(self, part: Part) -> str:
        descending = part.bare.startswith("-")
        name = part.part(1, len(part.text)) if descending else part
        field = self._field(name, compared=False)
        if field.kind == "tag":
            self._fail(name, "Runs cannot be sorted by tag", "Sort by name, created, a metric …")
        if field.kind == "age":
            descending = not descending
        return f"{field.value()} COLLATE NOCASE {'DESC' if descending else 'ASC'} NULLS LAST"

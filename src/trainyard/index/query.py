r"""The filter language of `trainyard runs`: text in, SQL with parameters out. Pure: touches no disk.

A query is terms with spaces between them; a run must meet them all.

    state:finished  name:cnn*  note:"free text"     a field; * and ? stand for any text, any letter
    state:failed,crashed                            either
    -state:failed   !state:failed                   not (runs without the field are kept)
    metrics.val_f1>0.9   config.training.epochs:10  numbers: : = != > >= < <=
    test_accuracy>0.9                               a metric by its bare name: final, else latest value
    size>1GB   duration<30m   age<7d                units; age is the time since the run was created
    created>2026-11-01   created:today              dates are local; > means after all of that day
    created>7d                                      later than seven days ago
    ended:null   seed:null                          not there (NaN counts as not there)
    cnn                                             in name, project or dataset, or the start of the id
    sort:-metrics.val_loss,created                  - for falling; missing values last either way
    limit:20 offset:40

Text compares without regard to case in ASCII letters. `note` and `error` need only contain the
text. Inside "quotes" nothing has a meaning but `\"` and `\\`. NaN meets no comparison.
"""

from __future__ import annotations

import difflib
import re
import time
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NoReturn

from trainyard.errors import QueryError
from trainyard.index import values

_OPERATOR = re.compile(r":?(>=|<=|>|<)|!=|==|=|:")
_MOST_CONDITIONS = 400  # SQLite's expressions have a largest depth
_LONGEST = 5_000  # characters of a query
_STATES = ("created", "running", "finished", "failed", "stopped", "crashed")
_SECTIONS = ("metrics", "summary", "config", "data")

Kind = Literal["text", "contains", "number", "size", "seconds", "moment", "age", "state", "tag", "mixed"]


@dataclass(frozen=True)
class _Field:
    kind: Kind
    sql: str  # a column; unused where there are keys
    keys: tuple[int, ...] = ()  # of `facts`; the first that a run has counts

    def value(self, only: Literal["text", "numbers"] | None = None) -> str:
        """The SQL of a run's value, NULL where it has none; of a key, on request only a number or a text.

        SQLite has any text greater than any number, and turns numbers into text for LIKE.
        """
        if not self.keys:
            return self.sql
        kinds = {None: "", "text": " AND typeof(value) = 'text'", "numbers": " AND typeof(value) <> 'text'"}[
            only
        ]
        found = [
            f"(SELECT value FROM facts WHERE key = {int(key)} AND run = r.n{kinds})" for key in self.keys
        ]
        return found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"


_FIELDS: dict[str, _Field] = {
    **{
        name: _Field("text", f"r.{name}")
        for name in ("id", "name", "project", "dataset", "model", "layout", "home")
    },
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
FIELDS = tuple(_FIELDS)


@dataclass(frozen=True)
class _Text:
    """A part of the query: its characters, which of them were quoted, and where it began."""

    text: str
    quoted: tuple[bool, ...]
    starts: tuple[int, ...]  # of each character in the query, and of the end

    def part(self, start: int, stop: int) -> _Text:
        return _Text(self.text[start:stop], self.quoted[start:stop], self.starts[start : stop + 1])

    @property
    def bare(self) -> str:
        """The text with a NUL for each quoted character, for finding what has a meaning."""
        return "".join("\0" if quoted else char for char, quoted in zip(self.text, self.quoted, strict=True))

    @property
    def span(self) -> tuple[int, int]:
        return self.starts[0], self.starts[-1]

    def split(self, separator: str) -> list[_Text]:
        """The parts between unquoted separators."""
        cuts = [-1, *(i for i, char in enumerate(self.bare) if char == separator), len(self.text)]
        return [self.part(a + 1, b) for a, b in pairwise(cuts)]

    @property
    def pattern(self) -> str | None:
        """For LIKE, with a backslash before what is literal; None when there is no wildcard."""
        if not set("*?") & set(self.bare):
            return None
        parts = []
        before = ""
        for char, sign in zip(self.text, self.bare, strict=True):
            if sign != "*" or before != "*":  # stars in a row are one
                parts.append({"*": "%", "?": "_"}.get(sign) or _escaped(char))
            before = sign
        return "".join(parts)


@dataclass(frozen=True)
class Term:
    """One condition: `field` (None for a bare word), operator and alternatives."""

    whole: _Text
    negated: bool
    field: _Text | None
    operator: str
    values: tuple[_Text, ...]


@dataclass(frozen=True)
class Query:
    """A query that is well formed; whether its fields exist is seen when it is compiled."""

    text: str
    terms: tuple[Term, ...]
    sorts: tuple[_Text, ...]
    limit: int | None
    offset: int | None


@dataclass(frozen=True)
class Sql:
    """The WHERE and ORDER BY of a query over `runs AS r`, with the parameters of both in order."""

    where: str
    order: str
    parameters: tuple[str | int | float, ...]


# -- text to terms


def parse(text: str) -> Query:
    """Reads a query.

    Raises:
        QueryError: it is malformed; shows where.
    """
    if len(text) > _LONGEST:
        raise QueryError(f"The filter has {len(text):,} characters.", f"Keep it below {_LONGEST:,}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise QueryError(f"The filter {text!r} is not valid UTF-8.", "Type it again.") from None
    terms: list[Term] = []
    sorts: list[_Text] = []
    window: dict[str, int] = {}
    conditions = 0
    for whole in _tokens(text):
        term = _term(text, whole)
        name = term.field.text if term.field else ""
        if name not in ("sort", "limit", "offset"):
            conditions += len(term.values)
            if conditions > _MOST_CONDITIONS:
                _fail(text, whole.span, "The filter has too many terms", f"Keep it to {_MOST_CONDITIONS}.")
            terms.append(term)
            continue
        if term.negated or term.operator != ":":
            _fail(
                text, whole.span, f"{name} is not a condition", f"Write {name}:… without - and comparisons."
            )
        if name == "sort":
            sorts += term.values
        else:
            count = values.number(term.values[0].text)
            if len(term.values) > 1 or not isinstance(count, int) or count < 0:
                _fail(
                    text, _span(term.values), f"{name} needs a whole number", f"Write {name}:20, for example."
                )
            window[name] = count
    return Query(text, tuple(terms), tuple(sorts), window.get("limit"), window.get("offset"))


def _tokens(text: str) -> Iterable[_Text]:
    chars: list[str] = []
    quoted: list[bool] = []
    starts: list[int] = []
    opened: int | None = None
    begun = False
    i = 0
    while i < len(text):
        char = text[i]
        if opened is not None and char == "\\" and text[i + 1 : i + 2] in ('"', "\\"):
            chars.append(text[i + 1])
            quoted.append(True)
            starts.append(i)
            i += 1
        elif char == '"':
            opened = i if opened is None else None
            begun = True
        elif opened is None and char.isspace():
            if begun:
                yield _Text("".join(chars), tuple(quoted), (*starts, i))
            chars, quoted, starts, begun = [], [], [], False
        else:
            chars.append(char)
            quoted.append(opened is not None)
            starts.append(i)
            begun = True
        i += 1
    if opened is not None:
        _fail(
            text,
            (opened, len(text)),
            "A quotation mark is not closed",
            'Close it with ", or write \\" inside quotes.',
        )
    if begun:
        yield _Text("".join(chars), tuple(quoted), (*starts, len(text)))


def _term(query: str, whole: _Text) -> Term:
    bare = whole.bare
    negated = bare[:1] in ("-", "!") and len(bare) > 1 and not _OPERATOR.match(bare)
    body = whole.part(1, len(bare)) if negated else whole
    operator = _OPERATOR.search(body.bare)
    if operator is None:
        field, sign, rest = None, ":", body
    else:
        field, sign, rest = (
            body.part(0, operator.start()),
            operator[0],
            body.part(operator.end(), len(body.text)),
        )
        if not field.text:
            _fail(
                query,
                whole.span,
                "A field name is missing",
                "Write FIELD:VALUE or FIELD>VALUE, without spaces.",
            )
    sign = {"=": ":", "==": ":"}.get(sign, sign.lstrip(":") or ":")
    if sign == "!=":
        negated, sign = not negated, ":"
    alternatives = rest.split(",") if sign == ":" else [rest]
    for alternative in alternatives:
        if not alternative.text.strip():
            start = whole.span[0] if len(alternatives) == 1 else min(alternative.span[0], whole.span[1] - 1)
            _fail(
                query, (start, whole.span[1]), "A value is missing",
                'Write the value right after the sign, without spaces; "quotes" hold spaces.',
            )  # fmt: skip
    return Term(whole, negated, field, sign, tuple(alternatives))


def _span(parts: tuple[_Text, ...]) -> tuple[int, int]:
    return parts[0].span[0], parts[-1].span[1]


def _fail(query: str, span: tuple[int, int], what: str, remedy: str) -> NoReturn:
    shown = "".join(" " if char.isspace() or not char.isprintable() else char for char in query)
    start, end = span
    carets = "^" * max(1, _width(shown[start:end].rstrip()))
    raise QueryError(f"{what}:\n    {shown}\n    {' ' * _width(shown[:start])}{carets}", remedy)


def _width(text: str) -> int:
    """Columns of a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


# -- terms to SQL


def compile_query(query: Query, keys: Mapping[str, int], *, now: float | None = None) -> Sql:
    """The SQL of a query.

    Args:
        query: what `parse` returned.
        keys: the dotted names of all metrics, final values and configuration keys of the index, with
            the numbers they have there. Empty in an index without runs: then any name is accepted.
        now: seconds since 1970, for ages and durations.

    Raises:
        QueryError: a field is unknown, or a value is not what the field needs; shows where.
    """
    return _Compiler(query, keys, time.time() if now is None else now).compile()


class _Compiler:
    def __init__(self, query: Query, keys: Mapping[str, int], now: float) -> None:
        self._query = query
        self._keys = keys
        self._now = now
        self._parameters: list[str | int | float] = []

    def compile(self) -> Sql:
        where = [self._term(term) for term in self._query.terms]
        order = [self._sort(part) for part in self._query.sorts]
        return Sql(
            " AND ".join(where) or "1",
            ", ".join([*order, "r.created DESC", "r.home"]),
            tuple(self._parameters),
        )

    def _fail(self, part: _Text, what: str, remedy: str) -> NoReturn:
        _fail(self._query.text, part.span, what, remedy)

    def _parameter(self, value: str | int | float) -> str:
        self._parameters.append(value)
        return "?"

    def _term(self, term: Term) -> str:
        if term.field is None:
            choices = [self._word(value) for value in term.values]
        else:
            field = self._field(term.field, compared=True)
            if term.operator != ":" and field.kind in ("text", "contains", "state", "tag"):
                self._fail(
                    term.whole, f"{term.field.text} is text, which {term.operator} cannot compare",
                    f"Write {term.field.text}:VALUE; * stands for any text.",
                )  # fmt: skip
            choices = [self._choice(term, field, value) for value in term.values]
        condition = f"({' OR '.join(choices)})"
        return f"{condition} IS NOT TRUE" if term.negated else condition

    # fields

    def _field(self, part: _Text, *, compared: bool) -> _Field:
        name = part.text
        field = _FIELDS.get(_ALIASES.get(name, name))
        if field is not None:
            return field
        sources = [name] if name in self._keys else [f"{s}.{name}" for s in ("summary", "metrics")]
        sources = [source for source in sources if source in self._keys]
        if not sources:
            if not self._keys and name.partition(".")[0] in _SECTIONS:
                return _Field("mixed", "NULL")  # no run yet: nothing to know the names from
            self._unknown(part, compared)
        only_numbers = all(source.startswith("metrics.") for source in sources)
        return _Field(
            "number" if only_numbers else "mixed", "", tuple(self._keys[source] for source in sources)
        )

    def _unknown(self, part: _Text, compared: bool) -> NoReturn:
        choices = dict.fromkeys([*_FIELDS, *self._keys])
        short = {key.rpartition(".")[2]: key for key in reversed(choices)}
        near = difflib.get_close_matches(part.text, [*choices, *short], n=4, cutoff=0.6)
        near = list(dict.fromkeys(name if name in choices else short[name] for name in near))[:3]
        if near:
            remedy = f"Did you mean {' or '.join(near)}?"
        else:
            remedy = (
                f"Fields are {', '.join(_FIELDS)}; metrics.…, summary.… and config.… as the runs have them."
            )
        if compared:
            remedy += " To search for the text itself, put it in quotes."
        self._fail(part, f"No run has a field {part.text!r}", remedy)

    # values

    def _word(self, value: _Text) -> str:
        if value.pattern is not None:
            pattern = start = value.pattern
        else:
            literal = _escaped(value.text)
            pattern, start = f"%{literal}%", f"{literal}%"
        parts = [
            f"r.{name} LIKE {self._parameter(pattern)} ESCAPE '\\'" for name in ("name", "project", "dataset")
        ]
        return " OR ".join([*parts, f"r.id LIKE {self._parameter(start)} ESCAPE '\\'"])

    def _choice(self, term: Term, field: _Field, value: _Text) -> str:
        sql, operator = field.value(), "=" if term.operator == ":" else term.operator
        if field.kind == "tag":
            return f"EXISTS (SELECT 1 FROM tags AS t WHERE t.run = r.n AND {self._matches('t.tag', value)})"
        if field.kind == "contains":
            pattern = value.pattern or _escaped(value.text)
            return f"{sql} LIKE {self._parameter(f'%{pattern}%')} ESCAPE '\\'"
        if field.kind == "state" and value.pattern is None and value.text.lower() not in _STATES:
            near = difflib.get_close_matches(value.text.lower(), _STATES, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            self._fail(value, f"There is no state {value.text!r}", f"{hint}States are {', '.join(_STATES)}.")
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

    def _matches(self, sql: str, value: _Text) -> str:
        """Equal to the value, or like it where it has wildcards."""
        if value.pattern is not None:
            return f"{sql} LIKE {self._parameter(value.pattern)} ESCAPE '\\'"
        return f"{sql} = {self._parameter(value.text)} COLLATE NOCASE"

    def _mixed(self, field: _Field, operator: str, value: _Text) -> str:
        number = values.number(value.bare)
        if operator != "=":
            if number is None:
                self._bad_number("number", value)
            return f"{field.value('numbers')} {operator} {self._parameter(number)}"
        if value.pattern is not None:
            return f"{field.value('text')} LIKE {self._parameter(value.pattern)} ESCAPE '\\'"
        if number is None:
            return self._matches(field.value(), value)
        return f"{field.value()} COLLATE NOCASE IN ({self._parameter(number)}, {self._parameter(value.text)})"

    def _bad_number(self, kind: Kind, value: _Text) -> NoReturn:
        name, example = {
            "size": ("a size", "1500, 20MB or 1.5GiB"),
            "seconds": ("a duration", "90s, 30m, 12h or 1d12h"),
        }.get(kind, ("a number", "10, .97 or 1e-4"))
        self._fail(value, f"{value.text!r} is not {name}", f"Write {name} such as {example}.")

    def _moment(self, sql: str, operator: str, value: _Text) -> str:
        ago = values.duration(value.text)
        if ago is not None:
            if operator == "=":
                self._fail(
                    value, "A time ago is compared with < or >", f"Write >{value.text} for later than that."
                )
            return f"{sql} {operator} {self._parameter(self._now - ago)}"
        span = values.moment(value.text, self._now)
        if span is None:
            self._fail(
                value, f"{value.text!r} is not a date",
                "Write 2026-11-01, 2026-11, 2026-11-01T20:43, today, yesterday, or a time ago such as 7d.",
            )  # fmt: skip
        if operator == "=":
            return f"({sql} >= {self._parameter(span.start)} AND {sql} < {self._parameter(span.end)})"
        bound, sign = {
            ">": (span.end, ">="), ">=": (span.start, ">="), "<": (span.start, "<"), "<=": (span.end, "<"),
        }[operator]  # fmt: skip
        return f"{sql} {sign} {self._parameter(bound)}"

    def _age(self, sql: str, operator: str, value: _Text) -> str:
        ago = values.duration(value.text)
        if ago is None:
            self._fail(value, f"{value.text!r} is not a duration", "Write 30m, 12h, 7d, 2w or 1d12h.")
        if operator == "=":
            self._fail(
                value, "An age is compared with < or >", f"Write age<{value.text} for younger than that."
            )
        turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}[operator]
        return f"{sql} {turned} {self._parameter(self._now - ago)}"

    # order

    def _sort(self, part: _Text) -> str:
        falling = part.bare.startswith("-")
        name = part.part(1, len(part.text)) if falling else part
        field = self._field(name, compared=False)
        if field.kind == "tag":
            self._fail(name, "Runs cannot be sorted by tag", "Sort by name, created, a metric …")
        if field.kind == "age":
            falling = not falling
        return f"{field.value()} COLLATE NOCASE {'DESC' if falling else 'ASC'} NULLS LAST"


def _escaped(text: str) -> str:
    return re.sub(r"([%_\\])", r"\\\1", text)

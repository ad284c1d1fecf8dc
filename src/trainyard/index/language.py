r"""The filter language of `trainyard runs`: text to terms. Pure; `query` turns the terms into SQL.

A query is a list of terms separated by spaces; a run must match all of them.

    state:finished  name:cnn*  note:"free text"     a field; * matches any text, ? any character
    state:failed,crashed                            either
    -state:failed   !state:failed                   not (runs without the field match)
    metrics.val_f1>0.9   config.training.epochs:10  numbers: : = != > >= < <=
    test_accuracy>0.9                               a metric by its bare name: its final or else latest value
    size>1GB   duration<30m   age<7d                units; age is the time since the run was created
    created>2026-11-01   created:today              dates are local; > means after the end of that day
    created>7d                                      later than seven days ago
    ended:null   seed:null                          missing (NaN counts as missing)
    cnn                                             in name, project or dataset, or at the start of the id
    sort:-metrics.val_loss,created                  - for descending; missing values are always last
    limit:20 offset:40

Text is compared without regard to the case of ASCII letters. `note` and `error` match if they contain the
text. Inside "quotes" only `\"` and `\\` are special. NaN matches no comparison.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

from trainyard.errors import QueryError
from trainyard.index import values

_OPERATOR = re.compile(r":?(>=|<=|>|<)|!=|==|=|:")
_MOST_CONDITIONS = 400  # SQLite limits the depth of expressions
_LONGEST = 5_000  # characters of a query


@dataclass(frozen=True)
class Part:
    """A part of the query: its characters, which of them were quoted, and their positions."""

    text: str
    quoted: tuple[bool, ...]
    starts: tuple[int, ...]  # the position of each character in the query, and of the end

    def part(self, start: int, stop: int) -> Part:
        """The characters from `start` up to `stop`."""
        return Part(self.text[start:stop], self.quoted[start:stop], self.starts[start : stop + 1])

    @property
    def bare(self) -> str:
        """The text with a NUL for each quoted character, to find special characters."""
        return "".join("\0" if quoted else char for char, quoted in zip(self.text, self.quoted, strict=True))

    @property
    def span(self) -> tuple[int, int]:
        """Where it begins and ends in the query."""
        return self.starts[0], self.starts[-1]

    def split(self, separator: str) -> list[Part]:
        """The parts between unquoted separators."""
        cuts = [-1, *(i for i, char in enumerate(self.bare) if char == separator), len(self.text)]
        return [self.part(a + 1, b) for a, b in pairwise(cuts)]

    @property
    def pattern(self) -> str | None:
        """A pattern for LIKE, with a backslash before literal % and _; None when there is no wildcard."""
        if not set("*?") & set(self.bare):
            return None
        parts = []
        before = ""
        for char, sign in zip(self.text, self.bare, strict=True):
            if sign != "*" or before != "*":  # stars in a row are one
                parts.append({"*": "%", "?": "_"}.get(sign) or escaped(char))
            before = sign
        return "".join(parts)


@dataclass(frozen=True)
class Term:
    """One condition: `field` (None for a bare word), operator and alternatives."""

    whole: Part
    negated: bool
    field: Part | None
    operator: str
    values: tuple[Part, ...]


@dataclass(frozen=True)
class Query:
    """A well-formed query; whether its fields exist is checked when it is compiled."""

    text: str
    terms: tuple[Term, ...]
    sorts: tuple[Part, ...]
    limit: int | None
    offset: int | None


def parse(text: str) -> Query:
    """Reads a query.

    Raises:
        QueryError: it is malformed; `value` is the faulty part.
    """
    if len(text) > _LONGEST:
        what, remedy = f"The filter has {len(text):,} characters.", f"Use at most {_LONGEST:,}."
        raise QueryError(what, remedy, value=text, place="filter")
    try:
        text.encode()
    except UnicodeEncodeError:
        what = f"The filter {text!r} is not valid UTF-8."
        raise QueryError(what, "Type it again.", value=text, place="filter") from None
    terms: list[Term] = []
    sorts: list[Part] = []
    window: dict[str, int] = {}
    conditions = 0
    for whole in _tokens(text):
        term = _term(text, whole)
        name = term.field.text if term.field else ""
        if name not in ("sort", "limit", "offset"):
            conditions += len(term.values)
            if conditions > _MOST_CONDITIONS:
                fail(text, whole.span, "The filter has too many terms", f"Use at most {_MOST_CONDITIONS}.")
            terms.append(term)
            continue
        if term.negated or term.operator != ":":
            fail(text, whole.span, f"{name} is not a condition", f"Write {name}:… without - and comparisons.")
        if name == "sort":
            sorts += term.values
        else:
            count = values.number(term.values[0].text)
            if len(term.values) > 1 or not isinstance(count, int) or count < 0:
                span = term.values[0].span[0], term.values[-1].span[1]
                fail(text, span, f"{name} must be a whole number of 0 or more", f"Write {name}:20, for example.")
            window[name] = count
    return Query(text, tuple(terms), tuple(sorts), window.get("limit"), window.get("offset"))


def _tokens(text: str) -> Iterable[Part]:
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
                yield Part("".join(chars), tuple(quoted), (*starts, i))
            chars, quoted, starts, begun = [], [], [], False
        else:
            chars.append(char)
            quoted.append(opened is not None)
            starts.append(i)
            begun = True
        i += 1
    if opened is not None:
        remedy = 'Close it with ", or write \\" inside quotes.'
        fail(text, (opened, len(text)), "A quotation mark is not closed", remedy)
    if begun:
        yield Part("".join(chars), tuple(quoted), (*starts, len(text)))


def _term(query: str, whole: Part) -> Term:
    bare = whole.bare
    negated = bare[:1] in ("-", "!") and len(bare) > 1 and not _OPERATOR.match(bare)
    body = whole.part(1, len(bare)) if negated else whole
    operator = _OPERATOR.search(body.bare)
    field, sign, rest = None, ":", body
    if operator is not None:
        field, sign, rest = body.part(0, operator.start()), operator[0], body.part(operator.end(), len(body.text))
        if not field.text:
            fail(query, whole.span, "A field name is missing", "Write FIELD:VALUE or FIELD>VALUE, without spaces.")
    sign = {"=": ":", "==": ":"}.get(sign, sign.lstrip(":") or ":")
    if sign == "!=":
        negated, sign = not negated, ":"
    alternatives = rest.split(",") if sign == ":" else [rest]
    for alternative in alternatives:
        if not alternative.text.strip():
            start = whole.span[0] if len(alternatives) == 1 else min(alternative.span[0], whole.span[1] - 1)
            remedy = 'Write the value right after the operator, without spaces; put values with spaces in "quotes".'
            fail(query, (start, whole.span[1]), "A value is missing", remedy)
    return Term(whole, negated, field, sign, tuple(alternatives))


def fail(query: str, span: tuple[int, int], what: str, remedy: str) -> NoReturn:
    """Raises a QueryError that shows the query with carets under `span`; its value is that part of the query."""
    shown = "".join(" " if char.isspace() or not char.isprintable() else char for char in query)
    start, end = span
    carets = " " * _width(shown[:start]) + "^" * max(1, _width(shown[start:end].rstrip()))
    place = f"filter, column {start + 1}"
    raise QueryError(f"{what}:\n    {shown}\n    {carets}", remedy, value=query[start:end], place=place)


def _width(text: str) -> int:
    """The width of text in a terminal, in columns."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text if not unicodedata.combining(char))
    return wide + sum(not unicodedata.combining(char) for char in text)


def escaped(text: str) -> str:
    """Text that LIKE matches literally, with a backslash as the escape."""
    return re.sub(r"([%_\\])", r"\\\1", text)

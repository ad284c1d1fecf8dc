"""Filters as dictionaries, in MongoDB's form as in Weights & Biases, to the language of `trainyard runs`.

Pure: returns text; the index checks whether a field exists.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from trainyard.errors import QueryError

Filters = str | Mapping[str, Any]

_NAMES = {"created_at": "created", "display_name": "name", "tags": "tag"}
_COMPARISONS = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}
_KNOWN = (*_COMPARISONS, "$eq", "$ne", "$in", "$nin", "$exists")


def to_text(filters: Filters | None, order: str | Sequence[str] | None) -> str:
    """The equivalent query, with arguments as in `Api.runs`; QueryError for what the language does not have."""
    terms = [filters] if isinstance(filters, str) else list(_terms(filters or {}))
    for field in [order] if isinstance(order, str) else order or ():
        descending = "-" if field.startswith("-") else ""
        terms.append(f"sort:{descending}{_field(field.removeprefix('-').removeprefix('+'))}")
    return " ".join(filter(None, terms))


def _terms(filters: Mapping[str, Any]) -> Iterator[str]:
    for field, wanted in filters.items():
        if field == "$and":
            for part in wanted:
                yield from _terms(part)
        elif field.startswith("$"):
            remedy = 'All conditions must hold; write alternatives of one field as {"field": {"$in": [a, b]}}.'
            raise QueryError(f"Filters do not support {field!r}.", remedy, value=field, place="filter")
        elif isinstance(wanted, Mapping):
            for operator, value in wanted.items():
                yield from _comparison(_field(field), operator, value)
        else:
            yield f"{_field(field)}:{_value(wanted)}"


def _comparison(field: str, operator: str, value: Any) -> Iterator[str]:
    if operator in _COMPARISONS:
        yield f"{field}{_COMPARISONS[operator]}{_value(value)}"
    elif operator in ("$eq", "$ne"):
        yield f"{'-' if operator == '$ne' else ''}{field}:{_value(value)}"
    elif operator in ("$in", "$nin"):
        choices = ",".join(map(_value, value))
        if operator == "$in" and not choices:
            what = f"$in of {field} is an empty list."
            raise QueryError(what, "Give at least one value.", value=value, place="filter")
        if choices:
            yield f"{'-' if operator == '$nin' else ''}{field}:{choices}"
    elif operator == "$exists":
        yield f"{'-' if value else ''}{field}:null"
    else:
        remedy = f"Operators are {', '.join(_KNOWN)}."
        raise QueryError(f"Filters do not support {operator!r}.", remedy, value=operator, place="filter")


def _field(name: str) -> str:
    if name.startswith("summary_metrics."):
        name = "summary" + name.removeprefix("summary_metrics")
    return quoted(_NAMES.get(name, name))


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float)) and not math.isnan(value):
        return repr(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, datetime):
        return quoted(value.isoformat(timespec="seconds"))
    if isinstance(value, (list, tuple)):  # the form in which the index stores a list of scalars
        return quoted(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
    remedy = "Compare with text, numbers, true, false or None."
    raise QueryError(f"Filters cannot compare with {value!r}.", remedy, value=value, place="filter")


def quoted(text: str) -> str:
    """Text as one word of the query language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

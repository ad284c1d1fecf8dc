"""Queries against a Python evaluation of the same conditions, written apart from the parser."""

from __future__ import annotations

import contextlib
import fnmatch
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard.errors import QueryError
from trainyard.index import Index
from trainyard.runs import Yard

NAMES = ["cnn", "CNN-2", "mlp", "mlp_a", "mlpxa", "grün", "a b", "100%", 'q"t', "back\\slash", "x,y", "*"]
TAGS = ["foo", "Foo bar", "base_line"]
NUMBERS = [0.0, 0.5, 0.97, 1.0, -1.0, math.inf, math.nan, 3, 2**60 + 1]
MIXED = [*NUMBERS, "best", "0.5", True, None]


def _random_runs() -> list[dict[str, Any]]:
    rng = random.Random(7)
    runs = []
    for n in range(80):
        keys = rng.sample(["val_loss", "val_f1", "odd.key/x"], rng.randint(0, 3))
        runs.append(
            {
                "id": f"{rng.getrandbits(40):010x}"[:8],
                "name": rng.choice(NAMES),
                "project": rng.choice(["p", "q-cnn"]),
                "dataset": rng.choice(["digits", "mnist"]),
                "state": rng.choice(["finished", "failed", "stopped"]),
                "created": f"2026-11-{1 + n % 28:02d}T10:{n % 60:02d}:00.000Z",
                "note": rng.choice(["", "a free text", "100% of_it"]),
                "seed": rng.choice([None, 0, 1, 2]),
                "tags": rng.sample(TAGS, rng.randint(0, 2)),
                "metrics": {key: rng.choice(NUMBERS) for key in keys},
                "summary": {
                    key: rng.choice(MIXED) for key in rng.sample(["test_accuracy", "val_loss"], rng.randint(0, 2))
                },
                "config": {"training": {"epochs": rng.choice([1, 10])}, "hidden": [128, 64], "deep": [{"a": n % 3}]},
                "size_bytes": rng.choice([0, 1000, 10**9]),
                "best": rng.choice(
                    [None, {"step": n, "epoch": 1.0, "metric": "val_loss", "value": rng.choice(NUMBERS)}]
                ),
            }
        )
    return runs


RUNS = _random_runs()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, put_run: Callable[..., Path]) -> Index:
    yard = Yard(tmp_path_factory.mktemp("yard") / "outputs", create=True)
    for n, run in enumerate(RUNS):
        put_run(yard.root, f"homes/{n:03d}", **run)
    return Index(yard)


# -- the other evaluation


def _low(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


def _like(pattern: str, text: str) -> bool:
    escaped = re.sub(r"\[", "[[]", _low(pattern))
    return fnmatch.fnmatchcase(_low(text), escaped)


@dataclass(frozen=True)
class Condition:
    text: str
    holds: Callable[[dict[str, Any]], bool]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and _known(value)


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ":": lambda a, b: a == b,
    "=": lambda a, b: a == b,
}


def _first(*values: Any) -> Any:
    return next((value for value in values if _known(value)), None)


LOOKUPS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "metrics.val_f1": lambda run: run["metrics"].get("val_f1"),
    "val_f1": lambda run: run["metrics"].get("val_f1"),
    "summary.test_accuracy": lambda run: run["summary"].get("test_accuracy"),
    "test_accuracy": lambda run: run["summary"].get("test_accuracy"),
    "val_loss": lambda run: _first(run["summary"].get("val_loss"), run["metrics"].get("val_loss")),
    "metrics.odd.key/x": lambda run: run["metrics"].get("odd.key/x"),
    "config.training.epochs": lambda run: run["config"]["training"]["epochs"],
    "config.deep.0.a": lambda run: run["config"]["deep"][0]["a"],
    "seed": lambda run: run["seed"],
    "size": lambda run: run["size_bytes"],
    "best.value": lambda run: run["best"] and run["best"]["value"],
}


@st.composite
def numeric(draw: st.DrawFn) -> Condition:
    field = draw(st.sampled_from(sorted(LOOKUPS)))
    sign = draw(st.sampled_from(sorted(COMPARE)))
    number = draw(
        st.sampled_from([0, 0.5, 0.97, 1, 3, 10, 1000, 2**60 + 1, 10**9] + ([-1, "inf"] if field != "size" else []))
    )
    wanted = float(number) if number == "inf" else number

    def holds(run: dict[str, Any]) -> bool:
        value = LOOKUPS[field](run)
        if field == "val_loss" and sign not in ":=":  # a text among the final values is passed over
            value = _first(
                *(v for v in (run["summary"].get("val_loss"), run["metrics"].get("val_loss")) if _is_number(v))
            )
        if sign in ":=" and value == str(number):
            return True
        return _is_number(value) and COMPARE[sign](value, wanted)

    return Condition(f"{field}{sign}{number}", holds)


@st.composite
def textual(draw: st.DrawFn) -> Condition:
    field, choices = draw(
        st.sampled_from(
            [
                ("name", [*NAMES, "Mlp"]),
                ("project", ["p", "P", "q"]),
                ("dataset", ["digits", "x"]),
                ("state", ["finished", "FAILED"]),
            ]
        )
    )
    some = draw(st.lists(st.sampled_from(choices), min_size=1, max_size=3))
    return Condition(
        f"{field}:{','.join(_quoted(value) for value in some)}",
        lambda run: any(_low(run[field]) == _low(value) for value in some),
    )


@st.composite
def globbed(draw: st.DrawFn) -> Condition:
    pattern = draw(st.sampled_from(["*", "cnn*", "*a", "m?p*", "?", "mlp_a", "*_*", "100%", "*%*", "*ü*", "c**"]))
    return Condition(f"name:{pattern}", lambda run: _like(pattern, run["name"]))


@st.composite
def other(draw: st.DrawFn) -> Condition:
    word = draw(st.sampled_from(["cnn", "p", "dig", "%", "_", RUNS[3]["id"][:5], RUNS[3]["id"][2:], "a b"]))
    tag = draw(st.sampled_from(["foo", "Foo bar", "nope", "base_line", "BASE?LINE", "foo*"]))
    note = draw(st.sampled_from(["free", "FREE TEXT", "f*t", "100%", "of_it", "x"]))
    day = draw(st.integers(1, 28))
    sign = draw(st.sampled_from([">", ">=", "<", "<=", ":"]))
    date = f"2026-11-{day:02d}"

    def dated(run: dict[str, Any]) -> bool:
        return COMPARE[sign](f"{datetime.fromisoformat(run['created']).astimezone():%Y-%m-%d}", date)

    return draw(
        st.sampled_from(
            [
                Condition(
                    _quoted(word),
                    lambda run: (
                        any(_low(word) in _low(run[f]) for f in ("name", "project", "dataset"))
                        or run["id"].startswith(word)
                    ),
                ),
                Condition(
                    f"tag:{tag}" if " " not in tag else f'tag:"{tag}"',
                    lambda run: any(_like(tag, own) for own in run["tags"]),
                ),
                Condition(
                    "note:" + (note if "*" in note else _quoted(note)), lambda run: _like(f"*{note}*", run["note"])
                ),
                Condition(f"created{sign}{date}", dated),
                Condition("seed:null", lambda run: run["seed"] is None),
                Condition("test_accuracy:null", lambda run: not _known(run["summary"].get("test_accuracy"))),
                Condition("test_accuracy:b*", lambda run: run["summary"].get("test_accuracy") == "best"),
                Condition("test_accuracy:TRUE", lambda run: run["summary"].get("test_accuracy") is True),
                Condition("best.metric:val_loss", lambda run: run["best"] is not None),
                Condition('config.hidden:"[128,64]"', lambda run: True),
            ]
        )
    )


@st.composite
def condition(draw: st.DrawFn) -> Condition:
    plain = draw(st.one_of(numeric(), textual(), globbed(), other()))
    prefix = draw(st.sampled_from(["", "", "-", "!"]))
    if not prefix:
        return plain
    return Condition(prefix + plain.text, lambda run: not plain.holds(run))


@settings(max_examples=300, deadline=None)
@given(conditions=st.lists(condition(), max_size=4))
def test_a_query_finds_what_a_plain_loop_finds(index: Index, conditions: list[Condition]) -> None:
    page = index.query("  ".join(c.text for c in conditions))
    expected = sorted(run["id"] for run in RUNS if all(c.holds(run) for c in conditions))
    assert sorted(row["id"] for row in page.rows) == expected
    assert page.total == len(expected)


SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    **{key: LOOKUPS[key] for key in ("metrics.val_f1", "test_accuracy", "val_loss", "seed", "size", "best.value")},
    "name": lambda run: run["name"],
    "created": lambda run: run["created"],
    "dataset": lambda run: run["dataset"],
}


def _rank(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool):
        value = "true" if value else "false"
    return (0, value) if _is_number(value) else (1, _low(value))


@settings(max_examples=150, deadline=None)
@given(
    keys=st.lists(st.tuples(st.sampled_from(["", "-"]), st.sampled_from(sorted(SORTS))), min_size=1, max_size=3),
    offset=st.integers(0, 90),
    limit=st.integers(0, 90),
)
def test_rows_come_in_order_with_missing_values_last(
    index: Index, keys: list[tuple[str, str]], offset: int, limit: int
) -> None:
    expected = [{**run, "home": f"homes/{n:03d}/"} for n, run in enumerate(RUNS)]
    expected.sort(key=lambda run: run["created"], reverse=True)  # newest first where all else is equal
    for sign, key in reversed(keys):
        look = SORTS[key]
        known = [run for run in expected if _known(look(run))]
        missing = [run for run in expected if not _known(look(run))]
        known.sort(key=lambda run: _rank(look(run)), reverse=sign == "-")
        expected = known + missing
    page = index.query("sort:" + ",".join(sign + key for sign, key in keys), limit=limit, offset=offset)
    assert [row["home"] for row in page.rows] == [run["home"] for run in expected[offset : offset + limit]]
    assert page.total == len(RUNS)


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from(list('"\\:=<>!-,*?% namestate.d1'))), max_size=40))
def test_any_text_is_a_query_or_a_query_error(index: Index, text: str) -> None:
    with contextlib.suppress(QueryError):
        assert 0 <= index.query(text).total <= len(RUNS)
    assert index.query("").total == len(RUNS)


def test_no_value_is_taken_for_sql(index: Index) -> None:
    for text in ['name:"\'; DROP TABLE runs; --"', '"\' OR 1=1 --"', "tag:\"') OR ('1'='1\""]:
        assert index.query(text).total == 0
    assert index.query().total == len(RUNS)


# -- windows


def test_the_text_says_limit_and_offset_before_the_caller_does(index: Index) -> None:
    all_homes = [row["home"] for row in index.query().rows]
    page = index.query("limit:5 offset:2", limit=50, offset=0)
    assert [row["home"] for row in page.rows] == all_homes[2:7]
    assert page.total == len(RUNS)
    assert [row["home"] for row in index.query("limit:3", offset=4).rows] == all_homes[4:7]


def test_times_ago(yard: Yard, put_run: Callable[..., Path]) -> None:
    now = datetime.now().timestamp()
    for days in (1, 5, 10):
        put_run(yard.root, f"d{days}", created=datetime.fromtimestamp(now - days * 86400).astimezone().isoformat())
    index = Index(yard)

    def names(query: str) -> list[str]:
        return [row["name"] for row in index.query(query).rows]

    assert names("created>7d") == names("age<7d") == ["d1", "d5"]
    assert names("created<7d") == names("age>7d") == ["d10"]
    assert names("age<1w age>2d") == ["d5"]
    assert names("sort:-age") == ["d10", "d5", "d1"]
    assert names("created:yesterday") == ["d1"]
    assert names("duration:1h limit:1") == ["d1"]
    assert names("duration>1h30m") == []


# -- what cannot be read


def _error(index: Index, query: str) -> QueryError:
    with pytest.raises(QueryError) as caught:
        index.query(query)
    return caught.value


@pytest.mark.parametrize(
    ("query", "marked", "remedy"),
    [
        ("state:finished nam:cnn", "nam", "name"),
        ("metrics.val_f9>0.9", "metrics.val_f9", "metrics.val_f1"),
        ("test_acuracy>0.9", "test_acuracy", "summary.test_accuracy"),
        ("config.training.epoch:3", "config.training.epoch", "config.training.epochs"),
        ("trainning.epochs:3", "trainning.epochs", "config.training.epochs"),
        ("metrics.val_f1>high", "high", ".97"),
        ("metrics.val_f1>0,9", "0,9", ".97"),
        ("metrics.val_f1:abc", "abc", ".97"),
        ("seed:x", "x", "10"),
        ("size>1XB", "1XB", "20MB"),
        ("created>soon", "soon", "2026-11-01"),
        ("created:7d", "7d", ">7d"),
        ("age<2026", "2026", "7d"),
        ("age:7d", "7d", "age<7d"),
        ("duration>x", "x", "1d12h"),
        ("name>3", "name>3", "name:VALUE"),
        ("state:finshed", "finshed", "finished"),
        ('dataset:digits note:"free text', '"free text', "quotes"),
        ("state:", "state:", "without spaces"),
        ("state: finished", "state:", "without spaces"),
        ("state:failed,", "", "without spaces"),
        ('state:""', 'state:""', "without spaces"),
        ("metrics.val_f1 > 0.9", ">", "without spaces"),
        (":x", ":x", "FIELD:VALUE"),
        ("sort:nme", "nme", "name"),
        ("sort:tag", "tag", "Sort by"),
        ("-limit:3", "-limit:3", "without -"),
        ("limit:many", "many", "limit:20"),
        ("limit:-3", "-3", "limit:20"),
        ("offset>3", "offset>3", "without -"),
        ("http://x", "http", "in quotes"),
    ],
)
def test_an_error_marks_the_place_and_says_what_to_write(index: Index, query: str, marked: str, remedy: str) -> None:
    error = _error(index, query)
    _, shown, carets = error.what.split("\n")
    assert shown == "    " + query
    assert remedy in error.remedy
    assert error.place == f"filter, column {carets.index('^') - 3}"
    if marked:
        assert error.value == shown[carets.index("^") : len(carets)] == marked


def test_carets_stand_under_wide_letters(index: Index) -> None:
    what = _error(index, "name:漢字 nope:3").what
    assert what.split("\n")[2] == "    " + " " * len("name:xxxx ") + "^^^^"


def test_too_much_is_refused(index: Index) -> None:
    assert "400" in _error(index, "name:" + ",".join(["a"] * 401)).remedy
    assert "5,000" in _error(index, "a" * 6000).remedy
    assert index.query("name:" + ",".join(["cnn"] * 400)).total == sum(run["name"] == "cnn" for run in RUNS)
    assert index.query(" ".join(["-nope"] * 400)).total == len(RUNS)


def test_a_yard_without_runs_takes_any_metric(yard: Yard) -> None:
    index = Index(yard)
    assert index.query("metrics.val_f1>0.9 config.a:b sort:-summary.x").total == 0
    assert _error(index, "stat:finished").value == "stat"

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from trainyard.retention.run_policy import (
    RunDecision,
    RunFacts,
    by_age,
    by_choice,
    by_size,
    by_state,
    find_uses,
    old_records,
    protected_steps,
    spare,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def run(
    name: str,
    *,
    days: float = 10,
    state: str = "finished",
    size: int = 100,
    live: bool = False,
    of: str = "",
    step: int | None = 10,
    role: str = "resume",
) -> RunFacts:
    parents = tuple({"run": parent, "step": step, "role": role} for parent in of.split())
    return RunFacts(name, name, state, NOW - timedelta(days=days), size, live, parents)


def going(decisions: list[RunDecision]) -> list[str]:
    return sorted(d.run_id for d in decisions if d.remove)


RUNS = [run("old", days=40), run("new", days=1), run("bad", days=5, state="failed"), run("dead", state="crashed")]


def test_by_age() -> None:
    decisions = by_age(RUNS, 7, now=NOW)
    assert going(decisions) == ["dead", "old"]
    assert decisions[0].why == "ended 40 days ago"
    assert going(by_age(RUNS, 40, now=NOW)) == []  # more than, not exactly


def test_by_state_and_by_choice() -> None:
    assert going(by_state(RUNS, {"failed", "crashed"})) == ["bad", "dead"]
    decisions = by_choice(RUNS, {"new"}, "matches dataset:digits")
    assert going(decisions) == ["new"]
    assert decisions[1].why == "matches dataset:digits"


def test_by_size_takes_the_oldest_until_it_fits() -> None:
    assert going(by_size(RUNS, 400)) == []
    assert going(by_size(RUNS, 399)) == ["old"]
    assert going(by_size(RUNS, 250)) == ["dead", "old"]
    assert going(by_size(RUNS, 0)) == ["bad", "dead", "new", "old"]


def test_by_size_takes_a_child_before_its_parent_and_nothing_live() -> None:
    runs = [run("parent", days=90), run("child", days=2, of="parent"), run("other", days=50), run("live", live=True)]
    assert going(by_size(runs, 300)) == ["other"]
    assert going(by_size(runs, 200)) == ["child", "other"]
    assert going(by_size(runs, 0)) == ["child", "other", "parent"]
    assert going(by_size([*runs, run("student", live=True, of="parent")], 0)) == ["child", "other"]


def test_spare_live_runs_and_what_others_were_made_from() -> None:
    runs = [
        run("grandparent"),
        run("parent", of="grandparent"),
        run("child", of="parent"),
        run("teacher"),
        run("student", of="teacher", role="teacher", live=True),
        run("alone"),
    ]

    def left(ids: str, *, forced: str = "") -> dict[str, str]:
        wanted = by_choice(runs, set(ids.split()), "asked for")
        return {d.run_id: d.why for d in spare(wanted, runs, forced=forced.split()) if d.remove}

    assert left("alone") == {"alone": "asked for"}
    assert set(left("grandparent parent child")) == {"grandparent", "parent", "child"}
    assert left("grandparent parent") == {}  # child keeps parent, which keeps grandparent
    assert set(left("grandparent parent", forced="parent")) == {"grandparent", "parent"}
    assert left("grandparent parent", forced="grandparent") == {"grandparent": "asked for"}
    assert left("student", forced="student") == {}
    assert left("teacher", forced="teacher") == {}  # what a live run uses stays even so
    why = {d.run_id: d.why for d in spare(by_choice(runs, {"teacher", "student", "parent"}, "x"), runs)}
    assert why["student"] not in ("x", *(str(use) for used in find_uses(runs).values() for use in used))
    uses = find_uses(runs)
    assert why["teacher"] == str(uses["teacher"][0])
    assert "student (student)" in why["teacher"]
    assert why["parent"] == str(uses["parent"][0])
    assert "child (child)" in why["parent"]


def test_protected_steps() -> None:
    uses = find_uses([run("a", of="p", step=20), run("b", of="p q", step=None), run("p", of="p", step=30)])
    assert set(protected_steps(uses["q"], [1, 2])) == {1, 2}  # used as a whole
    uses_of_p = find_uses([run("a", of="p", step=20)])["p"]
    assert protected_steps(uses_of_p, [10, 20]) == {20: str(uses_of_p[0])}
    assert "p" not in {use.by.id for use in uses["p"]}  # its own resume does not count


def test_old_records() -> None:
    records = [("a.log", NOW - timedelta(days=8)), ("b.log", NOW - timedelta(days=6))]
    assert old_records(records, 7, now=NOW) == [("a.log", "8 days old")]


@st.composite
def families(draw: st.DrawFn) -> list[RunFacts]:
    count = draw(st.integers(1, 10))
    return [
        run(
            f"r{n}",
            days=draw(st.integers(0, 99)),
            live=draw(st.booleans()),
            size=draw(st.integers(0, 100)),
            of=" ".join(f"r{m}" for m in draw(st.sets(st.integers(0, count - 1), max_size=3)) if m < n),
        )
        for n in range(count)
    ]


@given(families(), st.data())
def test_nothing_that_stays_loses_its_parent(runs: list[RunFacts], data: st.DataObject) -> None:
    wanted = data.draw(st.sets(st.sampled_from([r.id for r in runs])))
    for decisions in (spare(by_choice(runs, wanted, "x"), runs), by_size(runs, data.draw(st.integers(0, 500)))):
        gone = set(going(decisions))
        for r in runs:
            if r.id not in gone:
                assert not {parent["run"] for parent in r.parents} & gone
            else:
                assert not r.live
    assert set(going(spare(decisions, runs))) == gone  # by_size never asks for what would be spared

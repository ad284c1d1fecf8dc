from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard.retention.policy import Decision, KeepPolicy, decide, superseded
from trainyard.runs import CheckpointRecord


def checkpoint(step: int, loss: float = 1.0, *, places: str = "checkpoint", **fields: object) -> CheckpointRecord:
    values: dict[str, object] = {"epoch": step / 10, "format": "pth", "metrics": {"val_loss": loss}, "files": []}
    paths = {place: f"{place}-{step}" for place in places.split()}
    return CheckpointRecord(step=step, paths=paths, **{**values, **fields})  # type: ignore[arg-type]


def kept(decisions: list[Decision], place: str = "checkpoint") -> list[int]:
    return [d.step for d in decisions if d.keep and d.place == place]


def run_decide(checkpoints: list[CheckpointRecord], policy: KeepPolicy, **options: object) -> list[Decision]:
    defaults: dict[str, object] = {"best_step": None, "monitor": "val_loss", "mode": "min", "has_best_place": False}
    return decide(checkpoints, policy, **{**defaults, **options})  # type: ignore[arg-type]


# losses of steps 10, 20 … 60: the best is 30, then 20, then 50
SIX = [checkpoint(step, loss) for step, loss in zip(range(10, 70, 10), (0.9, 0.5, 0.4, 0.8, 0.6, 0.7), strict=True)]

TABLE = [
    (KeepPolicy(), {}, [10, 20, 30, 40, 50, 60]),
    (KeepPolicy(last=0), {}, [30, 60]),
    (KeepPolicy(last=1), {}, [30, 60]),
    (KeepPolicy(last=2), {}, [30, 50, 60]),
    (KeepPolicy(last=3), {"best_step": 20}, [20, 40, 50, 60]),
    (KeepPolicy(last=1, best=2), {}, [20, 30, 60]),
    (KeepPolicy(last=1, best=3), {}, [20, 30, 50, 60]),
    (KeepPolicy(last=1, best=0), {}, [30, 60]),
    (KeepPolicy(last=1, best=2), {"mode": "max"}, [10, 40, 60]),
    (KeepPolicy(last=1, best=2), {"best_step": 50}, [30, 50, 60]),
    (KeepPolicy(last=1, every=2), {}, [20, 30, 40, 60]),
    (KeepPolicy(last=0, every=5), {}, [30, 50, 60]),
    (KeepPolicy(last=0, final=False), {}, [30]),
    (KeepPolicy(last=0, final=False), {"monitor": "absent"}, [60]),
    (KeepPolicy(last=99), {}, [10, 20, 30, 40, 50, 60]),
    (KeepPolicy(last=0), {"protected_steps": {10: "a teacher"}}, [10, 30, 60]),
    (KeepPolicy(last=0), {"named": [30]}, [60]),
    (KeepPolicy(), {"named": [60]}, [10, 20, 30, 40, 50]),
    (KeepPolicy(), {"named": [10, 20, 30, 40, 50, 60]}, []),
    (KeepPolicy(), {"named": [10], "protected_steps": {10: "a teacher"}}, [10, 20, 30, 40, 50, 60]),
]


@pytest.mark.parametrize(("policy", "options", "expected"), TABLE)
def test_which_checkpoints_stay(policy: KeepPolicy, options: dict[str, object], expected: list[int]) -> None:
    decisions = run_decide(SIX, policy, **options)
    assert kept(decisions) == expected
    assert [d.step for d in decisions] == [c.step for c in SIX]


def test_every_decision_has_its_reason() -> None:
    decisions = run_decide(SIX, KeepPolicy(last=2, best=2, every=4), protected_steps={10: "teaches x"})
    why = {d.step: d.why for d in decisions}
    assert why[10] == "teaches x"
    assert len(set(why.values())) == 6, "different reasons read differently"
    assert all("best" in why[step] for step in (20, 30))
    assert "4th" in why[40]
    assert all("newest" in why[step] for step in (50, 60))
    dropped = run_decide(SIX, KeepPolicy(last=2, every=3))[3]
    assert not dropped.keep
    assert all(word in dropped.why for word in ("2 newest", "best", "3rd"))


def test_published_names_and_own_names_are_counted_apart_when_each_best_has_a_name() -> None:
    both = "checkpoint best"
    checkpoints = [
        checkpoint(10, 0.9, places=both),
        checkpoint(20, 0.5, places=both),
        checkpoint(30, 0.4, places=both),
        checkpoint(40, 0.45),
        checkpoint(50, 0.7),
    ]
    decisions = run_decide(checkpoints, KeepPolicy(last=2, best=2), best_step=30, has_best_place=True)
    assert kept(decisions, "best") == [20, 30]
    assert kept(decisions, "checkpoint") == [40, 50]


def test_a_best_checkpoint_without_its_published_name_keeps_its_own() -> None:
    checkpoints = [checkpoint(10, 0.1), checkpoint(20, 0.5), checkpoint(30, 0.6)]
    decisions = run_decide(checkpoints, KeepPolicy(last=1), best_step=10, has_best_place=True)
    assert kept(decisions) == [10, 30]


def test_a_published_name_that_moves_along_is_kept() -> None:
    checkpoints = [
        checkpoint(10, 0.1, places="checkpoint best"),
        checkpoint(20),
        checkpoint(30, places="checkpoint final"),
    ]
    decisions = run_decide(checkpoints, KeepPolicy(last=0), best_step=10)
    assert kept(decisions, "best") == [10]
    assert kept(decisions, "final") == [30]
    assert kept(decisions) == [10, 30]


def test_the_newest_that_can_be_resumed_is_kept() -> None:
    checkpoints = [checkpoint(10), checkpoint(20), checkpoint(30, 0.1, resumable=False)]
    assert kept(run_decide(checkpoints, KeepPolicy(last=0))) == [20, 30]


def test_nan_is_never_the_best_and_ties_go_to_the_earlier() -> None:
    checkpoints = [checkpoint(10, math.nan), checkpoint(20, 0.5), checkpoint(30, 0.5), checkpoint(40, 0.9)]
    assert kept(run_decide(checkpoints, KeepPolicy(last=0))) == [20, 40]


def test_a_checkpoint_inside_an_epoch_is_no_nth_epoch() -> None:
    checkpoints = [
        checkpoint(5, 2.0, epoch=0.5),
        checkpoint(10, 2.0),
        checkpoint(15, 2.0, epoch=1.5),
        checkpoint(20, 1.0),
    ]
    assert kept(run_decide(checkpoints, KeepPolicy(last=0, every=1))) == [10, 20]


def test_nonsense_is_refused() -> None:
    for values in ({"last": -1}, {"best": -1}, {"every": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(values))}={next(iter(values.values()))}"):
            KeepPolicy(**values)
    with pytest.raises(ValueError, match="'auto'"):
        run_decide(SIX, KeepPolicy(), mode="auto")
    assert run_decide([], KeepPolicy()) == []


def test_superseded_optimizer_state() -> None:
    checkpoints = [
        checkpoint(10),
        checkpoint(20),
        checkpoint(30),
        checkpoint(40, resumable=False),
        checkpoint(50, places="best"),
    ]
    decisions = superseded(checkpoints, {10: "teaches x"})
    assert [(d.step, d.keep) for d in decisions] == [(10, True), (20, False), (30, True)]


# -- properties

checkpoint_lists = st.lists(
    st.tuples(
        st.floats(0, 10) | st.just(math.nan), st.sampled_from(["checkpoint", "checkpoint best", "best"]), st.booleans()
    ),
    min_size=1,
    max_size=12,
).map(
    lambda rows: [
        checkpoint(10 * (n + 1), loss, places=places, resumable=resumable)
        for n, (loss, places, resumable) in enumerate(rows)
    ]
)
policies = st.builds(
    KeepPolicy, last=st.none() | st.integers(0, 13), best=st.integers(0, 13), every=st.none() | st.integers(1, 5)
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[CheckpointRecord], dict[str, object]]:
    checkpoints = draw(checkpoint_lists)
    steps = st.sampled_from([c.step for c in checkpoints])
    return checkpoints, {
        "best_step": draw(st.none() | steps),
        "mode": draw(st.sampled_from(["min", "max"])),
        "has_best_place": draw(st.booleans()),
        "protected_steps": dict.fromkeys(draw(st.sets(steps)), "why"),
    }


def places_kept(decisions: list[Decision]) -> set[tuple[int, str]]:
    return {(d.step, d.place) for d in decisions if d.keep}


@given(situations(), policies)
def test_best_newest_only_and_protected_are_never_dropped(
    situation: tuple[list[CheckpointRecord], dict[str, object]], policy: KeepPolicy
) -> None:
    checkpoints, options = situation
    decisions = run_decide(checkpoints, policy, **options)
    stay = places_kept(decisions)
    steps = {step for step, _ in stay}
    if options["best_step"] is not None:
        assert options["best_step"] in steps
    newest = checkpoints[-1]
    assert "checkpoint" not in newest.paths or (newest.step, "checkpoint") in stay
    if len(checkpoints) == 1:
        assert len(stay) == len(decisions)
    for c in checkpoints:
        if c.step in options["protected_steps"]:  # type: ignore[operator]
            assert {(c.step, place) for place in c.paths} <= stay
    assert stay  # something is always left
    assert all(d.why for d in decisions)
    assert [(d.step, d.place) for d in decisions] == [(c.step, place) for c in checkpoints for place in c.paths]


@given(situations(), policies, st.integers(0, 5), st.integers(0, 5))
def test_asking_to_keep_more_keeps_what_was_kept(
    situation: tuple[list[CheckpointRecord], dict[str, object]], policy: KeepPolicy, more_last: int, more_best: int
) -> None:
    checkpoints, options = situation
    last = None if policy.last is None else policy.last + more_last
    fewer = run_decide(checkpoints, KeepPolicy(policy.last, policy.best), **options)
    more = run_decide(checkpoints, KeepPolicy(last, policy.best + more_best, policy.every), **options)
    assert places_kept(fewer) <= places_kept(more)


@given(situations(), policies)
def test_deciding_again_after_dropping_drops_nothing_more(
    situation: tuple[list[CheckpointRecord], dict[str, object]], policy: KeepPolicy
) -> None:
    checkpoints, options = situation
    stay = places_kept(run_decide(checkpoints, policy, **options))
    left = []
    for c in checkpoints:
        paths = {place: path for place, path in c.paths.items() if (c.step, place) in stay}
        if paths:
            left.append(CheckpointRecord(**{**vars(c), "paths": paths}))
    assert places_kept(run_decide(left, policy, **options)) == stay

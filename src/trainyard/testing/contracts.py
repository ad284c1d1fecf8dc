"""Contracts that every implementation of a Trainyard interface must fulfil, as tests to subclass.

Subclass a contract in your own test suite, and pytest runs all of its tests:

    class TestMyLayout(LayoutContract):
        layout = "layouts/my_layout.yaml"

The contracts use public interfaces only and do not depend on the shipped implementations.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from typing import ClassVar

import pytest

from trainyard.errors import BadNameError, LayoutError
from trainyard.layouts import Layout, load_layout
from trainyard.layouts.kinds import SHAREABLE

# Every fact a path may need, for one run in its third epoch.
FACTS: Mapping[str, object] = {
    "project": "demo",
    "dataset": "digits",
    "run": "cnn",
    "model": "cnn_small",
    "date": "2026-01-31",
    "time": "20-43-01",
    "timestamp": "20260131-204301",
    "moment": "20260131-204301",
    "id": "k3v9x0aq",
    "step": 120,
    "epoch": 3,
    "split": "val",
    "artifact_id": "0123456789abcdef",
}
NAMES = ("project", "dataset", "run", "model")

# Unusual but possible names: each must work, or be refused by `check` before anything is written.
HOSTILE_NAMES = (
    # They end or look like names that layouts make.
    *("a_best", "a_final", "x_epoch_3", "x_step_40", "x_epoch_3_epoch_4", "a_val", "test_predictions", "checkpoint-3"),
    *("evaluation", "evaluation_20260131-204301", "a_20260131-204301", "a-20260131-204301-2", "checkpoints", "files"),
    *("artifacts", "metrics.csv", "mp.log", "default_config.yaml", "0"),
    # They mean something to a shell, a template, a pattern or a system.
    *("-rf", "~", "$HOME", "{run}", "%s", "a b", 'it\'s "quoted"', "back\\slash", "glob*?[a]"),
    *(".hidden", "con", "run."),
    # Letters beyond ASCII, composed and decomposed, and the longest names.
    *("naïve", "nai\u0308ve", "模型", "👩‍🚀🚀", "x" * 200, "é" * 100),
)

# Impossible names: each must always be refused.
UNSAFE_NAMES = (
    *("", ".", "..", "../other", "a/b", "/etc", " leading", "trailing ", ".yard", ".run", "x" * 256, "é" * 128),
    *("nul\0", "two\nlines", "tab\t", "bell\a", "\x7f", "line\u2028separator", "half\ud800"),
)


class LayoutContract:
    """What a layout must fulfil, whether it ships with Trainyard or is your own.

    Set `layout` to a name, the path of a YAML file, or a `Layout`.
    """

    layout: ClassVar[str | os.PathLike[str] | Layout]

    def load(self) -> Layout:
        """The layout under test."""
        return self.layout if isinstance(self.layout, Layout) else load_layout(self.layout)

    def test_has_a_home_and_checkpoints(self) -> None:
        """A run has a directory, and its checkpoints are files or directories as their format requires."""
        layout = self.load()
        assert layout.path("home", FACTS).endswith("/"), "a home is a directory"
        directory = layout.path("checkpoint", FACTS).endswith("/")
        assert directory == (layout.checkpoint_format != "pth"), f"{layout.checkpoint_format} and its path disagree"

    def test_every_kind_reads_back(self) -> None:
        """A written path reads back as the kind and the facts that gave it, and these give the path again."""
        layout = self.load()
        layout.check(FACTS)
        for kind, facts, path in _records(layout, FACTS):
            _reads_back(layout, kind, facts, path)

    def test_no_two_records_share_a_path(self) -> None:
        """Different kinds, runs, steps, epochs or splits never give the same path, even with hostile names."""
        layout = self.load()
        seen: dict[str, tuple[str, dict[str, object]]] = {}
        for run in _runs(layout):
            for kind, facts, path in _records(layout, run):
                if _is_the_home(layout, kind):
                    continue
                first = seen.setdefault(path, (kind, facts))
                assert first == (kind, facts), f"{path!r} is both {first} and {(kind, facts)}"

    def test_no_record_is_below_a_file(self) -> None:
        """No path is a directory for one record and a file for another, whatever runs share a yard."""
        layout = self.load()
        paths = {path for run in _runs(layout) for _, _, path in _records(layout, run)}
        files = {path for path in paths if not path.endswith("/")}
        for path in paths:
            parts = path.removesuffix("/").split("/")
            above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
            assert not above & files, f"{path!r} is below the file {above & files}"

    def test_every_home_is_its_own(self) -> None:
        """Runs that may share a yard have different homes, none inside another."""
        layout = self.load()
        homes = sorted({layout.path("home", run) for run in _runs(layout)})
        facts = {tuple(str(run[name]) for name in layout.facts_of("home")) for run in _runs(layout)}
        assert len(homes) == len(facts), "two runs have one home"
        for home in homes:
            inside = [other for other in homes if other != home and other.startswith(home)]
            assert not inside, f"{inside} are inside {home!r}"

    def test_a_taken_home_has_alternatives(self) -> None:
        """`vary` gives one home after another, and every path that is not shared between runs changes with it."""
        layout = self.load()
        runs = [layout.vary(FACTS, n) for n in range(1, 13)]
        assert runs[0] == FACTS, "the first choice is the facts themselves"
        for kind in layout.kinds:
            paths = {layout.path(kind, run) for run in runs}
            shared = layout.is_shared(kind)
            assert not shared or kind in SHAREABLE, f"{kind!r} has one path for several runs"
            assert shared or len(paths) == len(runs), f"{kind!r} of two runs share a path"
        for run in runs:
            layout.check(run)

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_hostile_names_work_or_are_refused(self, name: str) -> None:
        """An unusual name reads back from every path, or `check` refuses it before anything is written."""
        layout = self.load()
        for fact in NAMES:
            facts = {**FACTS, fact: name}
            try:
                layout.check(facts)
            except BadNameError:
                continue
            for kind, used, path in _records(layout, facts):
                _reads_back(layout, kind, used, path)

    @pytest.mark.parametrize("name", UNSAFE_NAMES, ids=ascii)
    def test_unsafe_names_are_refused(self, name: str) -> None:
        """A name that cannot be part of a path is refused by `path` and `check`, and the error has the value."""
        layout = self.load()
        for kind in layout.kinds:
            for fact in set(layout.facts_of(kind)) & set(NAMES):
                facts = {**FACTS, fact: name}
                for attempt in (lambda k=kind, f=facts: layout.path(k, f), lambda f=facts: layout.check(f)):
                    with pytest.raises(BadNameError) as raised:
                        attempt()
                    refused = raised.value.value
                    values = refused.values() if isinstance(refused, Mapping) else [refused]
                    assert name in values, "the error must have the refused value, alone or by fact"
                    assert repr(name[:60]) in raised.value.what, "the error must show the value, a long one cut"

    def test_a_missing_fact_is_named(self) -> None:
        """The error for a missing fact has the fact as its value, and the layout and the kind as its place."""
        layout = self.load()
        for kind, template in layout.kinds.items():
            for fact in layout.facts_of(kind):
                with pytest.raises(LayoutError) as raised:
                    layout.path(kind, {name: value for name, value in FACTS.items() if name != fact})
                assert raised.value.value == [fact]
                assert raised.value.place == f"{layout.name}:{kind}"
                assert repr(template) in raised.value.what, "the error must show the template"

    def test_the_picture_shows_every_kind(self) -> None:
        """`tree` has a line for every name in the table."""
        layout = self.load()
        picture = layout.tree()
        for kind, template in layout.kinds.items():
            name = template.removesuffix("/").split("/")[-1]
            assert name == "{home}" or name.removeprefix("{home}") in picture, f"{kind!r} is not in the picture"


def _records(layout: Layout, run: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object], str]]:
    """Each kind with the facts it uses and its path, for several steps, epochs and splits."""
    moments = [(120, 3, "val"), (0, 0, "train"), (123_456, 1_000, "test"), (3, 120, "val")]
    for kind, (step, epoch, split) in itertools.product(layout.kinds, moments):
        facts = {**run, "step": step, "epoch": epoch, "split": split}
        path = layout.path(kind, facts)
        yield kind, {name: facts[name] for name in layout.facts_of(kind)}, path


def _runs(layout: Layout) -> list[Mapping[str, object]]:
    """Runs that a yard of this layout may hold together: those that pass `check`."""
    candidates: list[Mapping[str, object]] = [layout.vary(FACTS, n) for n in (1, 2, 3)]
    candidates += [{**FACTS, fact: name} for fact in NAMES for name in HOSTILE_NAMES if name.isascii()]
    candidates.append({**FACTS, "date": "2026-02-01", "timestamp": "20260201-204301"})
    passed = []
    for facts in candidates:
        try:
            layout.check(facts)
        except BadNameError:
            continue
        passed.append(facts)
    return passed


def _reads_back(layout: Layout, kind: str, facts: dict[str, object], path: str) -> None:
    found = layout.match(path)
    assert found, f"{path!r} ({kind}) is not recognised"
    first = found[0]
    same_kind = first.kind == kind or (first.kind == "home" and _is_the_home(layout, kind))
    assert same_kind, f"{path!r} ({kind}) is read as {first.kind}"
    assert layout.path(first.kind, first.facts) == path, f"{path!r} is not what its own facts give"
    for name, value in first.facts.items():
        given = facts[name]
        # A decomposed name comes back composed: the same name, in the form that paths have.
        same = value == given or layout.path(kind, {**facts, name: given}) == layout.path(kind, {**facts, name: value})
        assert same, f"{path!r}: {name} {given!r} is read as {value!r}"
    assert set(first.facts) == set(facts), f"{path!r} ({kind}) is read with the facts {sorted(first.facts)}"


def _is_the_home(layout: Layout, kind: str) -> bool:
    """Whether the kind's files are directly in the home, so that its path reads back as the home."""
    return kind != "home" and layout.kinds[kind] in ("{home}", layout.kinds["home"])

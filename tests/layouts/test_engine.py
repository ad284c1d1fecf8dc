"""Writing, reading and varying paths, with names as ugly as users make them."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from trainyard.errors import BadNameError, LayoutError
from trainyard.layouts import LAYOUTS, Layout, Match, load_layout

FACTS = {
    "project": "demo",
    "dataset": "digits",
    "run": "cnn",
    "model": "cnn_small",
    "date": "2026-01-31",
    "time": "20-43-01",
    "timestamp": "20260131-204301",
    "moment": "20260131-214301",
    "id": "k3v9x0aq",
    "step": 120,
    "epoch": 3,
    "split": "val",
    "artifact_id": "0123456789abcdef",
}
FRAGMENTS = (
    *("evaluation", "a_best", "x_epoch_3", "_step_4", "_final", "_errors", "-2", "_2", "con", "metrics.csv", "mp.log"),
    *("20260131-204301", "run-", "k3v9x0aq", "test", "_val", "_predictions", ".pth", ".log", "'", '"', " ", "{run}"),
    *("é", "e\u0301", "\u0301", "한", "ᄒ", "ᅡ", "模型", "👩‍🚀", "\\", "*", "\n", "/", "..", "."),
)
names = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=5).map("".join),
    st.text(min_size=1, max_size=40),
    st.text("ab_0123456789-", min_size=1, max_size=12),
    st.integers(150, 260).map(lambda size: "x" * size),
)
suffixes = st.one_of(st.just(""), st.integers(2, 30).map("-{}".format))
all_facts = st.fixed_dictionaries(
    {
        **dict.fromkeys(("project", "dataset", "run", "model"), names),
        "date": st.dates().map(lambda day: day.isoformat()),
        "time": st.tuples(st.times(), suffixes).map(lambda pair: f"{pair[0]:%H-%M-%S}{pair[1]}"),
        "timestamp": st.tuples(st.datetimes(), suffixes).map(
            lambda pair: pair[0].isoformat()[:19].replace("-", "").replace(":", "").replace("T", "-") + pair[1]
        ),
        "id": st.text("abcxyz0123456789", min_size=8, max_size=8),
        "step": st.integers(0, 10**9),
        "epoch": st.integers(0, 10**6),
        "split": st.sampled_from(("train", "val", "test")),
        "moment": st.datetimes().map(lambda at: at.strftime("%Y%m%d-%H%M%S").rjust(15, "0")),
        "artifact_id": st.text("0123456789abcdef", min_size=16, max_size=16),
    }
)
ordinary = st.from_regex(r"\A(whisper|cnn|mlp)[a-z0-9_.-]{0,30}[a-z0-9]\Z")


def used(layout: Layout, kind: str, facts: dict) -> dict:
    values = {name: facts[name] for name in layout.facts_of(kind)}
    return {k: unicodedata.normalize("NFC", v) if isinstance(v, str) else v for k, v in values.items()}


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(facts=all_facts)
def test_what_passes_check_reads_back(name: str, facts: dict) -> None:
    layout = load_layout(name)
    try:
        layout.check(facts)
    except BadNameError:
        assume(False)
    for kind in layout.kinds:
        path = layout.path(kind, facts)
        first = layout.match(path)[0]
        assert first.facts == used(layout, kind, facts)
        assert first.kind == kind or (first.kind == "home" and layout.kinds[kind] == "{home}")
        assert layout.path(first.kind, first.facts) == path


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=60, deadline=None)
@given(facts=all_facts)
def test_a_path_is_safe_or_refused(name: str, facts: dict) -> None:
    """The oracle is the operating system's idea of a path, not ours."""
    layout = load_layout(name)
    for kind in layout.kinds:
        try:
            path = layout.path(kind, facts)
        except BadNameError:
            continue
        assert os.path.normpath(path) == path.rstrip("/")
        assert not path.startswith("/")
        assert path.count("/") == layout.kinds[kind].replace("{home}", layout.kinds["home"]).count("/")
        assert path.splitlines() == [path]
        assert all(0 < len(os.fsencode(part)) <= 255 for part in path.rstrip("/").split("/"))


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=60, deadline=None)
@given(project=ordinary, dataset=ordinary, run=ordinary, model=ordinary)
def test_ordinary_names_are_never_refused(name: str, **chosen: str) -> None:
    load_layout(name).check({**FACTS, **chosen})


@pytest.mark.parametrize("name", LAYOUTS)
def test_files_on_a_disk_read_back_as_they_were_written(name: str, tmp_path: Path) -> None:
    layout = load_layout(name)
    runs = [
        "cnn",
        "cnn-2",
        "a_best",
        "a",
        "x_epoch_3",
        "x",
        'it\'s "q"',
        "模型 👩‍🚀",
        "naïve",
        "x" * 200,
        "con",
        "$(ls)",
    ]
    written = {}
    for n, run in enumerate(runs, start=1):
        facts = {**layout.vary(FACTS, n), "run": run}
        layout.check(facts)
        for kind in layout.kinds:
            path = layout.path(kind, facts)
            place = tmp_path / path
            if path.endswith("/"):
                place.mkdir(parents=True, exist_ok=kind in ("home", "tensorboard"))
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.open("a" if layout.is_shared(kind) else "x").close()
            written[path] = kind
    found = set()
    for folder, folders, files in os.walk(tmp_path):
        below = Path(folder).relative_to(tmp_path).as_posix() + "/"
        for entry in [*files, *(f"{name}/" for name in folders)]:
            path = entry if below == "./" else below + entry
            found |= {(path, match.kind) for match in layout.match(path)[:1]}
    expected = {(path, "home" if path == "2026-01-31/20-43-01/" else kind) for path, kind in written.items()}
    assert {path for path, _ in expected} == {path for path, _ in found}
    assert {pair for pair in found if pair[1] != "home"} <= expected


def test_kinds_told_apart_by_specificity() -> None:
    path = "logs/evaluation_20260131-204301.log"
    assert load_layout("shared").match(path) == [
        Match("evaluation_log", {"moment": "20260131-204301"}),
        Match("log", {"run": "evaluation", "timestamp": "20260131-204301"}),
    ]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "/",
            ".",
            "..",
            "artifacts",
            "artifacts/",
            "artifacts/../",
            "artifacts/a",
            "/artifacts/a/",
            "./artifacts/a/",
        ),
        *(
            "checkpoints/a_epoch_03.pth",
            "checkpoints/a_epoch_-3.pth",
            "checkpoints/a_epoch_٣.pth",
            "checkpoints/_epoch_3.pth",
        ),
        *(
            "checkpoints/a_epoch_3.pth\n",
            "checkpoints/a\n_epoch_3.pth",
            "checkpoints/ a_epoch_3.pth",
            "x/checkpoints/a_best.pth",
        ),
        *("results/a_dev_predictions.csv", "logs/a_20260131-2043.log", "logs/a_20260131-204301-1_errors.log"),
    ],
)
def test_what_is_never_written_is_not_read(path: str) -> None:
    assert load_layout("shared").match(path) == []


@pytest.mark.parametrize(
    ("layout", "facts", "path"),
    [
        ("shared", {"run": "evaluation"}, "logs/evaluation_20260131-204301.log"),
        ("grouped", {"dataset": "metrics.csv"}, "demo/metrics.csv/cnn/"),
        ("trials", {"run": "mp.log"}, "experiment_demo/mp.log/"),
        ("trials", {"run": "default_config.yaml"}, "experiment_demo/default_config.yaml/"),
    ],
)
def test_ambiguous_names_that_check_refuses(layout: str, facts: dict, path: str) -> None:
    with pytest.raises(BadNameError) as raised:
        load_layout(layout).check({**FACTS, **facts})
    assert facts.items() <= raised.value.value.items()
    assert raised.value.place.startswith(path)
    assert next(iter(facts)) in raised.value.remedy


@pytest.mark.parametrize("run", ["x" * 230, "x" * 256])
def test_long_names_that_check_refuses(run: str) -> None:
    with pytest.raises(BadNameError) as raised:
        load_layout("shared").check({**FACTS, "run": run})
    assert raised.value.value["run"] == run
    assert len(raised.value.place) > 255
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("layout", "fact", "value"),
    [
        ("grouped", "run", "../../etc"),
        ("grouped", "run", "two\nlines"),
        ("files", "project", ".yard"),
        ("grouped", "run", 3),
    ],
)
def test_unsafe_values_that_check_refuses(layout: str, fact: str, value: object) -> None:
    with pytest.raises(BadNameError) as raised:
        load_layout(layout).check({**FACTS, fact: value})
    assert (raised.value.value, raised.value.place) == (value, fact)
    assert raised.value.remedy


def test_a_long_step_is_foreseen() -> None:
    """A name that fits at step 1 and not at step 1,000,000 is refused before the run begins."""
    run = "x" * (255 - len("_1.pth"))
    layout = Layout("long", "run", "pth", {"home": "{run}/", "checkpoint": "checkpoints/{run}_{step}.pth"})
    assert layout.path("checkpoint", {"run": run, "step": 1})
    with pytest.raises(BadNameError) as raised:
        layout.check({"run": run})
    assert raised.value.value["run"] == run
    assert raised.value.value["step"] >= 1_000_000
    assert len(raised.value.place) > 255


def test_check_leaves_out_kinds_without_their_names_but_not_the_home() -> None:
    load_layout("dated").check({})
    with pytest.raises(LayoutError) as raised:
        load_layout("grouped").check({"run": "a"})
    assert (raised.value.value, raised.value.place) == (["project", "dataset"], "grouped:home")


def test_a_home_must_not_contain_records_of_others() -> None:
    layout = Layout("flat", "run", "pth", {"home": "{run}/", "checkpoint": "checkpoints/{run}_{epoch}.pth"})
    layout.check({"run": "cnn"})
    with pytest.raises(BadNameError) as raised:
        layout.check({"run": "checkpoints"})
    assert (raised.value.value, raised.value.place) == ({"run": "checkpoints"}, "checkpoints/")


def test_names_are_composed() -> None:
    layout = load_layout("shared")
    assert layout.path("best", {"run": "nai\u0308ve"}) == layout.path("best", {"run": "na\u00efve"})
    assert layout.match("checkpoints/nai\u0308ve_best.pth")[0].facts == {"run": "na\u00efve"}
    merging = Layout("merging", "run", "pth", {"home": "e{run}/", "checkpoint": "{home}{epoch}.pth"})
    with pytest.raises(BadNameError) as raised:
        merging.path("home", {"run": "\u0301a"})
    assert (raised.value.value, raised.value.place) == ({"run": "\u0301a"}, "e\u0301a")


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        *(("step", value) for value in (-1, True, "3", 3.0, "x")),
        *(("date", value) for value in ("2026-1-31", "31-01-2026", "2026-01-31/x", "٢٠٢٦-01-31", 20260131)),
        *(("timestamp", value) for value in ("20260131-204301-1", "20260131-204301-02", "20260131-204301-")),
        *(("id", value) for value in ("short", "UPPERCAS", "nine_char")),
        *(("split", value) for value in ("dev", "Test", "")),
    ],
)
def test_facts_have_forms(fact: str, value: object) -> None:
    layout = Layout("probe", "run", "pth", {"home": f"{{{fact}}}/", "checkpoint": "{home}c"})
    with pytest.raises(BadNameError) as raised:
        layout.path("home", {fact: value})
    assert (raised.value.value, raised.value.place) == (value, fact)


def test_numbers_may_be_those_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    path = load_layout("grouped").path("checkpoint", {**FACTS, "step": numpy.int64(7)})
    assert path == "demo/digits/cnn/checkpoint-7/"


def test_a_kind_without_a_place() -> None:
    layout = load_layout("grouped")
    assert not layout.has("results")
    with pytest.raises(LayoutError) as raised:
        layout.path("results", FACTS)
    assert (raised.value.value, raised.value.place) == ("results", "grouped")
    with pytest.raises(LayoutError) as raised:
        layout.path("chekpoint", FACTS)
    assert (raised.value.value, raised.value.place) == ("chekpoint", None)
    assert "checkpoint" in raised.value.remedy


def test_a_missing_fact() -> None:
    with pytest.raises(LayoutError) as raised:
        load_layout("shared").path("checkpoint", {"run": "cnn", "epoch": None})
    assert (raised.value.value, raised.value.place) == (["epoch"], "shared:checkpoint")
    assert "epoch=" in raised.value.remedy


def test_what_is_shared() -> None:
    shared = {name: [k for k in load_layout(name).kinds if load_layout(name).is_shared(k)] for name in LAYOUTS}
    assert shared == {
        "grouped": ["metrics_table", "encoder_weights"],
        "shared": ["evaluation_log"],
        "dated": [],
        "trials": ["default_config", "controller_log"],
        "files": [],
    }


def test_facts_of_a_kind() -> None:
    assert load_layout("files").facts_of("per_class") == ("project", "timestamp", "id", "model")
    assert load_layout("grouped").facts_of("per_class") == ("project", "dataset", "run", "split")


class TestVary:
    @pytest.mark.parametrize("name", LAYOUTS)
    def test_the_first_is_the_facts(self, name: str) -> None:
        assert load_layout(name).vary(FACTS, 1) is FACTS

    def test_by_run(self) -> None:
        assert load_layout("grouped").vary(FACTS, 3) == {**FACTS, "run": "cnn-3"}

    def test_by_time_files_join(self) -> None:
        varied = load_layout("dated").vary(FACTS, 2)
        assert varied == {**FACTS, "time": "20-43-01-2", "timestamp": "20260131-204301-2"}
        assert load_layout("dated").vary(varied, 3)["time"] == "20-43-01-3"

    def test_by_id(self) -> None:
        layout = load_layout("files")
        ids = {layout.vary(FACTS, n)["id"] for n in range(1, 200)}
        assert len(ids) == 199
        assert layout.vary(FACTS, 2) == layout.vary(FACTS, 2)
        assert {**layout.vary(FACTS, 2), "id": FACTS["id"]} == FACTS

    def test_without_the_fact(self) -> None:
        with pytest.raises(LayoutError) as raised:
            load_layout("grouped").vary({"model": "a"}, 2)
        assert (raised.value.value, raised.value.place) == (["run"], "grouped")
        assert "run=" in raised.value.remedy


def test_a_tree_with_facts_filled_in() -> None:
    tree = load_layout("trials").tree({"project": "{epoch}", "run": "trial_7", "step": 0})
    assert "└── experiment_{epoch}/\n" in tree
    assert "├── trial_7/ " in tree
    assert "step_0.pt " in tree
    with pytest.raises(BadNameError):
        load_layout("trials").tree({"project": "../up"})


def test_a_layout_is_a_value() -> None:
    layout = load_layout("files")
    layout.match("a/")
    assert pickle.loads(pickle.dumps(layout)) == layout
    with pytest.raises(dataclasses.FrozenInstanceError):
        layout.name = "other"  # type: ignore[misc]


def test_nothing_heavy_is_imported() -> None:
    heavy = {"yaml", "torch", "numpy", "difflib"}
    code = f"import sys, trainyard.layouts; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_happens_later_is_stored_with_the_run(name: str) -> None:
    """The timestamp of an evaluation differs from that of the run, which may be part of the home's name."""
    layout = load_layout(name)
    facts = {**FACTS, "timestamp": "20260131-204301", "moment": "20270101-000000"}
    path = layout.path("evaluation_log", facts)
    assert "20270101-000000" in path
    assert path.startswith("logs/" if name == "shared" else layout.path("home", facts))

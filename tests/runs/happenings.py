"""Any events that can happen to a run that was created, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from trainyard.runs import BestStep, CheckpointRecord, Event
from trainyard.runs.events import (
    ArtifactLinked,
    CheckpointCommitted,
    DataSeen,
    Dropped,
    ParentUsed,
    Progressed,
    Published,
    Quarantined,
    RecordRemoved,
    RecordWritten,
    Restored,
    Stripped,
    Summarised,
    TaskChosen,
    Warned,
)

PLACES = st.sampled_from(["checkpoint", "best", "final"])
numbers = st.floats(allow_nan=False) | st.integers(-5, 5)
steps = st.integers(0, 8)
metrics = st.dictionaries(st.sampled_from(["val_loss", "val_accuracy", "half\ud800"]), numbers, max_size=2)
names = st.sampled_from(["a", "b", "optimizer.pt"])
files = st.lists(st.fixed_dictionaries({"name": names, "size": st.integers(0, 99), "sha256": st.just("0")}), max_size=3)
paths = st.sampled_from(["p/1", "p/2", "best", "final"])
best = st.builds(BestStep, steps, st.none() | st.integers(0, 3), st.none() | numbers, st.none() | st.just("val_loss"))
own_path = st.fixed_dictionaries({"checkpoint": paths})
formats = st.sampled_from(["hf", "pth"])
why = st.none() | st.text()
happenings: st.SearchStrategy[Event] = st.one_of(
    st.builds(Progressed, steps, numbers, metrics, st.none() | best),
    st.builds(CheckpointCommitted, steps, numbers, formats, metrics, files, own_path),
    st.builds(Published, steps, PLACES, paths),
    st.builds(
        Dropped, steps, PLACES, paths, why, st.none() | st.booleans(), st.lists(st.just("optimizer.pt"), max_size=1)
    ),
    st.builds(Quarantined, steps, PLACES, paths, st.text()),
    st.builds(Stripped, steps, st.just(["optimizer.pt"]), why),
    st.builds(
        Restored,
        st.builds(CheckpointRecord, steps, numbers, formats, metrics, files, own_path, st.booleans(), st.just("t")),
    ),
    st.builds(
        RecordWritten, st.just("log"), paths, st.integers(0, 9), st.none() | st.just("0"), st.just({"split": "val"})
    ),
    st.builds(RecordRemoved, paths, why),
    st.builds(Warned, st.sampled_from(["a", "b\n", "é"])),
    st.builds(DataSeen, st.just({"fingerprint": "0"})),
    st.builds(TaskChosen, st.text(), st.lists(st.text()), st.dictionaries(st.text(), st.sampled_from(["min", "max"]))),
    st.builds(Summarised, metrics),
    st.builds(ParentUsed, st.just("k3v9x0aq"), st.none() | steps, st.just("teacher")),
    st.builds(ArtifactLinked, st.sampled_from(["logged", "used"]), st.just("p/m:v1"), st.just("model")),
)

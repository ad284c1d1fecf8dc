"""Where a version came from, and what came of it."""

from __future__ import annotations

import shutil

from trainyard.artifacts import Artifacts, trace


def write(folder, name, text):
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_text(text)
    return path


def test_both_ways_over_several_runs(store, yard, folder, new_run):
    raw = store.log("raw", write(folder, "raw", "1"), project="demo", type="dataset")
    cleaner, trainer, other = new_run(), new_run(), new_run()
    store.use("raw", cleaner)
    clean = store.log("clean", write(folder, "clean", "2"), run=cleaner, type="dataset")
    store.use("clean", trainer)
    store.use("raw", trainer)
    model = store.log("model", write(folder, "model", "3"), run=trainer, type="model")
    store.use("model:v0", other)

    above = trace(store, model)
    assert above.made_by == (trainer.id,)
    assert [one.reference for one in above.inputs] == ["demo/clean:v0", "demo/raw:v0"]
    assert [one.reference for one in above.inputs[0].inputs] == ["demo/raw:v0"]
    assert above.inputs[0].made_by == (cleaner.id,)
    assert [(use.run, use.made) for use in above.used_by] == [(other.id, ())]

    below = trace(store, raw)
    assert (below.made_by, below.inputs) == ((), ())
    assert {use.run: [one.reference for one in use.made] for use in below.used_by} == {
        cleaner.id: ["demo/clean:v0"],
        trainer.id: ["demo/model:v0"],
    }
    (through,) = below.used_by[0].made
    assert [[one.reference for one in use.made] for use in through.used_by] == [["demo/model:v0"]]
    assert trace(store, clean).to_dict()["used_by"][0]["made"][0]["artifact"] == "demo/model:v0"


def test_what_is_used_after_a_version_was_made_is_no_input(store, folder, new_run):
    run = new_run()
    store.log("late", write(folder, "late", "1"), project="demo")
    made = store.log("made", write(folder, "made", "2"), run=run)
    store.use("late", run)
    assert trace(store, made).inputs == ()
    assert trace(store, store.find("late")).used_by[0].made == ()


def test_a_run_that_uses_what_it_made_ends(store, folder, new_run):
    run = new_run()
    store.log("a", write(folder, "a", "1"), run=run)
    store.use("a", run)
    store.log("b", write(folder, "b", "2"), run=run)
    store.use("b", run)
    again = store.log("a", write(folder, "a", "1"), run=run)
    found = trace(store, again)
    assert found.inputs == ()
    assert [one.reference for one in found.used_by[0].made] == ["demo/b:v0"]
    assert found.made_by == (run.id,)


def test_an_input_that_is_gone_is_still_named(store, yard, folder, new_run):
    run = new_run()
    used = store.log("a", write(folder, "a", "1"), project="demo")
    store.use("a", run)
    made = store.log("b", write(folder, "b", "2"), run=run)
    shutil.rmtree(store.series(used).directory(0))
    (gone,) = trace(Artifacts(yard), made).inputs
    assert (gone.reference, gone.version) == ("demo/a:v0", None)
    assert gone.to_dict()["there"] is False


def test_using_twice_is_said_once(store, folder, new_run):
    run = new_run()
    store.log("a", write(folder, "a", "1"), project="demo")
    for reference in ("a", "demo/a:v0"):
        store.use(reference, run)
    assert len(trace(store, store.find("a")).used_by) == 1
    assert len(run.snapshot.artifacts) == 1

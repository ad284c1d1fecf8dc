from trainyard.analysis.compare import compare
from trainyard.runs import Snapshot


def run(name: str, **parts) -> Snapshot:
    return Snapshot(id=name, name=name, project="p", dataset="d", **parts)


def test_only_what_differs_is_told_of_settings_and_data_but_all_of_the_results():
    a = run("a", config={"x": {"y": 1, "z": [1, 2]}}, data={"items": 5, "digest": "q"}, summary={"acc": 0.5})
    b = run("b", config={"x": {"y": 2, "z": [1, 2]}}, data={"items": 5, "digest": "r"}, summary={"acc": 0.5, "f1": 0.1})
    found = compare([a, b])
    assert found.config == {"x.y": [1, 2]}
    assert found.data == {"digest": ["q", "r"]}
    assert found.results == {"acc": [0.5, 0.5], "f1": [None, 0.1]}


def test_a_setting_that_one_run_lacks_differs():
    assert compare([run("a", config={"k": None}), run("b")]).config == {"k": [None, None]}

"""Python as configuration: what its names become, what is refused and where, and that nothing stays behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trainyard.config.pyfile import PythonFile


def read(text: str, name: str = "mine.py") -> PythonFile:
    return PythonFile(name, text.encode())


def test_names_become_values() -> None:
    file = read(
        "from __future__ import annotations\n"
        "import math\nfrom pathlib import Path\n"
        "_rate = 16_000\n"
        "def twice(x): return 2 * x\n"
        "class Helper: pass\n"
        "run = dict(tags=('a', 'b'), seed=twice(3), note=str(Path('x') / 'y'))\n"
        "data: dict = {'sample_rate': _rate, **dict(fmax=math.floor(7.9))}\n"
        "training = dict(optimizer=dict(_target_='torch.optim.SGD', lr=None, on=True))\n"
        "layout = 'grouped'\n"
    )
    assert file.faults == []
    assert file.values == {
        "run": {"tags": ["a", "b"], "seed": 6, "note": "x/y"},
        "data": {"sample_rate": 16000, "fmax": 7},
        "training": {"optimizer": {"_target_": "torch.optim.SGD", "lr": None, "on": True}},
        "layout": "grouped",
    }
    assert file.bases == []


def test_numbers_and_texts_of_other_libraries_are_plain() -> None:
    file = read(
        "import enum\nimport numpy as np\n"
        "class Kind(str, enum.Enum):\n    LORA = 'lora'\n"
        "model = dict(method=Kind.LORA)\ntraining = dict(learning_rate=np.float64(0.5))\n"
    )
    assert file.faults == []
    assert type(file.values["model"]["method"]) is str
    assert file.values["model"] == {"method": "lora"}
    assert type(file.values["training"]["learning_rate"]) is float


@pytest.mark.parametrize(("said", "bases"), [("'a.py'", ["a.py"]), ("['a', 'b.yaml']", ["a", "b.yaml"]), ("()", [])])
def test_bases(said: str, bases: list[str]) -> None:
    assert read(f"_base_ = {said}\n").bases == bases


def test_every_key_has_its_line() -> None:
    file = read(
        "model = dict(\n"
        "    type='whisper',\n"
        "    size='base',\n"
        ")\n"
        "training = {\n"
        "    'epochs': 3,\n"
        "    'optimizer': dict(\n"
        "        momentum=0.9,\n"
        "    ),\n"
        "}\n"
        "if True:\n"
        "    model['layers'] = '012'\n"
        "training['optimizer']['nesterov'] = True\n"
        "def f():\n"
        "    layout = 1\n"
    )
    places = {
        "model": 1,
        "model.size": 3,
        "model.layers": 12,
        "training.epochs": 6,
        "training.optimizer.momentum": 8,
        "training.optimizer.nesterov": 13,
        "training.optimizer.gone": 7,
    }
    for key, line in places.items():
        assert file.place(key) == f"mine.py, line {line}"
    assert file.place("layout") == "mine.py"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("x = (\n", 1, "not valid Python"),
        ("model = dict()\nmodel = dict(layers=012)\n", 2, "leading zeros"),
        ("\tx = 1\n", 1, "not valid Python: unexpected indent"),
        ("\nreturn 3\n", 2, "'return' outside function"),
        ("training = dict(\n  epochs=1 / 0,\n)\n", 2, "running it raised ZeroDivisionError: division by zero"),
        ("import math\ndef f():\n    return math.sqrt(-1)\nf()\n", 3, "running it raised ValueError"),
        ("import gone_for_good\n", 1, "ModuleNotFoundError"),
        ("raise SystemExit(3)\n", 1, "running it raised SystemExit: 3"),
        ("\nassert False\n", 2, "running it raised AssertionError"),
        ("\nmodle = dict()\n", 2, "unknown name `modle`; did you mean `model`?"),
        ("epochs = 3\n", 1, "unknown name `epochs`; did you mean `training.epochs`?"),
        ("import math\nrate = 3\n", 2, "unknown name `rate`"),
        ("for step in range(3): pass\n", None, "unknown name `step`"),
        ("recipe = 'digits'\n", 1, "`_base_`"),
        ("_base_ = 3\n", 1, "`_base_` is 3, expected a file"),
        ("_base_ = ['a', None]\n", 1, "`_base_` is a value of type list"),
        ("model = dict(\n  size=lambda: 3)\n", 2, "`model.size` is a lambda"),
        ("def model(): pass\n", None, "`model` is the function model"),
        ("import math as model\n", None, "`model` is the module math"),
        ("training = dict(optimizer=dict(_target_=dict))\n", 1, "the class dict, expected text"),
        ("data = dict(path=__import__('pathlib').Path('x'))\n", 1, "`data.path` is a value of type PosixPath"),
        ("run = dict(tags={'a'})\n", 1, "`run.tags` is a value of type set"),
        ("run = dict(tags=['a', object()])\n", 1, "`run.tags` is a value of type object"),
        ("training = {1: 2}\n", 1, "`training` has the key 1, which is not text"),
        ("model = []\nmodel.append(model)\n", 1, "`model` contains itself"),
    ],
)
def test_a_fault_is_told_with_its_line(text: str, line: int | None, words: str) -> None:
    (fault,) = read(text, "here/mine.py").faults
    assert words in fault.what
    assert fault.place == (f"here/mine.py, line {line}" if line else "here/mine.py")


@pytest.mark.parametrize("source", [b"\xff\xfe\x00", b"a\x00b", b"x = " + b"(" * 5000, b"# coding: nope\n"])
def test_what_is_no_text_of_python(source: bytes) -> None:
    (fault,) = PythonFile("mine.py", source).faults
    assert "not valid Python" in fault.what


def test_all_faults_of_a_file_are_reported() -> None:
    faults = read("modle = 1\nrate = 2\nmodel = dict(size=object())\nlayout = 'files'\n").faults
    assert [fault.place for fault in faults] == [f"mine.py, line {line}" for line in (1, 2, 3)]


def test_nothing_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "neighbour.py").write_text("value = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = {"modules": set(sys.modules), "path": list(sys.path), "written": sys.dont_write_bytecode}
    file = read(
        "import sys\nimport neighbour\nimport dataclasses\n"
        "@dataclasses.dataclass\nclass Sizes:\n    width: 'int' = 3\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "run = dict(seed=neighbour.value, note=__name__, tags=[str(Sizes().width)])\n",
        str(tmp_path / "mine.py"),
    )
    assert file.faults == []
    assert file.values["run"]["seed"] == 3
    assert file.values["run"]["note"] != "__main__"
    assert set(sys.modules) - before["modules"] == {"neighbour"}  # an import of its own is an import
    assert (sys.path, sys.dont_write_bytecode) == (before["path"], before["written"])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["neighbour.py"]
    sys.modules.pop("neighbour")
    read("raise ValueError\n")
    assert not set(sys.modules) - before["modules"]

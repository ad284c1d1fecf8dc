"""The parts of ARCHITECTURE.md that are generated: the picture of the layers, and the tables of kinds and tasks.

`python tests/shared/architecture.py` (or `make docs`) writes them into the file; a test compares.
"""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "ARCHITECTURE.md"
_END = "<!-- end -->"
_SEPARATORS = re.compile(r"\s*[:|]\s*")


def layers() -> str:
    """The layers of both import contracts in `pyproject.toml`, top to bottom; the right column is the yard."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    left, right = (next(c["layers"] for c in contracts if c["id"] == name) for name in ("left", "right"))
    shared_top = [row for row in left if row in right and row != left[-1]]
    ours = {module for row in left for module in _SEPARATORS.split(row)}
    yard = [row for row in right if not ours.issuperset(_SEPARATORS.split(row))]
    trainer = [row for row in left if row not in right]
    rows = [_spaced(row) for row in shared_top]
    width = max(len(_spaced(row)) for row in trainer) + 3
    for number in range(max(len(trainer), len(yard))):
        one = _spaced(trainer[number]) if number < len(trainer) else ""
        other = _spaced(yard[number]) if number < len(yard) else ""
        rows.append(f"{one:<{width}}|  {other}".rstrip())
    return "\n".join(["```", *rows, _spaced(left[-1]), "```"])


def _spaced(row: str) -> str:
    return "  ".join(_SEPARATORS.split(row))


def kinds() -> str:
    """One row for each kind of data and family of models: its package, and what can be named in a config."""
    from trainyard.config.kinds import PACKAGES

    lines = ["| package | `data.source` | `model.name` |", "|---|---|---|"]
    for package in PACKAGES:
        schema = importlib.import_module(f"{package}.schema")
        sources = ", ".join(f"`{member.source}`" for member in schema.DATA)
        models = ", ".join(f"`{member.name}`" for member in schema.MODELS)
        lines.append(f"| `{package.partition('.')[2]}/` | {sources} | {models} |")
    return "\n".join(lines)


def tasks() -> str:
    """One row for each task: the module of its torch half and the one of its scoring."""
    from trainyard.analysis.scoring import SCORINGS, scoring_class
    from trainyard.tasks import classification

    lines = ["| task | loss and predictions, in torch | metrics, tables, pictures, without torch |", "|---|---|---|"]
    for name, path in SCORINGS.items():
        cls = scoring_class(name)
        half = getattr(classification, path.rpartition(".")[2])
        lines.append(f"| `{name}` | `{_file(half.__module__)}` | `{_file(cls.__module__)}` |")
    return "\n".join(lines)


def _file(module: str) -> str:
    return f"{module.partition('.')[2].replace('.', '/')}.py"


PARTS: dict[str, Callable[[], str]] = {"layers": layers, "kinds": kinds, "tasks": tasks}


def with_parts(page: str) -> str:
    """The page with every generated part as it is now."""
    for name, part in PARTS.items():
        before, found, rest = page.partition(f"<!-- generated: {name} -->\n")
        assert found, f"ARCHITECTURE.md has no place for {name}"
        page = f"{before}{found}{part()}\n{rest[rest.index(_END) :]}"
    return page


if __name__ == "__main__":
    PAGE.write_text(with_parts(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

"""The structure is what ARCHITECTURE.md says, and a kind's or a task's classes are tested for in its package alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import architecture

SOURCE = architecture.ROOT / "src" / "trainyard"
OWNED = (
    "trainyard.images",
    "trainyard.audio",
    "trainyard.text",
    "trainyard.tasks",
    "trainyard.analysis.classification",
)


def test_the_page_is_up_to_date() -> None:
    page = architecture.PAGE.read_text(encoding="utf-8")
    assert page == architecture.with_parts(page), "run: make docs"


def test_every_folder_is_on_the_page() -> None:
    page = architecture.PAGE.read_text(encoding="utf-8")
    folders = [path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert [name for name in folders if f"`{name}/`" not in page] == []


def owned_names(tree: ast.Module, module: str) -> dict[str, str]:
    """The names that a module imports from the package of a kind or a task that it is not part of."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(OWNED):
            owner = next(package for package in OWNED if node.module.startswith(package))
            if not module.startswith(owner):
                found.update({alias.asname or alias.name: node.module for alias in node.names})
    return found


def class_checks(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and class name of each `isinstance`, and of each class pattern of a `match`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            yield from ((node.lineno, name.id) for name in ast.walk(node.args[1]) if isinstance(name, ast.Name))
        elif isinstance(node, ast.MatchClass):
            yield from ((node.cls.lineno, name.id) for name in ast.walk(node.cls) if isinstance(name, ast.Name))


def module_name(path: Path) -> str:
    return ".".join(("trainyard", *path.relative_to(SOURCE).with_suffix("").parts))


def test_no_class_of_a_kind_or_a_task_is_tested_for_outside_its_package() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        theirs = owned_names(tree, module_name(path))
        wrong += [f"{path}:{line}: {name}" for line, name in class_checks(tree) if name in theirs]
    assert wrong == []


def test_the_test_can_fail() -> None:
    tree = ast.parse("from trainyard.audio.schema import AudioData\nisinstance(data, AudioData)")
    assert [name for _, name in class_checks(tree) if name in owned_names(tree, "trainyard.running.train")]
    assert not owned_names(tree, "trainyard.audio.kind")

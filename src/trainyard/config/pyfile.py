"""A Python file whose module-level names are a configuration, with the line of every key.

`model = dict(type="whisper", size="base")` equals `model: {type: whisper, size: base}` in YAML.
Reading the file executes it, so only a file that the user names, or that such a file names in `_base_`, is read.
Its module is removed again, and no bytecode is written.
"""

from __future__ import annotations

import ast
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.config.faults import Fault, place_in, show
from trainyard.config.fields import SELECTORS, all_keys, hints_of
from trainyard.config.schema import Config
from trainyard.wording import nearest

_ALL = tuple(SELECTORS)  # sections that cannot be checked if the file could not be read
_PLAIN = "text, a number, True, False, None, a list or a dict"
_OWN = "A file's names are the sections of a configuration; start the names of your own variables with `_`."
_TOOLS = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)  # `import *` may add such names
_BAD: Any = object()


class PythonFile:
    """The contents of one file; `name` is used in messages."""

    def __init__(self, name: str, source: bytes) -> None:
        self.name = name
        self.values: dict[str, Any] = {}  # sections and keys of a configuration; empty if the file could not be run
        self.bases: list[str] = []  # what `_base_` names, in order
        self.faults: list[Fault] = []  # what could not be read
        self._lines: dict[str, int] = {}
        try:
            tree = ast.parse(source, name)
            code = compile(tree, name, "exec", dont_inherit=True)
        except SyntaxError as error:
            line = f", line {error.lineno}" if error.lineno else ""
            self.faults.append(Fault(f"not valid Python: {error.msg}", place=f"{name}{line}", obscures=_ALL))
            return
        except (ValueError, RecursionError, MemoryError) as error:
            self.faults.append(Fault(f"not valid Python: {error}", place=name, obscures=_ALL))
            return
        self._lines = dict(_lines(tree))
        namespace = self._run(code)
        if namespace is not None:
            self._keep(namespace, set(_definitions(tree)))

    def place(self, key: str) -> str:
        """`FILE, line N` of the key, or of the nearest key around it."""
        return place_in(self.name, self._lines, key)

    def _run(self, code: types.CodeType) -> dict[str, Any] | None:
        """The names after running the file in a new module, or None after noting why it failed."""
        module = types.ModuleType(f"_experiment_{id(code)}")
        module.__file__ = self.name
        path, without_bytecode = list(sys.path), sys.dont_write_bytecode
        sys.modules[module.__name__] = module  # dataclasses and enums look their module up
        sys.dont_write_bytecode = True
        try:
            exec(code, module.__dict__)
        except (Exception, SystemExit) as error:  # the user's code: anything it raises is reported with its line
            line = _line_of(error, self.name)
            what = f"running it raised {type(error).__name__}{f': {error}' if str(error) else ''}"
            self.faults.append(Fault(what, place=f"{self.name}, line {line}" if line else self.name, obscures=_ALL))
            return None
        finally:
            sys.modules.pop(module.__name__, None)
            sys.path[:], sys.dont_write_bytecode = path, without_bytecode
        return dict(module.__dict__)

    def _keep(self, namespace: Mapping[str, Any], definitions: set[str]) -> None:
        """Sorts the names into values, bases, the file's own helpers and faults."""
        self._keep_bases(namespace.get("_base_", []))
        sections = hints_of(Config)
        for name, value in namespace.items():
            if name.startswith("_"):
                continue
            if name == "recipe":
                self._fault(name, "`recipe` cannot be set in a file; name the recipe in `_base_`")
            elif name in sections:
                if (plain := self._plain(value, name, ())) is not _BAD:
                    self.values[name] = plain
            elif name not in definitions and not isinstance(value, _TOOLS):
                self._fault(name, f"unknown name `{name}`{_did_you_mean(name)}", remedy=_OWN)

    def _keep_bases(self, value: Any) -> None:
        bases = [value] if isinstance(value, str) else value
        if isinstance(bases, list | tuple) and all(isinstance(base, str) for base in bases):
            self.bases = list(bases)
        else:
            self._fault("_base_", f"`_base_` is {_kind(value)}, expected a file or a list of files, as text", _ALL)

    def _plain(self, value: Any, key: str, around: tuple[int, ...]) -> Any:
        """The value in YAML's types, or _BAD after noting a value of another type."""
        if value is None or isinstance(value, bool):
            return value
        for kind in (str, int, float):  # includes NumPy's floats and enums of text, which are subclasses
            if isinstance(value, kind):
                return str.__str__(value) if kind is str else kind(value)
        if id(value) in around or len(around) > 50:
            return self._bad(key, f"`{key}` contains itself")
        around = (*around, id(value))
        if isinstance(value, dict):
            inner = {name: self._plain(item, f"{key}.{name}", around) for name, item in value.items()}
            strange = [name for name in value if not isinstance(name, str)]
            if strange:
                return self._bad(key, f"`{key}` has the key {show(strange[0])}, which is not text")
            return _BAD if any(item is _BAD for item in inner.values()) else inner
        if isinstance(value, list | tuple):
            items = [self._plain(item, key, around) for item in value]
            return _BAD if any(item is _BAD for item in items) else items
        named = isinstance(value, _TOOLS) and getattr(value, "__name__", "") != "<lambda>"
        hint = "; write its dotted name as text" if named else ""
        return self._bad(key, f"`{key}` is {_kind(value)}, expected {_PLAIN}{hint}")

    def _bad(self, key: str, what: str) -> Any:
        self._fault(key, what, (key.partition(".")[0],))
        return _BAD

    def _fault(self, key: str, what: str, obscures: tuple[str, ...] = (), remedy: str = "") -> None:
        self.faults.append(Fault(what, place=self.place(key), obscures=obscures, remedy=remedy))


def _lines(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The dotted keys assigned at module level, and their lines, in order: the last assignment of a key counts."""
    for node in _statements(tree.body):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if key := _key_of(target):
                    yield key, node.lineno
                    yield from _inside(node.value, key)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, including those inside if, for, while, with and try."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for block in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, block, []))
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)


def _key_of(target: ast.expr) -> str:
    """`model` or `model["layers"]` as a dotted key; empty for anything else."""
    if isinstance(target, ast.Name):
        return target.id
    if isinstance(target, ast.Subscript):
        owner, name = _key_of(target.value), _text(target.slice)
        return f"{owner}.{name}" if owner and name else ""
    return ""


def _inside(value: ast.expr | None, key: str) -> Iterator[tuple[str, int]]:
    """The keys of a `dict(…)` or `{…}`."""
    pairs: list[tuple[str | None, ast.expr]] = []
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict":
        for argument in value.args:
            yield from _inside(argument, key)
        pairs = [(keyword.arg, keyword.value) for keyword in value.keywords]
    elif isinstance(value, ast.Dict):
        pairs = [(_text(name), item) for name, item in zip(value.keys, value.values, strict=True)]
    for name, item in pairs:
        if not name:
            continue
        yield f"{key}.{name}", item.lineno
        yield from _inside(item, f"{key}.{name}")


def _text(node: ast.expr | None) -> str | None:
    """The text of a string literal; None for any other expression."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _definitions(tree: ast.Module) -> Iterator[str]:
    """The names that the file imports or defines as functions and classes, which are not settings."""
    for node in _statements(tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def _line_of(error: BaseException, name: str) -> int | None:
    """The last line of the file that the error passed through."""
    frames = traceback.walk_tb(error.__traceback__)
    return next((line for frame, line in reversed(list(frames)) if frame.f_code.co_filename == name), None)


def _did_you_mean(name: str) -> str:
    inner = sorted(key for key in all_keys() if key.rpartition(".")[2] == name)
    found = nearest(name, hints_of(Config)) or next(iter(inner), None)
    return f"; did you mean `{found}`?" if found else ""


def _kind(value: Any) -> str:
    """A description of a value that does not call its repr, which may print a whole tensor."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, types.FunctionType):
        return "a lambda" if value.__name__ == "<lambda>" else f"the function {value.__name__}"
    if isinstance(value, types.ModuleType):
        return f"the module {value.__name__}"
    plain = value is None or isinstance(value, str | int | float)
    return show(value) if plain else f"a value of type {type(value).__name__}"

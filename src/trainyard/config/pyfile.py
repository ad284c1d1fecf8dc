"""A Python file whose module-level names are a configuration, with the line of every key.

`model = dict(type="whisper", size="base")` says what `model: {type: whisper, size: base}` says in YAML.
Reading the file runs it: only a file that the user names, or that such a file names in `_base_`, gets here.
Nothing of it stays behind, and no bytecode is written. Knows nothing of what the keys mean.
"""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.config.faults import Fault, place_in, show
from trainyard.config.fields import SELECTORS, all_keys, hints_of
from trainyard.config.schema import Config
from trainyard.wording import nearest

_ALL = tuple(SELECTORS)  # what cannot be judged when the file could not be read
_PLAIN = "text, a number, True, False, None, a list or a dict"
_OWN = "A file's names are the sections of a configuration; begin names of your own with `_`."
_TOOLS = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)  # as `import *` brings them


class PythonFile:
    """The contents of one file.

    Attributes:
        name: how messages call the file.
        values: the names that are sections or keys of a configuration; empty when the file could not be run.
        bases: what `_base_` names, in order.
        faults: what could not be read.
    """

    def __init__(self, name: str, source: bytes) -> None:
        self.name = name
        self.values: dict[str, Any] = {}
        self.bases: list[str] = []
        self.faults: list[Fault] = []
        self._lines: dict[str, int] = {}
        try:
            tree = ast.parse(source, name)
            code = compile(tree, name, "exec", dont_inherit=True)
        except SyntaxError as error:
            line = f", line {error.lineno}" if error.lineno else ""
            self.faults.append(Fault(f"not valid Python: {error.msg}", place=f"{name}{line}", clouds=_ALL))
            return
        except (ValueError, RecursionError, MemoryError) as error:
            self.faults.append(Fault(f"not valid Python: {error}", place=name, clouds=_ALL))
            return
        self._lines = dict(_lines(tree))
        namespace = self._run(code)
        if namespace is not None:
            self._keep(namespace, set(_definitions(tree)))

    def place(self, key: str) -> str:
        """`FILE, line N` of the key, or of the nearest key around it."""
        return place_in(self.name, self._lines, key)

    def _run(self, code: types.CodeType) -> dict[str, Any] | None:
        """The names after running the file in a module of its own, or None after noting why it failed."""
        module = types.ModuleType(f"_experiment_{id(code)}")
        module.__file__ = self.name
        path, without_bytecode = list(sys.path), sys.dont_write_bytecode
        sys.modules[module.__name__] = module  # dataclasses and enums look their module up
        sys.dont_write_bytecode = True
        try:
            exec(code, module.__dict__)
        except (Exception, SystemExit) as error:  # the file is the user's: whatever it raises is told with its line
            line = _line_of(error, self.name)
            says = f"running it raised {type(error).__name__}{f': {error}' if str(error) else ''}"
            self.faults.append(Fault(says, place=f"{self.name}, line {line}" if line else self.name, clouds=_ALL))
            return None
        finally:
            sys.modules.pop(module.__name__, None)
            sys.path[:], sys.dont_write_bytecode = path, without_bytecode
        return dict(module.__dict__)

    def _keep(self, namespace: Mapping[str, Any], definitions: set[str]) -> None:
        """Sorts the names into values, bases, helpers of the file's own and faults."""
        self._keep_bases(namespace.get("_base_", []))
        sections = hints_of(Config)
        for name, value in namespace.items():
            if name.startswith("_"):
                continue
            if name == "recipe":
                self._fault(name, "`recipe` is no setting of a file; the recipe beneath is named in `_base_`")
            elif name in sections:
                plain = self._plain(value, name, ())
                if plain is not _BAD:
                    self.values[name] = plain
            elif name not in definitions and not isinstance(value, _TOOLS):
                self._fault(name, f"unknown name `{name}`{_meant(name)}", remedy=_OWN)

    def _keep_bases(self, said: Any) -> None:
        bases = [said] if isinstance(said, str) else said
        if isinstance(bases, list | tuple) and all(isinstance(base, str) for base in bases):
            self.bases = list(bases)
        else:
            self._fault("_base_", f"`_base_` is {_kind(said)}, expected a file or a list of files, as text", _ALL)

    def _plain(self, value: Any, key: str, around: tuple[int, ...]) -> Any:
        """The value in YAML's types, or _BAD after noting what is of another."""
        if value is None or isinstance(value, bool):
            return value
        for kind in (str, int, float):  # NumPy's floats and enums of text are these, too
            if isinstance(value, kind):
                return str.__str__(value) if kind is str else kind(value)
        if id(value) in around or len(around) > 50:
            self._fault(key, f"`{key}` holds itself", (key.partition(".")[0],))
            return _BAD
        around = (*around, id(value))
        if isinstance(value, dict):
            inner = {name: self._plain(item, f"{key}.{name}", around) for name, item in value.items()}
            strange = next((name for name in value if not isinstance(name, str)), None)
            if strange is not None:
                self._fault(key, f"`{key}` has the key {show(strange)}, which is not text", (key.partition(".")[0],))
            return _BAD if strange is not None or any(item is _BAD for item in inner.values()) else inner
        if isinstance(value, list | tuple):
            items = [self._plain(item, key, around) for item in value]
            return _BAD if any(item is _BAD for item in items) else items
        named = isinstance(value, _TOOLS) and getattr(value, "__name__", "") != "<lambda>"
        hint = "; write its dotted name as text" if named else ""
        self._fault(key, f"`{key}` is {_kind(value)}, expected {_PLAIN}{hint}", (key.partition(".")[0],))
        return _BAD

    def _fault(self, key: str, says: str, clouds: tuple[str, ...] = (), remedy: str = "") -> None:
        self.faults.append(Fault(says, place=self.place(key), clouds=clouds, remedy=remedy))


_BAD: Any = object()


def _lines(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The dotted keys that are assigned at module level, and where; of two, the later counts."""
    for node in _statements(tree.body):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                key = _key_of(target)
                if key:
                    yield key, node.lineno
                    yield from _inside(node.value, key)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those of its ifs, loops, withs and tries too."""
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
        named = zip(value.keys, value.values, strict=True)
        pairs = [(_text(name), item) for name, item in named]
    for name, item in pairs:
        if not name:
            continue
        yield f"{key}.{name}", item.lineno
        yield from _inside(item, f"{key}.{name}")


def _text(node: ast.expr | None) -> str | None:
    """The text that stands there, or None when something else does."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _definitions(tree: ast.Module) -> Iterator[str]:
    """The names that the file imports or defines as functions and classes: tools, not settings."""
    for node in _statements(tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def _line_of(error: BaseException, name: str) -> int | None:
    """The last line of the file that the error passed through."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _meant(name: str) -> str:
    near = nearest(name, hints_of(Config))
    inside = sorted(key for key in all_keys() if key.rpartition(".")[2] == name)
    found = near or (inside[0] if inside else None)
    return f"; did you mean `{found}`?" if found else ""


def _kind(value: Any) -> str:
    """What a value is, without asking the value: its own text may be a whole tensor."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, types.FunctionType):
        return "a lambda" if value.__name__ == "<lambda>" else f"the function {value.__name__}"
    if isinstance(value, types.ModuleType):
        return f"the module {value.__name__}"
    plain = value is None or isinstance(value, str | int | float)
    return show(value) if plain else f"a value of type {type(value).__name__}"

"""YAML the way Hydra reads it, with the line of every key.

PyYAML alone reads `1e-3` as text and `2024-01-01` as a date, and silently accepts repeated keys. The dumper quotes
every text that either could misread.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import yaml

from trainyard.config.faults import Fault, place_in, show

# OmegaConf's pattern, which also accepts an exponent without a decimal point.
_FLOAT = re.compile(
    r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
    |\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?
    |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_FLOAT_STARTS = list("-+0123456789.")
_PLAIN = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null"))
_LARGEST = 100_000  # nodes; aliases of aliases can make a small file enormous


class YamlFile:
    """The contents of one file; `name` is used in messages."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.values: dict[str, Any] = {}  # empty for an empty file
        self.faults: list[Fault] = []  # what could not be read
        self._lines: dict[str, int] = {}
        self._size = 0
        loader = _loader()(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                self._walk(node, "")
                loaded = loader.construct_document(node) if not self.faults else {}
                if isinstance(loaded, dict):
                    self.values = loaded
                else:
                    self._fault(f"the file is {show(loaded)}, expected `key: value` lines", node)
        except yaml.MarkedYAMLError as error:
            line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
            self.faults.append(Fault(f"not valid YAML: {error.problem}", place=f"{name}{line}"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            self.faults.append(Fault(f"not valid YAML: {str(error).splitlines()[0]}", place=name))
        finally:
            loader.dispose()

    def place(self, key: str) -> str:
        """`FILE, line N` of the key, or of the nearest key around it."""
        return place_in(self.name, self._lines, key)

    def _walk(self, node: yaml.Node, prefix: str) -> None:
        """Notes the line of each key, and anything that a configuration cannot contain."""
        self._size += 1
        if self._size > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST} values")
        if node.tag not in _PLAIN:
            self._fault(f"the tag {node.tag} is not supported", node)
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._walk(item, prefix)
        if not isinstance(node, yaml.MappingNode):
            return
        seen: set[str] = set()
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                self._walk(value_node, prefix)
                continue
            if key_node.tag != "tag:yaml.org,2002:str":
                self._fault(f"the key `{getattr(key_node, 'value', '')}` is not text; put it in quotes", key_node)
                continue
            key = f"{prefix}.{key_node.value}" if prefix else str(key_node.value)
            if key_node.value in seen:
                self._fault(f"`{key}` is given twice", key_node)
            seen.add(key_node.value)
            self._lines[key] = key_node.start_mark.line + 1
            self._walk(value_node, key)

    def _fault(self, what: str, node: yaml.Node) -> None:
        self.faults.append(Fault(what, place=f"{self.name}, line {node.start_mark.line + 1}"))


@cache
def dumper() -> type[yaml.SafeDumper]:
    """A dumper that quotes every text that looks like another kind of value."""

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, _FLOAT_STARTS)
    Dumper.add_representer(list, _represent_list)
    Dumper.add_representer(str, _represent_text)
    return Dumper


@cache
def _loader() -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {
        start: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float"))]
        for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, _FLOAT_STARTS)
    return Loader


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    """Lists of scalars on one line, as `hidden: [453]`."""
    flat = all(item is None or isinstance(item, str | int | float) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Escapes Unicode line breaks, which PyYAML writes unescaped and reads as spaces."""
    style = '"' if set(text) & set("\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

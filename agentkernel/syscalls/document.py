"""YAML and JSON that people write, read with the line of every key and value.

Rules
1. YAML stands for JSON values only: no tags, no aliases, and `yes`, dates and 0123 are text.
2. JSON is read as JSON has it; only a key of over 1,000 characters is refused.
3. Size, depth and number of values are bounded; a key that stands twice is a fault.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import yaml

LONGEST = 64 * 1024  # bytes
_DEEPEST, _MOST_VALUES, _LONGEST_NUMBER = 32, 4_000, 300

Path = tuple[str | int, ...]


class Fault(Exception):  # noqa: N818 - a fault of what somebody wrote
    """What is wrong, and in which line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line, self.reason = line, reason


class Document:
    """A document's `value`, and where its parts stand."""

    def __init__(self, data: bytes) -> None:
        """Raises Fault."""
        self._lines: dict[Path, int] = {}
        self.value = self._build(_compose(data), ())

    def line(self, path: Path) -> int:
        """Where what the path leads to stands, or the nearest thing around it."""
        known = (path[:length] for length in range(len(path), -1, -1))
        return next(self._lines[place] for place in known if place in self._lines)

    def fault(self, path: Path, reason: str) -> Fault:
        """A fault of what the path leads to."""
        return Fault(self.line(path), reason)

    def _build(self, node: yaml.Node, path: Path) -> Any:
        self._lines.setdefault(path, _line(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._build(each, (*path, i)) for i, each in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in node.value:
            key = _scalar(name) if isinstance(name, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise Fault(_line(name), "a key that is not text; quote it")
            if key in found:
                raise Fault(_line(name), f"{key!r} stands there twice")
            self._lines[*path, key] = _line(name)
            found[key] = self._build(value, (*path, key))
        return found


class _Loader(yaml.SafeLoader):
    """Composes nodes without aliases and tags, and not too many."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the library has it
    depth = count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise Fault(line, "aliases are not supported")
        if event.tag is not None:
            raise Fault(line, "tags are not supported")
        self.count += 1
        self.depth += 1
        if self.depth > _DEEPEST:
            raise Fault(line, f"nested deeper than {_DEEPEST} levels")
        if self.count > _MOST_VALUES:
            raise Fault(line, f"more than {_MOST_VALUES} keys and values")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_INTEGER = r"-?(?:0|[1-9][0-9]*)"
_TYPES = {  # tag: form of a plain scalar, its first characters
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (_INTEGER, list("-0123456789")),
    "float": (rf"{_INTEGER}(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", list("-0123456789")),
}
for _name, (_form, _first) in _TYPES.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_form})\Z"), _first)


def _compose(data: bytes) -> yaml.Node:
    if len(data) > LONGEST:
        raise Fault(1, f"larger than {LONGEST} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Fault(data.count(b"\n", 0, error.start) + 1, "not UTF-8") from error
    try:
        node = yaml.compose(_as_yaml(text), _Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Fault(line, f"character U+{error.character:04X} can't stand there") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Fault(line, f"not YAML: {error.problem}") from error
    return node or yaml.ScalarNode("tag:yaml.org,2002:null", "", yaml.Mark("", 0, 0, 0, "", 0))


def _as_yaml(text: str) -> str:
    """The text, but JSON without what YAML has otherwise: tabs, line ends and such inside of strings."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    escaped = text.encode("ascii", "backslashreplace").decode()  # both have the same escapes
    return escaped.replace("\t", " ").replace("\x7f", "\\x7f")


def _scalar(node: yaml.Node) -> Any:
    kind, text = node.tag.rpartition(":")[2], node.value
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind in ("int", "float"):
        number = float(text)
        if not math.isfinite(number) or len(text) > _LONGEST_NUMBER:
            raise Fault(_line(node), "a number that is too large")
        return int(text) if kind == "int" else number
    try:  # a pair of escaped surrogates is one character
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as error:
        raise Fault(_line(node), "half of a surrogate pair") from error


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1

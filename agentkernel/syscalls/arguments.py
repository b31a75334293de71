"""Arguments of a call: JSON read strictly, and checked against the tool's JSON Schema (draft 2020-12).

Rules
1. Nothing is guessed: NaN, a key that stands twice, half a character, or what is too deep, long or many is
   refused.
2. A schema uses the keywords of `_KEYWORDS` only: what would be ignored, fetched or take long to check is
   refused when the tool is defined, never when it is called.
3. A `pattern` is a row of characters and classes with counts, without groups or alternatives; the product of
   its largest counts is bounded, and so is the text that it is held against: no text makes it slow.
4. `$ref` names an entry of `$defs`; definitions form no circle, and written out they are bounded.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, cast

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from agentkernel.syscalls.errors import ToolError

LONGEST, DEEPEST, MOST_VALUES = 1_000_000, 32, 10_000  # bytes; levels; objects, arrays and what they hold
LONGEST_NUMBER = 300  # digits: any such integer is a float too
LONGEST_MATCHED, _MOST_COUNTS = 256, 256 * 256  # characters under a pattern; product of its counts
_MOST_SCHEMAS = 512  # in a schema, each `$ref` written out
_LONGEST_REASON = 200  # characters

Path = tuple[str | int, ...]
Check = Callable[[Any], str]

_ONE = ("items", "contains", "not", "if", "then", "else", "additionalProperties", "propertyNames")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "dependentSchemas", "$defs")
_OTHERS = (
    "$schema $comment $ref title description default examples deprecated readOnly writeOnly format type enum "
    "const multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern maxItems "
    "minItems maxContains minContains maxProperties minProperties required dependentRequired"
)
_KEYWORDS = frozenset((*_ONE, *_SEVERAL, *_NAMED, *_OTHERS.split()))

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_CLASS = r"\[\^?(?:\\[dDsSwW]|\\[^A-Za-z0-9]|[^\\\[\]])+\]"
_ITEM = rf"(?:\\[dDsSwW]|\\[^A-Za-z0-9]|{_CLASS}|[^\\\[\](){{}}|*+?^$])"
_COUNT = r"[*+?]|\{[0-9]{1,4}(?:,[0-9]{0,4})?\}"
_PATTERN = re.compile(rf"\^?(?:{_ITEM}(?:{_COUNT})?)*\$?")
_COUNTED = re.compile(rf"{_ITEM}({_COUNT})?")


class SchemaFault(Exception):  # noqa: N818 - a fault of what somebody wrote
    """A schema that can't be used; `path` leads to the offending keyword."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path, self.reason = path, reason


def decode(text: str) -> dict[str, Any]:
    """The arguments that a call names. Raises ToolError BAD_ARGUMENTS or TOO_LARGE."""
    if len(text) > LONGEST or len(text.encode("utf-8", "surrogatepass")) > LONGEST:
        raise ToolError("TOO_LARGE", f"arguments of more than {LONGEST} bytes")
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise ToolError("BAD_ARGUMENTS", _TOO_DEEP) from error
    except ValueError as error:
        raise ToolError("BAD_ARGUMENTS", f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ToolError("BAD_ARGUMENTS", "not a JSON object")
    _measure(value)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ToolError("BAD_ARGUMENTS", "half of a surrogate pair") from error
    return value


def validator(schema: dict[str, Any]) -> Check:
    """A function that says in short why a value is not of the schema, or nothing if it is.

    The schema is one that `check_schema` takes.
    """
    compiled = _Validator(schema)

    def check(value: Any) -> str:
        error = next(compiled.iter_errors(value), None)
        return "" if error is None else _reason(error)

    return check


def check_schema(schema: Any) -> None:
    """Raise SchemaFault unless it is a schema of an object, and one that can be checked in bounded time."""
    error = next(_META.iter_errors(schema), None)
    if error is not None:
        raise SchemaFault(tuple(error.absolute_path), _shortened(error.message))
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise SchemaFault(("type",), "arguments are an object: its type has to be 'object'")
    if schema.get("$schema", _DRAFT) != _DRAFT:
        raise SchemaFault(("$schema",), f"only {_DRAFT} is supported")
    for number, (path, part) in enumerate(_written_out(schema, schema, (), ())):
        if number >= _MOST_SCHEMAS:
            raise SchemaFault(path, f"more than {_MOST_SCHEMAS} schemas, each $ref written out")
        if "pattern" in part:
            _check_pattern(part["pattern"], (*path, "pattern"))


_TOO_DEEP = f"nested deeper than {DEEPEST} levels"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{_shortened(repr(twice))} stands there twice")
    return found


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of more than {LONGEST_NUMBER} digits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{_shortened(text)} is too large")
    return number


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON value")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_once, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def _measure(value: Any) -> None:
    """Raise ToolError for what is too deep or holds too much."""
    level, depth, count = [value], 0, 0
    while level:
        count += len(level)
        if count > MOST_VALUES:
            raise ToolError("TOO_LARGE", f"arguments of more than {MOST_VALUES} values")
        if depth > DEEPEST:
            raise ToolError("BAD_ARGUMENTS", _TOO_DEEP)
        level = [below for each in level for below in _held(each)]
        depth += 1


def _held(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _written_out(
    schema: Any, root: dict[str, Any], path: Path, within: tuple[str, ...]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every schema in it with its path, what `$ref` names included; `within` are the names on the way."""
    if not isinstance(schema, dict):  # true or false
        return
    if len(path) + len(within) > DEEPEST:
        raise SchemaFault(path, _TOO_DEEP)
    yield path, schema
    for key, value in schema.items():
        below = (*path, key)
        if key not in _KEYWORDS:
            raise SchemaFault(below, f"keyword {key!r} is not supported")
        if key == "$ref":
            target = _definition(value, root, below, within)
            yield from _written_out(root["$defs"][target], root, ("$defs", target), (*within, target))
        elif key in _ONE:
            yield from _written_out(value, root, below, within)
        elif key in _SEVERAL or key in _NAMED:
            parts: Iterable[tuple[str | int, Any]] = enumerate(value) if key in _SEVERAL else value.items()
            for name, each in parts:
                yield from _written_out(each, root, (*below, name), within)


def _definition(reference: str, root: dict[str, Any], path: Path, within: tuple[str, ...]) -> str:
    name = reference.removeprefix("#/$defs/")
    if name == reference or re.search("[~%/]", name):
        raise SchemaFault(path, "only '#/$defs/NAME' can be referred to")
    if name not in root.get("$defs", {}):
        raise SchemaFault(path, f"$defs has no {name!r}")
    if name in within:
        raise SchemaFault(path, f"{name!r} refers to itself")
    return name


def _check_pattern(pattern: str, path: Path) -> None:
    """Raise SchemaFault for a pattern that could take long to match, or is none."""
    if not _PATTERN.fullmatch(pattern):
        raise SchemaFault(
            path, "a pattern has no groups, alternatives or letters with a meaning but \\d \\s \\w"
        )
    counts = [_largest(count) for count in _COUNTED.findall(pattern.removeprefix("^")) if count]
    starts = 1 if pattern.startswith("^") else LONGEST_MATCHED
    if math.prod(counts) * starts > _MOST_COUNTS:
        raise SchemaFault(path, "the pattern could take long to match: begin it with ^ or bound its counts")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # a class that will mean something else
        try:
            re.compile(pattern)
        except (re.error, FutureWarning) as error:
            raise SchemaFault(path, f"not a pattern: {error}") from error


def _largest(count: str) -> int:
    """How often the counted character may stand there."""
    numbers = re.findall("[0-9]+", count)
    unbounded = count in "*+" or (count.endswith(",}"))
    largest = LONGEST_MATCHED if unbounded else int(numbers[-1]) if numbers else 2
    return max(largest, 1)


def _match(checker: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    if not checker.is_type(value, "string"):
        return
    if len(value) > LONGEST_MATCHED:
        yield ValidationError(f"has a pattern and is longer than {LONGEST_MATCHED} characters")
    elif not re.search(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_META = Draft202012Validator(Draft202012Validator.META_SCHEMA)
_Validator = extend(Draft202012Validator, {"pattern": _match})  # type: ignore[no-untyped-call]


def _reason(error: ValidationError) -> str:
    path, message = list(error.absolute_path), error.message
    if error.validator == "required":
        names: Any = error.validator_value
        path.append(next(name for name in names if name not in cast("dict[str, Any]", error.instance)))
        message = "is required"
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return _shortened(f"{_shortened(place)}: {message}" if place else message)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"

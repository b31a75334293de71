"""Arguments: what is no JSON object is refused, what the schema doesn't admit gets a reason."""

from __future__ import annotations

import pytest

from agentkernel.syscalls.arguments import (
    DEEPEST,
    LONGEST,
    LONGEST_MATCHED,
    MOST_VALUES,
    SchemaFault,
    check_schema,
    decode,
    validator,
)
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.table import SYSCALLS

NAN, ANYWHERE = float("nan"), "*"


def deep(levels):
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        (' {"a": [1, 2.5, "\\u20ac{]", null, true]}\n', {"a": [1, 2.5, "€{]", None, True]}),
        ('{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (deep(DEEPEST).replace("1", "{}"), None),
        ('{"a": %s}' % ("9" * 300), {"a": 10**300 - 1}),
    ],
)
def test_json_objects_are_taken(text, value):
    assert value is None or decode(text) == value
    decode(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON: Expecting value"),
        ("[1]", "not a JSON object"),
        ('{"a": 1', "not JSON: Expecting ',' delimiter"),
        ("{} {}", "not JSON: Extra data"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "not JSON: 'c' stands there twice"),
        ('{"a": NaN}', "not JSON: NaN is no JSON value"),
        ('{"a": -Infinity}', "not JSON: -Infinity is no JSON value"),
        ('{"a": 1e999}', "not JSON: 1e999 is too large"),
        ('{"a": 1%s}' % ("0" * 300), "not JSON: a number of more than 300 digits"),
        ('{"a": "\\ud83d"}', "half of a surrogate pair"),
        ('{"\\ude00": 1}', "half of a surrogate pair"),
        ('{"a": "\ud83d"}', "half of a surrogate pair"),
        ('{"a": "\n"}', "not JSON: Invalid control character"),
        (deep(DEEPEST + 2), f"nested deeper than {DEEPEST} levels"),
        ("[" * 500_000, f"nested deeper than {DEEPEST} levels"),
    ],
)
def test_what_is_no_strict_json_object_is_told(text, reason):
    with pytest.raises(ToolError) as caught:
        decode(text)
    assert caught.value.code == "BAD_ARGUMENTS"
    assert caught.value.reason.startswith(reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": "%s"}' % ("x" * LONGEST), f"arguments of more than {LONGEST} bytes"),
        ('{"a": "%s"}' % ("€" * (LONGEST // 3)), f"arguments of more than {LONGEST} bytes"),
        ('{"a": [%s1]}' % ("1," * MOST_VALUES), f"arguments of more than {MOST_VALUES} values"),
    ],
)
def test_what_is_too_large_is_told(text, reason):
    with pytest.raises(ToolError) as caught:
        decode(text)
    assert (caught.value.code, caught.value.reason) == ("TOO_LARGE", reason)


SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "maxLength": 5, "pattern": "^[a-z]+$"},
        "b": {"type": "array", "items": {"$ref": "#/$defs/count"}},
        "c": {"enum": ["x", "y"]},
    },
    "required": ["a"],
    "additionalProperties": False,
    "$defs": {"count": {"type": "integer", "minimum": 0}},
}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": "abc", "b": [1, 2], "c": "x"}, ""),
        ({}, "a: is required"),
        ({"a": 3}, "a: 3 is not of type 'string'"),
        ({"a": "Abc"}, "a: 'Abc' does not match '^[a-z]+$'"),
        ({"a": "a", "b": [1, -1]}, "b[1]: -1 is less than the minimum of 0"),
        ({"a": "a", "b": 1}, "b: 1 is not of type 'array'"),
        ({"a": "a", "c": "z"}, "c: 'z' is not one of ['x', 'y']"),
        ({"a": "a", "d": 1}, "Additional properties are not allowed ('d' was unexpected)"),
    ],
)
def test_a_reason_names_the_argument_and_what_is_wrong(value, reason):
    check_schema(SCHEMA)
    assert validator(SCHEMA)(value) == reason


def test_a_reason_is_short_whatever_the_value_is():
    reason = validator({"type": "object", "properties": {"a": {"type": "integer"}}})({"a": "x" * 100_000})
    assert reason.startswith("a: 'xxx")
    assert len(reason) < 250


def test_a_text_under_a_pattern_is_bounded():
    check = validator({"type": "object", "properties": {"a": {"pattern": "^a*$"}}})
    assert check({"a": "a" * LONGEST_MATCHED}) == ""
    assert check({"a": "a" * (LONGEST_MATCHED + 1)}).startswith("a: has a pattern and is longer")
    assert check({"a": 1}) == ""


@pytest.mark.parametrize("name", SYSCALLS)
def test_every_built_in_tool_s_schema_is_one(name):
    check_schema(SYSCALLS[name].schema)


def with_property(**schema):
    return {"type": "object", "properties": {"a": schema}}


def bombs():
    """Definitions of which each names the next one twice."""
    two = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(12)}
    return {"type": "object", "$defs": {**two, "d12": {}}}


@pytest.mark.parametrize(
    ("schema", "path", "reason"),
    [
        ([], (), "[] is not of type 'object', 'boolean'"),
        ({}, ("type",), "arguments are an object: its type has to be 'object'"),
        ({"type": "object", "requried": []}, ("requried",), "keyword 'requried' is not supported"),
        ({"type": "object", "required": "a"}, ("required",), "'a' is not of type 'array'"),
        ({"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}, ("$schema",), "only http"),
        (with_property(type="text"), ("properties", "a", "type"), "'text' is not valid under any"),
        (with_property(uniqueItems=True), ("properties", "a", "uniqueItems"), "keyword 'uniqueItems' is not"),
        (with_property(**{"$id": "x"}), ("properties", "a", "$id"), "keyword '$id' is not supported"),
        (with_property(**{"$ref": "http://x.org/s"}), ("properties", "a", "$ref"), "only '#/$defs/NAME' can"),
        (with_property(**{"$ref": "#"}), ("properties", "a", "$ref"), "only '#/$defs/NAME' can"),
        (with_property(**{"$ref": "#/$defs/x"}), ("properties", "a", "$ref"), "$defs has no 'x'"),
        (
            {"type": "object", "$defs": {"x": {"items": {"$ref": "#/$defs/x"}}}},
            ("$defs", "x", "items", "$ref"),
            "'x' refers to itself",
        ),
        (bombs(), ANYWHERE, "more than 512 schemas, each $ref written out"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_with_its_place(schema, path, reason):
    with pytest.raises(SchemaFault) as caught:
        check_schema(schema)
    assert caught.value.reason.startswith(reason)
    assert path in (ANYWHERE, caught.value.path)


def test_names_of_properties_and_values_of_enumerations_are_no_keywords():
    check_schema({"type": "object", "properties": {"$id": {"enum": [{"nonsense": 1}]}, "$ref": {}}})


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", r"^\w+@\w+$", r"a+", r"^[^\]\-]{1,256}$", r"^\.\$é?$", ""),
        "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    ],
)
def test_patterns_without_groups_are_taken(pattern):
    check_schema(with_property(pattern=pattern))


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("^(a+)+$", "a pattern has no groups"),
        ("^(?:a|a)*$", "a pattern has no groups"),
        ("a|b", "a pattern has no groups"),
        (r"^.*\1$", "a pattern has no groups"),
        ("^a*?$", "a pattern has no groups"),
        ("^a*a*a*$", "the pattern could take long"),
        ("a*a*", "the pattern could take long"),
        ("^" + "a?" * 17 + "$", "the pattern could take long"),
        ("^a{3,2}$", "not a pattern: min repeat greater than max repeat"),
        ("^[z-a]$", "not a pattern: bad character range z-a"),
        ("^[a||b]$", "not a pattern: Possible set union"),
    ],
)
def test_patterns_that_could_take_long_or_are_none_are_refused(pattern, reason):
    with pytest.raises(SchemaFault, match="^" + reason) as caught:
        check_schema(with_property(pattern=pattern))
    assert caught.value.path == ("properties", "a", "pattern")

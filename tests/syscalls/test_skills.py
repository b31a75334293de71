"""Skills: what a file may say, the line of every fault, and what is run for a call."""

from __future__ import annotations

import json

import pytest

from agentkernel.permits import Less
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.skills import Skill, SkillError, command_line, load, parse

WEATHER = """\
name: weather
description: tell the weather of a city
schema:
  type: object
  properties:
    city: {type: string}
    days: {type: integer}
  required: [city]
command: [/usr/bin/weather, --, "{city}", "{days}"]
limits:
  wall_s: 3
  memory_mb: 64
secrets: [WEATHER_KEY]
idempotent: true
capability: network
"""
SCHEMA = json.loads(
    '{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city"]}'
)
SKILL = Skill(
    name="weather",
    description="tell the weather of a city",
    schema=SCHEMA,
    command=("/usr/bin/weather", "--", "{city}", "{days}"),
    limits=Less(wall_s=3, memory_mb=64),
    secrets=("WEATHER_KEY",),
    idempotent=True,
    capability="network",
)
SHORT = "name: s\ndescription: d\nschema: {type: object}\nscript: print(1)\n"


def test_a_skill_is_what_its_file_says():
    assert parse(WEATHER.encode(), ()) == SKILL


def test_json_is_as_good_as_yaml():
    fields = {"name": "s", "description": "d\u2028\t😀", "schema": SCHEMA, "script": "\tprint('a')\n"}
    text = json.dumps(fields, indent="\t", ensure_ascii=False)
    assert parse(text.encode(), ()) == Skill(**fields)
    assert parse(json.dumps(fields).encode(), ()) == Skill(**fields)


def changed(old, new, text=WEATHER):
    assert text.count(old) == 1
    return text.replace(old, new)


FAULTS = [
    (changed("name: weather", "name: Weather"), 1, "name: Expected `str` matching regex"),
    (changed("name: weather\n", ""), 1, "Object missing required field `name`"),
    (changed("name: weather", "name: calc"), 1, "'calc' is the name of another tool"),
    (changed("idempotent: true", "idempotent: yes"), 14, "idempotent: Expected `bool`, got `str`"),
    (changed("idempotent: true", "idempotant: true"), 14, "unknown key 'idempotant'"),
    (changed("memory_mb", "memory"), 12, "unknown key 'memory'"),
    (changed("wall_s: 3", "wall_s: -3"), 11, "limits.wall_s: Expected `float` > 0"),
    (changed("secrets: [WEATHER_KEY]", "secrets:\n  - OK\n  - $(id)"), 15, "secrets.1: Expected `str`"),
    (changed("integer}", "int}"), 7, "'int' is not valid under any of the given schemas"),
    (changed("required: [city]", "requires: [city]"), 8, "keyword 'requires' is not supported"),
    (changed("type: object", "type: array"), 4, "arguments are an object: its type has to be 'object'"),
    (changed("{type: integer}", "{$ref: 'http://x/y'}"), 7, "only '#/$defs/NAME' can be referred to"),
    (changed("{type: string}", '{pattern: "(a+)+"}'), 6, "a pattern has no groups"),
    (changed('"{days}"]', "'{day}']"), 9, "the schema has no property 'day'"),
    (changed('"{days}"]', "'--days={days}']"), 9, "'--days={days}': a placeholder is a whole argument"),
    (changed("/usr/bin/weather", "'{city}'"), 9, "the first word is the program"),
    (changed("/usr/bin/weather", "''"), 9, "the first word is the program"),
    (changed("/usr/bin/weather", '"a\\0"'), 9, "NUL can't be in a program's argument"),
    (changed("[/usr/bin/weather, --,", "[/usr/bin/weather, 1,"), 9, "command.1: Expected `str`, got `int`"),
    (changed("command:", "script: print(1)\ncommand:"), 9, "either a command or a script is needed"),
    (changed("script: print(1)\n", "", SHORT), 1, "either a command or a script is needed"),
    (WEATHER + "name: other\n", 16, "'name' stands there twice"),
    (WEATHER + "7: other\n", 16, "a key that is not text; quote it"),
    (changed("type: object", "type: *object"), 4, "aliases are not supported"),
    (changed("type: object", "type: !!str object"), 4, "tags are not supported"),
    (changed("type: object", "type: [object"), 5, "not YAML: "),
    (changed("type: object", "type: \x1b"), 4, "character U+001B can't stand there"),
    (WEATHER + "a: " + "[" * 40 + "]" * 40, 16, "nested deeper than 32 levels"),
    (WEATHER + "a: [" + "1," * 5000 + "]", 16, "more than 4000 keys and values"),
    (WEATHER + "#" * 65_536, 1, "larger than 65536 bytes"),
    (WEATHER + 'a: "\\ud800"', 16, "half of a surrogate pair"),
    (WEATHER + "a: 1e999", 16, "a number that is too large"),
    (WEATHER + "---\na: 1", 16, "not YAML: but found another document"),
    ("", 1, "Expected `object`, got `null`"),
    ("- 1", 1, "Expected `object`, got `array`"),
    ('{\n"name": "s",\n"nam": "s"\n}', 3, "unknown key 'nam'"),
]


@pytest.mark.parametrize(("text", "line", "reason"), FAULTS)
def test_a_fault_is_told_with_its_line(text, line, reason, tmp_path):
    with pytest.raises(SkillError) as caught:
        parse(text.encode(), {"calc"})
    assert str(caught.value).startswith(f"line {line}: {reason}")
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(SkillError) as caught:
        load(tmp_path, {"calc"})
    assert str(caught.value).startswith(f"{path}:{line}: {reason}")


def test_what_is_not_utf_8_is_told_with_its_line():
    with pytest.raises(SkillError, match="line 2: not UTF-8"):
        parse(b"name: s\n\xff\n", ())


def test_a_bomb_of_aliases_is_refused():
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 9))
    with pytest.raises(SkillError, match="line 2: aliases are not supported"):
        parse(f"l0: &l0 lol\n{levels}".encode(), ())


def test_a_folder_s_yaml_files_are_skills_by_name(tmp_path):
    (tmp_path / "one.yaml").write_text(WEATHER)
    (tmp_path / "two.yaml").write_text(SHORT)
    (tmp_path / "notes.txt").write_text("no skill")
    skills = load(tmp_path, {"calc"})
    assert skills == {"weather": SKILL, "s": parse(SHORT.encode(), ())}


def test_two_files_with_one_name_are_both_named(tmp_path):
    (tmp_path / "one.yaml").write_text(SHORT)
    (tmp_path / "two.yaml").write_text(f"# second\n{SHORT}")
    with pytest.raises(SkillError) as caught:
        load(tmp_path, ())
    assert str(caught.value) == f"{tmp_path}/two.yaml:2: 's' is the name of {tmp_path}/one.yaml:1 too"


def test_a_folder_that_is_missing_or_holds_no_file_by_that_name_is_told(tmp_path):
    with pytest.raises(SkillError, match="no such directory"):
        load(tmp_path / "missing", ())
    (tmp_path / "a.yaml").mkdir()
    with pytest.raises(SkillError, match=r"a\.yaml:1: not a regular file"):
        load(tmp_path, ())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"city": "Rome", "days": 3}, ["Rome", "3"]),
        ({"city": "Rome"}, ["Rome"]),
        ({"city": "Rome", "days": None}, ["Rome"]),
        ({"city": "; rm -rf / $(id) {days}", "days": 1}, ["; rm -rf / $(id) {days}", "1"]),
        ({"city": ["a", {"é": True}]}, ['["a", {"é": true}]']),
        ({"city": True, "days": 0}, ["true", "0"]),
        ({"city": ""}, [""]),
    ],
)
def test_placeholders_are_whole_arguments_and_all_are_on_standard_input(arguments, words):
    argv, stdin = command_line(SKILL, arguments)
    assert argv == ("/usr/bin/weather", "--", *words)
    assert json.loads(stdin) == arguments


def test_a_script_has_no_command_and_the_arguments_on_standard_input():
    skill = parse(SHORT.encode(), ())
    assert skill.script == "print(1)"
    assert command_line(skill, {"é": 1}) == ((), '{"é": 1}'.encode())


@pytest.mark.parametrize(
    ("skill", "city", "code"),
    [
        (SKILL, "a\0b", "BAD_ARGUMENTS"),
        (SKILL, "x" * 131_072, "TOO_LARGE"),
        (parse(changed('"{days}"', ", ".join(['"{city}"'] * 20)).encode(), ()), "x" * 100_000, "TOO_LARGE"),
    ],
)
def test_what_no_program_can_take_is_refused(skill, city, code):
    with pytest.raises(ToolError) as caught:
        command_line(skill, {"city": city})
    assert caught.value.code == code

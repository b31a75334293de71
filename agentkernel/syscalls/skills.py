"""Skills: users' own tools, each a program that is run in the jail.

Rules
1. A skill that is not right in all its parts is refused with the line of the fault, before anybody calls it.
2. What a model says becomes whole arguments or standard input, never a part of one and never the program.
3. A skill names the secrets that it needs; their values are in the environment of its own jail only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from agentkernel.config import ConfigError
from agentkernel.permits import Less
from agentkernel.syscalls import arguments as schemas
from agentkernel.syscalls.document import LONGEST, Document, Fault
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.secrets import SecretName

_LONGEST_WORD, _LONGEST_LINE = 128 * 1024 - 1, 1024 * 1024  # bytes: what systems take, of all half
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")
_PATH_PART = re.compile(r"\.([^.\[`]+)|\[([0-9]+)\]")

_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]
_Description = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class Skill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool as its file has it: either a `command` or a `script` in Python.

    `schema` is of the arguments' object. In the command, `{name}` alone is the text of that argument.
    `limits` are below those that every tool has.
    """

    name: _Name
    description: _Description
    schema: dict[str, Any]
    command: tuple[str, ...] = ()
    script: str = ""
    limits: Less = Less()
    secrets: tuple[SecretName, ...] = ()
    idempotent: bool = False
    capability: _Name = "run"


class SkillError(ConfigError):
    """A skill that can't be used; the text is `path:line: what is wrong`, or `line N: …` without a file."""


def load(folder: Path, taken: Collection[str]) -> dict[str, Skill]:
    """The skills of the folder's `*.yaml` files by name. Raises SkillError.

    `taken` are names of other tools.
    """
    if not folder.is_dir():
        raise SkillError(f"{folder}: no such directory")
    found: dict[str, Skill] = {}
    places: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            document = Document(_read(path))
            skill = _skill(document, taken)
            place = f"{path}:{document.line(('name',))}"
            if skill.name in found:
                raise document.fault(("name",), f"{skill.name!r} is the name of {places[skill.name]} too")
        except Fault as fault:
            raise SkillError(f"{path}:{fault.line}: {fault.reason}") from fault
        found[skill.name], places[skill.name] = skill, place
    return found


def parse(payload: bytes, taken: Collection[str]) -> Skill:
    """The skill that YAML or JSON text describes. Raises SkillError."""
    try:
        return _skill(Document(payload), taken)
    except Fault as fault:
        raise SkillError(str(fault)) from fault


def command_line(skill: Skill, arguments: Mapping[str, Any]) -> tuple[tuple[str, ...], bytes]:
    """The command, empty for a script, and its standard input: the arguments as JSON. Raises ToolError.

    An argument that is missing or null leaves no trace in the command.
    """
    stdin = json.dumps(arguments, ensure_ascii=False).encode()
    words = [word for each in skill.command if (word := _word(each, arguments)) is not None]
    sizes = [len(word.encode()) for word in words]
    if max(sizes, default=0) > _LONGEST_WORD or sum(sizes) > _LONGEST_LINE:
        raise ToolError("TOO_LARGE", f"more than {_LONGEST_WORD} bytes in one of the program's arguments")
    return tuple(words), stdin


def _word(word: str, arguments: Mapping[str, Any]) -> str | None:
    placeholder = _PLACEHOLDER.fullmatch(word)
    if placeholder is None:
        return word
    name = placeholder[1]
    value = arguments.get(name)
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if "\0" in text:
        raise ToolError("BAD_ARGUMENTS", f"{name}: NUL can't be in a program's argument")
    return text


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise Fault(1, "not a regular file")
        with path.open("rb") as file:
            return file.read(LONGEST + 1)
    except OSError as error:
        raise Fault(1, str(error.strerror)) from error


def _skill(document: Document, taken: Collection[str]) -> Skill:
    """Raises Fault."""
    try:
        skill = msgspec.convert(document.value, Skill)
    except msgspec.ValidationError as error:
        raise document.fault(*_explained(str(error))) from error
    if skill.name in taken:
        raise document.fault(("name",), f"{skill.name!r} is the name of another tool")
    if bool(skill.command) == bool(skill.script):
        raise document.fault(("script",), "either a command or a script is needed")
    try:
        schemas.check_schema(skill.schema)
    except schemas.SchemaFault as fault:
        raise document.fault(("schema", *fault.path), fault.reason) from fault
    _check_program(skill, document)
    return skill


def _check_program(skill: Skill, document: Document) -> None:
    for i, word in enumerate(skill.command or (skill.script,)):
        path = ("command", i) if skill.command else ("script",)
        if "\0" in word:
            raise document.fault(path, "NUL can't be in a program's argument")
    known = skill.schema.get("properties", {})
    for i, word in enumerate(skill.command):
        path = ("command", i)
        names = _PLACEHOLDER.findall(word)
        whole = _PLACEHOLDER.fullmatch(word) is not None
        if not whole and any(name in known for name in names):
            raise document.fault(path, f"{word!r}: a placeholder is a whole argument")
        if i == 0 and (whole or not word):
            raise document.fault(path, "the first word is the program")
        if whole and names[0] not in known:
            raise document.fault(path, f"the schema has no property {names[0]!r}")


def _explained(message: str) -> tuple[schemas.Path, str]:
    """The path and reason in what msgspec says: `… - at `$.limits.wall_s``."""
    reason, _, place = message.partition(" - at `$")
    path: tuple[str | int, ...] = tuple(
        name or int(index) for name, index in _PATH_PART.findall(place.rstrip("`"))
    )
    if "unknown field" in reason:
        key = reason.split("`")[1]
        return (*path, key), f"unknown key {key!r}"
    shown = ".".join(map(str, path))
    return path, f"{shown}: {reason}" if shown else reason

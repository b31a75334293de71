"""Write the tables of protocol_spec.md from the program's own: `python tests/spec.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from agentkernel.config import Server, Tools
from agentkernel.errors import ERRORS
from agentkernel.process import TRANSITIONS
from agentkernel.protocol.verbs import VERBS
from agentkernel.request import WORKLOADS
from agentkernel.syscalls.table import SYSCALLS, Tool

SPEC = Path(__file__).parent.parent / "protocol_spec.md"
_LIMITS = (
    "max_connections header_bytes body_bytes header_timeout body_timeout commands_in_flight output_bytes"
)


_CALLS = "calls calls_seconds errors result_bytes approval_seconds answer_seconds messages"


def _table(head: str, rows: list[list[str]]) -> str:
    columns = head.split("|")
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(cell or " " for cell in line) + " |\n" for line in lines)


def limits() -> str:
    settings = Server()
    rows = [[f"`server.{name}`", str(getattr(settings, name))] for name in _LIMITS.split()]
    return _table("setting|default", rows)


def verbs() -> str:
    rows = []
    for verb in VERBS.values():
        arguments = f"`{verb.arguments}`".replace("|", "\\|") if verb.arguments else ""
        errors = ", ".join(verb.errors)
        rows.append([verb.name, arguments, verb.ok_code, verb.access.value, verb.summary, errors])
    return _table("verb|payload|`+OK` code|access|what it does|errors", rows)


def states() -> str:
    rows = [
        [state.value, event.value, target.value]
        for state, moves in TRANSITIONS.items()
        for event, target in moves.items()
    ]
    return _table("from|event|to", rows)


def workloads() -> str:
    rows = [[name, str(tokens), str(calls)] for name, (tokens, calls) in WORKLOADS.items()]
    return _table("class|tokens|syscalls", rows)


def errors() -> str:
    rows = [
        [code, spec.fault.value, "yes" if spec.retryable else "no", str(spec.exit_code), spec.text]
        for code, spec in ERRORS.items()
    ]
    return _table("code|fault|retry|exit|meaning", rows)


def tools() -> str:
    rows = [
        [
            tool.name,
            ", ".join(f"`{name}`" for name in _arguments(tool)),
            str(tool.cost),
            "limits" if tool.jailed else "" if tool.seconds == float("inf") else f"{tool.seconds:g}",
            ", ".join(kind for kind in ("jailed", "private", "changing") if getattr(tool, kind)),
            tool.description,
        ]
        for tool in SYSCALLS.values()
    ]
    return _table("tool|arguments|cost|seconds|kind|what it does", rows)


def _arguments(tool: Tool) -> list[str]:
    required = tool.schema["required"]
    return [name if name in required else f"{name}?" for name in tool.schema["properties"]]


def calls() -> str:
    settings = Tools()
    rows = [[f"`tools.{name}`", str(getattr(settings, name))] for name in _CALLS.split()]
    jail = settings.limits
    rows += [[f"`tools.limits.{name}`", str(getattr(jail, name))] for name in jail.__struct_fields__]
    return _table("setting|default", rows)


TABLES = {f.__name__: f for f in (limits, verbs, states, workloads, tools, calls, errors)}
_MARKS = re.compile(r"<!-- table (\w+) -->\n(.*?)<!-- end -->\n", re.DOTALL)


def tables(text: str) -> Iterator[tuple[str, str]]:
    """Name and content of every generated table in the text."""
    for match in _MARKS.finditer(text):
        yield match[1], match[2]


def rewritten(text: str) -> str:
    """The text with its tables made anew."""
    return _MARKS.sub(lambda m: f"<!-- table {m[1]} -->\n{TABLES[m[1]]()}<!-- end -->\n", text)


if __name__ == "__main__":
    SPEC.write_text(rewritten(SPEC.read_text()))

"""`SYSCALLS`: the tools that every kernel has, and what any tool is; handlers are in `builtin`.

Rules
1. One tool is one entry here, one function in `agentkernel.syscalls.builtin`, one test.
2. A schema is of the arguments' object and admits nothing that it doesn't name.
3. `private` tools bring what is in files before the model, `changing` ones change what outlives the call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SHORT = 8.0  # seconds that a call may take which waits for nobody
LONGEST_SLEEP, LONGEST_WAIT = 3600.0, 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool's contract. `cost` is what a call takes of the process's quota; `seconds` bound it.

    After a crash an `idempotent` one may be called again.
    """

    name: str
    description: str
    schema: dict[str, Any]
    capability: str
    cost: int = 1
    seconds: float = SHORT
    idempotent: bool = False
    jailed: bool = False
    private: bool = False
    changing: bool = False
    source: str = "builtin"

    @property
    def function(self) -> dict[str, Any]:
        """The tool as chat templates take it."""
        said = {"name": self.name, "description": self.description, "parameters": self.schema}
        return {"type": "function", "function": said}


@dataclass(frozen=True, slots=True)
class _Arguments:
    """A schema in short: names of arguments with their types, those with `?` optional."""

    properties: dict[str, dict[str, Any]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        required = [name for name in self.properties if name not in self.optional]
        return {
            "type": "object",
            "properties": self.properties,
            "required": required,
            "additionalProperties": False,
        }


def _takes(*optional: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return _Arguments(properties, optional).schema


_TEXT = {"type": "string"}
_PATH = {"type": "string", "minLength": 1, "maxLength": 4096}
_KEY = {"type": "string", "minLength": 1, "maxLength": 256}
_WORDS = {"type": "array", "items": {"type": "string"}, "maxItems": 256}
_COUNT = {"type": "integer", "minimum": 0}
_PID = {"type": "integer", "minimum": 1}


def _seconds(most: float) -> dict[str, Any]:
    return {"type": "number", "minimum": 0, "maximum": most}


_TABLE = (
    Tool(
        "calc",
        "compute an arithmetic expression",
        _takes(expression={**_TEXT, "maxLength": 1000}),
        "compute",
        idempotent=True,
    ),
    Tool(
        "python",
        "run a Python program in a jail and see what it prints",
        _takes("stdin", "argv", code=_TEXT, stdin=_TEXT, argv=_WORDS),
        "run",
        jailed=True,
        private=True,
        changing=True,
    ),
    Tool(
        "shell",
        "run one program with arguments in a jail; no shell syntax",
        _takes("stdin", argv={**_WORDS, "minItems": 1}, stdin=_TEXT),
        "run",
        jailed=True,
        private=True,
        changing=True,
    ),
    Tool(
        "read_file",
        "read a file of the workspace",
        _takes("offset", "limit", path=_PATH, offset=_COUNT, limit={**_COUNT, "minimum": 1}),
        "read",
        idempotent=True,
        private=True,
    ),
    Tool(
        "write_file",
        "write a file of the workspace",
        _takes(path=_PATH, content=_TEXT),
        "write",
        idempotent=True,
        changing=True,
    ),
    Tool(
        "append_file",
        "add to the end of a file of the workspace",
        _takes(path=_PATH, content=_TEXT),
        "write",
        changing=True,
    ),
    Tool(
        "list_files",
        "list a directory of the workspace",
        _takes("path", "pattern", path=_PATH, pattern=_PATH),
        "read",
        idempotent=True,
        private=True,
    ),
    Tool(
        "search_text",
        "find the lines of files that hold a text",
        _takes("path", query={**_TEXT, "minLength": 1, "maxLength": 1000}, path=_PATH),
        "read",
        idempotent=True,
        private=True,
    ),
    Tool("delete_file", "delete a file of the workspace", _takes(path=_PATH), "write", changing=True),
    Tool("get_time", "tell the time, in UTC", _takes(), "time", idempotent=True),
    Tool(
        "sleep",
        "wait for some seconds",
        _takes(seconds=_seconds(LONGEST_SLEEP)),
        "time",
        seconds=LONGEST_SLEEP + SHORT,
        idempotent=True,
    ),
    Tool(
        "ask_human",
        "ask a person and wait for the answer",
        _takes(question={**_TEXT, "minLength": 1, "maxLength": 4096}),
        "ask",
        seconds=float("inf"),  # the kernel's `answer_seconds` bound it
        idempotent=True,  # an answer and that it came are one
    ),
    Tool(
        "spawn",
        "start a process with a prompt of its own and wait for what it says",
        _takes("tools", "wait", prompt={**_TEXT, "minLength": 1}, tools=_WORDS, wait={"type": "boolean"}),
        "spawn",
        cost=2,
        seconds=float("inf"),  # the child's quota bounds it
    ),
    Tool(
        "send",
        "send a message to another process of the same owner",
        _takes(pid=_PID, text={**_TEXT, "maxLength": 65_536}),
        "message",
        changing=True,
    ),
    Tool(
        "receive",
        "wait for a message",
        _takes("seconds", seconds=_seconds(LONGEST_WAIT)),
        "message",
        seconds=LONGEST_WAIT + SHORT,
        idempotent=True,  # a message is taken when this is over, and not before
    ),
    Tool("mem_read", "recall what was stored under a key", _takes(key=_KEY), "memory", idempotent=True),
    Tool(
        "mem_write",
        "store a text under a key",
        _takes(key=_KEY, value={**_TEXT, "maxLength": 16_384}),
        "memory",
        idempotent=True,
    ),
)

SYSCALLS: dict[str, Tool] = {tool.name: tool for tool in _TABLE}

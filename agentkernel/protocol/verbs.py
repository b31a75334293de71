"""The verbs, in one table: parser, dispatch, HELP, command line and the spec's tables derive from it.

Rules
1. One verb is one entry here, one function in `agentkernel.dispatch`, one transcript in the tests.
2. `code` is what a success answers with in the text dialect; v1 uses the verb's own name.
3. `errors` names what the verb itself can answer; §2.6 of the spec lists what any command can.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from itertools import zip_longest


class Access(enum.Enum):
    """Who may use a verb."""

    ANYONE = "anyone"  # also before AUTH
    USER = "user"
    OWNER = "owner"  # of the process named, or an administrator
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb's contract as data; `arguments` is its payload's form, empty when it takes none.

    One that `writes` changes a process that lives: it is refused to who no longer drives that, and its
    success is on the disk before it is told, as far as the journal's durability goes.
    """

    name: str
    arguments: str
    summary: str
    access: Access = Access.USER
    code: str = ""
    errors: tuple[str, ...] = ()
    writes: bool = False

    @property
    def ok_code(self) -> str:
        """The code of a success in the text dialect."""
        return self.code or self.name


_PID = ("MISSING_PID", "INVALID_PID", "PID_NOT_FOUND", "FORBIDDEN")
_OWNER, _ADMIN = Access.OWNER, Access.ADMIN
_TABLE = (
    Verb(
        "HELLO",
        "json",
        "negotiate v1 and its capabilities",
        Access.ANYONE,
        "",
        ("HELLO_INVALID", "VERSION_MISMATCH", "CAPABILITY_MISSING"),
    ),
    Verb("AUTH", "token", "say who you are", Access.ANYONE, "", ("AUTH_FAILED",)),
    Verb("HELP", "", "this text", Access.ANYONE),
    Verb("QUIT", "", "close the connection", Access.ANYONE),
    Verb("PING", "", "answer PONG", Access.ANYONE),
    Verb(
        "STATUS",
        "[pid]",
        "the kernel's or a process's state",
        Access.USER,
        "",
        ("STATUS_INVALID", "PID_NOT_FOUND", "FORBIDDEN"),
    ),
    Verb("PS", "", "list live processes"),
    Verb("WHY", "pid", "what it is about, or waits for", _OWNER, "", _PID),
    Verb("SHUTDOWN", "", "drain and stop the kernel", _ADMIN),
    Verb("LIST_MODELS", "", "the catalogue", Access.USER, "GENERIC"),
    Verb(
        "SELECT_MODEL",
        "id",
        "choose what LOAD takes by default",
        Access.USER,
        "GENERIC",
        ("MISSING_MODEL_ID", "MODEL_NOT_FOUND"),
    ),
    Verb(
        "MODEL_INFO",
        "[id]",
        "what a model file says of itself",
        Access.USER,
        "GENERIC",
        ("MODEL_SELECTOR", "MODEL_NOT_FOUND"),
    ),
    Verb(
        "LOAD",
        "[id|path]",
        "load a model",
        Access.USER,
        "GENERIC",
        ("MODEL_SELECTOR", "MODEL_NOT_FOUND", "LOAD_FAILED", "LOAD_BUSY", "MEMORY_ADMISSION"),
    ),
    Verb(
        "UNLOAD",
        "[id]",
        "unload a model nobody uses",
        Access.USER,
        "",
        ("NO_MODEL", "MODEL_NOT_FOUND", "LOAD_BUSY"),
    ),
    Verb(
        "SET_GEN",
        "key=value;…",
        "default generation settings",
        Access.USER,
        "",
        ("SET_GEN_INVALID",),
    ),
    Verb("GET_GEN", "", "show them"),
    Verb(
        "EXEC",
        "prompt|json",
        "start a process and stream it",
        Access.USER,
        "GENERIC",
        (
            "EXEC_INVALID",
            "PID_NOT_FOUND",
            "NO_MODEL",
            "MODEL_NOT_FOUND",
            "LOAD_FAILED",
            "QUOTA_EXCEEDED",
            "MEMORY_ADMISSION",
            "DEADLINE_UNREACHABLE",
            "BUSY",
            "SPAWN_FAILED",
            "SNAPSHOT_NOT_FOUND",
            "SNAPSHOT_MODEL",
            "TOOL_NOT_FOUND",
            "ESANDBOX",
            "ENGINE_FAILED",
            "SHUTTING_DOWN",
        ),
    ),
    Verb(
        "SEND_INPUT",
        "pid text",
        "the next turn of an interactive process",
        _OWNER,
        "",
        (*_PID, "WRONG_STATE", "QUOTA_EXCEEDED", "MEMORY_ADMISSION"),
        writes=True,
    ),
    Verb(
        "STOP_OUTPUT",
        "pid",
        "hold a process and its output",
        _OWNER,
        "",
        (*_PID, "WRONG_STATE"),
        writes=True,
    ),
    Verb("CONTINUE_OUTPUT", "pid", "let it go on", _OWNER, "", (*_PID, "WRONG_STATE"), writes=True),
    Verb(
        "ATTACH",
        "pid [offset] [take]",
        "stream its output from a byte on",
        _OWNER,
        "",
        (*_PID, "WRONG_STATE", "ATTACH_INVALID", "LOG_GONE"),
    ),
    Verb("DETACH", "pid", "stop that; the process goes on", _OWNER, "", (*_PID, "WRONG_STATE")),
    Verb(
        "LOGS", "pid [offset [n]]", "what it has put out", _OWNER, "", (*_PID, "ATTACH_INVALID", "LOG_GONE")
    ),
    Verb("WAIT", "pid [seconds]", "answer when it has ended", _OWNER, "", (*_PID, "TIMEOUT")),
    Verb("TERM", "pid", "end it at the end of its sentence", _OWNER, "", _PID, writes=True),
    Verb("KILL", "pid", "end it at its next step", _OWNER, "", _PID, writes=True),
    Verb("SUSPEND", "pid", "take it off the processor", _OWNER, "", (*_PID, "WRONG_STATE"), writes=True),
    Verb("RESUME", "pid", "put it back", _OWNER, "", (*_PID, "WRONG_STATE"), writes=True),
    Verb(
        "FORK",
        "pid [n]",
        "children with its context",
        _OWNER,
        "",
        (*_PID, "BAD_PAYLOAD", "WRONG_STATE", "SPAWN_FAILED", "QUOTA_EXCEEDED", "SHUTTING_DOWN"),
    ),
    Verb(
        "SNAPSHOT",
        "pid name",
        "keep its context for EXEC from=name",
        _OWNER,
        "",
        (*_PID, "SNAPSHOT_INVALID", "SNAPSHOT_EXISTS", "SNAPSHOT_LIMIT", "SNAPSHOT_FAILED"),
    ),
    Verb("LIST_SNAPSHOTS", "", "your snapshots"),
    Verb(
        "DROP_SNAPSHOT",
        "name",
        "forget one",
        Access.USER,
        "",
        ("SNAPSHOT_INVALID", "SNAPSHOT_NOT_FOUND", "SNAPSHOT_FAILED"),
    ),
    Verb(
        "CHECKPOINT",
        "[pid] [name]",
        "save processes under a name",
        Access.USER,
        "",
        (
            "INVALID_PID",
            "PID_NOT_FOUND",
            "FORBIDDEN",
            "CHECKPOINT_INVALID",
            "CHECKPOINT_LIMIT",
            "CHECKPOINT_FAILED",
            "SHUTTING_DOWN",
        ),
    ),
    Verb(
        "RESTORE",
        "[name] [as new]",
        "bring them back",
        Access.USER,
        "",
        (
            *("CHECKPOINT_INVALID", "CHECKPOINT_NOT_FOUND", "RESTORE_BUSY", "RESTORE_FAILED"),
            *("ESANDBOX", "SPAWN_FAILED", "MEMW_FAILED", "QUOTA_EXCEEDED", "SHUTTING_DOWN"),
        ),
    ),
    Verb("LIST_CHECKPOINTS", "", "your checkpoints"),
    Verb(
        "DROP_CHECKPOINT",
        "name",
        "forget one",
        Access.USER,
        "",
        ("CHECKPOINT_INVALID", "CHECKPOINT_NOT_FOUND", "CHECKPOINT_FAILED"),
    ),
    Verb(
        "REPLAY",
        "pid",
        "run it again and compare",
        _OWNER,
        "",
        (*_PID, "WRONG_STATE", "REPLAY_FAILED", "SPAWN_FAILED", "QUOTA_EXCEEDED", "SHUTTING_DOWN"),
    ),
    Verb(
        "MEMW",
        "pid [offset]|bytes",
        "write to its memory",
        _OWNER,
        "",
        ("MEMW_INVALID", "MEMW_FAILED", "PID_NOT_FOUND", "FORBIDDEN", "QUOTA_EXCEEDED", "MEMORY_ADMISSION"),
        writes=True,
    ),
    Verb(
        "MEMR",
        "pid [offset [n]]",
        "read it back",
        _OWNER,
        "",
        ("MEMR_INVALID", "MEMR_FAILED", "PID_NOT_FOUND", "FORBIDDEN"),
    ),
    Verb(
        "MEM",
        "[pid]",
        "memory and contexts, by tier",
        Access.USER,
        "",
        ("INVALID_PID", "PID_NOT_FOUND", "FORBIDDEN"),
    ),
    Verb("LIST_TOOLS", "", "what models can call"),
    Verb("TOOL_INFO", "name", "a tool's schema and limits", Access.USER, "", ("TOOL_NOT_FOUND",)),
    Verb(
        "REGISTER_TOOL",
        "yaml|json",
        "add a tool of your own",
        _ADMIN,
        "",
        ("TOOL_INVALID", "TOOL_EXISTS", "TOOL_FAILED"),
    ),
    Verb(
        "UNREGISTER_TOOL", "name", "forget it", _ADMIN, "", ("TOOL_NOT_FOUND", "TOOL_INVALID", "TOOL_FAILED")
    ),
    Verb(
        "ANSWER", "pid text", "answer what it asks a person", _OWNER, "", (*_PID, "WRONG_STATE"), writes=True
    ),
    Verb(
        "APPROVE",
        "pid call",
        "let it make a call",
        _OWNER,
        "",
        (*_PID, "WRONG_STATE", "CALL_NOT_FOUND"),
        writes=True,
    ),
    Verb(
        "DENY",
        "pid call [why]",
        "refuse a call",
        _OWNER,
        "",
        (*_PID, "WRONG_STATE", "CALL_NOT_FOUND"),
        writes=True,
    ),
    Verb(
        "LIST_FILES",
        "pid [path]",
        "what is in its workspace",
        _OWNER,
        "",
        (*_PID, "FILE_INVALID", "FILE_NOT_FOUND", "FILE_FAILED"),
    ),
    Verb(
        "GET_FILE",
        "pid path",
        "read a file of it",
        _OWNER,
        "",
        (*_PID, "FILE_INVALID", "FILE_NOT_FOUND", "FILE_FAILED"),
    ),
    Verb(
        "PUT_FILE",
        "pid path|bytes",
        "write one",
        _OWNER,
        "",
        (*_PID, "FILE_INVALID", "FILE_FAILED"),
        writes=True,
    ),
    Verb(
        "SET_PRIORITY",
        "pid class [n]",
        "low, normal, high or critical; how nice",
        _OWNER,
        "",
        ("SET_PRIORITY_INVALID", "PID_NOT_FOUND", "FORBIDDEN"),
        writes=True,
    ),
    Verb(
        "GET_QUOTA",
        "pid|@owner",
        "limits and what is used of them",
        _OWNER,
        "",
        ("GET_QUOTA_INVALID", "PID_NOT_FOUND", "FORBIDDEN"),
    ),
    Verb(
        "SET_QUOTA",
        "pid|@owner key=n,…",
        "change its limits",
        _OWNER,
        "",
        ("SET_QUOTA_INVALID", "PID_NOT_FOUND", "FORBIDDEN"),
        writes=True,
    ),
    Verb("SUBSCRIBE", "[json]", "stream events (v1)", Access.USER, "", ("CAPABILITY_REQUIRED",)),
)

VERBS: dict[str, Verb] = {verb.name: verb for verb in _TABLE}


def help_text() -> str:
    """What HELP answers: every verb in at most 24 lines of at most 79 columns."""
    lines = ["VERB AGENT LENGTH, then LENGTH bytes. At a terminal: VERB me - TEXT"]
    cells = [f"{verb.name} {verb.arguments}".rstrip() for verb in _TABLE]
    rows = -(-len(cells) // 3)
    columns = [cells[at : at + rows] for at in range(0, len(cells), rows)]
    widths = [max(map(len, column)) + 2 for column in columns]
    for row in zip_longest(*columns, fillvalue=""):
        shown = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"  {''.join(shown)}".rstrip())
    lines += [
        "Try: EXEC me - Tell me a story",
        "     PS me -          KILL me - 1          QUIT",
    ]
    return "\n".join(lines) + "\n"

"""Every error the kernel can report, in one table.

Rules
1. An error reaches a client as `-ERR CODE len`; its code is a key of `ERRORS`.
2. `fault` says who can mend it; `retryable` says whether the same request may succeed later unchanged.
3. `exit_code` is what the command line ends with (sysexits.h where a value fits).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class Fault(enum.Enum):
    """Whose fault an error is."""

    CLIENT = "client"
    RESOURCE = "resource"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """What a code means, independent of the occasion."""

    fault: Fault
    retryable: bool
    text: str
    exit_code: int


_CLIENT, _RESOURCE, _KERNEL = Fault.CLIENT, Fault.RESOURCE, Fault.KERNEL

ERRORS: dict[str, ErrorSpec] = {
    "BAD_HEADER": ErrorSpec(_CLIENT, False, "the header is not VERB AGENT LENGTH", 65),
    "BODY_TOO_LARGE": ErrorSpec(_CLIENT, False, "the body is over the limit", 65),
    "BAD_PAYLOAD": ErrorSpec(_CLIENT, False, "the payload is not what the verb takes", 65),
    "UNKNOWN_VERB": ErrorSpec(_CLIENT, False, "no such verb; HELP lists them", 64),
    "TIMEOUT": ErrorSpec(_CLIENT, True, "the rest of the command, or the awaited end, did not come", 75),
    "TOO_MANY_CONNECTIONS": ErrorSpec(_RESOURCE, True, "the connection limit is reached", 75),
    "SHUTTING_DOWN": ErrorSpec(_RESOURCE, True, "the kernel is stopping and takes no new work", 75),
    "INTERNAL": ErrorSpec(_KERNEL, True, "the kernel made a mistake; its log has the details", 70),
    "HELLO_INVALID": ErrorSpec(_CLIENT, False, "HELLO's payload is not its JSON object", 65),
    "VERSION_MISMATCH": ErrorSpec(_CLIENT, False, "no protocol version in common", 76),
    "CAPABILITY_MISSING": ErrorSpec(_CLIENT, False, "a required capability is not offered", 76),
    "CAPABILITY_REQUIRED": ErrorSpec(_CLIENT, False, "the verb needs a capability asked for in HELLO", 76),
    "AUTH_REQUIRED": ErrorSpec(_CLIENT, False, "AUTH comes first", 77),
    "AUTH_FAILED": ErrorSpec(_CLIENT, False, "the token is not known", 77),
    "FORBIDDEN": ErrorSpec(_CLIENT, False, "another owner's process, or an administrator's verb", 77),
    "NO_MODEL": ErrorSpec(_CLIENT, False, "no model is loaded; LOAD one first", 69),
    "MODEL_SELECTOR": ErrorSpec(_CLIENT, False, "no model named and none selected", 64),
    "MISSING_MODEL_ID": ErrorSpec(_CLIENT, False, "a model id is needed", 64),
    "MODEL_NOT_FOUND": ErrorSpec(_CLIENT, False, "no such model in the catalogue", 66),
    "LOAD_FAILED": ErrorSpec(_CLIENT, False, "the model file can't be loaded", 65),
    "LOAD_BUSY": ErrorSpec(_RESOURCE, True, "that model is being loaded or in use", 75),
    "ENGINE_FAILED": ErrorSpec(_KERNEL, True, "the model's engine died too often", 69),
    "EXEC_INVALID": ErrorSpec(_CLIENT, False, "EXEC's payload is not a prompt or its JSON object", 65),
    "SPAWN_FAILED": ErrorSpec(_RESOURCE, True, "the process table is full", 75),
    "DEADLINE_UNREACHABLE": ErrorSpec(_RESOURCE, True, "it can't be done in time", 75),
    "BUSY": ErrorSpec(_RESOURCE, True, "the queue for a slot is full", 75),
    "MEMORY_ADMISSION": ErrorSpec(_RESOURCE, False, "it does not fit into memory or context", 69),
    "QUOTA_EXCEEDED": ErrorSpec(_RESOURCE, False, "a quota, the owner's or the process's, is used up", 75),
    "TOOL_NOT_FOUND": ErrorSpec(_CLIENT, False, "no such tool", 66),
    "TOOL_INVALID": ErrorSpec(_CLIENT, False, "the tool's description is not as it must be", 65),
    "TOOL_EXISTS": ErrorSpec(_CLIENT, False, "a tool of that name exists", 73),
    "TOOL_FAILED": ErrorSpec(_RESOURCE, True, "the tool's description could not be kept", 74),
    "CALL_NOT_FOUND": ErrorSpec(_CLIENT, False, "the process asks about another call", 66),
    "FILE_INVALID": ErrorSpec(_CLIENT, False, "no file of the workspace can have that path", 65),
    "FILE_NOT_FOUND": ErrorSpec(_CLIENT, False, "no such file in the workspace", 66),
    "FILE_FAILED": ErrorSpec(_RESOURCE, False, "the workspace has no room, or can't be read or written", 74),
    "MISSING_PID": ErrorSpec(_CLIENT, False, "a PID is needed", 64),
    "INVALID_PID": ErrorSpec(_CLIENT, False, "that is no PID", 64),
    "PID_NOT_FOUND": ErrorSpec(_CLIENT, False, "no live process has that PID", 66),
    "WRONG_STATE": ErrorSpec(_CLIENT, False, "the process is not in a state that allows it", 65),
    "STALE_EPOCH": ErrorSpec(_CLIENT, False, "another has taken the process over", 73),
    "ATTACH_INVALID": ErrorSpec(_CLIENT, False, "the process has not put out so many bytes", 65),
    "LOG_GONE": ErrorSpec(_RESOURCE, False, "that output is no longer kept", 66),
    "JOURNAL_FULL": ErrorSpec(_RESOURCE, True, "the journal's disk is full or read-only", 74),
    "IN_FLIGHT": ErrorSpec(_RESOURCE, True, "too many commands in flight on the connection", 75),
    "STATUS_INVALID": ErrorSpec(_CLIENT, False, "STATUS takes nothing or a PID", 64),
    "SET_GEN_INVALID": ErrorSpec(_CLIENT, False, "an unknown or out-of-range generation setting", 65),
    "SET_PRIORITY_INVALID": ErrorSpec(
        _CLIENT, False, "SET_PRIORITY takes a PID, a priority, a nice value", 65
    ),
    "GET_QUOTA_INVALID": ErrorSpec(_CLIENT, False, "GET_QUOTA takes a PID", 64),
    "SET_QUOTA_INVALID": ErrorSpec(_CLIENT, False, "SET_QUOTA takes a PID and limits", 65),
    "MEMW_INVALID": ErrorSpec(_CLIENT, False, "MEMW takes a PID, an offset perhaps, and bytes", 65),
    "MEMW_FAILED": ErrorSpec(_RESOURCE, True, "there is no room for so many bytes", 75),
    "MEMR_INVALID": ErrorSpec(_CLIENT, False, "MEMR takes a PID and a range within its memory", 65),
    "MEMR_FAILED": ErrorSpec(_KERNEL, False, "memory that had gone to disk did not come back whole", 74),
    "SNAPSHOT_INVALID": ErrorSpec(_CLIENT, False, "a snapshot's name is 1 to 64 letters, digits, . _ -", 65),
    "SNAPSHOT_NOT_FOUND": ErrorSpec(_CLIENT, False, "no snapshot of that name", 66),
    "SNAPSHOT_MODEL": ErrorSpec(_CLIENT, False, "the snapshot's model is not loaded, or has changed", 69),
    "SNAPSHOT_EXISTS": ErrorSpec(_CLIENT, False, "a snapshot of that name exists; drop it first", 73),
    "SNAPSHOT_LIMIT": ErrorSpec(_RESOURCE, False, "the owner's snapshots are at their limit", 75),
    "SNAPSHOT_FAILED": ErrorSpec(_KERNEL, True, "the snapshot could not be written or read", 74),
    "CHECKPOINT_INVALID": ErrorSpec(
        _CLIENT, False, "a PID or all, and a name of 1 to 64 letters, digits, . _ -", 65
    ),
    "CHECKPOINT_NOT_FOUND": ErrorSpec(_CLIENT, False, "no checkpoint of that name", 66),
    "CHECKPOINT_LIMIT": ErrorSpec(_RESOURCE, False, "the owner's checkpoints are at their limit", 75),
    "CHECKPOINT_FAILED": ErrorSpec(_KERNEL, True, "the checkpoint could not be written", 74),
    "RESTORE_BUSY": ErrorSpec(_CLIENT, False, "its PID is taken; restore it as new", 73),
    "RESTORE_FAILED": ErrorSpec(_RESOURCE, False, "the checkpoint can't be gone on from here", 69),
    "REPLAY_FAILED": ErrorSpec(_RESOURCE, False, "the process can't be run again", 69),
    "ESANDBOX": ErrorSpec(_RESOURCE, False, "no jail as asked can be made here", 69),
}


@dataclass(slots=True)
class KernelError(Exception):
    """One occurrence of an error of the table.

    `code` is a key of `ERRORS`; `message` is the occasion's own text (the table's when empty);
    `details` are JSON values that a program may want (limits, counts, positions).
    """

    code: str
    message: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.message:
            self.message = self.spec.text
        Exception.__init__(self, self.code, self.message)

    @property
    def spec(self) -> ErrorSpec:
        """The table's entry of this error's code."""
        return ERRORS[self.code]

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

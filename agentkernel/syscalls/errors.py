"""What a call can fail with, as the model is told; it goes on with the text.

Rules
1. Nothing of the host is in a reason: no path outside the workspace, no secret, no trace.
"""

from __future__ import annotations

from dataclasses import dataclass

CODES = (
    "BAD_ARGUMENTS",  # not what the tool's schema says, or no such tool form
    "TOOL_NOT_FOUND",
    "NOT_ALLOWED",  # the process has no such capability
    "DENIED",  # by the person who was asked
    "RATE_LIMITED",
    "QUOTA_EXCEEDED",  # of the workspace
    "ESANDBOX",  # no jail as asked can be had
    "TIMEOUT",
    "INTERRUPTED",  # by the end of the kernel; nobody knows whether it was done
    "TOO_LARGE",
    "TOOL_FAILED",
    "NOT_FOUND",
    "IS_A_DIRECTORY",
    "NOT_A_DIRECTORY",
    "NOT_A_FILE",  # neither a regular file with one link nor a directory
    "PATH_ESCAPE",  # leaves the workspace, or passes through a link
    "PERMISSION_DENIED",
)


@dataclass(slots=True)
class ToolError(Exception):
    """A call that failed; `code` is one of `CODES`."""

    code: str
    reason: str

    def __post_init__(self) -> None:
        Exception.__init__(self, self.code, self.reason)

    def __str__(self) -> str:
        return f"error: {self.code}: {self.reason}"

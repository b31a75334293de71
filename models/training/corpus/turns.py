"""Conversations and how they become text: the one place that knows the chat format.

1. A turn is `<|role|>` LF text `<|end|>` LF; the five markers are control tokens.
2. A tool call is an assistant's turn that is exactly `TOOL:<name> {json}` on one line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

ROLES = ("system", "user", "assistant", "tool")
END = "<|end|>"
MARKERS = (*(f"<|{role}|>" for role in ROLES), END)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one role said."""

    role: str
    text: str


Conversation = tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A tool call and the result that the kernel sends back."""

    call: str
    result: str


@dataclass(frozen=True, slots=True)
class Task:
    """One request, the tool calls that serve it (none for a plain answer), and the final answer."""

    kind: str
    request: str
    steps: tuple[Step, ...]
    answer: str

    def turns(self) -> Conversation:
        """The task as turns: user, then for each step the call and its result, then the answer."""
        middle = [
            turn for step in self.steps for turn in (Turn("assistant", step.call), Turn("tool", step.result))
        ]
        return (Turn("user", self.request), *middle, Turn("assistant", self.answer))


def call(name: str, **arguments: object) -> str:
    """The text of a tool call, its arguments in the order given."""
    return f"TOOL:{name} {json.dumps(arguments)}"

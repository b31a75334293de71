"""What a process was asked to do, and what it hears: the values that never change; pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from agentkernel.permits import Permits

OnDisconnect = Literal["kill", "detach", "suspend"]
ContextStrategy = Literal["stop", "slide", "summarize"]
Lane = Literal["interactive", "batch", "background"]
Workload = Literal["fast", "general", "code", "reasoning"]
LANES: tuple[Lane, ...] = ("interactive", "batch", "background")


class Sampling(msgspec.Struct, frozen=True):
    """How the next token is drawn; `temperature` 0 is greedy."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repeat_penalty: float
    seed: int


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class Input(msgspec.Struct, array_like=True, frozen=True):
    """Tokens of a context, from start to end, that the process did not say.

    What follows them it has drawn, after so many random numbers and so many tokens of its turn.
    """

    start: int
    end: int
    draws: int = 0
    said: int = 0


class Letter(msgspec.Struct, frozen=True):
    """A message to a process, and the PID it is from."""

    sender: int
    text: str


class Deadlines(msgspec.Struct, frozen=True, omit_defaults=True):
    """In milliseconds, 0 for none: of an answer's end and of its first token, from when it was asked for.

    `max_wall_ms` is the longest that the process may live.
    """

    deadline_ms: int = 0
    ttft_ms: int = 0
    max_wall_ms: int = 0


NO_DEADLINES = Deadlines()


class Plan(msgspec.Struct, frozen=True):
    """What EXEC asked for, frozen at admission; `max_tokens` bounds one turn."""

    messages: tuple[Message, ...]
    prompt: str | None
    raw: bool
    sampling: Sampling
    max_tokens: int
    stop: tuple[str, ...] = ()
    grammar: str = ""
    json_schema: str = ""
    workload: str = "general"
    on_disconnect: OnDisconnect = "kill"
    interactive: bool = False
    context_strategy: ContextStrategy = "stop"
    memory_prefix: bool = False
    deterministic: bool = False
    key: str = ""  # under which its owner finds it, should EXEC's answer be lost
    base: tuple[int, ...] = ()  # tokens of a snapshot, which the prompt follows
    permits: Permits | None = None  # what its calls may do; without, a call is mere text
    functions: str = ""  # a JSON list, which the model is told of
    schemas: dict[str, str] = {}  # of the only calls it can make, by name
    rationale: str = ""  # why it runs on its model, where that was chosen for it
    prompt_lookup: bool = False

"""What EXEC can be told, by the names of its keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

Priority = Literal["low", "normal", "high", "critical"]


class ExecOptions(TypedDict, total=False):
    """What EXEC takes beside the prompt; left out, the kernel's defaults hold. `from_` is its key `from`.

    While an EXEC with `wait` waits, so does what its connection is asked for after it.
    """

    raw: bool
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repeat_penalty: float
    seed: int
    stop: str | Sequence[str]
    grammar: str
    json_schema: Mapping[str, object]
    model: str
    lora: str
    capability: Literal["fast", "general", "code", "reasoning"]
    priority: Priority
    nice: int
    deadline_ms: int
    ttft_ms: int
    max_wall_ms: int
    lane: Literal["interactive", "batch", "background"]
    wait: bool
    on_disconnect: Literal["kill", "detach", "suspend"]
    share: str
    interactive: bool
    context_strategy: Literal["stop", "slide", "summarize"]
    memory_prefix: bool
    deterministic: bool
    prompt_lookup: bool
    key: str
    from_: str
    tools: Sequence[str]
    allowed_tools: Sequence[str]
    paths: Mapping[str, Sequence[str]]
    approve: Sequence[str]
    trust: Literal["trusted", "standard", "untrusted", "confidential"]
    constrain_tools: bool
    tool_limits: Mapping[str, Mapping[str, float]]
    max_syscalls: int
    limits: Mapping[str, int]

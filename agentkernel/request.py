"""What a client may ask of EXEC, checked and made into a frozen plan; pure.

Rules
1. An unknown key, a wrong type or a value out of range is EXEC_INVALID; nothing is ignored.
2. What is left out comes from SET_GEN and the workload's quota: never "unlimited".
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from agentkernel.config import Auto, Count, Generation, Seconds, Seed, check_seed
from agentkernel.due import remaining
from agentkernel.errors import KernelError
from agentkernel.jail.port import Trust
from agentkernel.permits import EVERYTHING, Less, Pattern, Permits
from agentkernel.plan import (
    ContextStrategy,
    Deadlines,
    Input,
    Lane,
    Message,
    OnDisconnect,
    Plan,
    Sampling,
    Workload,
)
from agentkernel.process import NICEST, Owner, Priority, Process
from agentkernel.quotas import LENT, NO_BOUNDS, Bounds, Limits, Quota

_T = TypeVar("_T", int, float)
_MOST_STOPS, _LONGEST_GRAMMAR, _DEEPEST_GRAMMAR = 16, 64 * 1024, 64
SNAPSHOT_NAME = r"^[A-Za-z0-9_.-]{1,64}\Z"
SnapshotName = Annotated[str, msgspec.Meta(pattern=SNAPSHOT_NAME)]
ModelId = Annotated[str, msgspec.Meta(max_length=4096)]
StopString = Annotated[str, msgspec.Meta(max_length=256)]
Nice = Annotated[int, msgspec.Meta(ge=-NICEST - 1, le=NICEST)]
_SUMMARIZE = "Summarize our conversation so far in a few sentences."
_SUMMARY_PART = 8  # of its context a process's summary may take
_KEPT_PART = 4  # of its tokens a process keeps that waits for a child
_SEED_MIX = 0x9E3779B97F4A7C15  # odd, so that PIDs map to distinct seeds (Knuth's multiplicative hash)

_SIGNS: tuple[tuple[Workload, tuple[str, ...]], ...] = (
    ("code", ("```", "def ", "code", "function", "python", "compile", "program", "regex", "sql")),
    ("reasoning", ("step by step", "prove", "explain why", "analyse", "analyze", "reason")),
    ("fast", ("yes or no", "one word", "briefly", "in short")),
)


# Default quotas by workload class: generated tokens, syscalls (§5.3).
WORKLOADS: dict[str, tuple[int, int]] = {
    "fast": (512, 2),
    "general": (2048, 8),
    "code": (4096, 16),
    "reasoning": (8192, 8),
}


class ProcessLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Quotas of a process over its life (§5.3): names are `quotas.KEYS`."""

    max_tokens: Count | None = None
    max_syscalls: Auto | None = None
    max_prompt_tokens: Count | None = None
    max_wall_secs: Seconds | None = None
    max_cpu_secs: Seconds | None = None
    max_kv_byte_secs: Seconds | None = None
    soft_tokens: Count | None = None
    soft_syscalls: Count | None = None
    soft_prompt_tokens: Count | None = None
    soft_wall_secs: Seconds | None = None
    soft_cpu_secs: Seconds | None = None
    soft_kv_byte_secs: Seconds | None = None

    @property
    def bounds(self) -> Bounds:
        """All of them but the hard ones of tokens and calls, which the workload's stand for."""
        named = msgspec.structs.asdict(self) | {"max_tokens": None, "max_syscalls": None}
        return NO_BOUNDS.changed(named)


class Paths(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Patterns of the paths in its workspace that a process may read and write by calls."""

    read: tuple[Pattern, ...] = EVERYTHING
    write: tuple[Pattern, ...] = EVERYTHING


class ExecRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """EXEC's JSON object (§5.2); `prompt` or `messages`, and what differs from the defaults."""

    prompt: str | None = None
    messages: tuple[Message, ...] = ()
    raw: bool = False
    max_tokens: Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Auto | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, msgspec.Meta(gt=0, le=2)] | None = None
    seed: Seed | None = None
    stop: StopString | Annotated[tuple[StopString, ...], msgspec.Meta(max_length=_MOST_STOPS)] = ()
    grammar: Annotated[str, msgspec.Meta(max_length=_LONGEST_GRAMMAR)] = ""
    json_schema: dict[str, object] | None = None
    model: ModelId = ""
    lora: ModelId = ""
    capability: Workload | None = None
    priority: Priority = "normal"
    nice: Nice = 0
    deadline_ms: Count | None = None
    ttft_ms: Count | None = None
    max_wall_ms: Count | None = None
    lane: Lane = "interactive"
    wait: bool = False
    on_disconnect: OnDisconnect = "kill"
    interactive: bool = False
    context_strategy: ContextStrategy = "stop"
    memory_prefix: bool = False
    deterministic: bool = False
    prompt_lookup: bool = False
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    from_: SnapshotName | None = msgspec.field(default=None, name="from")
    share: Annotated[str, msgspec.Meta(pattern=r"^(owner|public|none|group:[\w.-]{1,64})\Z")] = "owner"
    tools: tuple[str, ...] | None = None
    allowed_tools: tuple[str, ...] | None = None
    paths: Paths = Paths()
    approve: tuple[str, ...] = ()
    trust: Trust | None = None
    constrain_tools: bool = False
    tool_limits: dict[str, Less] = {}
    max_syscalls: Auto | None = None
    limits: ProcessLimits = ProcessLimits()

    def __post_init__(self) -> None:
        check_seed(self.seed)

    @property
    def workload(self) -> Workload:
        """The class asked for, or inferred from the prompt."""
        text = self.prompt or (self.messages[-1].content if self.messages else "")
        return self.capability or infer_workload(text)

    def group(self, owner: Owner) -> str:
        """The trust group whose computed prefixes the process uses and adds to; empty for none."""
        alone = self.deterministic or self.trust == "confidential"
        if self.memory_prefix or alone:  # the rows of a prefix are nobody's tokens
            return ""
        return {"owner": f"owner:{owner.name}", "none": ""}.get(self.share, self.share)

    def plan(
        self,
        defaults: Generation,
        base_seed: int,
        pid: int,
        base: tuple[int, ...] = (),
        rationale: str = "",
    ) -> Plan:
        """The frozen plan of the process with this PID, whose prompt follows the tokens of `base`."""
        seed = defaults.seed if self.seed is None else self.seed
        if seed is None:
            seed = _own_seed(base_seed, pid)
        sampling = Sampling(
            temperature=_or(self.temperature, defaults.temperature),
            top_p=_or(self.top_p, defaults.top_p),
            top_k=_or(self.top_k, defaults.top_k),
            min_p=_or(self.min_p, defaults.min_p),
            repeat_penalty=_or(self.repeat_penalty, defaults.repeat_penalty),
            seed=seed,
        )
        schema = "" if self.json_schema is None else msgspec.json.encode(self.json_schema).decode()
        if len(schema) > _LONGEST_GRAMMAR or _depth(schema) > _DEEPEST_GRAMMAR:
            limits = f"{_LONGEST_GRAMMAR} bytes and depth {_DEEPEST_GRAMMAR}"
            raise KernelError("EXEC_INVALID", f"json_schema over {limits}")
        return Plan(
            messages=self.messages,
            prompt=self.prompt,
            raw=self.raw,
            sampling=sampling,
            max_tokens=_or(self.max_tokens, defaults.max_tokens),
            stop=(self.stop,) if isinstance(self.stop, str) else self.stop,
            grammar=self.grammar,
            json_schema=schema,
            workload=self.workload,
            on_disconnect=self.on_disconnect,
            interactive=self.interactive,
            context_strategy=self.context_strategy,
            memory_prefix=self.memory_prefix,
            deterministic=self.deterministic,
            prompt_lookup=self.prompt_lookup,
            key=self.key or "",
            base=base,
            permits=self._permits(),
            rationale=rationale,
        )

    def _permits(self) -> Permits | None:
        named = self.tools if self.tools is not None else self.allowed_tools
        if self.raw and named is None:  # a bare completion
            return None
        return Permits(
            tools=named,
            read=self.paths.read,
            write=self.paths.write,
            approve=self.approve,
            trust=self.trust or "standard",
            constrain=self.constrain_tools,
            limits=self.tool_limits,
        )

    def quotas(self, plan: Plan) -> tuple[int, int]:
        """Generated tokens and syscalls the process may use."""
        tokens, syscalls = WORKLOADS[plan.workload]
        if self.max_tokens is not None:
            tokens = max(tokens, self.max_tokens)
        calls = self.limits.max_syscalls if self.max_syscalls is None else self.max_syscalls
        return _or(self.limits.max_tokens, tokens), _or(calls, syscalls)

    def process(self, pid: int, owner: Owner, plan: Plan, model_id: str, now: float) -> Process:
        """The process that was asked for, ready to be admitted."""
        quotas = self.quotas(plan)
        made = Process(pid, owner, plan, model_id, self.priority, *quotas, now, self.group(owner))
        made.nice, made.lane = self.nice, self.lane
        made.deadlines = Deadlines(self.deadline_ms or 0, self.ttft_ms or 0, self.max_wall_ms or 0)
        made.bounds = self.limits.bounds
        return made

    def check(self) -> None:
        """Raise EXEC_INVALID for what doesn't go together."""
        if (self.prompt is None) == (not self.messages):
            raise KernelError("EXEC_INVALID", "either prompt or messages")
        if not self.messages and not (self.prompt or "").strip():
            raise KernelError("EXEC_INVALID", "the prompt is empty")
        if self.messages and self.raw:
            raise KernelError("EXEC_INVALID", "messages can't be raw")
        if self.from_ is not None and (self.messages or self.memory_prefix or self.model or self.lora):
            others = "messages, memory_prefix, model nor lora"
            raise KernelError("EXEC_INVALID", f"from takes a prompt, and neither {others}")
        if self.grammar and self.json_schema is not None:
            raise KernelError("EXEC_INVALID", "either grammar or json_schema")
        if self.grammar and _depth(self.grammar) > _DEEPEST_GRAMMAR:
            raise KernelError("EXEC_INVALID", f"grammar nested deeper than {_DEEPEST_GRAMMAR}")
        if self.prompt_lookup and self.deterministic:
            raise KernelError("EXEC_INVALID", "deterministic takes no prompt_lookup")
        if self.tools is not None and self.allowed_tools is not None:
            raise KernelError("EXEC_INVALID", "either tools or allowed_tools")
        if self.constrain_tools and (self.grammar or self.json_schema is not None):
            raise KernelError("EXEC_INVALID", "constrain_tools takes neither grammar nor json_schema")


def changed(defaults: Generation, changes: dict[str, Any]) -> Generation:
    """The defaults with some settings changed, from text where need be. Raises SET_GEN_INVALID."""
    try:
        return msgspec.convert(msgspec.to_builtins(defaults) | changes, Generation, strict=False)
    except msgspec.ValidationError as error:
        raise KernelError("SET_GEN_INVALID", str(error)) from error


def fork(parent: Process, pid: int, base_seed: int, now: float) -> Process:
    """A child with the parent's context and turn, and with a seed, an output and a quota of its own."""
    sampling = msgspec.structs.replace(parent.plan.sampling, seed=_own_seed(base_seed, pid))
    plan = msgspec.structs.replace(parent.plan, sampling=sampling, key="")
    quotas = parent.quota_tokens, parent.quota_syscalls
    child = Process(pid, parent.owner, plan, parent.model_id, parent.priority, *quotas, now, parent.group)
    child.parent, child.base_group, child.nice = parent.pid, parent.base_group, parent.nice
    child.deadlines, child.lane = parent.deadlines, parent.lane
    child.tokens, child.turns, child.soft = list(parent.tokens), list(parent.turns), parent.soft
    child.closing, child.bounds = parent.closing, msgspec.structs.replace(parent.bounds, told=())
    child.reason = parent.reason if parent.turn_over else ""
    child.turn_tokens, child.turn_bytes = parent.turn_tokens, parent.turn_bytes
    child.turn_cut, child.turn_before = parent.turn_cut, parent.turn_before
    child.turn_limit, child.turn_over, child.turn_end = parent.turn_limit, parent.turn_over, parent.turn_end
    child.notes = dict(parent.notes)
    child.inputs = [Input(0, len(child.tokens), 0, child.turn_tokens)]
    return child


def again(past: Process, heard: Input, end: int, pid: int, now: float) -> Process:
    """A process that draws once more what an ended one has drawn behind an input, up to a token.

    It can call nothing.
    """
    plan = msgspec.structs.replace(
        past.plan, max_tokens=end - heard.end, interactive=False, context_strategy="stop", key=""
    )
    quotas = end - heard.end, 0
    process = Process(pid, past.owner, plan, past.model_id, past.priority, *quotas, now, past.group)
    process.tokens, process.soft = past.tokens[: heard.end], past.soft
    process.turn_tokens, process.turn_limit = heard.said, heard.said + end - heard.end
    process.draws, process.inputs, process.nice = heard.draws, [heard], past.nice
    return process


class Spawn(NamedTuple):
    """What a call asks for: a child with a prompt and, if named, fewer tools, that its parent waits for."""

    prompt: str
    tools: tuple[str, ...] | None
    wait: bool

    def grant(self, parent: Process, now: float) -> Quota:
        """Of what the parent has left the child's part: half, unless the parent does nothing meanwhile.

        Such a parent keeps a call, and a quarter of its tokens and of all else, to answer with. Of what has
        no limit nothing is granted, and seconds from its birth are not: each has its own.
        """
        tokens, syscalls, left = parent.tokens_left, parent.syscalls_left, parent.lendable(now)
        given = 1 - 1 / _KEPT_PART if self.wait else 1 / 2
        more = int(left.prompt_tokens * given), 0.0, left.cpu_secs * given, left.kv_byte_secs * given
        if self.wait:
            return Quota(tokens - max(1, tokens // _KEPT_PART), max(0, syscalls - 1), *more)
        return Quota(tokens // 2, syscalls // 2, *more)


def child(parent: Process, pid: int, asked: Spawn, base_seed: int, now: float) -> Process:
    """A process that the parent starts by a call, with what that grants it; see `Permits` for its tools."""
    granted, hard = asked.grant(parent, now), parent.bounds.hard
    permits = parent.plan.permits and parent.plan.permits.narrowed(asked.tools)
    plan = msgspec.structs.replace(
        parent.plan,
        messages=(),
        prompt=asked.prompt,
        raw=False,
        base=(),
        sampling=msgspec.structs.replace(parent.plan.sampling, seed=_own_seed(base_seed, pid)),
        interactive=False,
        memory_prefix=False,
        key="",
        permits=permits,
    )
    quotas = granted.tokens, granted.syscalls
    made = Process(pid, parent.owner, plan, parent.model_id, parent.priority, *quotas, now, parent.group)
    made.parent, made.granted, made.nice = parent.pid, granted, parent.nice
    made.deadlines, made.lane = remaining(parent, now), parent.lane
    limits = {name: None if getattr(hard, name) is None else getattr(granted, name) for name in LENT}
    wall = None if hard.wall_secs is None else hard.wall_secs - parent.elapsed(now)
    made.bounds = Bounds(Limits(wall_secs=wall, **limits))
    return made


def summarizes(plan: Plan) -> bool:
    """Whether it is the plan of a child that sums up its parent's conversation."""
    return plan.prompt == _SUMMARIZE and bool(plan.base)


def summarizer(parent: Process, end: int, pid: int, context: int, now: float) -> Process:
    """A child that says in few words what the parent's first `end` tokens say."""
    plan = msgspec.structs.replace(
        parent.plan,
        messages=(),
        prompt=_SUMMARIZE,
        base=tuple(parent.tokens[:end]),
        max_tokens=max(1, context // _SUMMARY_PART),
        stop=(),
        grammar="",
        json_schema="",
        interactive=False,
        context_strategy="stop",
        key="",
        permits=None,
        functions="",
        schemas={},
    )
    limits = plan.max_tokens, 0
    child = Process(pid, parent.owner, plan, parent.model_id, parent.priority, *limits, now, parent.group)
    child.parent, child.base_group, child.soft = parent.pid, parent.base_group, parent.soft
    child.nice, child.deadlines, child.lane = parent.nice, remaining(parent, now), parent.lane
    return child


def _depth(text: str) -> int:
    """The deepest nesting of brackets, quoted ones too: llama.cpp's parsers recurse."""
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    return deepest


def _own_seed(base: int, pid: int) -> int:
    return (base + pid * _SEED_MIX) % 2**32


def infer_workload(text: str) -> Workload:
    """A class guessed from words of the prompt; `general` where none speaks for another."""
    lowered = text.lower()
    for workload, signs in _SIGNS:
        if any(sign in lowered for sign in signs):
            return workload
    return "general"


def _or(value: _T | None, default: _T) -> _T:
    return default if value is None else value

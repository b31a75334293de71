"""A process; pure.

Rules
1. `TRANSITIONS` is every state change there is; `Process.move` is the only place that assigns a state.
2. The times in `spent` add up to the process's wall time: each moment belongs to one phase.
3. What a restart needs (`tokens`, `draws`, counters) is apart from what only this run needs (`sink`).
4. A process and all that come from it by calls use no more than its quota: it lends, and gets back. What
   it uses its owner has used.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from agentkernel.calls import Call
from agentkernel.errors import KernelError
from agentkernel.plan import NO_DEADLINES, Deadlines, Input, Lane, Letter, Plan
from agentkernel.quotas import LENT, NO_BOUNDS, NO_QUOTA, Account, Bounds, Held, Limits, Meter, Quota


class State(enum.Enum):
    """Where a process is in its life."""

    READY = "Ready"
    RUNNING = "Running"
    WAITING = "Waiting"
    SUSPENDED = "Suspended"
    DONE = "Done"
    FAILED = "Failed"
    TERMINATED = "Terminated"
    KILLED = "Killed"

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self in _ENDS


class Wait(enum.Enum):
    """What a WAITING process waits for."""

    INPUT = "input"  # the next turn
    OUTPUT = "output"  # a reader that has fallen behind
    EVENT = "event"  # CONTINUE_OUTPUT
    CHILD = "child"  # a child's summary of its conversation
    MEMORY = "memory"  # room for a write, or the write of its memory prefix
    SYSCALL = "syscall"  # the result of a call
    APPROVAL = "approval"  # APPROVE or DENY of a call
    ANSWER = "answer"  # a person's ANSWER to its question


class Event(enum.Enum):
    """What moves a process from one state to another."""

    GRANT = "grant"
    REVOKE = "revoke"
    WAIT = "wait"
    WAKE = "wake"
    SUSPEND = "suspend"
    RESUME = "resume"
    FINISH = "finish"
    FAIL = "fail"
    TERMINATE = "terminate"
    KILL = "kill"


_ENDS = frozenset((State.DONE, State.FAILED, State.TERMINATED, State.KILLED))
_END_EVENTS = {
    Event.FINISH: State.DONE,
    Event.FAIL: State.FAILED,
    Event.TERMINATE: State.TERMINATED,
    Event.KILL: State.KILLED,
}
TRANSITIONS: dict[State, dict[Event, State]] = {
    State.READY: {
        Event.GRANT: State.RUNNING,
        Event.WAIT: State.WAITING,
        Event.SUSPEND: State.SUSPENDED,
        **_END_EVENTS,
    },
    State.RUNNING: {
        Event.REVOKE: State.READY,
        Event.WAIT: State.WAITING,
        Event.SUSPEND: State.SUSPENDED,
        **_END_EVENTS,
    },
    State.WAITING: {
        Event.WAKE: State.READY,
        Event.WAIT: State.WAITING,
        Event.SUSPEND: State.SUSPENDED,
        **_END_EVENTS,
    },
    State.SUSPENDED: {Event.RESUME: State.READY, Event.WAIT: State.WAITING, **_END_EVENTS},
    **{state: {} for state in _ENDS},
}

PRIORITIES = ("low", "normal", "high", "critical")
NICEST = 19  # and the least nice is one less than minus that, as in Linux
Priority = Literal["low", "normal", "high", "critical"]
WrapUp = Literal["", "due", "on"]
TurnEnd = tuple[str, tuple[Call, ...]]  # why a turn is over, and the calls it has come to


@dataclass(frozen=True, slots=True)
class Owner:
    """An authenticated principal; without authentication everyone on loopback is the first."""

    id: int
    name: str
    admin: bool = False

    def may(self, process: Process) -> bool:
        """Whether this owner may see and signal the process."""
        return self.admin or process.owner.id == self.id

    def permit(self, process: Process) -> None:
        """Raise FORBIDDEN unless this owner may."""
        if not self.may(process):
            raise KernelError("FORBIDDEN", f"PID {process.pid} belongs to another owner")


class Sink(Protocol):
    """Where a process's output goes. No method blocks or raises; `client` names it in the log."""

    client: int

    def data(self, pid: int, offset: int, text: bytes) -> bool:
        """Take text that starts at the byte offset; false when the reader is behind."""

    def end(self, pid: int, offset: int, marker: bytes) -> None:
        """Take the end marker; nothing follows for this PID."""

    def drop(self, pid: int) -> None:
        """Forget what is queued and not sent of this PID."""

    def event(self, event: dict[str, Any]) -> None:
        """Take one event of a subscription; may be shed, and then says so."""


@dataclass(slots=True)
class Process:
    """One process. Bytes and tokens count from its start; times are monotonic seconds."""

    pid: int
    owner: Owner
    plan: Plan
    model_id: str
    priority: Priority
    quota_tokens: int
    quota_syscalls: int
    created: float
    group: str = ""  # those it shares computed prefixes with; nobody when empty
    base_group: str = ""  # those whose prefixes it may use besides: its snapshot's
    parent: int = 0  # that made it, for itself or by FORK
    client: int = 0  # that started it, for the log
    epoch: int = 1  # of who drives it: one more whenever another takes over
    lane: Lane = "interactive"  # in which it was admitted
    nice: int = 0  # the higher, the less it weighs within its class
    deadlines: Deadlines = NO_DEADLINES
    asked: float = 0.0  # seconds from its birth at which the answer under way was asked for
    missed: tuple[str, ...] = ()  # deadlines of that answer that are over, by name

    state: State = State.READY
    wait: Wait | None = None
    reason: str = ""
    tokens: list[int] = field(default_factory=list)  # the whole context: prompt, answers, inputs
    turns: list[int] = field(default_factory=list)  # where in it turns begin that could be dropped
    inputs: list[Input] | None = field(default_factory=list)  # in it; None once what it says isn't all there
    closing: int = 0  # tokens of a later turn that close the answer before
    soft: bytes = b""  # embeddings (float32) of its first tokens, each `port.SOFT`
    prompt_tokens: int = 0
    generated: int = 0  # tokens, in all turns
    turn_tokens: int = 0  # tokens, in this turn
    turn_bytes: int = 0  # of this turn's text since it was last cut off, already given out
    turn_cut: int = 0  # tokens of this turn before its text was last cut off by a limit
    turn_limit: int = 0  # tokens this turn may have
    turn_before: int = 0  # tokens of this turn before its last result, which the counters above leave out
    turn_over: bool = False
    turn_end: TurnEnd | None = None  # from which nothing has followed yet
    draws: int = 0  # random numbers the sampler has used in this turn
    offset: int = 0  # bytes of output given out
    syscalls: int = 0  # what its calls have cost
    called: int = 0  # calls it has made; the number of the last
    granted: Quota = NO_QUOTA  # of its parent's quota, until it ends
    lent: Quota = NO_QUOTA  # of its own, to children that live
    settled: Quota = NO_QUOTA  # used of it by children that have ended
    bounds: Bounds = NO_BOUNDS  # but for tokens and calls, which are always limited
    wrap_up: WrapUp = ""  # whether it is to be told to finish, or was
    heard: int = 0  # tokens of prompts, inputs and results, but for those a FORK gave it
    cpu_secs: float = 0.0  # of its programs
    meter: Meter = field(default_factory=Meter)  # of its context
    brought: Quota = NO_QUOTA  # used before it was brought back
    calls: tuple[Call, ...] = ()  # that the turn has come to, and that have no result yet
    calling: bool = False  # the first of them has begun
    traits: tuple[str, ...] = ()  # of what its calls have done, for the rule of two
    letters: deque[Letter] = field(default_factory=deque)  # sent to it, and not received yet
    notes: dict[str, str] = field(default_factory=dict)  # what it remembers by mem_write
    queued_writes: int = 0  # to its memory, that wait for room
    ended: float = 0.0

    account: Account | None = None  # its owner's
    edited: int = 0  # the first of its tokens that nobody has written down
    on_change: Callable[[Process], None] | None = None  # called when what a restart needs is another
    sink: Sink | None = None
    on_end: Callable[[Process], None] | None = None  # called before its tokens are forgotten
    finish_by: int = 0  # once told to end: the generated tokens it may have then
    waiting_before: Wait | None = None  # until it was suspended, or an input came that is on its way
    phase: str = "queued"
    since: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.since = self.meter.since = self.created
        self.turn_limit = self.plan.max_tokens

    @property
    def terminating(self) -> bool:
        """Whether it was told to end and may finish its sentence."""
        return self.finish_by > 0

    @property
    def budget(self) -> int:
        """Tokens it may still generate in this turn: what its limit and the quota leave."""
        return min(self.turn_limit - self.turn_tokens, self.tokens_left)

    @property
    def tokens_left(self) -> int:
        """Tokens that the quota leaves it, in all turns."""
        return self.quota_tokens - self.generated - self.lent.tokens - self.settled.tokens

    @property
    def syscalls_left(self) -> int:
        """What its calls may still cost."""
        return self.quota_syscalls - self.syscalls - self.lent.syscalls - self.settled.syscalls

    @property
    def exhausted(self) -> bool:
        """Whether it, or its owner, may generate no more."""
        return self.tokens_left <= 0 or (self.account is not None and self.account.left("tokens") <= 0)

    @property
    def hard(self) -> Limits:
        """Its limits of all kinds."""
        own = {"tokens": self.quota_tokens, "syscalls": self.quota_syscalls}
        return msgspec.structs.replace(self.bounds.hard, **own)

    def left(self, kind: str, now: float = 0.0) -> float:
        """What it, and its owner, may still use of a kind; `now` matters for what is measured."""
        own = self.hard.left(kind, self.used(now) + self.lent + self.settled)
        return own if self.account is None else min(own, self.account.left(kind))

    @property
    def room(self) -> int | None:
        """Tokens that may still be put into its context; None for any number."""
        left = self.left("prompt_tokens")
        return None if left == float("inf") else max(0, int(left))

    def used(self, now: float) -> Quota:
        """What it used itself."""
        wall, held = self.elapsed(now), self.meter.total(now)
        return Quota(self.generated, self.syscalls, self.heard, wall, self.cpu_secs, held)

    def charge(self, syscalls: int = 0, heard: int = 0, cpu_secs: float = 0.0) -> None:
        """It has used so much more."""
        self.syscalls += syscalls
        self.heard += heard
        self.cpu_secs += cpu_secs
        if self.account is not None:
            self.account.charge(Quota(0, syscalls, heard, 0.0, cpu_secs))
        self.changed()

    def hold(self, held: Held, now: float) -> None:
        """Its context takes so many bytes."""
        more = self.meter.hold(held, now)
        if more and self.account is not None:
            self.account.charge(Quota(kv_byte_secs=more))

    def lendable(self, now: float) -> Quota:
        """What its limits leave of what is lent besides tokens and calls."""
        used = self.used(now) + self.lent + self.settled
        left: dict[str, Any] = {kind: self.bounds.hard.left(kind, used) for kind in LENT}
        return Quota(**{kind: max(0, most) for kind, most in left.items() if most != float("inf")})

    def lend(self, child: Process) -> None:
        """A child that lives has what it was granted."""
        self.lent += child.granted

    def settle(self, child: Process) -> None:
        """The child has ended: what it didn't use is there again, and no more, whatever its quota became."""
        used = child.used(child.since) + child.lent + child.settled
        self.lent -= child.granted
        self.settled += used.within(child.granted)
        self.changed()

    def changed(self) -> None:
        """What a restart needs is another."""
        if self.on_change is not None:
            self.on_change(self)

    def take(self, tokens: list[int], size: int, draws: int, end: TurnEnd | None = None) -> None:
        """What a step of the engine brought: tokens, bytes of text, random numbers used so far, an end."""
        self.tokens += tokens
        self.turn_end = end
        self.generated += len(tokens)
        if self.account is not None:
            self.account.charge(Quota(len(tokens)))
        self.turn_tokens += len(tokens)
        self.draws = draws
        self.offset += size
        self.turn_bytes += size

    def edit(self, start: int, end: int, tokens: Sequence[int]) -> None:
        """Put other tokens in place of some of its context."""
        if start == len(self.tokens) and self.inputs is not None:
            self.inputs.append(Input(start, start + len(tokens), self.draws))
        elif not self.generated:
            self.inputs = [Input(0, len(self.tokens) + len(tokens) - (end - start))]
        else:
            self.inputs = None
        self.tokens[start:end] = tokens
        self.edited = min(self.edited, start)
        self.changed()

    def begin_turn(self, now: float) -> None:
        """A new turn: what belongs to one turn starts again."""
        self.changed()
        self.asked, self.missed = now - self.created, ()
        self.turn_tokens = self.turn_bytes = self.turn_cut = self.turn_before = 0
        self.turn_limit, self.turn_over, self.turn_end = self.plan.max_tokens, False, None

    def extend_turn(self) -> None:
        """A turn that came to its limit may go on as far again."""
        self.turn_limit, self.turn_over = self.turn_tokens + self.plan.max_tokens, False
        self.cut_text()
        self.changed()

    def continue_turn(self) -> None:
        """The turn goes on behind the result of a call, with the tokens that are left of its limit."""
        self.changed()
        self.turn_end = None
        self.turn_limit -= self.turn_tokens
        self.turn_before += self.turn_tokens
        self.turn_tokens = self.turn_bytes = self.turn_cut = 0

    def cut_text(self) -> None:
        """A limit has had the turn's text flushed; what follows is counted anew."""
        self.turn_bytes, self.turn_cut = 0, self.turn_tokens
        self.changed()

    def move(self, event: Event, now: float, wait: Wait | None = None, reason: str = "") -> None:
        """Change state; raises WRONG_STATE where `TRANSITIONS` has no such move."""
        target = TRANSITIONS[self.state].get(event)
        if target is None:
            raise KernelError("WRONG_STATE", f"PID {self.pid} is {self.state.value}: no {event.value}")
        self.waiting_before = self.wait if target is State.SUSPENDED else None
        self.state, self.wait = target, wait
        self.reason = reason or self.reason
        self.changed()
        if target.ended:
            self.enter("ended", now)
            self.ended = now
        else:
            self.enter(phase_of(target, wait), now)

    def enter(self, phase: str, now: float) -> None:
        """Begin another phase of its time."""
        self.spent[self.phase] = self.spent.get(self.phase, 0.0) + (now - self.since)
        self.phase, self.since = phase, now

    def times(self, now: float) -> dict[str, float]:
        """Seconds by phase up to now; their sum is the wall time."""
        spent = dict(self.spent)
        if not self.state.ended:
            spent[self.phase] = spent.get(self.phase, 0.0) + (now - self.since)
        return spent

    def elapsed(self, now: float) -> float:
        """Wall time in seconds, up to its end."""
        return (self.ended if self.state.ended else now) - self.created

    def marker(self, now: float) -> bytes:
        """The end marker, byte for byte as clients match it (§4.3)."""
        text = f"pid={self.pid} tokens_generated={self.generated} elapsed_secs={self.elapsed(now):.3f}"
        return f"\n[PROCESS_FINISHED {text}]\n".encode()


def phase_of(state: State, wait: Wait | None) -> str:
    """What the time of a process counts as that has come to this state; of one that runs, at first."""
    return "syscall" if wait is Wait.SYSCALL else _PHASES.get(state, "prefill")


_PHASES = {State.READY: "queued", State.WAITING: "waiting", State.SUSPENDED: "suspended"}

"""What is written down of a process, and how it is read back.

Rules
1. What a restart needs of a process is in `Standing`, its tokens or its birth; nothing else survives.
2. Replay is the functions that live traffic calls: `Process.take` and `Process.edit`.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Any

import msgspec

from agentkernel.calls import Call
from agentkernel.journal.errors import JournalCorruptError
from agentkernel.journal.store import STANDS
from agentkernel.plan import NO_DEADLINES, Deadlines, Input, Lane, Letter, Plan
from agentkernel.process import Owner, Priority, Process, State, TurnEnd, Wait, WrapUp, phase_of
from agentkernel.quotas import NO_BOUNDS, NO_QUOTA, Books, Bounds, Meter, Quota

_PLAN = [(field.name, field.default) for field in msgspec.structs.fields(Plan)]
_LEARNT = frozenset(Plan.__struct_fields__[Plan.__struct_fields__.index("schemas") + 1 :])
_PACKED = "i"  # four bytes, signed: `port.SOFT` is negative


class Birth(msgspec.Struct, frozen=True):
    """What of a process never changes; `fingerprint` is its model file's, `digest` of that and the plan."""

    owner: Owner
    plan: Plan
    model_id: str
    fingerprint: str
    client: int = 0
    digest: bytes = b""

    @classmethod
    def of(cls, process: Process, fingerprint: str) -> Birth:
        """The process's."""
        plan = process.plan
        digest = _digest(plan, fingerprint)
        return cls(process.owner, plan, process.model_id, fingerprint, process.client, digest)

    def check(self) -> None:
        """Raise ValueError unless the plan is that which was admitted."""
        if self.digest not in (b"", _digest(self.plan, self.fingerprint)):
            raise ValueError("its plan is not the one that was admitted")


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """All else that a restart needs, but for tokens and text; fields are those of `Process`."""

    age: float  # seconds from its birth
    spent: dict[str, float]
    priority: Priority
    quota_tokens: int
    quota_syscalls: int
    group: str = ""
    base_group: str = ""
    parent: int = 0
    epoch: int = 1
    lane: Lane = "interactive"
    nice: int = 0
    deadlines: Deadlines = NO_DEADLINES
    asked: float = 0.0
    missed: tuple[str, ...] = ()
    state: State = State.READY
    wait: Wait | None = None
    reason: str = ""
    turns: list[int] = []
    inputs: list[Input] | None = None
    closing: int = 0
    prompt_tokens: int = 0
    generated: int = 0
    turn_tokens: int = 0
    turn_bytes: int = 0
    turn_cut: int = 0
    turn_before: int = 0
    turn_limit: int = 0
    turn_over: bool = False
    turn_end: TurnEnd | None = None
    draws: int = 0
    offset: int = 0
    syscalls: int = 0
    called: int = 0
    granted: Quota = NO_QUOTA
    settled: Quota = NO_QUOTA
    bounds: Bounds = NO_BOUNDS
    wrap_up: WrapUp = ""
    heard: int = 0
    cpu_secs: float = 0.0
    kv_byte_secs: float = 0.0
    brought: Quota = NO_QUOTA
    calls: tuple[Call, ...] = ()
    calling: bool = False
    traits: tuple[str, ...] = ()
    letters: list[Letter] = []
    notes: dict[str, str] = {}
    finish_by: int = 0
    waiting_before: Wait | None = None

    @classmethod
    def of(cls, process: Process, now: float) -> Standing:
        """How the process stands now."""
        fields = dict(zip(_SAME, _values(process), strict=True))
        letters, held = list(process.letters), process.meter.total(now)
        age, spent = process.elapsed(now), process.times(now)
        return cls(age=age, spent=spent, letters=letters, kv_byte_secs=held, **fields)

    def onto(self, process: Process, now: float) -> None:
        """Make the process stand so."""
        for name in _SAME:
            setattr(process, name, getattr(self, name))
        process.spent, process.letters = dict(self.spent), deque(self.letters)
        process.turns, process.notes = list(self.turns), dict(self.notes)
        process.inputs = None if self.inputs is None else list(self.inputs)
        process.created, process.since = now - self.age, now
        process.meter = Meter(self.kv_byte_secs, since=now)
        process.phase = phase_of(self.state, self.wait)


_OTHERS = ("age", "spent", "letters", "kv_byte_secs")
_SAME = tuple(name for name in Standing.__struct_fields__ if name not in _OTHERS)
_values = attrgetter(*_SAME)


class Whole(msgspec.Struct, frozen=True):
    """All of a process but its text, its tokens packed."""

    birth: Birth
    standing: Standing
    tokens: bytes
    soft: bytes = b""

    @classmethod
    def of(cls, process: Process, birth: Birth, now: float) -> Whole:
        """The process now."""
        return cls(birth, Standing.of(process, now), packed(process.tokens), process.soft)

    def process(self, pid: int, now: float) -> Process:
        """The process again. Raises ValueError for a plan that is not the one that was admitted."""
        birth, standing = self.birth, self.standing
        birth.check()
        quotas = standing.quota_tokens, standing.quota_syscalls
        made = Process(pid, birth.owner, birth.plan, birth.model_id, standing.priority, *quotas, now)
        made.client, made.soft = birth.client, self.soft
        standing.onto(made, now)
        made.tokens = unpacked(self.tokens)
        return made


class Saved(msgspec.Struct, frozen=True):
    """A process in a checkpoint: with it, whether the call that it makes had begun, and what that came to."""

    whole: Whole
    begun: bool = False
    result: str | None = None


class Took(msgspec.Struct, array_like=True, frozen=True):
    """What a step brought: tokens packed, bytes of text, random numbers used, the turn's end."""

    tokens: bytes
    size: int
    draws: int
    end: TurnEnd | None = None


class Tokens(msgspec.Struct, array_like=True, frozen=True):
    """All the tokens from a position on, packed."""

    start: int
    tokens: bytes


encode = msgspec.msgpack.Encoder().encode
_whole = msgspec.msgpack.Decoder(Whole).decode
saved = msgspec.msgpack.Decoder(Saved).decode
books = msgspec.msgpack.Decoder(Books).decode
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "standing": msgspec.msgpack.Decoder(Standing).decode,
    "took": msgspec.msgpack.Decoder(Took).decode,
    "tokens": msgspec.msgpack.Decoder(Tokens).decode,
    "soft": lambda body: body,
}


def replayed(records: Iterable[tuple[int, str, bytes]], now: float) -> dict[int, tuple[Process, str]]:
    """Processes, and their models' fingerprints, from what is written down of them.

    Raises JournalCorruptError for what can't be that.
    """
    found: dict[int, tuple[Process, str]] = {}
    pid = 0
    try:
        for pid, kind, body in records:
            if kind == STANDS:
                whole = _whole(body)
                found[pid] = whole.process(pid, now), whole.birth.fingerprint
            else:
                _replay(found[pid][0], kind, _DECODERS[kind](body), now)
    except (ValueError, KeyError) as error:  # msgspec's errors among them
        raise JournalCorruptError(f"the journal's records of process {pid} are damaged: {error}") from error
    return found


def _digest(plan: Plan, fingerprint: str) -> bytes:
    """What plans have learnt to say since digests are kept counts where it is said: old ones stay true."""
    said = {
        name: value
        for name, default in _PLAN
        if (value := getattr(plan, name)) != default or name not in _LEARNT
    }
    return blake2b(encode((said, fingerprint)), digest_size=16).digest()


def _replay(process: Process, kind: str, record: Any, now: float) -> None:
    match record:
        case Took(tokens=tokens, size=size, draws=draws, end=end):
            process.take(unpacked(tokens), size, draws, end)
        case Tokens(start=start, tokens=tokens):
            process.edit(start, len(process.tokens), unpacked(tokens))
        case Standing():
            record.onto(process, now)
        case bytes() if kind == "soft":
            process.soft = record


def packed(tokens: Sequence[int]) -> bytes:
    """Tokens as bytes."""
    return array(_PACKED, tokens).tobytes()


def unpacked(data: bytes) -> list[int]:
    """And back."""
    found = array(_PACKED)
    found.frombytes(data)
    return found.tolist()

"""Processes as the journal has them: what a restart needs of each, written when it changes, and read back.

Rules
1. Nothing of a process is seen before it is in the journal: `took` and `commit` come before any delivery.
2. A process's records begin with all of it (`stands`); then come, in order, what steps brought (`took`),
   tokens that are others from a position on (`tokens`), its soft prompt (`soft`), and all else that a restart
   needs whenever that changed (`standing`). From time to time they begin anew.
3. Replay is the same functions: `Process.take` and `Process.edit`.
4. Times are kept as seconds spent, not as moments: the time that the kernel was down belongs to nobody.
5. What can't be written down for want of room is not delivered until it is.
"""

from __future__ import annotations

import os
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from agentkernel import log
from agentkernel.calls import Call
from agentkernel.config import Config
from agentkernel.errors import KernelError
from agentkernel.journal.errors import JournalFailedError, JournalFullError
from agentkernel.journal.opening import FILE_NAME, wal_of
from agentkernel.journal.reading import Call as Intent
from agentkernel.journal.store import STANDS, Journal
from agentkernel.journal.upkeep import Retention
from agentkernel.process import (
    NO_QUOTA,
    Letter,
    Owner,
    Plan,
    Priority,
    Process,
    Quota,
    State,
    TurnEnd,
    Wait,
    phase_of,
)

_log = log.get("journal")

_PACKED = "i"  # four bytes, signed: `port.SOFT` is negative
_BEYOND_TRUST = 74  # EX_IOERR
_MOST_RECORDS = 2048  # of a process, before they begin anew


class Birth(msgspec.Struct, frozen=True):
    """What of a process never changes; `fingerprint` is its model file's."""

    owner: Owner
    plan: Plan
    model_id: str
    fingerprint: str
    client: int = 0


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
    state: State = State.READY
    wait: Wait | None = None
    reason: str = ""
    turns: list[int] = []
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
        fields = {name: getattr(process, name) for name in _SAME}
        letters = list(process.letters)
        return cls(age=process.elapsed(now), spent=process.times(now), letters=letters, **fields)

    def onto(self, process: Process, now: float) -> None:
        """Make the process stand so."""
        for name in _SAME:
            setattr(process, name, getattr(self, name))
        process.spent, process.letters = dict(self.spent), deque(self.letters)
        process.turns, process.notes = list(self.turns), dict(self.notes)
        process.created, process.since = now - self.age, now
        process.phase = phase_of(self.state, self.wait)


_SAME = tuple(name for name in Standing.__struct_fields__ if name not in ("age", "spent", "letters"))


class Whole(msgspec.Struct, frozen=True):
    """All of a process but its text, its tokens packed."""

    birth: Birth
    standing: Standing
    tokens: bytes
    soft: bytes = b""

    @classmethod
    def of(cls, process: Process, fingerprint: str, now: float) -> Whole:
        """The process now."""
        birth = Birth(process.owner, process.plan, process.model_id, fingerprint, process.client)
        return cls(birth, Standing.of(process, now), _packed(process.tokens), process.soft)

    def process(self, pid: int, now: float) -> Process:
        """The process again."""
        birth, standing = self.birth, self.standing
        quotas = standing.quota_tokens, standing.quota_syscalls
        made = Process(pid, birth.owner, birth.plan, birth.model_id, standing.priority, *quotas, now)
        made.client, made.soft = birth.client, self.soft
        standing.onto(made, now)
        made.tokens = _unpacked(self.tokens)
        return made


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


_encode = msgspec.msgpack.Encoder().encode
_whole = msgspec.msgpack.Decoder(Whole).decode
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "standing": msgspec.msgpack.Decoder(Standing).decode,
    "took": msgspec.msgpack.Decoder(Took).decode,
    "tokens": msgspec.msgpack.Decoder(Tokens).decode,
    "soft": lambda body: body,
}


def open_journal(config: Config) -> Journal:
    """The journal that the settings name; with durability `off` a new one each time. Raises JournalError."""
    state, settings = Path(config.state), config.journal
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = state / FILE_NAME
    if settings.durability == "off":
        path = state / "unkept.db"
        for file in (path, wal_of(path)):
            file.unlink(missing_ok=True)
    retention = Retention(settings.hours * 3600, settings.ended, settings.mb << 20)
    return Journal(path, settings.durability, retention=retention)


class _Kept:
    """What the recorder knows of a live process: its tokens and records in the journal."""

    __slots__ = ("fingerprint", "records", "soft", "tokens")

    def __init__(self, fingerprint: str, tokens: int, *, soft: bool) -> None:
        self.fingerprint, self.tokens, self.soft, self.records = fingerprint, tokens, soft, 1


class Recorder:
    """Writes processes down, and brings them back."""

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self.journal, self._clock = journal, clock
        self._kept: dict[int, _Kept] = {}
        self._changed: dict[int, Process] = {}
        self._begun: dict[int, int] = {}  # by PID, the number of the call that is being made
        self._recovered: dict[int, int] = {}  # and of the last one that a former kernel knew of
        self._owed = self._paid = 0  # of what was written so that somebody relies on it; and of that, synced

    def __repr__(self) -> str:
        return f"<Recorder processes={len(self._kept)} changed={len(self._changed)}>"

    @property
    def owes(self) -> bool:
        """Whether there is something that `synced` has to wait for."""
        return self.journal.durability != "off" and (self._owed > self._paid or bool(self._changed))

    def born(self, process: Process, fingerprint: str) -> None:
        """A process has begun; from now on its changes are written down."""
        whole = Whole.of(process, fingerprint, self._clock())
        self.journal.begin(process.pid, process.owner.name, _encode(whole))
        if process.plan.key:
            self.journal.claim(process.owner.name, process.plan.key, process.pid, time.time())
        self._owed += 1
        self._watch(process, fingerprint)

    def keyed(self, owner: Owner, key: str) -> int | None:
        """The PID of the owner's process that was started with the key within a day."""
        return self.journal.claimed(owner.name, key, time.time())

    def took(
        self, process: Process, tokens: list[int], text: bytes, draws: int, end: TurnEnd | None = None
    ) -> None:
        """A step has brought this."""
        start, pid = process.offset, process.pid
        process.take(tokens, len(text), draws, end)
        self._owed += self.journal.durability == "power"
        if pid not in self._changed:  # else all of it is written anyway
            self._append(pid, "took", Took(_packed(tokens), len(text), draws, end))
            process.edited = self._kept[pid].tokens = len(process.tokens)
        self.journal.output(pid, start, text)

    def ended(self, process: Process) -> None:
        """Nothing follows of the process."""
        self._write_changes()
        del self._kept[process.pid]
        self._begun.pop(process.pid, None)
        self._recovered.pop(process.pid, None)
        self.journal.ended(process.pid, time.time())
        self._owed += 1

    def commit(self) -> bool:
        """Write down every change so far; whether it may be seen, or has to be synced, or written, first."""
        self._write_changes()
        try:
            self.journal.commit()
        except JournalFullError:
            return self.journal.durability == "off"
        except JournalFailedError as error:
            _give_up(error)
        return self.journal.durability != "power" or self._paid == self._owed

    async def synced(self) -> None:
        """What was written down so far survives what the durability says. Raises JOURNAL_FULL."""
        self._write_changes()
        owed = self._owed  # more may come to it meanwhile
        if owed > self._paid:
            try:
                await self.journal.synced()
            except JournalFullError as error:
                raise KernelError("JOURNAL_FULL", str(error)) from error
            except JournalFailedError as error:
                _give_up(error)
            self._paid = max(self._paid, owed)

    def intend(self, pid: int, call: int, tool: str, digest: str, *, idempotent: bool) -> bool:
        """The process's call of that number begins; whether it had begun before."""
        self._begun[pid] = call
        if call <= self._recovered.get(pid, 0) and any(c.call == call for c in self.journal.calls(pid)):
            return True
        self.journal.intent(pid, Intent(call, tool, digest, idempotent))
        return False

    def finished(self, pid: int, call: int, result: str) -> None:
        """It has come to this, if it had begun."""
        if self._begun.pop(pid, 0) == call:
            self.journal.result(pid, call, result.encode())

    def result(self, pid: int, call: int) -> str | None:
        """What it has come to; None when that is not known."""
        found = next((known for known in self.journal.calls(pid) if known.call == call), None)
        return None if found is None or found.result is None else found.result.decode()

    def output(self, pid: int, start: int, limit: int) -> bytes:
        """What the process put out from a byte on; nothing when that is no longer kept."""
        try:
            return self.journal.read_output(pid, start, limit)
        except ValueError:
            return b""

    def kept(self, pid: int) -> tuple[str, int] | None:
        """The name of the process's owner and the size of its output, as far as they are kept."""
        found = self.journal.kept(pid)
        return None if found is None else (found.owner, found.size)

    def recover(self) -> list[tuple[Process, str]]:
        """Every live process as it stood, oldest first, with the fingerprint of its model's file."""
        found: dict[int, tuple[Process, str]] = {}
        now = self._clock()
        for pid, kind, body in self.journal.replay():
            if kind == STANDS:
                whole = _whole(body)
                found[pid] = whole.process(pid, now), whole.birth.fingerprint
            else:
                _replay(found[pid][0], kind, _DECODERS[kind](body), now)
        for process, fingerprint in found.values():
            self._watch(process, fingerprint)
            self._recovered[process.pid] = process.called
        return [found[pid] for pid in sorted(found)]

    def maintain(self) -> None:
        """Write down what changed while nothing ran, and do a little of what keeps the journal small."""
        self._write_changes()
        try:
            self.journal.maintain(time.time())
        except JournalFullError:
            return  # later, then
        except JournalFailedError as error:
            _give_up(error)

    def close(self) -> None:
        """Nothing is written any more."""
        self._write_changes()
        try:
            self.journal.close()
        except JournalFullError as error:
            _log.error("what came last could not be written down", error=str(error))

    def _append(self, pid: int, kind: str, record: msgspec.Struct) -> None:
        self.journal.append(pid, kind, _encode(record))
        self._kept[pid].records += 1

    def _write_changes(self) -> None:
        changed, self._changed = self._changed, {}
        for pid, process in changed.items():
            kept, start = self._kept[pid], process.edited
            if kept.records >= _MOST_RECORDS:
                self.journal.compact(pid, _encode(Whole.of(process, kept.fingerprint, self._clock())))
                kept.records = 1
            else:
                if start < max(kept.tokens, len(process.tokens)):
                    self._append(pid, "tokens", Tokens(start, _packed(process.tokens[start:])))
                if process.soft and not kept.soft:
                    self.journal.append(pid, "soft", process.soft)
                self._append(pid, "standing", Standing.of(process, self._clock()))
            process.edited = kept.tokens = len(process.tokens)
            kept.soft = bool(process.soft)
            self._owed += 1

    def _watch(self, process: Process, fingerprint: str) -> None:
        self._kept[process.pid] = _Kept(fingerprint, len(process.tokens), soft=bool(process.soft))
        process.edited = len(process.tokens)
        process.on_change = self._change

    def _change(self, process: Process) -> None:
        self._changed[process.pid] = process


def _give_up(error: JournalFailedError) -> NoReturn:
    """What is on the disk is not known any more: end at once, so that the next kernel finds out."""
    os.write(2, f"agentkernel: {error}\n".encode())  # the log's threads end with the process
    os._exit(_BEYOND_TRUST)


def _replay(process: Process, kind: str, record: Any, now: float) -> None:
    match record:
        case Took(tokens=tokens, size=size, draws=draws, end=end):
            process.take(_unpacked(tokens), size, draws, end)
        case Tokens(start=start, tokens=tokens):
            process.edit(start, len(process.tokens), _unpacked(tokens))
        case Standing():
            record.onto(process, now)
        case bytes() if kind == "soft":
            process.soft = record


def _packed(tokens: Sequence[int]) -> bytes:
    return array(_PACKED, tokens).tobytes()


def _unpacked(data: bytes) -> list[int]:
    found = array(_PACKED)
    found.frombytes(data)
    return found.tolist()

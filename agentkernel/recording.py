"""Processes as the journal has them: what a restart needs of each, written when it changes, and read back.

Rules
1. Nothing of a process is seen before it is in the journal: `took` and `commit` come before any delivery.
2. A process's records begin with all of it (`stands`); then come, in order, what steps brought (`took`),
   tokens that are others from a position on (`tokens`), its soft prompt (`soft`), and all else that a restart
   needs whenever that changed (`standing`). From time to time they begin anew, and with its end.
3. Times are kept as seconds spent, not as moments: the time that the kernel was down belongs to nobody.
4. What can't be written down for want of room is not delivered until it is.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from agentkernel import log
from agentkernel.config import Config
from agentkernel.errors import KernelError
from agentkernel.journal.errors import JournalCorruptError, JournalFailedError, JournalFullError
from agentkernel.journal.opening import FILE_NAME, wal_of
from agentkernel.journal.reading import Call as Intent
from agentkernel.journal.reviving import Revival
from agentkernel.journal.store import STANDS, Journal
from agentkernel.journal.upkeep import Retention
from agentkernel.process import Owner, Process, TurnEnd
from agentkernel.quotas import Books
from agentkernel.records import Birth, Saved, Standing, Tokens, Took, Whole, books, encode, packed, replayed

_log = log.get("journal")

_BEYOND_TRUST = 74  # EX_IOERR
_MOST_RECORDS = 2048  # of a process, before they begin anew
_RETRY_SECONDS = 0.5  # while the disk is full


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
    """What the recorder knows of a live process: what never changes of it, its tokens and records there."""

    __slots__ = ("birth", "records", "soft", "tokens")

    def __init__(self, birth: Birth, tokens: int, *, soft: bool) -> None:
        self.birth, self.tokens, self.soft, self.records = birth, tokens, soft, 1


class Recorder:
    """Writes processes down, and brings them back."""

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self.journal, self._clock = journal, clock
        self.known: Callable[[Owner], Owner] = lambda owner: owner  # now, of an owner that was written down
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
        birth = Birth.of(process, fingerprint)
        whole = Whole.of(process, birth, self._clock())
        self.journal.begin(process.pid, process.owner.name, encode(whole))
        if process.plan.key:
            self.journal.claim(process.owner.name, process.plan.key, process.pid, time.time())
        self._owed += 1
        self._watch(process, birth)

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
            self._append(pid, "took", Took(packed(tokens), len(text), draws, end))
            process.edited = self._kept[pid].tokens = len(process.tokens)
        self.journal.output(pid, start, text)

    def withdraw(self, process: Process) -> None:
        """The process has not begun after all: its key is free, and what was not committed of it is not."""
        if process.plan.key:
            self.journal.release(process.owner.name, process.plan.key)
        if process.pid in self._kept and self.journal.withdraw(process.pid):
            process.on_change = None
            self._changed.pop(process.pid, None)
            del self._kept[process.pid]

    def ended(self, process: Process) -> None:
        """Nothing follows of the process."""
        if process.pid not in self._kept:  # it was withdrawn
            return
        if process.soft:  # which can be megabytes, and is not written twice
            self._write_changes()
        else:
            self._changed.pop(process.pid, None)
            self._begin_anew(process)
        del self._kept[process.pid]
        self._begun.pop(process.pid, None)
        self._recovered.pop(process.pid, None)
        self.journal.ended(process.pid, time.time())
        self._owed += 1

    def account(self, owner: str, kept: Books) -> None:
        """The owner's account stands so."""
        self.journal.account(owner, encode(kept))
        self._owed += 1

    def accounts(self) -> dict[str, Books]:
        """The accounts of a former kernel. Raises JournalError."""
        found = self.journal.accounts()
        try:
            return {owner: books(body) for owner, body in found}
        except msgspec.MsgspecError as error:
            raise JournalCorruptError(f"the journal's accounts are damaged: {error}") from error

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

    async def written(self) -> None:
        """As `synced`, however long the disk is full."""
        while True:
            try:
                return await self.synced()
            except KernelError:
                await asyncio.sleep(_RETRY_SECONDS)

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
        found = self._replayed(self.journal.replay())
        for process, fingerprint in found.values():
            self._watch(process, Birth.of(process, fingerprint))
            self._recovered[process.pid] = process.called
        return [found[pid] for pid in sorted(found)]

    def past(self, pid: int) -> tuple[Process, str] | None:
        """A process that has ended and is still kept, as it was then, and its model's fingerprint."""
        kept, first = self.journal.kept(pid), self.journal.first_record(pid)
        if kept is None or kept.ended is None or first is None:
            return None
        found = self._replayed([(pid, STANDS, first)])
        if not found[pid][0].state.ended:  # its end is not all of it, and stands anywhere in the log
            found = self._replayed((pid, kind, body) for kind, body in self.journal.records(pid))
        process, fingerprint = found[pid]
        process.ended = process.since
        return (process, fingerprint) if process.state.ended else None  # its end is not written yet

    def save(self, process: Process) -> Saved:
        """The live process as it stands now, for a checkpoint."""
        self.commit()
        whole = Whole.of(process, self._kept[process.pid].birth, self._clock())
        if not process.calling:
            return Saved(whole)
        begun = any(known.call == process.called for known in self.journal.calls(process.pid))
        return Saved(whole, begun, self.result(process.pid, process.called))

    def reborn(self, returned: Sequence[tuple[Process, Saved, list[bytes]]]) -> None:
        """Processes of a checkpoint live, again or as others, with all that they have put out; all or none.

        Raises JOURNAL_FULL, or RESTORE_BUSY for one that is no longer kept.
        """
        now = self._clock()
        try:
            self.journal.revive([_revival(process, saved, text, now) for process, saved, text in returned])
        except JournalFullError as error:
            raise KernelError("JOURNAL_FULL", str(error)) from error
        except JournalFailedError as error:
            _give_up(error)
        except ValueError as error:
            raise KernelError("RESTORE_BUSY", str(error)) from error
        self._owed += 1
        for process, saved, _ in returned:
            if saved.begun:
                self._recovered[process.pid] = process.called
            self._watch(process, Birth.of(process, saved.whole.birth.fingerprint))

    def _replayed(self, records: Iterable[tuple[int, str, bytes]]) -> dict[int, tuple[Process, str]]:
        found = replayed(records, self._clock())
        for process, _ in found.values():
            process.owner = self.known(process.owner)
        return found

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
        self.journal.append(pid, kind, encode(record))
        self._kept[pid].records += 1

    def _begin_anew(self, process: Process) -> None:
        kept = self._kept[process.pid]
        self.journal.compact(process.pid, encode(Whole.of(process, kept.birth, self._clock())))
        kept.records = 1

    def _write_changes(self) -> None:
        changed, self._changed = self._changed, {}
        for pid, process in changed.items():
            kept, start = self._kept[pid], process.edited
            if kept.records >= _MOST_RECORDS:
                self._begin_anew(process)
            else:
                if start < max(kept.tokens, len(process.tokens)):
                    self._append(pid, "tokens", Tokens(start, packed(process.tokens[start:])))
                if process.soft and not kept.soft:
                    self.journal.append(pid, "soft", process.soft)
                self._append(pid, "standing", Standing.of(process, self._clock()))
            process.edited = kept.tokens = len(process.tokens)
            kept.soft = bool(process.soft)
            self._owed += 1

    def _watch(self, process: Process, birth: Birth) -> None:
        self._kept[process.pid] = _Kept(birth, len(process.tokens), soft=bool(process.soft))
        process.edited = len(process.tokens)
        process.on_change = self._change

    def _change(self, process: Process) -> None:
        self._changed[process.pid] = process


def _revival(process: Process, saved: Saved, output: list[bytes], now: float) -> Revival:
    call = None
    if saved.begun:
        result = None if saved.result is None else saved.result.encode()
        call = Intent(process.called, process.calls[0].name, "", idempotent=False, result=result)
    birth = Birth.of(process, saved.whole.birth.fingerprint)
    body = encode(Whole.of(process, birth, now))
    calls = process.called - process.calling
    return Revival(process.pid, process.owner.name, body, output, calls, call)


def _give_up(error: JournalFailedError) -> NoReturn:
    """What is on the disk is not known any more: end at once, so that the next kernel finds out."""
    os.write(2, f"agentkernel: {error}\n".encode())  # the log's threads end with the process
    os._exit(_BEYOND_TRUST)

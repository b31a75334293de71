"""The journal under any order of what it is given, commits, upkeep, restarts and crashes, beside a model.

The model is two plain records of all processes: what was given, and what of it was committed. A crash is a
copy of the files as they stand between two calls.
"""

from __future__ import annotations

import asyncio
import copy
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentkernel.journal import reading
from agentkernel.journal.opening import read_only, wal_of
from agentkernel.journal.reading import Call
from agentkernel.journal.reviving import Revival
from agentkernel.journal.store import KEY_SECONDS, STANDS, Journal
from agentkernel.journal.upkeep import Retention
from agentkernel.journal.verification import verify

RETENTION = Retention(seconds=100.0, processes=3, bytes=400)
bodies = st.binary(max_size=60)
owners = st.sampled_from(["ann", "bob"])
keys = st.sampled_from("xyz")


@dataclass
class One:
    owner: str
    ended: float | None = None
    output: bytes = b""
    calls: list[Call] = field(default_factory=list)
    pages: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Model:
    processes: dict[int, One] = field(default_factory=dict)
    records: list[tuple[int, str, bytes]] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    keys: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    next_pid: int = 1

    def bytes(self, pid: int) -> int:
        one = self.processes[pid]
        results = sum(len(call.result or b"") for call in one.calls)
        return len(one.output) + results + sum(len(body) for other, _, body in self.records if other == pid)

    def retire(self, now: float) -> bool:
        """Whether the first to end had to go, and went."""
        if not self.ended:
            return False
        total, first = sum(map(self.bytes, self.ended)), self.ended[0]
        few = len(self.ended) <= RETENTION.processes and total <= RETENTION.bytes
        if few and self.processes[first].ended + RETENTION.seconds > now:
            return False
        del self.processes[first], self.ended[0]
        self.records = [record for record in self.records if record[0] != first]
        return True


class JournalMachine(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "0" / "journal.db"
        self.journal = Journal(self.path, "off", retention=RETENTION)
        self.given, self.committed = Model(), Model()
        self.now, self.crashes = 0.0, 0
        self.loop = asyncio.new_event_loop()

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self.folder.cleanup()
            self.loop.close()

    def live(self, data: st.DataObject) -> tuple[int, One]:
        pids = [pid for pid, one in self.given.processes.items() if one.ended is None]
        pid = data.draw(st.sampled_from(pids))
        return pid, self.given.processes[pid]

    def some_live(self) -> bool:
        return any(one.ended is None for one in self.given.processes.values())

    # What is given

    @rule(owner=owners, body=bodies, skipped=st.integers(0, 2))
    def begin(self, owner: str, body: bytes, skipped: int) -> None:
        pid = self.given.next_pid + skipped
        self.journal.begin(pid, owner, body)
        self.given.processes[pid] = One(owner)
        self.given.records.append((pid, STANDS, body))
        self.given.next_pid = pid + 1
        with pytest.raises(ValueError):
            self.journal.begin(pid, owner, body)

    @rule(data=st.data(), owner=owners, body=bodies)
    def withdraw(self, data: st.DataObject, owner: str, body: bytes) -> None:
        """What has begun and was not committed has not, nor had its parent's memory."""
        pid = self.given.next_pid
        if self.some_live():
            self.journal.fork(self.live(data)[0], pid)
        self.journal.begin(pid, owner, body)
        self.journal.append(pid, "tokens", body)
        assert self.journal.withdraw(pid)
        assert not self.journal.withdraw(pid)
        self.journal.abandon(pid)

    @precondition(some_live)
    @rule(data=st.data(), texts=st.lists(bodies, max_size=6))
    def write(self, data: st.DataObject, texts: list[bytes]) -> None:
        """A step: a record and output, of one process after the other."""
        for text in texts:
            pid, one = self.live(data)
            self.journal.append(pid, "tokens", text[::-1])
            self.given.records.append((pid, "tokens", text[::-1]))
            self.journal.output(pid, len(one.output), text)
            one.output += text
            with pytest.raises(ValueError):
                self.journal.output(pid, len(one.output) + 1, b"gap")

    @precondition(some_live)
    @rule(data=st.data())
    def ended(self, data: st.DataObject) -> None:
        pid, one = self.live(data)
        self.journal.ended(pid, self.now)
        one.ended = self.now
        one.pages = {}
        self.given.ended.append(pid)
        self.now += 1
        with pytest.raises(ValueError):
            self.journal.append(pid, "tokens", b"")

    @precondition(lambda self: self.given.processes)
    @rule(data=st.data(), body=bodies)
    def compact(self, data: st.DataObject, body: bytes) -> None:
        pid = data.draw(st.sampled_from(sorted(self.given.processes)))
        self.journal.compact(pid, body)
        self.given.records = [each for each in self.given.records if each[0] != pid]
        self.given.records.append((pid, STANDS, body))

    @precondition(some_live)
    @rule(data=st.data(), skipped=st.integers(1, 3), again=st.booleans())
    def intent(self, data: st.DataObject, skipped: int, again: bool) -> None:
        pid, one = self.live(data)
        call = Call((one.calls[-1].call if one.calls else 0) + skipped, "calc", "digest", again)
        self.journal.intent(pid, call)
        one.calls.append(call)

    @precondition(lambda self: self.given.processes)
    @rule(data=st.data(), body=bodies)
    def result(self, data: st.DataObject, body: bytes) -> None:
        pid = data.draw(st.sampled_from(sorted(self.given.processes)))
        calls = self.given.processes[pid].calls
        for place, call in enumerate(calls):
            if call.result is None:
                self.journal.result(pid, call.call, body)
                calls[place] = Call(call.call, call.tool, call.digest, call.idempotent, body)
            with pytest.raises(ValueError):
                self.journal.result(pid, call.call, body)

    @precondition(some_live)
    @rule(data=st.data(), pages=st.dictionaries(st.integers(0, 4), bodies.filter(len), max_size=4))
    def write_memory(self, data: st.DataObject, pages: dict[int, bytes]) -> None:
        """Contents are written at once, with all that was given; who has them is given."""
        pid, one = self.live(data)
        numbers = self.loop.run_until_complete(self.journal.contents(list(pages.values())))
        self.committed = copy.deepcopy(self.given)
        if data.draw(st.booleans()):
            self.journal.pages(pid, dict(zip(pages, numbers, strict=True)))
            one.pages |= pages
        else:
            self.journal.discard(numbers)

    @precondition(some_live)
    @rule(data=st.data(), owner=owners, begins=st.booleans())
    def fork(self, data: st.DataObject, owner: str, begins: bool) -> None:
        """The child has what its parent had before it wrote again."""
        pid, one = self.live(data)
        child, before = self.given.next_pid, dict(one.pages)
        self.journal.fork(pid, child)
        self.write_memory(data, {0: b"again"})
        if begins:
            self.begin(owner, b"child", 0)
            self.given.processes[child].pages = before
        self.journal.abandon(child)

    @rule(data=st.data(), owner=owners, body=bodies, output=st.lists(bodies.filter(len), max_size=3))
    def revive(self, data: st.DataObject, owner: str, body: bytes, output: list[bytes]) -> None:
        """Processes that have ended, and new ones, live at once, each with what it was given."""
        before = self.given.next_pid
        pids = data.draw(
            st.lists(st.sampled_from([*self.given.ended, before, before + 2]), min_size=1, unique=True)
        )
        revivals, after = [], {}
        for pid in pids:
            one = self.given.processes.get(pid, One(owner))
            kept = data.draw(st.integers(0, one.calls[-1].call + 1 if one.calls else 1))
            result = data.draw(st.none() | bodies)
            call = Call(kept + 1, "calc", "", False, result) if data.draw(st.booleans()) else None
            pages = data.draw(st.dictionaries(st.integers(0, 4), bodies.filter(len), max_size=2))
            numbers = self.loop.run_until_complete(self.journal.contents(list(pages.values())))
            self.journal.pages(pid, dict(zip(pages, numbers, strict=True)))
            revivals.append(Revival(pid, one.owner, body, output, kept, call))
            calls = [each for each in one.calls if each.call <= kept] + [call] * (call is not None)
            after[pid] = One(one.owner, None, b"".join(output), calls, pages)
        self.committed = copy.deepcopy(self.given)
        self.refuse_to_revive(revivals)
        if data.draw(st.booleans()):
            for pid in pids:
                self.journal.abandon(pid)
            return
        self.journal.revive(revivals)
        self.given.processes |= after
        self.given.ended = [pid for pid in self.given.ended if pid not in pids]
        self.given.records = [each for each in self.given.records if each[0] not in pids]
        self.given.records += [(pid, STANDS, body) for pid in pids]
        self.given.next_pid = max([before, *(pid + 1 for pid in pids)])
        self.committed = copy.deepcopy(self.given)

    def refuse_to_revive(self, revivals: list[Revival]) -> None:
        """None of them, with one that lives or is gone."""
        known = self.given.processes
        for pid in range(1, self.given.next_pid):
            may = pid not in known and pid >= self.journal._ledger.mark
            if not may and (pid not in known or known[pid].ended is None):
                with pytest.raises(ValueError):
                    self.journal.revive([*revivals, Revival(pid, "ann", b"", [])])

    @rule(owner=owners, key=keys, pid=st.integers(1, 9))
    def claim(self, owner: str, key: str, pid: int) -> None:
        holder, expires = self.given.keys.get((owner, key), (0, 0.0))
        expected = holder if expires > self.now else pid
        assert self.journal.claim(owner, key, pid, self.now) == expected
        if expires <= self.now:
            self.given.keys[owner, key] = pid, self.now + KEY_SECONDS

    @rule(owner=owners, key=keys)
    def release(self, owner: str, key: str) -> None:
        self.journal.release(owner, key)
        self.given.keys[owner, key] = 0, -1.0

    @rule(seconds=st.sampled_from([10.0, 60.0, KEY_SECONDS / 2]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    # What makes it last, and what it survives

    @rule()
    def commit(self) -> None:
        self.journal.commit()
        assert not self.journal._claims
        self.committed = copy.deepcopy(self.given)

    @rule(backlog=st.integers(0, 4), pieces=st.integers(1, 12))
    def maintain(self, backlog: int, pieces: int) -> None:
        self.commit()
        for _ in range(pieces):
            if self.given.retire(self.now):
                self.committed = copy.deepcopy(self.given)
            self.journal._upkeep.step(self.now, backlog)

    @rule()
    def checkpoint(self) -> None:
        assert self.journal._database.checkpoint()

    @rule(tear=st.integers(0, 3))
    def crash(self, tear: int) -> None:
        """Go on with the files as they are, and with some bytes more of a commit that was not to be."""
        self.crashes += 1
        left = Path(self.folder.name) / str(self.crashes) / "journal.db"
        left.parent.mkdir()
        shutil.copyfile(self.path, left)
        shutil.copyfile(wal_of(self.path), wal_of(left))
        with wal_of(left).open("ab") as log:
            log.write(b"\x5a" * tear * 3000)
        self.journal.close()
        self.path, self.given = left, copy.deepcopy(self.committed)
        with read_only(self.path) as db:
            assert verify(db).faults == ()
        self.journal = Journal(self.path, "off", retention=RETENTION)

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.committed = copy.deepcopy(self.given)
        self.journal = Journal(self.path, "off", retention=RETENTION)

    # What is found

    @invariant()
    def readers_find_what_was_committed(self) -> None:
        if not hasattr(self, "journal"):
            return
        model, journal = self.committed, self.journal
        alive = {pid for pid, one in model.processes.items() if one.ended is None}
        assert list(journal.replay()) == [each for each in model.records if each[0] in alive]
        for pid, one in model.processes.items():
            assert journal.records(pid) == [each[1:] for each in model.records if each[0] == pid]
            assert journal.output_size(pid) == len(one.output)
            assert journal.read_output(pid, 0, 1 << 20) == one.output
            assert journal.read_output(pid, len(one.output) // 2, 7) == one.output[len(one.output) // 2 :][:7]
            assert journal.calls(pid) == one.calls

    @invariant()
    def the_rest_is_as_it_was_given(self) -> None:
        if not hasattr(self, "journal"):
            return
        model, journal = self.given, self.journal
        assert [(each.pid, each.ended) for each in journal.ended_processes()] == [
            (pid, model.processes[pid].ended) for pid in model.ended
        ]
        assert journal.next_pid == model.next_pid
        for (owner, key), (pid, expires) in model.keys.items():
            assert journal.claimed(owner, key, self.now) == (pid if expires > self.now else None)

    @invariant()
    def processes_have_the_pages_they_were_given(self) -> None:
        if not hasattr(self, "journal"):
            return
        found: dict[int, dict[int, bytes]] = {}
        for content, page, pids in self.journal.held_pages():
            assert pids == sorted(pids)
            for pid in pids:
                (found.setdefault(pid, {})[page],) = self.journal.read_contents([content])
        assert found == {pid: one.pages for pid, one in self.given.processes.items() if one.pages}
        with self.journal._database.reading() as db:
            for pid, one in self.committed.processes.items():
                assert dict(reading.pages(db, pid)) == one.pages

    @invariant()
    def its_sums_are_those_of_its_tables(self) -> None:
        if not hasattr(self, "journal"):
            return
        ledger, model = self.journal._ledger, self.given
        assert ledger.live_rows == len(model.records)
        assert ledger.ended_bytes == sum(map(model.bytes, model.ended))
        with self.journal._database.reading() as db:
            count = db.execute("SELECT count(*) FROM records").fetchone()[0]
            assert ledger.rows == count + len(self.journal._records)
            contents = db.execute("SELECT count(*) FROM contents").fetchone()[0]
            assert contents == len(self.journal.held_pages()) + len(ledger.pages.unused)
            assert ledger.recent == db.execute("SELECT count(*) FROM recent").fetchone()[0]


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=60, stateful_step_count=40)

"""What a recorder writes of processes, when somebody has to wait for it, and what the next one reads."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from agentkernel import recording
from agentkernel.errors import KernelError
from agentkernel.journal.errors import JournalCorruptError
from agentkernel.journal.opening import wal_of
from agentkernel.journal.store import STANDS, Durability, Journal
from agentkernel.plan import Message, Plan, Sampling
from agentkernel.process import Event, Owner, Process
from agentkernel.recording import Recorder
from agentkernel.records import Birth
from tests.by_hand import boot, run
from tests.kept import MIXED, facts, without_threads
from tests.test_process import process

Make = Callable[..., Recorder]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Recorders with a journal of their own; those that come after others have what these had committed."""
    journals: list[Journal] = []

    def make(durability: Durability = "mixed") -> Recorder:
        path = tmp_path / str(len(journals)) / "journal.db"
        if journals:
            before = tmp_path / str(len(journals) - 1) / "journal.db"
            path.parent.mkdir()
            shutil.copyfile(before, path)
            shutil.copyfile(wal_of(before), wal_of(path))
        journals.append(Journal(path, durability))
        without_threads(journals[-1])
        return Recorder(journals[-1], lambda: 5.0)

    yield make
    for journal in journals:
        journal.close()


def born(recorder: Recorder, pid: int = 1) -> Process:
    """A process that has begun, with three tokens, and is written down."""
    one = process(pid)
    one.tokens = [1, 2, 3]
    recorder.born(one, "file")
    recorder.commit()
    return one


def kinds(recorder: Recorder, pid: int = 1) -> list[str]:
    return [kind for kind, _ in recorder.journal.records(pid)]


def recovered(recorder: Recorder) -> list[Process]:
    """The live processes as the journal has them by now."""
    again = Recorder(recorder.journal, lambda: 5.0)
    return [found for found, fingerprint in again.recover() if fingerprint == "file"]


def test_what_a_step_brings_is_a_record_of_its_own_and_nothing_before_it_is_committed(make):
    recorder = make()
    one = born(recorder)
    recorder.took(one, [4, 5], "né".encode(), 2)
    assert kinds(recorder) == [STANDS]
    assert recorder.commit()
    assert kinds(recorder) == [STANDS, "took"]
    assert recorder.output(1, 0, 9) == "né".encode()
    (again,) = recovered(recorder)
    assert facts(again) == facts(one)


def test_of_a_process_that_changed_in_a_step_there_is_how_it_stands_and_its_new_tokens_once(make):
    recorder = make()
    one = born(recorder)
    recorder.took(one, [4], b"a", 1)
    one.move(Event.GRANT, 1.0)
    recorder.took(one, [5], b"b", 2)
    recorder.commit()
    assert kinds(recorder) == [STANDS, "took", "tokens", "standing"]
    (again,) = recovered(recorder)
    assert facts(again) == facts(one)
    assert again.tokens == [1, 2, 3, 4, 5]
    assert recorder.output(1, 0, 9) == b"ab"


@pytest.mark.parametrize(
    ("start", "end", "tokens"), [(1, 2, [9, 9, 9]), (0, 3, []), (0, 0, [7]), (3, 3, [8]), (2, 3, [])]
)
def test_edited_tokens_are_written_from_the_first_that_differs(make, start, end, tokens):
    recorder = make()
    one = born(recorder)
    one.edit(start, end, tokens)
    recorder.commit()
    assert kinds(recorder) == [STANDS, "tokens", "standing"]
    (again,) = recovered(recorder)
    assert again.tokens == one.tokens
    one.edit(0, 1, [6])
    one.edit(1, 1, [5])
    recorder.commit()
    (again,) = recovered(recorder)
    assert again.tokens == one.tokens


def test_a_soft_prompt_is_written_once(make):
    recorder = make()
    one = born(recorder)
    one.soft = b"rows"
    one.edit(0, 0, [-1])
    recorder.commit()
    one.changed()
    recorder.commit()
    assert kinds(recorder).count("soft") == 1
    (again,) = recovered(recorder)
    assert (again.soft, again.tokens) == (b"rows", [-1, 1, 2, 3])


def test_after_so_many_records_they_begin_anew_with_the_next_change(make, monkeypatch):
    monkeypatch.setattr(recording, "_MOST_RECORDS", 6)
    recorder = make()
    one = born(recorder)
    for number in range(8):
        recorder.took(one, [number], b"x", number)
    recorder.commit()
    assert len(kinds(recorder)) == 9
    one.move(Event.GRANT, 1.0)
    recorder.took(one, [99], b"y", 9)
    recorder.commit()
    assert kinds(recorder) == [STANDS]
    recorder.took(one, [100], b"z", 10)
    one.changed()
    recorder.commit()
    assert kinds(recorder) == [STANDS, "took", "standing"]
    (again,) = recovered(recorder)
    assert facts(again) == facts(one)
    assert recorder.output(1, 0, 99) == b"xxxxxxxxyz"


def test_the_live_come_back_the_oldest_first_and_the_ended_do_not(make):
    recorder = make()
    for pid in (3, 1, 2):
        born(recorder, pid)
    ended = process(4)
    recorder.born(ended, "file")
    ended.move(Event.KILL, 2.0, reason="killed")
    recorder.ended(ended)
    recorder.commit()
    after = make()
    assert [found.pid for found, _ in after.recover()] == [1, 2, 3]
    past, fingerprint = after.past(4)
    assert (past.reason, past.ended, fingerprint) == ("killed", 5.0, "file")
    assert after.past(1) is None
    assert after.past(9) is None


def test_how_a_process_ended_is_one_record_that_is_found_at_once(make, monkeypatch):
    recorder = make()
    one = born(recorder)
    for number in range(5):
        recorder.took(one, [number], b"x", number)
    one.move(Event.FINISH, 2.0, reason="stop")
    recorder.ended(one)
    recorder.commit()
    assert kinds(recorder) == [STANDS]
    after = make()
    monkeypatch.delattr(after.journal.__class__, "records")
    past, _ = after.past(1)
    assert facts(past) == facts(one)
    assert after.output(1, 0, 9) == b"xxxxx"


def test_how_one_with_a_soft_prompt_ended_is_put_together_from_its_records(make):
    recorder = make()
    one = born(recorder)
    one.soft = b"rows"
    one.edit(0, 0, [-1])
    recorder.commit()
    one.move(Event.FINISH, 2.0, reason="stop")
    recorder.ended(one)
    recorder.commit()
    assert kinds(recorder).count("soft") == 1
    past, _ = make().past(1)
    assert facts(past) == facts(one)


def test_nobody_is_told_of_an_end_that_is_not_written(make):
    recorder = make()
    one = born(recorder)
    recorder.took(one, [4], b"a", 1)
    recorder.commit()
    one.move(Event.KILL, 2.0)
    recorder.ended(one)
    assert recorder.past(1) is None
    recorder.commit()
    assert recorder.past(1)[0].tokens == [1, 2, 3, 4]


def test_what_a_recovered_process_comes_to_follows_what_it_had(make):
    one = born(make())
    after = make()
    ((again, _),) = after.recover()
    after.took(again, [4], b"a", 1)
    again.edit(1, 2, [])
    after.commit()
    ((once_more, _),) = make().recover()
    assert (once_more.tokens, once_more.generated) == ([1, 3, 4], 1)
    assert once_more.spent.keys() == one.spent.keys() | {"queued"}


@pytest.mark.parametrize(("durability", "steps"), [("mixed", False), ("power", True)])
def test_changes_are_waited_for_always_and_steps_in_power_alone(make, durability, steps):
    async def main() -> None:
        recorder = make(durability)
        one = process()
        recorder.born(one, "file")
        assert recorder.owes
        await recorder.synced()
        assert not recorder.owes
        recorder.took(one, [4], b"a", 1)
        assert recorder.owes is steps
        assert recorder.commit() is not steps
        await recorder.synced()
        assert recorder.commit()
        one.move(Event.GRANT, 1.0)
        assert recorder.owes
        assert recorder.commit() is not steps
        assert recorder.owes
        await recorder.synced()
        assert not recorder.owes
        recorder.ended(one)
        assert recorder.owes

    asyncio.run(main())


def test_without_durability_nobody_waits(make):
    recorder = make("off")
    one = born(recorder)
    one.changed()
    assert not recorder.owes
    assert recorder.commit()


def test_who_waits_for_what_came_before_does_not_pay_for_what_comes_meanwhile(make):
    async def main() -> None:
        recorder = make()
        one = process()
        recorder.born(one, "file")
        waiting = asyncio.ensure_future(recorder.synced())
        await asyncio.sleep(0)
        one.changed()
        recorder.commit()
        await waiting
        assert recorder.owes
        await recorder.synced()
        assert not recorder.owes

    asyncio.run(main())


def test_on_a_full_disk_nothing_may_be_seen_and_all_of_it_is_written_later(make):
    async def main() -> None:
        recorder = make()
        one = born(recorder)
        db = recorder.journal._database._db
        db.execute("PRAGMA query_only = ON")
        recorder.took(one, [4], b"a", 1)
        one.changed()
        assert not recorder.commit()
        with pytest.raises(KernelError, match="JOURNAL_FULL"):
            await recorder.synced()
        recorder.maintain()
        assert recorder.owes
        recorder.took(one, [5], b"b", 2)
        writing = asyncio.ensure_future(recorder.written())
        await asyncio.sleep(0)
        db.execute("PRAGMA query_only = OFF")
        await writing
        assert not recorder.owes
        (again,) = recovered(recorder)
        assert facts(again) == facts(one)
        assert recorder.output(1, 0, 9) == b"ab"

    asyncio.run(main())


def test_a_call_has_its_result_once_it_had_begun(make):
    recorder = make()
    born(recorder)
    recorder.finished(1, 1, "of none that began")
    assert not recorder.intend(1, 2, "calc", "digest", idempotent=True)
    recorder.commit()
    assert recorder.result(1, 2) is None
    recorder.finished(1, 3, "of another")
    assert not recorder.intend(1, 4, "calc", "digest", idempotent=True)
    recorder.finished(1, 4, "né")
    recorder.finished(1, 4, "again")
    recorder.commit()
    assert [recorder.result(1, call) for call in (1, 2, 3, 4)] == [None, None, None, "né"]


def test_a_call_that_a_former_kernel_began_had_begun_and_gets_its_result_now(make):
    recorder = make()
    one = born(recorder)
    recorder.intend(1, 1, "calc", "digest", idempotent=True)
    recorder.finished(1, 1, "one")
    recorder.intend(1, 2, "calc", "digest", idempotent=False)
    one.called, one.calling = 3, True  # of which the third came to no intent
    one.changed()
    recorder.commit()
    after = make()
    after.recover()
    assert after.result(1, 1) == "one"
    assert after.intend(1, 2, "calc", "digest", idempotent=False)
    after.finished(1, 2, "two")
    assert not after.intend(1, 3, "calc", "digest", idempotent=True)
    after.finished(1, 3, "three")
    after.commit()
    assert [make().result(1, call) for call in (1, 2, 3)] == ["one", "two", "three"]


def test_a_process_that_is_withdrawn_is_written_no_more_and_its_key_is_free(make):
    recorder = make()
    one = process()
    one.plan = msgspec.structs.replace(one.plan, key="k")
    recorder.born(one, "file")
    assert recorder.keyed(one.owner, "k") == 1
    one.changed()
    recorder.withdraw(one)
    assert recorder.keyed(one.owner, "k") is None
    one.move(Event.KILL, 1.0)
    recorder.ended(one)
    recorder.commit()
    assert recorder.journal.processes == 0
    assert recovered(recorder) == []


@pytest.mark.parametrize("damage", ["cut", "plan"])
def test_records_that_are_damaged_are_refused_by_name(tmp_path, damage):
    """Half a record; or another plan than the one that was admitted, by one byte."""

    async def main():
        bench = await boot(tmp_path, **MIXED)
        process = await bench.exec("hello there")
        journal = bench.kernel.recorder.journal
        journal.commit()
        ((kind, body),) = journal.records(process.pid)[:1]
        assert kind == "stands"
        body = body[:-9] if damage == "cut" else body.replace(b"hello there", b"hello where")
        with journal._database.transaction() as db:
            db.execute("UPDATE records SET body = ? WHERE kind = 'stands'", (body,))
        with pytest.raises(JournalCorruptError, match="the journal's records of process 1 are damaged"):
            Recorder(journal, lambda: 0.0).recover()
        await bench.kernel.close()

    run(main())


def test_a_plan_that_a_former_version_wrote_down_is_still_the_one_that_was_admitted():
    sampling = Sampling(0.7, 0.9, 40, 0.0, 1.0, 5)
    plan = Plan(
        (Message("user", "hi"),), None, raw=False, sampling=sampling, max_tokens=9, stop=("x",), key="k"
    )
    digest = bytes.fromhex("77bfd177534ec6e5a05ae595f2df3253")  # of the journal's third form
    Birth(Owner(1, "me"), plan, "demo", "ab" * 16, digest=digest).check()
    other = msgspec.structs.replace(plan, rationale="asked for")
    with pytest.raises(ValueError, match="not the one that was admitted"):
        Birth(Owner(1, "me"), other, "demo", "ab" * 16, digest=digest).check()

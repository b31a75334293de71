"""Syncs: how many there are for how many who wait, and for what."""

from __future__ import annotations

import asyncio
import threading

import pytest

from agentkernel.journal.store import Journal


class Disk:
    """Syncs that are counted, each beginning and ending when the test says so."""

    def __init__(self):
        self.calls = 0
        self.began, self.may_end = threading.Semaphore(0), threading.Semaphore(0)

    def sync(self, descriptor):
        self.calls += 1
        self.began.release()
        self.may_end.acquire()

    async def a_sync_began(self):
        await asyncio.to_thread(self.began.acquire)


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def make(tmp_path, disk):
    """Journals with a process, whose syncs wait, but for the one of their opening."""
    made = []

    def make(durability="mixed"):
        disk.may_end.release()
        made.append(Journal(tmp_path / "journal.db", durability, sync=disk.sync))
        if disk.calls:
            disk.began.acquire()
        disk.calls = 0
        made[-1].begin(1, "ann", b"")
        return made[-1]

    yield make
    disk.may_end.release(100)
    for journal in made:
        journal.close()


async def wait_for(journal):
    journal.append(1, "state", b"")
    await journal.synced()


def test_all_of_one_turn_share_one_sync(make, disk):
    journal = make()
    disk.may_end.release(100)

    async def scenario():
        await asyncio.gather(*(wait_for(journal) for _ in range(10)))

    asyncio.run(scenario())
    assert disk.calls == 1
    assert len(journal.records(1)) == 11


def test_those_who_come_while_a_sync_runs_share_the_next(make, disk):
    journal = make()

    async def scenario():
        first = asyncio.create_task(wait_for(journal))
        await disk.a_sync_began()
        others = [asyncio.create_task(wait_for(journal)) for _ in range(5)]
        await asyncio.sleep(0)
        disk.may_end.release()
        await first
        await disk.a_sync_began()
        assert not any(task.done() for task in others)
        disk.may_end.release()
        await asyncio.gather(*others)

    asyncio.run(scenario())
    assert disk.calls == 2


def test_who_has_given_nothing_since_a_running_sync_began_waits_for_that_one(make, disk):
    journal = make()

    async def scenario():
        first = asyncio.create_task(wait_for(journal))
        await disk.a_sync_began()
        second = asyncio.create_task(journal.synced())
        await asyncio.sleep(0)
        assert not second.done()
        disk.may_end.release()
        await asyncio.gather(first, second)

    asyncio.run(scenario())
    assert disk.calls == 1


def test_what_is_on_the_disk_is_not_synced_again(make, disk):
    journal = make()
    disk.may_end.release(100)

    async def scenario():
        await journal.synced()
        await journal.synced()

    asyncio.run(scenario())
    assert disk.calls == 1


def test_one_who_gives_up_waiting_leaves_the_sync_to_the_others(make, disk):
    journal = make()

    async def scenario():
        first, second = (asyncio.create_task(wait_for(journal)) for _ in range(2))
        await disk.a_sync_began()
        first.cancel()
        disk.may_end.release()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(scenario())
    assert disk.calls == 1


def test_with_power_a_commit_begins_the_sync_that_synced_waits_for(make, disk):
    journal = make("power")

    async def scenario():
        journal.commit()
        await disk.a_sync_began()
        waiter = asyncio.create_task(journal.synced())
        await asyncio.sleep(0)
        assert not waiter.done()
        disk.may_end.release()
        await waiter

    asyncio.run(scenario())
    assert disk.calls == 1


def test_without_power_a_commit_begins_none(make, disk):
    journal = make()

    async def scenario():
        journal.commit()
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert disk.calls == 0


def test_off_syncs_nothing(make, disk):
    journal = make("off")
    asyncio.run(wait_for(journal))
    assert journal._database.checkpoint()
    assert disk.calls == 0
    assert len(journal.records(1)) == 2

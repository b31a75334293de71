"""The pager's policy: budgets, order, and what is worth keeping."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agentkernel.pages import Drop, Entry, Pager, Store, Tier

PIDS = st.integers(1, 8)


def entry(pid, size=100, tokens=50, since=0.0, rank=1, *, live=True, kind="input"):
    return Entry(pid, Tier.RAM, tokens, size, since, rank, live=live, kind=kind)


class PagerMachine(RuleBasedStateMachine):
    """Contexts come and go in any order; after each reclaim every budget holds."""

    def __init__(self):
        super().__init__()
        self.pager = Pager(ram=500, disk=700)
        self.where = {}
        self.now = 0.0

    @rule(pid=PIDS)
    def enter(self, pid):
        self.now += 1
        before = self.pager.enter(pid, 1, self.now)
        assert before is (None if self.where.get(pid) is Tier.SLOT else self.where.get(pid))
        self.where[pid] = Tier.SLOT

    @rule(pid=PIDS, size=st.integers(0, 600), live=st.booleans())
    def leave(self, pid, size, live):
        if self.where.get(pid) is not Tier.SLOT:
            return
        self.now += 1
        if self.pager.leave(entry(pid, size, since=self.now, live=live), self.now):
            self.where[pid] = Tier.RAM
        else:
            del self.where[pid]
        self.reclaim()

    @rule(pid=PIDS, size=st.integers(0, 600))
    def resize(self, pid, size):
        """An image turns out to be of another size."""
        if self.where.get(pid) in (Tier.RAM, Tier.DISK):
            self.pager.resize(pid, size)
            assert self.pager.entry(pid).size == size
            self.reclaim()

    def reclaim(self):
        for change in self.pager.reclaim():
            assert self.where[change.pid] in (
                (Tier.RAM,) if isinstance(change, Store) else (Tier.RAM, Tier.DISK)
            )
            if isinstance(change, Store):
                self.where[change.pid] = Tier.DISK
            else:
                del self.where[change.pid]

    @rule(pid=PIDS)
    def forget(self, pid):
        self.pager.forget(pid)
        self.where.pop(pid, None)

    @rule(tokens=st.integers(1, 1000), ms=st.floats(0.1, 1e4))
    def measure(self, tokens, ms):
        self.pager.rates.prefill.observe(tokens, ms)

    @invariant()
    def each_context_is_where_it_was_put_and_budgets_hold(self):
        self.pager.check_integrity()
        assert {e.pid: e.tier for e in self.pager.entries()} == self.where


PagerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_any_order_of_events_keeps_the_books = PagerMachine.TestCase


@pytest.mark.parametrize(
    ("policy", "first"),
    [("lru", 1), ("priority", 2), ("cost", 3)],
)
def test_each_policy_lets_another_one_go_first(policy, first):
    """1 is the oldest, 2 of low priority, 3 holds most bytes for what it saves."""
    pager = Pager(ram=1000, disk=0, policy=policy)
    pager.rates.prefill.observe(100, 100.0)
    for each in (entry(1, 300, 300, since=0.0), entry(2, 300, 300, 1.0, rank=0), entry(3, 500, 30, 2.0)):
        assert pager.leave(each, each.since)
    assert pager.reclaim() == [Drop(first)]


def test_what_must_leave_memory_goes_to_disk_while_there_is_room():
    pager = Pager(ram=250, disk=150)
    for pid in (1, 2, 3):
        pager.leave(entry(pid, since=float(pid)), float(pid))
    assert pager.reclaim() == [Store(1)]
    pager.leave(entry(4, since=4.0), 4.0)
    assert pager.reclaim() == [Store(2), Drop(1)]


def test_an_image_that_loads_more_slowly_than_it_is_computed_again_is_not_kept():
    pager = Pager(ram=10**6, disk=0)
    pager.rates.prefill.observe(1000, 1.0)
    pager.rates.load_ram.observe(100, 1.0)
    assert not pager.leave(entry(1, size=100, tokens=50), 0.0)
    assert pager.leave(entry(2, size=100, tokens=5000), 0.0)


def test_how_long_a_kind_of_wait_takes_is_learnt():
    """Contexts that come back soon are worth more than those that wait for people."""
    pager = Pager(ram=250, disk=0)
    for kind, waited in (("output", 0.1), ("input", 100.0)):
        pager.leave(entry(1, kind=kind, since=0.0), 0.0)
        pager.enter(1, 1, waited)
        pager.forget(1)
    for pid, kind in ((1, "output"), (2, "input"), (3, "output")):
        pager.leave(entry(pid, kind=kind), 0.0)
    assert pager.reclaim() == [Drop(2)]


@given(st.integers(0, 1000))
def test_without_budgets_nothing_is_kept(size):
    pager = Pager(0, 0)
    assert not pager.leave(entry(1, size + 1), 0.0)
    assert pager.entries() == []


def test_a_process_s_own_waits_count_before_everybodys():
    """Who always comes back soon keeps its image, where others of the kind wait long; until it ends."""
    pager = Pager(ram=250, disk=0)
    for pid, waited in ((1, 0.1), (2, 500.0), (3, 500.0)):
        pager.leave(entry(pid, since=0.0), 0.0)
        pager.enter(pid, 1, waited)
    assert pager.expected_wait(entry(1)) < 1 < pager.expected_wait(entry(4))
    for pid in (1, 2, 3):
        pager.leave(entry(pid), 0.0)
    assert pager.reclaim() == [Drop(2)]
    pager.end(1)
    assert pager.expected_wait(entry(1)) == pager.expected_wait(entry(4))
    assert pager.expected_wait(entry(1, kind="output")) != pager.expected_wait(entry(1))


def test_a_slot_settles_for_fifty_times_what_moving_a_context_takes():
    """So that paging is 2 % of the time at most; nothing measured, nothing to wait for."""
    pager = Pager(ram=250, disk=0)
    assert pager.rates.settle == 0
    pager.rates.page_out.observe(1, 3.0)
    pager.rates.page_in.observe(1, 1.0)
    assert pager.rates.settle == pytest.approx(0.2)

"""Shares of one engine, as a scheduler hands them out step by step: each holder says a token a step."""

from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.process import PRIORITIES, Priority
from agentkernel.scheduler import Grant, Scheduler

QUANTUM = 8
WEIGHT = dict(zip(PRIORITIES, (1, 2, 4, 8), strict=True))
priorities = st.sampled_from(PRIORITIES)


class Engine:
    """Slots that serve whoever holds them."""

    def __init__(self, slots: int) -> None:
        self.scheduler = Scheduler(slots, quantum=QUANTUM)
        self.served: Counter[int] = Counter()
        self.holders: dict[int, int] = {}

    def step(self) -> None:
        for change in self.scheduler.assign():
            if isinstance(change, Grant):
                assert change.slot not in self.holders.values()
                self.holders[change.pid] = change.slot
            else:
                assert self.holders.pop(change.pid) == change.slot
        self.scheduler.commit(dict.fromkeys(self.holders, 1), list(self.holders))
        self.served.update(self.holders.keys())

    def end(self, pid: int) -> None:
        self.holders.pop(pid, None)
        self.scheduler.remove(pid)


@given(
    st.lists(st.tuples(priorities, st.integers(-20, 19) | st.just(0)), min_size=2, max_size=8),
    st.integers(200, 2000),
)
@settings(max_examples=60)
def test_one_owners_processes_get_tokens_by_weight(asked: list[tuple[Priority, int]], steps: int) -> None:
    """On one slot, any two are within two quanta of the proportion of their weights, at any time."""
    engine = Engine(1)
    weights = [WEIGHT[priority] / 1.25**nice for priority, nice in asked]
    for pid, (priority, nice) in enumerate(asked, 1):
        engine.scheduler.add(pid, priority, 0, nice)
    for _ in range(steps):
        engine.step()
        shares = [engine.served[pid] / weight for pid, weight in enumerate(weights, 1)]
        assert max(shares) - min(shares) <= (2 * QUANTUM + 2) / min(weights)


@given(st.lists(st.lists(priorities, min_size=1, max_size=5), min_size=2, max_size=4), st.integers(1, 3))
@settings(max_examples=60)
def test_owners_get_equal_shares_whatever_they_run(owners: list[list[Priority]], slots: int) -> None:
    """As far as each has enough processes to fill its share of the slots."""
    slots = min(slots, *map(len, owners))
    engine = Engine(slots)
    pids = count(1)
    of = {}
    for owner, classes in enumerate(owners, 1):
        for priority in classes:
            of[pid := next(pids)] = owner
            engine.scheduler.add(pid, priority, owner)
    for _ in range(60 * QUANTUM * len(owners)):
        engine.step()
    totals = Counter[int]()
    for pid, owner in of.items():
        totals[owner] += engine.served[pid]
    assert max(totals.values()) - min(totals.values()) <= 2 * (QUANTUM + 1) * slots * len(owners)


@given(
    st.integers(1, 3), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), min_size=1), st.randoms()
)
@settings(max_examples=60)
def test_the_lowest_class_is_served_under_any_flood_of_the_highest(slots, arrivals, random) -> None:
    """However many critical processes come: within two quanta, by weight, of what is served meanwhile."""
    engine = Engine(slots)
    pids = count(1)
    left: dict[int, int] = {}

    def arrive(number: int, length: int) -> None:
        for _ in range(number):
            left[pid := next(pids)] = length
            engine.scheduler.add(pid, "critical")

    arrive(slots, 5)
    engine.step()
    engine.scheduler.add(0, "low")
    weight, tokens, bound = 0.0, 0, 0.0
    while not engine.served[0]:
        arrive(*random.choice(arrivals))
        if len(left) < slots:
            arrive(slots, 3)
        weight = max(weight, 1 + 8.0 * len(left))
        bound = 2 * QUANTUM * weight + 2 * QUANTUM * slots
        engine.step()
        tokens += len(engine.holders)
        assert tokens <= bound
        for pid in [pid for pid in engine.holders if pid and engine.served[pid] >= left[pid]]:
            engine.end(pid)
            del left[pid]
        while len(left) > 40:  # clients give up
            pid = next(iter(left))
            engine.end(pid)
            del left[pid]


@given(
    st.integers(1, 4), st.integers(1, 12), st.lists(st.sampled_from(PRIORITIES[:3]), min_size=4, max_size=12)
)
@settings(max_examples=60)
def test_a_critical_process_has_a_slot_within_two_steps(slots, before, classes) -> None:
    engine = Engine(slots)
    for pid, priority in enumerate(classes, 1):
        engine.scheduler.add(pid, priority)
    for _ in range(before):
        engine.step()
    engine.scheduler.add(99, "critical")
    engine.step()
    engine.step()
    assert 99 in engine.holders


@given(st.lists(priorities, min_size=1, max_size=6), st.integers(100, 600))
def test_who_pauses_saves_nothing_up(classes, pause) -> None:
    """One that rested for long gets its share from then on and no more: the others don't starve by it."""
    engine = Engine(1)
    for pid, priority in enumerate(classes, 1):
        engine.scheduler.add(pid, priority)
    engine.scheduler.add(50, "normal")
    engine.scheduler.set_runnable(50, runnable=False)
    for _ in range(pause):
        engine.step()
    engine.scheduler.set_runnable(50, runnable=True)
    steps = 40 * QUANTUM
    for _ in range(steps):
        engine.step()
    fair = steps * 2 / (2 + sum(WEIGHT[priority] for priority in classes))
    assert abs(engine.served[50] - fair) <= 4 * QUANTUM

"""Deadlines in the scheduler: who goes first within a class, and that no other class has less for it."""

from __future__ import annotations

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.process import PRIORITIES, Priority
from tests.properties.test_shares_properties import QUANTUM, WEIGHT, Engine

NEVER = float("inf")
deadlines = st.integers(1, 1000).map(float) | st.just(NEVER)


@given(st.lists(deadlines, min_size=1, max_size=12), st.integers(1, 4))
@settings(max_examples=100)
def test_of_one_class_the_earliest_deadline_is_served_first_and_none_last(dues, slots) -> None:
    """Answers of less than a quantum, so that nobody waits for long enough to be passed over no more."""
    engine = Engine(slots)
    for pid, due in enumerate(dues):
        engine.scheduler.add(pid, "normal")
        engine.scheduler.set_deadline(pid, due)
    begun: list[int] = []
    expected = sorted(range(len(dues)), key=lambda pid: dues[pid])
    places = [engine.scheduler.position(pid) for pid in expected]
    assert places == list(range(1, len(dues) + 1))
    while len(begun) < len(dues):
        engine.step()
        begun += sorted(engine.holders, key=lambda pid: dues[pid])
        for pid in list(engine.holders):
            engine.end(pid)
    assert [dues[pid] for pid in begun] == sorted(dues)


@given(
    st.lists(st.tuples(st.sampled_from(PRIORITIES[:3]), deadlines), min_size=2, max_size=8),
    st.integers(200, 2000),
)
@settings(max_examples=60)
def test_a_deadline_takes_nothing_from_another_class(asked: list[tuple[Priority, float]], steps: int) -> None:
    """On one slot, any two classes are within so many quanta of the proportion of their weights."""
    engine = Engine(1)
    for pid, (priority, due) in enumerate(asked):
        engine.scheduler.add(pid, priority)
        engine.scheduler.set_deadline(pid, due)
    classes = {priority: [p for p, (q, _) in enumerate(asked) if q == priority] for priority, _ in asked}
    for _ in range(steps):
        engine.step()
        shares = {
            priority: sum(engine.served[pid] for pid in pids) / (WEIGHT[priority] * len(pids))
            for priority, pids in classes.items()
        }
        least = min(WEIGHT[priority] for priority in classes)
        assert max(shares.values()) - min(shares.values()) <= (2 * QUANTUM + 2) / least


@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12), st.sampled_from(PRIORITIES)), min_size=1),
    st.randoms(),
)
@settings(max_examples=60)
def test_who_has_no_deadline_is_served_under_any_flood_of_those_who_have(slots, arrivals, random) -> None:
    """However many come, of its class or a higher one: within twice what it would wait for without them."""
    engine = Engine(slots)
    pids = count(1)
    left: dict[int, tuple[int, Priority]] = {}

    def arrive(number: int, length: int, priority: Priority) -> None:
        for _ in range(number):
            left[pid := next(pids)] = length, priority
            engine.scheduler.add(pid, priority)
            engine.scheduler.set_deadline(pid, random.uniform(1, 100))

    arrive(slots, 5, "low")
    engine.step()
    engine.scheduler.add(0, "low")
    weight, tokens = 0.0, 0
    while not engine.served[0]:
        arrive(*random.choice(arrivals))
        if len(left) < slots:
            arrive(slots, 3, "low")
        weight = max(weight, 1.0 + sum(WEIGHT[priority] for _, priority in left.values()))
        engine.step()
        tokens += len(engine.holders)
        assert tokens <= 4 * QUANTUM * weight + 2 * QUANTUM * slots
        for pid in [pid for pid in engine.holders if pid and engine.served[pid] >= left[pid][0]]:
            engine.end(pid)
            del left[pid]
        while len(left) > 40:  # clients give up
            pid = next(iter(left))
            engine.end(pid)
            del left[pid]

"""Who is in memory: who fits enters, who must leaves, nobody waits longer than the turns before it take."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nextafter

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.residency import Move, Tenant, move

TURN = 10.0


def decide(*tenants: Tenant, room: int = 10, now: float = 100.0) -> Move:
    return move(tenants, room, TURN, now)


def test_who_is_wanted_and_fits_enters_and_nobody_leaves() -> None:
    there = Tenant("there", 6, entered=0, wanted=None)
    assert decide(there, Tenant("new", 4, wanted=99)) == Move((), "new")


def test_nothing_happens_while_nobody_outside_is_wanted() -> None:
    assert decide(Tenant("a", 6, entered=0), Tenant("b", 6)) == Move()


def test_of_those_that_rest_the_one_that_rests_longest_leaves_and_only_as_many_as_must() -> None:
    old = Tenant("old", 3, entered=0, rests=10)
    older = Tenant("older", 3, entered=50, rests=5)
    used = Tenant("used", 4, entered=0, wanted=1)
    assert decide(old, older, used, Tenant("new", 3, wanted=99)) == Move(("older",), "new")


def test_one_that_is_large_enough_leaves_alone() -> None:
    small = Tenant("small", 2, entered=0, rests=5)
    large = Tenant("large", 8, entered=0, rests=10)
    assert decide(small, large, Tenant("new", 8, wanted=99)) == Move(("large",), "new")


def test_who_was_wanted_until_just_now_does_not_leave_yet() -> None:
    there = Tenant("there", 10, entered=95, rests=99.5)
    assert decide(there, Tenant("new", 4, wanted=99)) == Move(due=100.5)
    assert decide(there, Tenant("new", 4, wanted=99), now=100.5) == Move(("there",), "new")


def test_who_is_wanted_leaves_when_its_turn_is_over() -> None:
    used = Tenant("used", 10, entered=91, wanted=91)
    assert decide(used, Tenant("new", 4, wanted=92)) == Move(due=101)
    assert decide(used, Tenant("new", 4, wanted=92), now=101) == Move(("used",), "new")


def test_a_turn_is_worth_what_it_takes_to_enter() -> None:
    used = Tenant("used", 10, entered=100, wanted=91, entry=3)
    assert decide(used, Tenant("new", 4, wanted=92)) == Move(due=160)


def test_who_waits_longest_is_first_and_nobody_overtakes() -> None:
    used = Tenant("used", 8, entered=95, wanted=91)
    first, small = Tenant("first", 9, wanted=96), Tenant("small", 1, wanted=97)
    assert decide(used, small, first) == Move(due=105)


def test_what_nothing_can_make_room_for_is_not_due() -> None:
    assert decide(Tenant("huge", 11, wanted=1)) == Move()


def test_what_nothing_can_make_room_for_holds_up_nobody() -> None:
    used = Tenant("used", 8, entered=0, wanted=0)
    assert decide(used, Tenant("huge", 11, wanted=1), Tenant("small", 1, wanted=2)) == Move((), "small")


SIZES = st.lists(st.integers(1, 10), min_size=2, max_size=6)
WANTS = st.lists(st.tuples(st.floats(0, 200), st.integers(0, 5)), min_size=1, max_size=30)


@settings(deadline=None)
@given(SIZES, WANTS, st.floats(0, 2))
def test_memory_is_never_overrun_and_everybody_who_waits_enters_in_time(sizes, wants, entry) -> None:
    """Models that once are wanted stay so: the worst that can happen to others."""
    known = {str(i): Tenant(str(i), size, entry=entry) for i, size in enumerate(sizes)}
    wants = sorted((when, str(i % len(sizes))) for when, i in wants)
    turn = max(TURN, 20 * entry)
    now, waits = 0.0, {}
    for _ in range(400):
        while wants and wants[0][0] <= now:
            _, id_ = wants.pop(0)
            if known[id_].wanted is None:
                known[id_] = replace(known[id_], wanted=now)
        outside = [t for t in known.values() if t.wanted is not None and t.entered is None]
        for tenant in sorted(outside, key=lambda t: (t.wanted, t.id)):
            waits.setdefault(tenant.id, (now, len(waits)))  # and how many wait already
        step = move(known.values(), 10, TURN, now)
        for id_ in step.leave:
            assert known[id_].entered is not None
            known[id_] = replace(known[id_], entered=None, wanted=nextafter(now, inf))  # behind who waits now
        if step.enter:
            now += entry
            known[step.enter] = replace(known[step.enter], entered=now)
            begun, before = waits.pop(step.enter)
            assert now - begun <= (before + 1) * (turn + entry) + 1e-6
            assert sum(t.size for t in known.values() if t.entered is not None) <= 10
        elif step.due is not None:
            assert step.due > now
            now = min(step.due, wants[0][0]) if wants else step.due
        elif wants:
            now = max(now, wants[0][0])
        else:
            break
    waiting = [t for t in known.values() if t.wanted is not None and t.entered is None]
    fits = sum(t.size for t in known.values() if t.wanted is not None) <= 10
    assert not (fits and waiting)

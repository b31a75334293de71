"""By when a process has to be where, as it goes through its life."""

from __future__ import annotations

from math import inf

import pytest

from agentkernel.due import alarm, end, goal, misses, remaining
from agentkernel.plan import Deadlines
from agentkernel.process import Event, Process, Wait
from tests.test_process import process

BORN = 100.0


def made(**deadlines: int) -> Process:
    each = process(created=BORN)
    each.deadlines = Deadlines(**deadlines)
    return each


def test_without_deadlines_nothing_is_due() -> None:
    each = made()
    assert goal(each) == end(each) == alarm(each) == inf
    assert misses(each, 1e9) == []
    assert remaining(each, 105.0) == Deadlines()


def test_a_first_token_is_due_until_there_is_one_and_an_answer_until_its_end() -> None:
    each = made(ttft_ms=2000, deadline_ms=5000)
    assert goal(each) == 102.0
    each.take([1], 1, 0)
    assert goal(each) == 105.0
    each.continue_turn()  # behind a call
    assert goal(each) == 105.0
    each.turn_over = True
    assert goal(each) == inf


def test_one_that_is_over_is_missed_once_and_the_next_is_the_goal() -> None:
    each = made(ttft_ms=2000, deadline_ms=5000)
    assert misses(each, 101.9) == []
    assert misses(each, 102.0) == ["ttft_ms"]
    each.missed = ("ttft_ms",)
    assert (misses(each, 104.0), goal(each), alarm(each)) == ([], 105.0, 105.0)
    assert misses(each, 105.0) == ["deadline_ms"]
    each.missed = ("ttft_ms", "deadline_ms")
    assert (misses(each, 106.0), goal(each)) == ([], inf)


def test_each_answer_of_a_conversation_has_its_own() -> None:
    each = made(deadline_ms=5000, max_wall_ms=60_000)
    each.missed, each.turn_over = ("deadline_ms",), True
    assert (goal(each), alarm(each)) == (inf, 160.0)
    each.begin_turn(130.0)
    assert (goal(each), each.missed, alarm(each)) == (135.0, (), 135.0)


def test_its_end_is_due_whatever_it_does() -> None:
    each = made(max_wall_ms=4000)
    each.move(Event.WAIT, 101.0, Wait.INPUT)
    assert (goal(each), end(each), alarm(each)) == (inf, 104.0, 104.0)


@pytest.mark.parametrize(("now", "left"), [(101.0, (4000, 9000)), (109.9999, (1, 1))])
def test_what_it_has_made_has_what_is_left_of_them(now: float, left: tuple[int, int]) -> None:
    each = made(ttft_ms=2000, deadline_ms=5000, max_wall_ms=10_000)
    assert remaining(each, now) == Deadlines(deadline_ms=left[0], max_wall_ms=left[1])

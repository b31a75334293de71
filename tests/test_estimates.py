"""How long who waits has to wait, by rates that are known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentkernel.estimates import Left, Load, Pace

PACE = Pace(prompt=2.0, step=10.0)
lefts = st.builds(Left, st.integers(0, 500), st.integers(1, 500))


def test_a_free_slot_is_there_at_once_and_the_prompts_being_read_come_first() -> None:
    load = Load(PACE, 4, 32, [Left(100, 50), Left(0, 50)])
    assert (load.slot_ms(1), load.slot_ms(2)) == (0, 0)
    assert load.answer_ms(1, 20, 30) == (240, 540)


def test_a_slot_is_free_after_a_quantum_or_at_an_end() -> None:
    running = [Left(0, 100), Left(0, 20)]
    assert Load(PACE, 2, 32, running).slot_ms(1) == (320 + 200) / 2 / 2
    assert Load(PACE, 2, 32, running).slot_ms(3) == 3 * (320 + 200) / 2 / 2
    assert Load(PACE, 2, None, running).slot_ms(1) == (1000 + 200) / 2 / 2
    assert Load(PACE, 2, 32, running).end_ms(1) == (1000 + 200) / 2 / 2


def test_where_nothing_runs_nobody_waits() -> None:
    load = Load(PACE, 2, 32, [])
    assert (load.slot_ms(9), load.end_ms(3)) == (0, 0)


@given(st.lists(lefts, max_size=8), st.integers(1, 8), st.integers(1, 9), st.integers(1, 500))
def test_who_is_further_back_or_says_more_is_through_no_sooner(running, slots, place, answer) -> None:
    load = Load(PACE, slots, 32, running[:slots])
    assert 0 <= load.slot_ms(place) <= load.slot_ms(place + 1)
    assert load.end_ms(place) <= load.end_ms(place + 1)
    first, last = load.answer_ms(place, 5, answer)
    assert first <= last <= load.answer_ms(place, 5, answer + 1)[1]

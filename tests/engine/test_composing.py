"""Who is in a step, how long prompts that came together keep answers waiting, and which slots are bridged."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agentkernel.engine.worker.composing import Composer, bridges, compose

ANY = range(1000)


@dataclass
class Some:
    """A sequence, as a composer sees one."""

    name: str
    pending: int
    weight: float = 1.0
    credit: float = 0.0
    patient: bool = True


def composer(ms_per_token: float = 1.0) -> Composer:
    """One that knows what a token takes; its steps last about 100 ms, 200 while nobody decodes."""
    made = Composer(target_ms=100, batch=512)
    made.rows([Some("before", 64)])
    made.observe(64, 64 * ms_per_token, prompt=True)
    return made


def step(made: Composer, runnable: list[Some], ms: float = 200) -> dict[str, int]:
    """Who is in the next step, with how many tokens; it is carried out, and takes so long."""
    rows = {some.name: n for some, n in made.rows(runnable)}
    for some in runnable:
        n = rows.get(some.name, 0)
        some.patient = some.patient and n < some.pending
        some.pending = max(1, some.pending - n)
    made.observe(sum(rows.values()), ms, prompt=max(rows.values()) > 1)
    return rows


def some(*pending: int) -> list[Some]:
    """Sequences, from `a` on, with so many tokens pending."""
    return [Some(name, n) for name, n in zip("abcdef", pending, strict=False)]


def test_prompts_that_came_together_are_all_read_before_one_is_answered():
    made, runnable = composer(), some(128, 128, 128, 128)
    assert [step(made, runnable) for _ in range(4)] == [
        {"a": 127, "b": 73},
        {"b": 54, "c": 127},
        {"d": 127},
        {"a": 1, "b": 1, "c": 1, "d": 1},
    ]


def test_who_came_while_they_were_read_is_read_with_them():
    made, runnable = composer(), some(128, 128)
    step(made, runnable)
    runnable.append(Some("c", 128))
    steps = [step(made, runnable) for _ in range(3)]
    assert steps[-1] == {"a": 1, "b": 1, "c": 1}


def test_what_fits_into_a_step_is_read_whole():
    assert step(composer(), some(100, 100)) == {"a": 100, "b": 100}


def test_nobody_waits_beside_who_decodes():
    made, runnable = composer(), some(128, 128, 128)
    runnable.append(Some("d", 1, patient=False))
    assert step(made, runnable) == {"a": 99, "d": 1}
    assert step(made, runnable)["a"] == 29


def test_who_is_in_a_hurry_or_weighs_more_waits_for_nobody():
    for other in ({"patient": False}, {"weight": 2.0}):
        runnable = [Some("a", 128, **other), *some(0, 128, 128)[1:]]
        assert step(composer(), runnable)["a"] == 128


def test_nobody_waits_for_prompts_that_take_long():
    assert step(composer(), some(30, 2000))["a"] == 30
    assert step(composer(), some(30, 1900))["a"] == 29


def test_nobody_waits_long_for_prompts_that_take_longer_than_they_should():
    made, runnable = composer(), some(128, 128, 128, 128, 128, 128)
    steps = [step(made, runnable, ms=800) for _ in range(4)]
    assert "a" in steps[3]
    assert step(made, runnable)["a"] == 1


def test_before_anything_was_measured_nobody_waits():
    assert step(Composer(100, 512), some(60, 128)) == {"a": 60}


def ones(*slots: int) -> list[tuple[int, int]]:
    return [(slot, 1) for slot in slots]


@pytest.mark.parametrize(
    ("rows", "free", "found"),
    [
        (ones(0, 1, 2, 4, 5), ANY, [3, 6, 7]),  # one pass of eight
        (ones(0, 1, 2, 4, 5), [7], []),  # a hole that has no room for a row
        (ones(0, 1, 2, 4, 5), [3], [3]),
        (ones(0, 1, 5, 6), ANY, [2, 3, 4, 7]),
        (ones(0, 1, 6, 7), ANY, []),  # too wide
        (ones(2, 3, 4, 5, 6, 7), [0, 1], [0, 1]),  # no room behind
        (ones(0, 1, 2, 3, 4), ANY, []),  # one more than a block: three would be too many
        (ones(0, 2), ANY, []),  # a pass of one costs little
        ([(0, 1), (1, 9), (3, 9), (4, 1)], ANY, [2]),
        ([(0, 9), (1, 9), (3, 9), (4, 9)], ANY, []),  # no pass of single tokens
    ],
)
def test_holes_are_bridged_and_blocks_filled_where_that_saves_time(rows, free, found):
    assert bridges(rows, free) == found


def test_no_prompt_is_cut_to_fill_a_small_rest() -> None:
    assert compose([30, 30, 30, 30], batch=512, chunk=70) == [(0, 30), (1, 30)]
    assert compose([30, 10, 30], batch=512, chunk=50) == [(0, 30), (1, 10)]
    assert compose([30, 90], batch=512, chunk=60) == [(0, 30), (1, 30)]
    assert compose([90, 30], batch=512, chunk=60) == [(0, 60)]
    assert compose([30, 5], batch=512, chunk=36) == [(0, 30), (1, 5)]


def test_decoding_sequences_come_before_prompts_and_prompts_in_order() -> None:
    assert compose([5, 1, 7, 1], batch=16, chunk=8) == [(1, 1), (3, 1), (0, 5), (2, 3)]
    assert compose([5, 1, 7, 1], batch=6, chunk=8) == [(1, 1), (3, 1), (0, 4)]
    assert compose([5, 1], batch=6, chunk=0) == [(1, 1)]
    assert compose([], batch=6, chunk=8) == []


def test_more_decoding_sequences_than_fit_take_turns() -> None:
    served = [[i for i, _ in compose([1] * 5, batch=2, chunk=8, turn=2 * step)] for step in range(5)]
    assert served == [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4]]

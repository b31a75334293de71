"""How much a step takes on, and with how many threads: learnt from steps that a test makes up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agentkernel.engine.worker.pacing import Pacer, Tuner, Way, ways


def test_before_anything_was_measured_a_first_chunk_is_tried() -> None:
    assert Pacer(100, 512).chunk(decoding=0) == 64
    assert Pacer(100, 512).chunk(decoding=500) == 12
    assert Pacer(100, 32).chunk(decoding=0) == 32


@pytest.mark.parametrize("ms_per_token", [0.05, 0.5, 2.0, 5.0])
def test_prompts_are_cut_so_that_a_step_lasts_as_long_as_it_may(ms_per_token: float) -> None:
    pacer = Pacer(target_ms=100, batch=2048)
    for _ in range(20):
        tokens = pacer.chunk(decoding=4) + 4
        pacer.observe(tokens, tokens * ms_per_token)
    assert tokens * ms_per_token <= 100
    assert (tokens + 1) * ms_per_token > 100 or tokens == 2048


def test_prompts_go_on_however_slow_the_machine_is() -> None:
    pacer = Pacer(target_ms=100, batch=512)
    pacer.observe(64, 64_000)
    assert pacer.chunk(decoding=4) == 8


def test_far_into_a_long_prompt_a_step_lasts_hardly_longer_than_it_may() -> None:
    """Behind 8,000 others a token costs ten times what the first one did (135M parameters, one thread)."""
    pacer, filled, lasted = Pacer(target_ms=250, batch=512), 0, []
    while filled < 8000:
        chunk = pacer.chunk(decoding=3)
        lasted.append(60 + chunk * (2 + 0.0032 * filled))
        pacer.observe(chunk + 3, lasted[-1])
        filled += chunk
    assert max(lasted) <= 1.25 * 250


def test_a_machine_that_gets_slower_or_faster_is_followed() -> None:
    pacer = Pacer(target_ms=100, batch=2048)
    for ms_per_token, expected in ((0.1, 1000), (1.0, 100), (0.1, 1000)):
        for _ in range(40):
            pacer.observe(64, 64 * ms_per_token)
        assert pacer.chunk(decoding=1) == pytest.approx(expected, rel=0.02)


def test_while_nobody_waits_for_a_next_token_a_step_may_last_twice_as_long() -> None:
    pacer = Pacer(target_ms=100, batch=2048)
    pacer.observe(64, 64 * 1.0)
    assert (pacer.chunk(decoding=0), pacer.chunk(decoding=10)) == (200, 90)


def test_steps_without_a_prompt_say_nothing_about_prompts() -> None:
    pacer = Pacer(target_ms=100, batch=512)
    pacer.observe(4, 8_000)
    assert pacer.chunk(decoding=0) == 64


def test_a_batch_full_of_decoding_sequences_has_no_room_for_a_prompt() -> None:
    assert Pacer(100, 16).chunk(decoding=16) == 0
    assert Pacer(100, 16).chunk(decoding=20) == 0


Cost = Callable[[int], float]


def run(tuner: Tuner[int], steps: int, cost: Cost, tokens: int = 4) -> list[int]:
    """Threads of each of so many steps, whose times the cost by threads says."""
    used = []
    for _ in range(steps):
        used.append(tuner.next)
        tuner.observe(tokens, cost(tuner.next))
    return used


def faster(threads: int) -> Cost:
    """This number of threads takes 10 ms, any other 12."""
    return lambda n: 10.0 if n == threads else 12.0


def test_it_begins_with_all_cores_and_keeps_them_while_they_are_faster() -> None:
    tuner = Tuner((4, 3))
    used = run(tuner, 500, faster(4))
    assert used[0] == tuner.chosen == 4
    assert set(used) == {3, 4}


def test_trials_that_change_nothing_become_rare() -> None:
    used = run(Tuner((4, 3)), 20_000, faster(4))
    trials = [sum(n == 3 for n in used[i : i + 5000]) for i in range(0, 20_000, 5000)]
    assert trials[0] > trials[-1]
    assert trials[-1] <= 10


def test_the_faster_candidate_is_taken() -> None:
    tuner = Tuner((4, 3))
    run(tuner, 50, faster(3))
    assert tuner.chosen == 3


def test_a_difference_in_the_noise_changes_nothing() -> None:
    tuner = Tuner((4, 3))
    run(tuner, 500, lambda n: 10.0 if n == 4 else 9.8)
    assert tuner.chosen == 4


def test_one_slow_step_changes_nothing() -> None:
    tuner = Tuner((4, 3))
    for step in range(2000):
        tuner.observe(4, 500.0 if step % 7 == 0 else faster(4)(tuner.next))
    assert tuner.chosen == 4


def cliff(n: int) -> float:
    """Beside a neighbour that keeps a core busy: all cores are far slower."""
    return 100.0 if n == 4 else 11.0


def test_a_busy_neighbour_is_noticed_at_once_and_its_leaving_before_long() -> None:
    tuner = Tuner((4, 3))
    run(tuner, 5000, faster(4))
    run(tuner, 30, cliff)
    assert tuner.chosen == 3
    run(tuner, 5000, cliff)
    assert tuner.chosen == 3
    run(tuner, 5000, faster(4))
    assert tuner.chosen == 4


def test_a_hopeless_trial_costs_one_step() -> None:
    tuner = Tuner((4, 3))
    run(tuner, 40, cliff)
    used = run(tuner, 2000, cliff)
    in_a_row = max(len(part) for part in "".join("x" if n == 4 else " " for n in used).split())
    assert in_a_row == 1


def test_nothing_is_tried_without_leave():
    tuner = Tuner((4, 3))
    for _ in range(500):
        assert tuner.next == 4
        tuner.observe(4, faster(3)(4), trials=False)
    run(tuner, 50, faster(3))
    assert tuner.chosen == 3


def test_one_core_leaves_nothing_to_try() -> None:
    assert set(run(Tuner((1,)), 1000, lambda n: 10.0)) == {1}


def test_steps_of_another_size_are_not_compared() -> None:
    tuner = Tuner((4, 3))
    for step in range(400):
        tokens = 4 if step // 10 % 2 else 16
        tuner.observe(tokens, tokens * (1.0 if tuner.next == 4 else 1.5))
    assert tuner.chosen == 4


def test_each_of_several_rivals_gets_its_trial_and_the_fastest_wins() -> None:
    cost = {"a": 10.0, "b": 9.0, "c": 5.0, "d": 8.0}
    tuner = Tuner("abcd")
    used = run(tuner, 500, cost.__getitem__)
    assert set(used) == set("abcd")
    assert tuner.chosen == "c"


def test_the_ways_to_run_a_step_are_all_cores_or_one_fewer_at_once_or_in_turn() -> None:
    assert ways(4, 1) == [Way(4, together=True), Way(3, together=True)]
    assert ways(4, 2) == [Way(n, together=t) for t in (True, False) for n in (4, 3)]
    assert ways(1, 4) == [Way(1, together=True), Way(1, together=False)]
    assert ways(2, 8) == ways(2, 1) == [Way(2, together=True), Way(1, together=True)]

"""A process says the same whoever is beside it, wherever it runs, and wherever it is opened again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.engine import port
from tests.engine.fakes import END, Bench, alone, drive, joined

prompts = st.lists(st.integers(0, END - 1), min_size=1, max_size=40)
seeds = st.integers(0, 2**32)
stops = st.sampled_from([(), ("a b",), ("€",), (" ba", "c"), ("e\ufffd",)])


@settings(max_examples=60)
@given(prompts, seeds, st.integers(1, 30), stops, st.integers(0, 3))
def test_opened_again_at_any_position_it_goes_on_as_it_would_have(
    prompt: list[int], seed: int, budget: int, stop: tuple[str, ...], slot: int
) -> None:
    outputs = alone(prompt, seed, budget, stop=stop)
    for position in range(len(outputs)):
        before = outputs[:position]
        text, tokens, _ = joined(before)
        turn = port.Turn(len(tokens), len(text.encode()), before[-1].draws if before else 0)
        bench = Bench()
        bench.open(1, [*prompt, *tokens], seed, budget - len(tokens), stop=stop, turn=turn)
        bench.apply(port.Grant(1, slot))
        bench.run()
        assert bench.outputs[1] == outputs[position:]


actions = st.tuples(
    st.sampled_from(["grant", "grant", "hold", "revoke", "step", "step"]),
    st.integers(1, 3),
    st.integers(0, 1),
)


@settings(max_examples=150)
@given(st.lists(actions, max_size=40), st.lists(prompts, min_size=3, max_size=3), seeds)
def test_slots_and_neighbours_do_not_change_what_is_said(
    sequence: list[tuple[str, int, int]], all_prompts: list[list[int]], seed: int
) -> None:
    bench = Bench(slots=2)
    for pid, prompt in enumerate(all_prompts, 1):
        bench.open(pid, prompt, seed + pid)
    drive(bench, sequence)
    assert {pid: bench.result(pid) for pid in (1, 2, 3)} == {
        pid: joined(alone(prompt, seed + pid)) for pid, prompt in enumerate(all_prompts, 1)
    }


@settings(max_examples=60)
@given(prompts, seeds, st.integers(1, 6), st.integers(1, 12), stops)
def test_a_turn_resumed_after_its_limit_can_be_opened_again_anywhere(
    prompt: list[int], seed: int, first: int, second: int, stop: tuple[str, ...]
) -> None:
    bench = Bench()
    bench.open(1, prompt, seed, first, stop=stop)
    bench.apply(port.Grant(1, 0))
    bench.run()
    if bench.outputs[1][-1].end != "length":
        return
    limit = len(bench.outputs[1])
    bench.apply(port.Resume(1, first + second))
    bench.run()
    outputs = bench.outputs[1]
    for position in range(limit, len(outputs)):
        text, _, _ = joined(outputs[limit:position])
        _, tokens, _ = joined(outputs[:position])
        turn = port.Turn(len(tokens), len(text.encode()), outputs[position - 1].draws, cut=first)
        again = Bench()
        again.open(1, [*prompt, *tokens], seed, first + second - len(tokens), stop=stop, turn=turn)
        again.apply(port.Grant(1, 0))
        again.run()
        assert again.outputs[1] == outputs[position:]
    text, tokens, _ = joined(outputs[:limit])
    turn = port.Turn(len(tokens), len(text.encode()), outputs[limit - 1].draws)
    again = Bench()
    again.open(1, [*prompt, *tokens], seed, 0, stop=stop, turn=turn, turn_over=True)
    again.apply(port.Resume(1, first + second), port.Grant(1, 0))
    again.run()
    assert again.outputs[1] == outputs[limit:]


@settings(max_examples=60)
@given(
    st.lists(prompts, min_size=4, max_size=7),
    st.permutations(range(10)),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=8),
    st.booleans(),
    seeds,
)
def test_rows_in_scattered_slots_do_not_change_what_is_said(
    all_prompts: list[list[int]],
    slots: list[int],
    held: list[tuple[int, int]],
    forgets: bool,
    seed: int,
) -> None:
    bench = Bench(slots=10)
    bench.slots.forgets = forgets
    for pid, prompt in enumerate(all_prompts):
        bench.open(pid, prompt, seed + pid, weight=1.0 + pid % 2)
        bench.apply(port.Grant(pid, slots[pid]))
    for first, second in held:
        bench.apply(*(port.Hold(pid) for pid in (first, second) if pid < len(all_prompts)))
        if bench.batcher.busy:
            bench.step()
        bench.apply(*(port.Grant(pid, slots[pid]) for pid in (first, second) if pid < len(all_prompts)))
    bench.run()
    for pid, prompt in enumerate(all_prompts):
        assert bench.result(pid) == joined(alone(prompt, seed + pid))
    assert all(not bench.slots.cells[slot] for slot in slots[len(all_prompts) :])

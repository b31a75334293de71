"""With drafts a process says what it says without, token by token, wherever and beside whomever it runs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.engine import port
from agentkernel.engine.worker.lookup import Lookup
from tests.engine.fakes import END, Bench, Copy, alone, always, drive, joined

contexts = st.lists(st.integers(0, 4), max_size=80)
prompts = st.lists(st.integers(0, END - 1), min_size=1, max_size=40)
repeating = st.builds(lambda some, times: (some * times)[:40], prompts, st.integers(1, 8))
seeds = st.integers(0, 2**32)
lengths = st.sampled_from([1, 3, 7, 15])
stops = st.sampled_from([(), ("a b",), ("€",), (" ba", "c"), ("e\ufffd",)])


@given(contexts, st.integers(0, 15))
def test_a_guess_is_what_followed_the_same_tokens_last(tokens: list[int], most: int) -> None:
    expected: list[int] = []
    for n in (3, 2):
        places = [p for p in range(n, len(tokens)) if tokens[p - n : p] == tokens[len(tokens) - n :]]
        if places:
            whole = list(tokens)
            for place in range(places[-1], places[-1] + most):
                whole.append(whole[place])
            expected = whole[len(tokens) :]
            break
    assert Lookup().guess(tokens, most) == expected


@given(contexts, st.data())
def test_it_does_not_matter_when_a_context_was_learnt_of(tokens: list[int], data: st.DataObject) -> None:
    lookup = Lookup()
    for end in sorted(data.draw(st.lists(st.integers(0, len(tokens)), max_size=5))):
        lookup.guess(tokens[:end], 3)
    assert lookup.guess(tokens, 9) == Lookup().guess(tokens, 9)


@settings(max_examples=300)
@given(repeating, seeds, st.integers(1, 30), stops, lengths)
def test_every_output_is_the_one_that_comes_without_drafts(
    prompt: list[int], seed: int, budget: int, stop: tuple[str, ...], length: int
) -> None:
    plain = alone(prompt, seed, budget, draw=Copy, stop=stop)
    bench = always(Bench(), length)
    bench.open(1, prompt, seed, budget, Copy, stop=stop, prompt_lookup=True)
    bench.apply(port.Grant(1, 0))
    bench.run()
    assert bench.outputs[1] == plain
    assert len(bench.slots.cells[0]) == plain[-1].filled


@settings(max_examples=100)
@given(repeating, seeds, stops, lengths)
def test_opened_again_at_any_position_it_goes_on_as_it_would_have(
    prompt: list[int], seed: int, stop: tuple[str, ...], length: int
) -> None:
    outputs = alone(prompt, seed, draw=Copy, stop=stop)
    for position in range(len(outputs)):
        before = outputs[:position]
        text, tokens, _ = joined(before)
        turn = port.Turn(len(tokens), len(text.encode()), before[-1].draws if before else 0)
        fields = {"stop": stop, "turn": turn, "prompt_lookup": True}
        bench = always(Bench(), length)
        bench.open(1, [*prompt, *tokens], seed, 20 - len(tokens), Copy, **fields)
        bench.apply(port.Grant(1, 1))
        bench.run()
        assert bench.outputs[1] == outputs[position:]


actions = st.tuples(
    st.sampled_from(["grant", "grant", "hold", "revoke", "keep", "step", "step", "step"]),
    st.integers(1, 3),
    st.integers(0, 1),
)


@settings(max_examples=200)
@given(st.lists(actions, max_size=40), st.lists(repeating, min_size=3, max_size=3), seeds, lengths)
def test_slots_and_neighbours_do_not_change_what_is_said(
    sequence: list[tuple[str, int, int]], all_prompts: list[list[int]], seed: int, length: int
) -> None:
    bench = always(Bench(slots=2), length)
    for pid, prompt in enumerate(all_prompts, 1):
        bench.open(pid, prompt, seed + pid, draw=Copy, prompt_lookup=pid != 2)
    drive(bench, sequence)
    assert {pid: bench.result(pid) for pid in (1, 2, 3)} == {
        pid: joined(alone(prompt, seed + pid, draw=Copy)) for pid, prompt in enumerate(all_prompts, 1)
    }

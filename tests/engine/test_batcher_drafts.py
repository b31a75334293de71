"""The batching loop where sequences draft: what a step verifies, what of it stays, how turns end in it."""

from __future__ import annotations

import pytest

from agentkernel.calls import Call
from agentkernel.engine import port
from agentkernel.engine.worker.pacing import Way
from tests.engine.fakes import END, Bench, Draw, alone, always
from tests.engine.test_batcher_calls import One

AGAIN = [0, 1, 2, 3, 4, 5, 0, 1, 2]  # and then 3, 4, 5 by all that was said


def scripted(sampler: Draw, *tokens: int) -> None:
    """Let the sampler draw these tokens, and nothing from logits that nobody asked for."""
    line = iter(tokens)

    def draw(context: object, index: int) -> int:
        assert index in context.seen  # type: ignore[attr-defined]
        sampler.draws += 1
        return next(line)

    sampler.draw = draw  # type: ignore[method-assign]


def drafting(*tokens: int, length: int = 3, prompt: list[int] = AGAIN, **fields: object) -> Bench:
    """A bench whose only process draws these tokens, and drafts so many a step."""
    bench = always(Bench(), length)
    scripted(bench.open(1, prompt, prompt_lookup=True, **fields), *tokens)  # type: ignore[arg-type]
    bench.apply(port.Grant(1, 0))
    bench.step()
    return bench


def test_a_draft_that_is_right_is_said_in_one_step_with_the_token_behind_it() -> None:
    bench = drafting(3, 4, 5, 0, 9, END)
    step = bench.step()
    assert [output.tokens for output in step.outputs] == [[4], [5], [0], [9]]
    assert [output.draws for output in step.outputs] == [2, 3, 4, 5]
    assert [output.filled for output in step.outputs] == [10, 11, 12, 13]
    assert bench.slots.cells[0] == [*AGAIN, 3, 4, 5, 0]
    assert (step.batch, step.prompt) == (4, 0)
    bench.run()
    assert bench.result(1)[1:] == ([3, 4, 5, 0, 9], "stop")


def test_behind_the_first_wrong_token_nothing_of_a_draft_stays() -> None:
    bench = drafting(3, 4, 9, 8, END)
    step = bench.step()
    assert [output.tokens for output in step.outputs] == [[4], [9]]
    assert step.batch == 4
    assert bench.slots.cells[0] == [*AGAIN, 3, 4]
    bench.run()
    assert bench.result(1)[1:] == ([3, 4, 9, 8], "stop")


def test_without_the_option_a_step_has_one_token() -> None:
    bench = always(Bench(), 3)
    scripted(bench.open(1, AGAIN), 3, 4, END)
    bench.apply(port.Grant(1, 0))
    bench.run()
    assert bench.slots.decoded == [[(0, 9)], [(0, 1)], [(0, 1)]]


def test_an_answer_that_ends_within_a_draft_ends_there() -> None:
    bench = drafting(3, 4, END)
    bench.run()
    assert bench.result(1)[1:] == ([3, 4], "stop")
    assert bench.outputs[1][-1].tokens == []
    assert bench.slots.cells[0] == [*AGAIN, 3, 4]


def test_a_stop_string_within_a_draft_ends_the_turn_there() -> None:
    bench = drafting(3, 4, 5, stop=("c. d",))
    bench.run()
    assert bench.result(1) == ("", [3, 4], "stop")
    assert bench.slots.cells[0] == [*AGAIN, 3]


def test_a_budget_that_ends_within_a_draft_is_exact_and_the_turn_can_be_resumed() -> None:
    bench = drafting(3, 4, 5, 0, 1, 2, END, budget=3)
    bench.run()
    assert bench.result(1)[1:] == ([3, 4, 5], "length")
    bench.apply(port.Resume(1, 5))
    bench.run()
    assert bench.result(1)[1:] == ([3, 4, 5, 0, 1], "length")
    assert bench.slots.cells[0] == [*AGAIN, 3, 4, 5, 0]


@pytest.mark.parametrize("limit", [2, 3, 4, 5])
def test_a_limit_changed_between_steps_holds_within_a_draft(limit: int) -> None:
    bench = drafting(3, 4, 5, 0, 1, 2, END)
    bench.apply(port.Limit(1, limit))
    bench.run()
    assert bench.result(1)[1:] == ([3, 4, 5, 0, 1][:limit], "length")


def test_a_process_told_to_end_does_within_a_draft() -> None:
    sentence = [3, 5, 12]
    bench = drafting(5, 12, 5, 12, END, prompt=[*sentence, 0, *sentence, 3])
    bench.apply(port.Finish(1, 9))
    bench.run()
    assert bench.result(1)[1:] == ([5, 12], "terminated")


def test_a_context_that_is_full_is_filled_to_its_last_token() -> None:
    bench = always(Bench(context=16), 15)
    bench.open(1, [8, 9] * 5, seed=3, prompt_lookup=True, budget=60)
    scripted(bench.batcher.sequence(1).sampler, *[8, 9] * 9)  # type: ignore[arg-type]
    bench.apply(port.Grant(1, 0))
    bench.run()
    assert bench.result(1)[1:] == ([8, 9] * 3, "context_full")


def test_a_context_that_was_spliced_is_guessed_from_as_it_is() -> None:
    bench = drafting(3, 9, 2, 7, 0, 1, 9, END)
    bench.step()
    bench.apply(port.Splice(1, 3, 11, [7, 0, 1]))
    bench.step()
    assert bench.batcher.sequence(1).tokens == [0, 1, 2, 7, 0, 1, 2]
    assert [output.tokens for output in bench.step().outputs] == [[7], [0], [1], [9]]


def test_a_model_that_cannot_take_back_a_part_reads_again_and_drafts_no_more() -> None:
    bench = drafting(3, 9, 0, 1, 2, 3, 4, 5, END)
    bench.slots.forgets = False
    bench.step()
    assert bench.slots.cells[0] == []
    bench.run()
    assert bench.result(1)[1:] == ([3, 9, 0, 1, 2, 3, 4, 5], "stop")
    assert bench.slots.decoded[2:] == [[(0, 11)]] + [[(0, 1)]] * 6


def test_a_step_that_fails_with_a_draft_is_done_one_by_one() -> None:
    bench = drafting(3, 4, 5, 0, 9, END)
    bench.open(2, [7])
    bench.apply(port.Grant(2, 1))
    bench.step()
    bench.slots.fail = lambda rows: 1 if any(row.slot == 1 for row in rows) else 0
    bench.run()
    assert bench.outputs[2][-1].end == "context_full"
    assert bench.result(1)[1:] == ([3, 4, 5, 0, 9], "stop")


def test_a_call_within_a_draft_ends_the_turn_at_its_very_byte() -> None:
    line = ["TOOL:calc", " ", '{"a"', ": 1}"]
    call = Call("calc", '{"a": 1}', "tool")
    turns = (["See: ", *line, "so\n", *line, "never"],)
    plain = One(*turns).steps()
    one = One(*turns, prompt_lookup=True)
    one.batcher.sequence(1).tokens[:0] = one.lines.turns[0][1:]
    one.batcher._drafter._lengths = always(Bench(), 7).batcher._drafter._lengths
    one.steps()
    assert one.result == plain.result == ('See: TOOL:calc {"a": 1}so\nTOOL:calc {"a": 1}', "call", [call])
    assert one.batcher.sequence(1).tokens[-2:] == plain.batcher.sequence(1).tokens[-2:]


def test_a_deterministic_process_does_not_draft() -> None:
    bench = always(Bench(), 3)
    bench.open(1, AGAIN, seed=5, exact=True, prompt_lookup=True)
    bench.apply(port.Grant(1, 0))
    bench.run()
    assert {row for rows in bench.slots.decoded for row in rows} == {(0, 1)}
    assert bench.outputs[1] == alone(AGAIN, seed=5)


def test_drafts_begin_with_the_threads_that_are_best_without() -> None:
    bench = drafting(3, 4, 9, END)
    bench.batcher._tuner(1).chosen = Way(1, together=True)
    bench.step()
    assert (bench.slots.decoded[-1], bench.slots.threads) == ([(0, 4)], [2, 1])

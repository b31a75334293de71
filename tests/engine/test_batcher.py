"""The batching loop: what each step decodes, how turns end, and whose fault stays whose."""

from __future__ import annotations

import pytest

from agentkernel.engine import port
from agentkernel.engine.worker.batcher import FatalDecode
from agentkernel.engine.worker.images import Images
from tests.engine.fakes import END, PIECES, Bench, Draw, alone, joined

LONG = list(range(6)) * 8  # 48 tokens


def scripted(sampler: Draw, *tokens: int) -> None:
    """Let the sampler draw these tokens."""
    line = iter(tokens)

    def draw(context: object, index: int) -> int:
        sampler.draws += 1
        return next(line)

    sampler.draw = draw


def one(*tokens: int, budget: int = 20, context: int = 64, **fields) -> Bench:
    """A bench whose only process, with a prompt of two tokens, draws these tokens."""
    bench = Bench(context=context)
    scripted(bench.open(1, [0, 1], budget=budget, **fields), *tokens)
    bench.apply(port.Grant(1, 0))
    return bench


def test_a_prompt_is_read_in_chunks_beside_what_decodes() -> None:
    bench = Bench(batch=16)
    bench.open(1, [0], budget=30)
    bench.apply(port.Grant(1, 0))
    bench.step()
    bench.open(2, LONG, budget=30)
    bench.apply(port.Grant(2, 1))
    for _ in range(5):
        bench.step()
    assert bench.slots.decoded[1:5] == [[(0, 1), (1, 15)]] * 3 + [[(0, 1), (1, 3)]]
    assert len(bench.outputs[1]) == 6


def test_neighbours_do_not_change_what_a_process_says() -> None:
    prompts = {1: [0], 2: LONG, 3: [3, 4, 5], 4: LONG[:20]}
    bench = Bench(batch=16)
    for pid, prompt in prompts.items():
        bench.open(pid, prompt, seed=pid)
        bench.apply(port.Grant(pid, pid - 1))
    bench.run()
    assert {pid: bench.result(pid) for pid in prompts} == {
        pid: joined(alone(prompt, seed=pid)) for pid, prompt in prompts.items()
    }


def test_when_more_decode_than_a_batch_holds_they_take_turns() -> None:
    bench = Bench(batch=2)
    for pid in (1, 2, 3, 4):
        bench.open(pid, [0], seed=pid)
        bench.apply(port.Grant(pid, pid - 1))
    bench.step()
    bench.step()
    assert [len(bench.outputs[pid]) for pid in (1, 2, 3, 4)] == [1, 1, 1, 1]
    bench.run()
    assert bench.result(3) == joined(alone([0], seed=3))


def test_a_step_tells_its_size_and_only_of_processes_with_news() -> None:
    bench = Bench(batch=16)
    bench.open(1, [0])
    bench.open(2, LONG)
    bench.apply(port.Grant(1, 0), port.Grant(2, 1))
    step = bench.step()
    assert (step.batch, [output.pid for output in step.outputs]) == (16, [1])
    assert step.ms >= 0


def test_every_step_says_with_how_many_threads() -> None:
    bench = Bench(cores=3)
    bench.open(1, LONG)
    bench.apply(port.Grant(1, 0))
    for _ in range(4):
        bench.step()
    assert bench.slots.threads == [3] * 4


def test_sequences_are_decoded_one_after_the_other_where_that_is_faster() -> None:
    """Slots in descending order are what llama.cpp does not decode at once."""
    bench = Bench(cores=1)
    for pid in (1, 2):
        bench.open(pid, [0], budget=60)
        bench.apply(port.Grant(pid, pid - 1))
    orders = set()
    for _ in range(40):
        bench.step()
        orders.add(tuple(slot for slot, _ in bench.slots.decoded[-1]))
    assert orders >= {(0, 1), (1, 0)}


def test_the_budget_is_exact() -> None:
    bench = one(*[0] * 9, budget=4)
    bench.run()
    assert bench.result(1) == ("aaaa", [0] * 4, "length")


def test_the_token_that_ends_an_answer_is_not_part_of_it() -> None:
    bench = one(0, 1, END)
    bench.run()
    assert bench.result(1) == ("a b", [0, 1], "stop")
    assert bench.outputs[1][-1].tokens == []
    assert bench.outputs[1][-1].draws == 3


def test_a_stop_string_across_tokens_ends_the_turn_and_is_not_said() -> None:
    bench = one(5, 0, 1, 4, stop=("a b d",))
    bench.run()
    assert bench.result(1) == ("e", [5, 0, 1, 4], "stop")


def test_characters_cut_across_tokens_are_whole_in_the_output() -> None:
    bench = one(7, 8, 9, 10, 9, END)
    bench.run()
    assert [output.text for output in bench.outputs[1]] == [
        b"", "€".encode(), b"", "😀".encode(), b"", "\ufffd".encode()
    ]  # fmt: skip


def test_a_full_context_ends_the_turn_behind_its_last_token() -> None:
    bench = one(*[0] * 9, context=5)
    bench.run()
    assert bench.result(1) == ("aaa", [0] * 3, "context_full")


def test_what_was_held_back_is_said_when_a_turn_is_cut() -> None:
    bench = one(0, 1, 0, 1, budget=2, stop=("a bX",))
    bench.run()
    assert bench.result(1) == ("a b", [0, 1], "length")


@pytest.mark.parametrize(
    ("tokens", "grace", "text", "end"),
    [
        ([5, 3, 5, 5], 9, "aec.", "terminated"),
        ([5, 5, 5, 5, 5], 3, "aeee", "terminated"),
        ([5, 5], 1, "ae", "terminated"),
        ([12, 5], 9, "a\n", "terminated"),
        ([5, END], 9, "ae", "stop"),
    ],
)
def test_a_process_told_to_end_finishes_its_sentence_within_its_grace(
    tokens: list[int], grace: int, text: str, end: str
) -> None:
    bench = one(0, *tokens)
    bench.step()
    bench.apply(port.Finish(1, grace))
    bench.run()
    said, _, why = bench.result(1)
    assert (said, why) == (text, end)


def test_a_changed_limit_counts_from_the_turns_start() -> None:
    """So that tokens under way while it travels are not given twice."""
    bench = one(*[0] * 9, budget=3)
    bench.step()
    bench.apply(port.Limit(1, 5))
    bench.run()
    assert bench.result(1)[1] == [0] * 5


def test_a_turn_that_was_over_can_be_resumed() -> None:
    bench = one(0, 1, 2, 3, budget=2)
    bench.run()
    bench.apply(port.Resume(1, 4))
    bench.run()
    assert bench.result(1) == ("a babc.", [0, 1, 2, 3], "length")
    assert bench.slots.cells[0] == [0, 1, 0, 1, 2]


def test_a_held_process_keeps_its_slot_and_reads_nothing_again() -> None:
    bench = one(0, 1, 2)
    bench.step()
    bench.apply(port.Hold(1))
    assert not bench.batcher.busy
    bench.apply(port.Grant(1, 0))
    bench.step()
    assert bench.slots.decoded == [[(0, 2)], [(0, 1)]]


def test_a_revoked_process_is_read_again_in_its_new_slot() -> None:
    bench = one(0, 1, 2)
    bench.step()
    bench.apply(port.Revoke(1))
    assert bench.slots.cells[0] == []
    bench.slots.cells[3] = [9, 9, 9]  # somebody else's, left behind
    bench.apply(port.Grant(1, 3))
    bench.step()
    assert bench.slots.cells[3] == [0, 1, 0]
    assert bench.result(1)[1] == [0, 1]


def test_a_closed_process_is_forgotten() -> None:
    bench = Bench()
    sampler = bench.open(1, [0, 1])
    bench.apply(port.Grant(1, 0))
    bench.step()
    bench.apply(port.Close(1))
    assert sampler.closed
    assert bench.slots.cells[0] == []
    assert not bench.batcher.busy
    bench.apply(port.Close(1), port.Grant(1, 0), port.Hold(7))
    assert not bench.batcher.busy


@pytest.mark.parametrize(("code", "end"), [(1, "context_full"), (-1, "failed")])
def test_one_process_that_cannot_be_decoded_ends_alone(code: int, end: str) -> None:
    bench = Bench()
    for pid in (1, 2, 3):
        bench.open(pid, [pid, 0], seed=pid)
        bench.apply(port.Grant(pid, pid - 1))
    bench.step()
    bench.slots.fail = lambda rows: code if any(row.slot == 1 for row in rows) else 0
    bench.run()
    assert bench.result(2)[2] == end
    assert bench.result(2)[1] == joined(alone([2, 0], seed=2))[1][:1]
    for pid in (1, 3):
        assert bench.result(pid) == joined(alone([pid, 0], seed=pid))


@pytest.mark.parametrize(("code", "end"), [(1, "context_full"), (-1, "failed")])
def test_a_process_that_cannot_be_decoded_by_itself_ends(code: int, end: str) -> None:
    bench = one(0)
    bench.slots.fail = lambda rows: code
    bench.run()
    assert bench.result(1) == ("", [], end)


def test_a_fatal_code_ends_the_engine() -> None:
    bench = one(0)
    bench.slots.fail = lambda rows: -3
    with pytest.raises(FatalDecode, match="-3"):
        bench.step()


def test_a_fatal_code_while_looking_for_the_culprit_ends_the_engine() -> None:
    bench = Bench()
    for pid in (1, 2):
        bench.open(pid, [0])
        bench.apply(port.Grant(pid, pid - 1))
    bench.slots.fail = lambda rows: -1 if len(rows) > 1 else -2
    with pytest.raises(FatalDecode, match="-2"):
        bench.step()


def test_the_next_turn_goes_on_in_the_context_of_the_last() -> None:
    bench = Bench()
    sampler = bench.open(1, [0, 1], stop=("zz",), budget=1)
    scripted(sampler, 2, 3, END)
    bench.apply(port.Grant(1, 0))
    bench.run()
    assert bench.batcher.append(1, [4, 5], budget=9)
    bench.run()
    assert bench.slots.cells[0] == [0, 1, 2, 4, 5, 3]
    assert bench.result(1) == ("abc.", [2, 3], "stop")
    assert sampler.turns == 1
    assert sampler.seen == [0, 1, 4, 5]


def test_a_next_turn_forgets_what_the_last_held_back_and_its_grace() -> None:
    bench = one(0, 3, 1, 5, END, budget=9, stop=("ac",))
    bench.step()
    bench.apply(port.Finish(1, 2), port.Hold(1))
    bench.batcher.append(1, [4], budget=9)
    bench.apply(port.Grant(1, 0))
    bench.run()
    assert bench.result(1) == ("c. be", [0, 3, 1, 5], "stop")


def test_a_next_turn_that_does_not_fit_changes_nothing() -> None:
    bench = one(0, 1, END, budget=2, context=8)
    bench.run()
    assert not bench.batcher.append(1, [4, 4, 4, 4], budget=9)
    assert not bench.batcher.busy
    assert bench.batcher.append(1, [4, 4, 4], budget=9)
    bench.run()
    assert bench.slots.cells[0] == [0, 1, 0, 1, 4, 4, 4]


def test_whether_a_process_goes_without_a_template_is_remembered() -> None:
    bench = Bench()
    bench.open(1, [0], raw=True)
    bench.open(2, [0])
    assert [bench.batcher.sequence(pid).raw for pid in (1, 2)] == [True, False]


def test_the_pieces_cover_what_text_can_be_made_of() -> None:
    assert b"".join(PIECES).decode("utf-8", "ignore") != ""
    assert any(not piece.isascii() for piece in PIECES)


def test_a_context_that_changes_while_a_donor_is_fetched_takes_no_more_than_is_still_common(tmp_path):
    bench = Bench()
    images = bench.batcher._images = Images(bench.slots, tmp_path, bench.paged.append)
    bench.open(1, LONG, budget=1)
    bench.apply(port.Grant(1, 0))
    bench.run()
    bench.apply(port.Close(1, keep=True), port.Store(1))
    bench.open(2, LONG, budget=1)
    bench.apply(port.Grant(2, 0, 1, 40), port.Splice(2, 10, 13))
    assert not bench.batcher.busy
    images._files.submit(int).result()
    bench.batcher.arrived(2)
    bench.run()
    assert bench.slots.cells[0] == LONG[:10] + LONG[13:]


def test_a_context_that_several_begin_with_is_taken_once_and_never_out_of_date() -> None:
    bench = Bench(context=64)
    taken: list[int] = []
    state = bench.slots.state
    bench.slots.state = lambda slot: (taken.append(slot), state(slot))[1]
    bench.open(1, [0] * 20)
    bench.apply(port.Grant(1, 0))
    bench.step()
    bench.step()
    for pid in (2, 3):
        bench.open(pid, [0] * 16 + [pid])
        bench.apply(port.Grant(pid, pid - 1, donor=1, prefix=10))
    assert taken == [0]
    bench.step()
    tokens = list(bench.batcher.sequence(1).tokens[:21])
    bench.open(4, [*tokens, 1])
    bench.apply(port.Grant(4, 3, donor=1, prefix=21))
    assert taken == [0, 0]
    assert bench.slots.cells[3] == tokens


def test_what_was_taken_of_a_donor_is_forgotten_with_its_slot() -> None:
    bench = Bench(context=64)
    bench.open(1, [0] * 20)
    bench.apply(port.Grant(1, 0))
    bench.step()
    bench.step()
    bench.open(2, [0] * 20)
    bench.apply(port.Grant(2, 1, donor=1, prefix=10), port.Splice(1, 5, 20, [1] * 15))
    bench.open(3, [0] * 5 + [1] * 15)
    bench.apply(port.Grant(3, 2, donor=1, prefix=12))
    assert bench.slots.cells[2] == []


def test_no_step_uses_more_threads_than_are_allowed() -> None:
    bench = Bench(cores=4)
    bench.open(1, [0], budget=200)
    bench.batcher.sequence(1).sampler.draw = lambda context, index: 7
    bench.apply(port.Grant(1, 0))
    used = []
    for most in (4, 2, 1, 4):
        bench.apply(port.Threads(most))
        for _ in range(12):
            bench.step()
        used.append(bench.slots.threads[-12:])
    assert [max(some) for some in used] == [4, 2, 1, 4]

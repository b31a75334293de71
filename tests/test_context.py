"""Which turns give way when a context is full, and how processes go on without them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkernel.context import oldest, spliced
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.process import Process, State, Wait
from tests.by_hand import ME, Bench, boot, run, settle, words

conversations = st.lists(st.integers(1, 20), min_size=1, max_size=12).map(
    lambda sizes: [sum(sizes[:i]) for i in range(1, len(sizes) + 1)]
)


@given(conversations, st.integers(0, 30), st.integers(0, 300))
def test_whole_turns_go_the_oldest_first_and_no_more_than_needed(turns, last, room):
    length = turns[-1] + last
    cut = oldest(turns, length, room)
    if len(turns) == 1:
        assert cut is None
        return
    start, end = cut
    assert start == turns[0]
    assert end in turns[1:]
    left = length - (end - start)
    assert left <= room or end == turns[-1]
    fewer = turns[turns.index(end) - 1]
    assert fewer == start or length - (fewer - start) > room


@given(conversations, st.data())
def test_turns_are_where_they_were_but_for_what_was_cut(turns, data):
    """Marking each turn's first token in a list of tokens and splicing that list says the same."""
    tokens = ["turn" if i in turns else "" for i in range(turns[-1] + 5)]
    start, end = sorted(data.draw(st.tuples(*[st.sampled_from([*turns, len(tokens)])] * 2)))
    new = data.draw(st.integers(0, 4))
    tokens[start:end] = ["turn", *[""] * (new - 1)] if new else []
    assert spliced(turns, start, end, new) == [i for i, token in enumerate(tokens) if token]


async def talk(folder: Path, strategy: str) -> Bench:
    """A process in its third turn, which fills its context of 256: 60, 61 and 127 tokens came before."""
    bench = await boot(folder, engine={"context": 256})
    await bench.exec("a" * 50, interactive=True, max_tokens=10, context_strategy=strategy)
    bench.finish()
    await bench.kernel.send_input(ME, 1, "b" * 50, bench.screen)
    bench.finish()
    bench.kernel.events.subscribe(ME, bench.screen)
    await bench.kernel.send_input(ME, 1, "c" * 126, bench.screen)
    return bench


async def until_summarizing(bench: Bench) -> Process:
    """The process of `talk`, once it waits for its child."""
    process = bench.kernel.table.live(1)
    while process.wait is not Wait.CHILD:
        bench.step()
    await settle()
    return process


async def finish(bench: Bench) -> None:
    """Steps until nothing runs, and nothing follows from it."""
    for _ in range(3):
        bench.finish()
        await settle()


def test_by_default_a_full_context_ends_the_process(tmp_path):
    async def main():
        bench = await talk(tmp_path, "stop")
        bench.finish()
        process = bench.kernel.table.find(1)
        assert (process.state, process.reason) == (State.DONE, "context_full")
        assert bench.screen.text[1] == words(10) * 2 + words(8)

    run(main())


def test_sliding_drops_the_oldest_turns_and_says_so(tmp_path):
    async def main():
        bench = await talk(tmp_path, "slide")
        process = bench.kernel.table.live(1)
        before = list(process.tokens)
        bench.finish()
        assert process.wait is Wait.INPUT
        assert bench.screen.text[1] == words(10) * 3
        assert bench.screen.events[0] == {
            "kind": "context_slid",
            "pid": 1,
            "dropped_tokens": 121,
            "summary_tokens": 0,
            "context_tokens": 256 - 121,
        }
        assert process.tokens[: len(before) - 121] == before[121:]
        assert bench.sent(port.Splice) == [port.Splice(1, 0, 121)]
        assert process.turns == [0]
        assert (process.prompt_tokens, process.generated) == (50 + 51 + 127, 30)

    run(main())


def test_what_was_computed_behind_the_cut_is_computed_again(tmp_path):
    async def main():
        bench = await talk(tmp_path, "slide")
        read = bench.kernel.models.current().prompt_tokens
        bench.finish()
        again = bench.kernel.models.current().prompt_tokens - read
        assert again >= 256 - 121 - 1

    run(main())


def test_a_turn_alone_in_its_context_ends_there_even_when_it_may_slide(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine={"context": 64})
        await bench.exec("a" * 50, context_strategy="slide")
        bench.finish()
        process = bench.kernel.table.find(1)
        assert (process.reason, process.generated) == ("context_full", 14)

    run(main())


def test_input_that_can_never_fit_costs_no_turn(tmp_path):
    async def main():
        bench = await boot(tmp_path, engine={"context": 64})
        process = await bench.exec("a" * 20, interactive=True, max_tokens=5, context_strategy="slide")
        bench.finish()
        await bench.kernel.send_input(ME, 1, "b" * 20, bench.screen)
        bench.finish()
        before = list(process.tokens)
        with pytest.raises(KernelError) as caught:
            await bench.kernel.send_input(ME, 1, "c" * 50, bench.screen)
        assert (caught.value.code, caught.value.details) == (
            "MEMORY_ADMISSION",
            {"tokens": 51, "context": 64},
        )
        assert (process.tokens, process.wait) == (before, Wait.INPUT)

    run(main())


@pytest.mark.parametrize("strategy", ["slide", "summarize"])
def test_input_makes_room_for_itself(tmp_path, strategy):
    async def main():
        bench = await boot(tmp_path, engine={"context": 256})
        await bench.exec("a" * 50, interactive=True, max_tokens=5, context_strategy=strategy)
        bench.finish()
        await bench.kernel.send_input(ME, 1, "b" * 50, bench.screen)
        bench.finish()
        sending = asyncio.ensure_future(bench.kernel.send_input(ME, 1, "c" * 180, bench.screen))
        while not sending.done():
            bench.step()
            await settle()
        bench.finish()
        process = bench.kernel.table.live(1)
        assert bench.screen.text[1] == words(5) * 3
        assert process.tokens[-185:-5] == list(b"c" * 180)
        assert process.tokens[:50] != list(b"a" * 50)

    run(main())


def test_a_summary_is_written_by_a_child_and_takes_the_place_of_what_it_says(tmp_path):
    async def main():
        bench = await talk(tmp_path, "summarize")
        before = list(bench.kernel.table.live(1).tokens)
        process = await until_summarizing(bench)
        child = bench.kernel.table.live(2)
        assert (child.parent, child.owner) == (1, ME)
        asked = child.tokens[121:]
        await finish(bench)
        assert process.wait is Wait.INPUT
        assert bench.screen.text == {1: words(10) * 3}
        told = next(e for e in bench.screen.events if e["kind"] == "context_summarized")
        summary = told["summary_tokens"]
        assert told["dropped_tokens"] == 121
        assert process.tokens[: len(asked)] == asked
        assert summary == len(asked) + 256 // 8
        assert process.tokens[summary : summary + 127] == before[121:]
        assert process.turns == [0, summary]

    run(main())


@pytest.mark.parametrize("how", ["child killed", "no room for it", "table full"])
def test_without_a_summary_the_turns_go_unsummarized(tmp_path, how):
    async def main():
        limits = {"limits": {"processes": 1}} if how == "table full" else {}
        bench = await boot(tmp_path, engine={"context": 256}, **limits)
        first = 220 if how == "no room for it" else 50
        await bench.exec("a" * first, interactive=True, max_tokens=10, context_strategy="summarize")
        bench.finish()
        bench.kernel.events.subscribe(ME, bench.screen)
        await bench.kernel.send_input(ME, 1, "b" * (256 - first - 15), bench.screen)
        process = await until_summarizing(bench)
        if how == "child killed":
            bench.kernel.kill(ME, 2)
            await settle()
        await finish(bench)
        assert "context_slid" in bench.screen.kinds()
        assert process.wait is Wait.INPUT
        assert bench.screen.text[1] == words(10) * 2

    run(main())


def test_who_is_killed_takes_its_summary_along(tmp_path):
    async def main():
        bench = await talk(tmp_path, "summarize")
        await until_summarizing(bench)
        bench.kernel.kill(ME, 1)
        await settle()
        assert len(bench.kernel.table) == 0
        assert bench.kernel.table.find(2).state is State.KILLED

    run(main())


@pytest.mark.parametrize("late", [False, True])
def test_a_suspended_process_s_summary_is_written_all_the_same(tmp_path, late):
    """RESUME before it is done goes back to waiting for it, and afterwards to running."""

    async def main():
        bench = await talk(tmp_path, "summarize")
        process = await until_summarizing(bench)
        bench.kernel.suspend(ME, 1)
        if late:
            await finish(bench)
        bench.kernel.resume(ME, 1, None)
        assert process.wait is (None if late else Wait.CHILD)
        await finish(bench)
        assert bench.screen.text[1] == words(10) * 3

    run(main())


def test_an_engine_that_dies_while_a_summary_is_written_costs_nothing(tmp_path):
    async def main():
        bench = await talk(tmp_path, "summarize")
        await until_summarizing(bench)
        bench.step()
        bench.engine.die()
        await settle()
        await finish(bench)
        assert bench.screen.text[1] == words(10) * 3
        assert "context_summarized" in bench.screen.kinds()

    run(main())


def test_a_model_that_breaks_while_a_summary_is_written_fails_every_process(tmp_path):
    async def main():
        bench = await talk(tmp_path, "summarize")
        await until_summarizing(bench)
        other = await bench.exec("other")
        for _ in range(3):
            bench.engine.die()
            await settle()
        assert len(bench.kernel.table) == 0
        assert (other.state, other.reason) == (State.FAILED, "engine_failed")

    run(main())


@pytest.mark.parametrize("late", [False, True])
def test_output_that_is_continued_while_a_summary_is_written_leaves_it_the_only_slot(tmp_path, late):
    """As does a process that had lost its slot when the step came in which its context filled."""

    async def main():
        bench = await boot(tmp_path, engine={"context": 256, "slots": 1})
        fields = {"interactive": True, "context_strategy": "summarize"}
        process = await bench.exec("a" * 50, max_tokens=10, **fields)
        bench.finish()
        await bench.kernel.send_input(ME, 1, "b" * 187, bench.screen)
        while len(process.tokens) < 255:
            bench.step()
        if late:
            step = bench.engine._batcher.step()
            bench.kernel.suspend(ME, 1)
            await bench.exec("other", max_tokens=3)
            bench.kernel.resume(ME, 1, None)
            assert process.state is State.READY
            bench.engine.on_step(step)
        else:
            bench.step()
            bench.kernel.stop_output(ME, 1)
            bench.kernel.continue_output(ME, 1)
        await settle()
        await finish(bench)
        assert process.wait is Wait.INPUT
        assert bench.screen.text[1] == words(10) * 2

    run(main())


def test_a_conversation_takes_no_input_while_its_summary_is_written(tmp_path):
    async def main():
        bench = await talk(tmp_path, "summarize")
        await until_summarizing(bench)
        bench.kernel.stop_output(ME, 1)
        with pytest.raises(KernelError, match="WRONG_STATE"):
            await bench.kernel.send_input(ME, 1, "d", bench.screen)

    run(main())

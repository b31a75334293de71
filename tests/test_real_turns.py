"""Conversations that outgrow their context, on the real engine: what is left has the very tokens that it
would have, had nothing else ever been said."""

from __future__ import annotations

import pytest

from agentkernel.request import _SUMMARIZE
from tests.by_hand import ME
from tests.paged_memory import story
from tests.real_kernel import CHATML, EXEC, FORK, KILL, PING, SUSPEND, TINY, real_kernel, talk

CONTEXT = 256
ASKED = [KILL, FORK, EXEC, PING, SUSPEND]
TOLD = [[question, "That is a long story."] for question in ASKED]
SYSTEM = {"role": "system", "content": "You answer questions about the verbs of this kernel."}


def messages(turns):
    """Of turns, each a question and its answer; one that is under way has none yet."""
    roles = ("user", "assistant")
    return [
        {"role": role, "content": text} for turn in turns for role, text in zip(roles, turn, strict=False)
    ]


async def typed(fresh, system, turns, **fields):
    """A process for which this is the whole conversation; the tokens of its prompt."""
    process = await fresh.ask(messages=system + messages(turns), share="none", **fields)
    prompt = process.tokens[: process.prompt_tokens]
    fresh.kernel.kill(ME, process.pid)
    return process, prompt


async def holds(fresh, process, system, turns):
    """Whether the process's context is that of the turns, the last of which it has just answered."""
    _, prompt = await typed(fresh, system, turns, max_tokens=1)
    return process.tokens[: -process.turn_tokens] == prompt


async def converse(real, asked, system, told, strategy):
    """Begin with what was told and the first question, then ask the others; yields after each answer."""
    real.kernel.events.subscribe(ME, real.screen)
    begun = system + messages([*told, asked[:1]])
    process = await real.ask(messages=begun, context_strategy=strategy, max_tokens=60)
    yield process, asked[0], real.text(process)
    for said in asked[1:]:
        before = real.text(process)
        await real.say(process, said)
        yield process, said, real.text(process).removeprefix(before)


def cuts(real):
    """How the context stood each time it had given way, since this was last asked."""
    events = [event for event in real.screen.events if event["kind"].startswith("context_")]
    real.screen.events.clear()
    return events


def heard(real):
    """What children say, one string each."""
    texts, deliver = {}, real.kernel.deliver

    def listen(outputs):
        for process, output in outputs:
            if process.parent:
                texts[process.pid] = texts.get(process.pid, b"") + output.text
        deliver(outputs)

    real.kernel.deliver = listen
    return texts


SHAPES = [
    pytest.mark.parametrize("model", [TINY, CHATML]),
    pytest.mark.parametrize("system", [[], [SYSTEM]], ids=["no system prompt", "system prompt"]),
    pytest.mark.parametrize("told", [[], TOLD], ids=["prompt", "messages"]),
]


def all_shapes(test):
    for mark in SHAPES:
        test = mark(test)
    return test


@all_shapes
@story
async def test_a_slid_context_is_that_of_the_turns_that_are_left(tmp_path, model, system, told):
    """The answer in which it slides is the one that is given in other places."""
    async with (
        real_kernel(tmp_path, model=model, engine={"context": CONTEXT}) as real,
        real_kernel(tmp_path / "other", model=model, engine={"context": 1024}) as fresh,
    ):
        turns, answers, slid = [*told], {}, 0
        async for process, said, answer in converse(real, ASKED * 2, system, told, "slide"):
            turns.append([said])
            for cut in cuts(real):
                assert cut["kind"] == "context_slid"
                assert cut["context_tokens"] <= CONTEXT // 2
                slid += 1
                while not await holds(fresh, process, system, turns):
                    del turns[0]
            assert await holds(fresh, process, system, turns)
            turns[-1].append(answer)
            assert answers.setdefault(said, answer) == answer
        assert slid


@all_shapes
@story
async def test_a_summary_stands_in_place_of_the_turns_it_tells(tmp_path, model, system, told):
    """A child was asked for it, and what it said is a turn."""
    async with (
        real_kernel(tmp_path, model=model, engine={"context": CONTEXT}) as real,
        real_kernel(tmp_path / "other", model=model, engine={"context": 1024}) as fresh,
    ):
        turns, summaries = [*told], heard(real)
        async for process, said, answer in converse(real, ASKED * 2, system, told, "summarize"):
            turns.append([said])
            for cut in cuts(real):
                assert cut["kind"] == "context_summarized"
                summary = [_SUMMARIZE, summaries.popitem()[1].decode()]
                turns[0] = summary
                while not await holds(fresh, process, system, turns):
                    del turns[1]
            assert await holds(fresh, process, system, turns)
            turns[-1].append(answer)
        assert summary in turns
        assert not summaries


@pytest.mark.parametrize("model", [TINY, CHATML])
@story
async def test_a_context_slides_alike_when_it_was_paged_forked_or_opened_anew(tmp_path, model):
    """Each turn is asked of a child too, once another has had the slot and, at times, an engine has died."""
    shape = {"model": model, "engine": {"context": CONTEXT}}
    async with real_kernel(tmp_path / "alone", ram=0, **shape) as real:
        steps = [list(p.tokens) async for p, *_ in converse(real, ASKED * 3, [], [], "slide")]
        assert len(cuts(real)) >= 2
    async with real_kernel(tmp_path / "paged", ram=1, **shape) as real:
        i = 0
        async for process, *_ in converse(real, ASKED * 3, [], [], "slide"):
            assert process.tokens == steps[i]
            (child,) = await real.kernel.fork(ME, process.pid, 1, real.screen)
            i += 1
            if i % 4 == 0:
                await real.kill_engine()
            real.kernel.kill(ME, (await real.ask("Hello")).pid)
            if i < len(steps):
                await real.say(child, (ASKED * 3)[i])
                assert child.tokens == steps[i]
            real.kernel.kill(ME, child.pid)


@story
async def test_a_context_begun_from_a_snapshot_keeps_that_when_it_slides(tmp_path):
    """What is left is as if the later turns had followed the snapshot at once."""
    async with real_kernel(tmp_path, engine={"context": CONTEXT}) as real:
        real.kernel.events.subscribe(ME, real.screen)
        process = await real.ask("Hello", max_tokens=60)
        await real.kernel.snapshot(ME, process.pid, "hello")
        process = await real.ask(KILL, max_tokens=60, context_strategy="slide", **{"from": "hello"})
        asked = [KILL]
        while not cuts(real):
            asked.append(ASKED[len(asked) % 5])
            await real.say(process, asked[-1])
        left = asked[-len(process.turns) :]
        assert 1 < len(left) < len(asked) - 1
        fresh = await real.ask(left[0], max_tokens=60, **{"from": "hello"})
        await talk(real, [fresh], left[1:])
        assert fresh.tokens == process.tokens

"""Contexts that are copied, named, or begun with embeddings, on the real engine: every token is as typed."""

from __future__ import annotations

import asyncio

import gguf
import numpy as np
import pytest

from agentkernel.process import State, Wait
from tests.by_hand import ME
from tests.paged_memory import refused, story
from tests.real_kernel import BUILTIN, CHATML, EXEC, FORK, KILL, PING, SUSPEND, alone, real_kernel, talk

TURNS = [KILL, SUSPEND]
TIERS = pytest.mark.parametrize("tiers", [{}, {"ram": 1}, {"ram": 0}], ids=["memory", "disk", "no paging"])


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """What a process says about EXEC, and to the turns."""
    return asyncio.run(alone(tmp_path_factory.mktemp("alone"), [EXEC], TURNS))[0]


async def fork(real, parent):
    (child,) = await real.kernel.fork(ME, parent.pid, 1, real.screen)
    return child


@pytest.mark.parametrize("slots", [1, 3])
@TIERS
@story
async def test_children_say_what_their_parent_says(tmp_path, typed, slots, tiers):
    """Made before the first token, between any two of the first, of a parent and of a child."""
    async with real_kernel(tmp_path, engine={"slots": slots}, **tiers) as real:
        parent = await real.begin(EXEC, max_tokens=16)
        family = [parent]
        for tokens in (0, 1, 4, 9, 12, 16):
            await real.generated(parent, tokens)
            family.append(await fork(real, family[tokens % 2 - 1]))
        await real.rest(*family)
        texts = await talk(real, family, TURNS)
        assert texts[0] == typed
        assert all(process.tokens == parent.tokens for process in family)
        assert all(typed.endswith(text) for text in texts)
        assert len(set(texts)) > 1


@story
async def test_a_suspended_parent_on_disk_has_children_that_go_on(tmp_path, typed):
    async with real_kernel(tmp_path, ram=1) as real:
        parent = await real.begin(EXEC, max_tokens=16)
        await real.generated(parent, 4)
        real.kernel.suspend(ME, parent.pid)
        await real.ask(PING)
        await real.written(1)
        child = await fork(real, parent)
        await real.rest(child)
        (text,) = await talk(real, [child], TURNS)
        assert parent.state is State.SUSPENDED
        real.kernel.resume(ME, parent.pid, None)
        await real.rest(parent)
        assert await talk(real, [parent], TURNS) == [typed]
        assert typed.endswith(text)
        assert real.count("disk-in") >= 1


@story
async def test_children_have_a_copy_of_their_parents_memory(tmp_path):
    """Neither sees what the other writes later."""
    async with real_kernel(tmp_path) as real:
        parent = await real.ask(EXEC)
        await real.kernel.write_memory(ME, parent.pid, 5, b"before")
        child = await fork(real, parent)
        await real.kernel.write_memory(ME, parent.pid, 5, b"parent")
        assert await real.kernel.read_memory(ME, child.pid, 5, 6) == b"before"
        await real.kernel.write_memory(ME, child.pid, 0, b"child")
        assert await real.kernel.read_memory(ME, parent.pid, 0, None) == bytes(5) + b"parent"
        assert await real.kernel.read_memory(ME, child.pid, 0, None) == b"childbefore"


ANSWERS = {
    PING: "PING asks the kernel whether it is alive; it answers PONG. Example: PING me -",
    EXEC: "EXEC starts a prompt as a process and streams its tokens. Example: EXEC me - Tell me a story",
}
USER, ASSISTANT, END = "<|user|>\n", "<|assistant|>\n", "<|end|>\n"
AGAIN = f"{END}{USER}{FORK}{END}{ASSISTANT}"


async def named(real, name="one"):
    """Snapshot a process in the midst of its second answer; it, and what it would say up to an example."""
    process = await real.ask(PING)
    assert await talk(real, [process], []) == [ANSWERS[PING]]
    await real.say(process, EXEC)
    await real.kernel.snapshot(ME, process.pid, name)
    said = real.text(process).removeprefix(ANSWERS[PING])
    return process, ANSWERS[EXEC].removeprefix(said).partition("EXEC me")[0]


async def spoken(real, prompt, **fields):
    """The tokens of a raw prompt's context, and what is said to that and to one more turn."""
    process = await real.begin(prompt, raw=True, **fields)
    tokens = list(process.tokens)
    await real.rest(process)
    return tokens, await talk(real, [process], [AGAIN])


async def in_full(folder):
    """What is spoken when a snapshot's context is typed."""
    async with real_kernel(folder, ram=0) as real:
        _, rest = await named(real)
        before = ANSWERS[EXEC].partition("EXEC me")[0]
        typed = f"{USER}{PING}{END}{ASSISTANT}{ANSWERS[PING]}{END}{USER}{EXEC}{END}{ASSISTANT}{before}"
        assert before.endswith(rest)
        return await spoken(real, typed)


@pytest.fixture(scope="module")
def spoken_in_full(tmp_path_factory):
    return asyncio.run(in_full(tmp_path_factory.mktemp("alone")))


@TIERS
@pytest.mark.parametrize("share", ["owner", "none"])
@story
async def test_what_begins_from_a_snapshot_goes_on_as_if_all_were_typed(
    tmp_path, spoken_in_full, tiers, share
):
    async with real_kernel(tmp_path, **tiers) as real:
        process, rest = await named(real)
        real.kernel.kill(ME, process.pid)
        for _ in range(3):
            assert await spoken(real, rest, share=share, **{"from": "one"}) == spoken_in_full
        assert (real.count("share") >= 3) == (tiers.get("ram") != 0)


@story
async def test_a_snapshot_of_a_process_outside_its_slot_has_its_image(tmp_path, spoken_in_full):
    async with real_kernel(tmp_path, ram=1) as real:
        process, rest = await named(real)
        await real.kernel.drop_snapshot(ME, "one")
        await real.ask(KILL)
        await real.written(1)
        await real.kernel.snapshot(ME, process.pid, "one")
        real.kernel.kill(ME, process.pid)
        assert await spoken(real, rest, **{"from": "one"}) == spoken_in_full
        assert (real.count("clone"), real.count("failed")) == (1, 0)
        assert real.count("share") >= 1


@story
async def test_a_snapshot_outlives_its_kernel(tmp_path, spoken_in_full):
    async with real_kernel(tmp_path) as real:
        _, rest = await named(real)
    async with real_kernel(tmp_path) as real:
        for _ in range(2):
            assert await spoken(real, rest, **{"from": "one"}) == spoken_in_full


@story
async def test_a_snapshot_is_used_without_its_image(tmp_path, spoken_in_full):
    """Its file is damaged; later its engine dies."""
    async with real_kernel(tmp_path, ram=1) as real:
        process, rest = await named(real)
        real.kernel.kill(ME, process.pid)
        await real.ask(KILL)
        await real.written(2)  # and of the process that had it
        for file in real.files:
            file.write_bytes(b"nothing")
        assert await spoken(real, rest, **{"from": "one"}) == spoken_in_full
        assert real.count("failed") >= 1
        await real.kill_engine()
        assert await spoken(real, rest, **{"from": "one"}) == spoken_in_full


def embeddings(tokens):
    """The rows that chatml itself looks up for these tokens."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(BUILTIN / f"{CHATML}.gguf").tensors}
    table = tensors["token_embd.weight"]
    return gguf.quants.dequantize(table.data, table.tensor_type)[tokens].astype("<f4").tobytes()


def chatml(verb):
    """The two halves of a prompt; this model puts no token of its own before it."""
    return f"<|im_start|>user\nWhat does {verb}", " do?<|im_end|>\n<|im_start|>assistant\n"


async def from_tokens(folder, verb):
    """The tokens of both halves, and what is said to them, and to the same again."""
    head, tail = chatml(verb)
    async with real_kernel(folder, ram=0, model=CHATML) as real:
        process = await real.ask(head + tail, raw=True)
        whole = process.tokens[: process.prompt_tokens]
        texts = await talk(real, [process], [f"<|im_end|>\n{head}{tail}"])
        start = len(whole) - len((await real.begin(tail, raw=True)).tokens)
        return whole[:start], whole[start:], texts[0]


async def with_rows(real, rows):
    """A process that says a piece of what it says to the rows and the second half."""
    process = await real.begin(chatml("")[1], raw=True, memory_prefix=True)
    assert process.wait is Wait.MEMORY
    await real.kernel.write_memory(ME, process.pid, 0, rows)
    await real.rest(process)
    return process


@TIERS
@story
async def test_rows_are_as_good_as_the_tokens_whose_embeddings_they_are(tmp_path, tiers):
    """Also after the context was paged, its image was lost, it was forked, or the engine died."""
    head, tail, said = await from_tokens(tmp_path / "tokens", "KILL")
    other, _, other_said = await from_tokens(tmp_path / "other", "FORK")
    again = "<|im_end|>\n" + "".join(chatml("KILL"))
    async with real_kernel(tmp_path / "rows", model=CHATML, **tiers) as real:
        process = await with_rows(real, embeddings(head))
        assert process.tokens[len(head) :][: len(tail)] == tail
        child = await fork(real, process)
        await with_rows(real, embeddings(other))
        for file in real.files[::2]:
            file.write_bytes(b"nothing")
        first, second = await talk(real, [process, await fork(real, child)], [again])
        assert (first, said.endswith(second)) == (said, True)
        await real.kill_engine()
        (late,) = await talk(real, [child], [again])
        assert (late, child.tokens) == (second, process.tokens)
        assert other_said.startswith(real.text(await with_rows(real, embeddings(other))))
        assert other_said[:4] != said[:4]


NOT_A_NUMBER, INFINITE = (np.full(128, value, "<f4").tobytes() for value in (np.nan, -np.inf))
ROW = bytes(4 * 128)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "MEMW_INVALID"),
        (ROW[:-4], "MEMW_INVALID"),
        (ROW + b"\0", "MEMW_INVALID"),
        (ROW + NOT_A_NUMBER, "MEMW_INVALID"),
        (INFINITE + ROW, "MEMW_INVALID"),
        (ROW * 512, "MEMORY_ADMISSION"),
    ],
    ids=["none", "short", "a byte over", "no number", "infinite", "too many"],
)
@story
async def test_what_is_no_rows_is_refused_and_the_process_waits_on(tmp_path, data, code):
    async with real_kernel(tmp_path, model=CHATML) as real:
        process = await real.begin(chatml("")[1], raw=True, memory_prefix=True)
        with refused(code):
            await real.kernel.write_memory(ME, process.pid, 0, data)
        rows = embeddings([1, 2, 3])
        with refused("MEMW_INVALID"):
            await real.kernel.write_memory(ME, process.pid, 4, rows)
        assert (process.wait, process.generated) == (Wait.MEMORY, 0)
        await real.kernel.write_memory(ME, process.pid, 0, rows)
        await real.rest(process)
        assert process.generated
        assert await real.kernel.read_memory(ME, process.pid, 0, None) == rows

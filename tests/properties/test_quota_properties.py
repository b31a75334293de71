"""A limit of N lets exactly N be used: of processes and owners, in batches, with children, over restarts."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.errors import KernelError
from agentkernel.process import Process
from tests.by_hand import ADMIN, ME, Bench, boot, run, settle
from tests.callers import NO_FILES, SUM, calling, rest
from tests.kept import MIXED, without_threads

SETTINGS = settings(max_examples=40, deadline=None)
Act = tuple[str, int]
acts = st.lists(st.tuples(st.sampled_from(["fork", "kill", "die", "restart"]), st.integers(0, 9)), max_size=6)


async def again(bench: Bench, folder: Path, **made: Any) -> Bench:
    """The next kernel."""
    bench.kernel.recorder.commit()
    await bench.kernel.drain(0)
    await bench.kernel.close()
    return await born(folder, **made)


async def born(folder: Path, **made: Any) -> Bench:
    """A kernel that goes on with what is in the folder."""
    bench = await boot(folder, **MIXED, **made)
    without_threads(bench.kernel.recorder.journal)
    await bench.kernel.recover()
    await settle()
    return bench


class Run:
    """Processes of one owner, by their PIDs: what each has generated, in whichever kernel."""

    def __init__(self) -> None:
        self.said: dict[int, int] = {}

    def look(self, bench: Bench) -> list[Process]:
        """Learn what they have come to; those that live."""
        for pid in list(self.said):
            self.said[pid] = bench.kernel.find(ME, pid).generated
        live = bench.kernel.visible(ME)
        self.said.update((process.pid, process.generated) for process in live)
        return live


@SETTINGS
@given(
    most=st.integers(1, 40),
    own=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    slots=st.integers(1, 3),
    acts=acts,
)
def test_an_owner_generates_exactly_what_it_may(
    most: int, own: list[int], slots: int, acts: list[Act]
) -> None:
    """Some fork, some are killed, engines and kernels end amid it: nobody gets a token more, nor one less."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as name:
            folder, made = Path(name), {"engine": {"slots": slots, "context": 256}}
            bench, seen, todo = await born(folder, **made), Run(), list(acts)
            bench.kernel.set_owner_quota(ADMIN, ME.name, {"max_tokens": most})
            for tokens in own:
                await bench.exec("hello", limits={"max_tokens": tokens})
            while live := seen.look(bench):
                bench.step()
                await settle()
                live = seen.look(bench)
                if live and todo:
                    bench = await do(bench, todo.pop(), live, folder, made)
                assert sum(seen.said.values()) <= most
                assert bench.kernel.owner_quota(ME, ME.name)[0].used.tokens == sum(seen.said.values())
            if not any(what in ("kill", "fork") for what, _ in acts):
                assert sum(seen.said.values()) == min(most, sum(own))
            assert all(seen.said[pid] <= tokens for pid, tokens in enumerate(own, 1))
            await bench.kernel.close()

    run(main())


async def do(bench: Bench, act: Act, live: list[Process], folder: Path, made: dict[str, Any]) -> Bench:
    """Something befalls one of those that live, or all."""
    what, which = act
    process = live[which % len(live)]
    if what == "fork":
        assert await refusal(bench.kernel.fork(ME, process.pid, 1 + which % 2, None)) in (
            "",
            "QUOTA_EXCEEDED",
        )
        await settle()
    elif what == "kill":
        bench.kernel.kill(ME, process.pid)
    elif what == "die":
        bench.engine.die()
        await settle()
    if what == "restart" or bench.kernel.models.current().broken:
        return await again(bench, folder, **made)
    return bench


async def refusal(asked: Awaitable[Any]) -> str:
    """The code of the kernel's refusal; empty without one."""
    try:
        await asked
    except KernelError as error:
        return error.code
    return ""


@SETTINGS
@given(most=st.integers(0, 12), own=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_an_owner_calls_exactly_as_often_as_it_may(most: int, own: list[int]) -> None:
    """However its processes' calls fall together."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as name:
            bench = await calling(Path(name), {"go": SUM, "5": SUM}, tools={"calls": 99})
            made = [
                await bench.exec("go", max_syscalls=calls, paths=NO_FILES, limits={"max_tokens": 900})
                for calls in own
            ]
            bench.kernel.set_owner_quota(ADMIN, ME.name, {"max_syscalls": most})
            while not all(process.state.ended for process in made):
                await rest(bench)
            assert sum(process.syscalls for process in made) == min(most, sum(own))
            assert all(process.syscalls <= calls for process, calls in zip(made, own, strict=True))

    run(main())


@SETTINGS
@given(
    most=st.integers(1, 40),
    own=st.integers(1, 30),
    inputs=st.lists(st.integers(1, 12), min_size=1, max_size=8),
)
def test_contexts_get_every_input_that_fits_and_none_beyond(most: int, own: int, inputs: list[int]) -> None:
    """An input that is refused has used nothing, and the next may fit."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as name:
            bench = await calling(Path(name), {})
            process = await bench.exec("x", interactive=True, limits={"max_prompt_tokens": own})
            other = await bench.exec("x", interactive=True)
            bench.kernel.set_owner_quota(ADMIN, ME.name, {"max_prompt_tokens": most + 2})
            await rest(bench)
            heard = {1: 1, 2: 1}
            for index, size in enumerate(inputs):
                pid, cost = 1 + index % 2, size + 1  # and what ends the answer before it
                fits = sum(heard.values()) + cost <= most + 2 and (pid == 2 or heard[1] + cost <= own)
                code = await refusal(bench.kernel.send_input(ME, pid, "x" * size, bench.screen))
                assert code == ("" if fits else "QUOTA_EXCEEDED")
                heard[pid] += cost if fits else 0
                await rest(bench)
                assert (process.heard, other.heard) == (heard[1], heard[2])

    run(main())

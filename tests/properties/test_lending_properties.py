"""Processes that do nothing but start others use together what their first was given, and no more."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.process import NO_QUOTA, Process, Quota
from tests.by_hand import ME, Bench, run, settle
from tests.callers import call, calling, events

_COST, _SAID = 2, len(call("spawn", prompt="x", wait=True).split(" "))  # of a call: syscalls, tokens


def used(process: Process) -> Quota:
    """What the process used itself."""
    return Quota(process.generated, process.syscalls)


def family(bench: Bench) -> list[Process]:
    """Everybody who was ever started."""
    return [bench.kernel.find(ME, event["pid"]) for event in events(bench, "session_started")]


def check(bench: Bench, whole: Quota) -> None:
    """Nothing is lent twice, and nothing is made of nothing."""
    processes = family(bench)
    live = [process for process in processes if not process.state.ended]
    for process in live:
        assert min(process.tokens_left, process.syscalls_left) >= 0
        lent = [child.granted for child in live if child.parent == process.pid]
        assert process.lent == sum(lent, NO_QUOTA)
    spent = sum(map(used, processes), NO_QUOTA)
    free = sum((Quota(process.tokens_left, process.syscalls_left) for process in live), NO_QUOTA)
    assert (spent + free).tokens <= whole.tokens
    assert (spent + free).syscalls <= whole.syscalls


class Spawning:
    """A model that starts a process whatever it is told, and waits for it or not as chance has it."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def get(self, _text: str, _default: str) -> str:
        """See `dict.get`."""
        return call("spawn", prompt="x", wait=self._chance.random() < 0.5)


async def begin(folder: str, seed: int, whole: Quota) -> Bench:
    """A kernel whose first process has so much and begins to start others."""
    engine, tools = {"context": 8192, "slots": 4}, {"calls": 1000, "errors": 99}
    limits = {"processes": 64, "ended_processes": 1000}
    bench = await calling(Path(folder), Spawning(seed), engine=engine, tools=tools, limits=limits)
    fields = {"max_syscalls": whole.syscalls, "limits": {"max_tokens": whole.tokens}}
    await bench.exec("go", max_tokens=1000, **fields)
    return bench


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    whole=st.builds(Quota, st.integers(1, 150), st.integers(0, 24)),
    killed=st.lists(st.integers(0, 30), max_size=6).map(sorted),
)
def test_a_tree_of_processes_is_bounded_by_the_quota_of_its_root(
    seed: int, whole: Quota, killed: list[int]
) -> None:
    """Some are killed at some time, and what they had is not used twice."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            bench, step, doomed = await begin(folder, seed, whole), 0, list(killed)
            while bench.kernel.visible(ME):
                step += 1
                bench.engine.step()
                while doomed and doomed[0] <= step and (live := bench.kernel.visible(ME)):
                    bench.kernel.kill(ME, live[doomed.pop(0) % len(live)].pid)
                check(bench, whole)
                await settle()
                check(bench, whole)
                assert step < 1000
            assert len(family(bench)) <= 1 + min(whole.syscalls // _COST, whole.tokens // _SAID)

    run(main())

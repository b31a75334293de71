"""Lanes under any order of EXECs, steps, ends and departures."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.errors import KernelError
from agentkernel.plan import LANES
from agentkernel.process import Process
from agentkernel.request import ExecRequest
from tests.by_hand import ADMIN, ME, OTHER, Bench, Screen, boot, run, settle

BOUNDS = {"interactive": 2, "batch": 1, "background": 3}
LIMITS = {"queued": 2, "queued_batch": 1, "queued_background": 3, "waiting": 4}
execs = st.builds(
    lambda lane, owner, wait, screen, tokens: ("exec", lane, owner, wait, screen, tokens),
    *(
        st.sampled_from(LANES),
        st.sampled_from([ME, OTHER]),
        st.booleans(),
        st.integers(0, 2),
        st.integers(1, 9),
    ),
)
others = st.sampled_from([("step",), ("settle",), ("kill",), ("suspend",), ("gone", 0), ("gone", 1)])


class Crowd:
    """Clients of one kernel, and what became of what they asked."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.kernel = bench, bench.kernel
        self.screens = [Screen(), Screen(), Screen()]
        self.asked: list[asyncio.Task[Process]] = []

    def act(self, what, *given) -> None:
        live = list(self.kernel.table)
        if what == "exec":
            lane, owner, wait, screen, tokens = given
            fields = {"prompt": "x", "lane": lane, "wait": wait, "max_tokens": tokens}
            request = msgspec.convert(fields | {"on_disconnect": "detach"}, ExecRequest)
            self.asked.append(asyncio.ensure_future(self.kernel.exec(owner, request, self.screens[screen])))
        elif what == "step":
            self.bench.engine.step()
        elif what == "gone":
            gone, self.screens[given[0]] = self.screens[given[0]], Screen()
            self.kernel.disconnected(gone)
        elif what == "kill" and live:
            self.kernel.kill(ADMIN, live[0].pid)
        elif what == "suspend" and live and live[-1].state.value != "Suspended":
            self.kernel.suspend(ADMIN, live[-1].pid)

    def check(self) -> None:
        """No lane is overrun, and nobody waits beside room."""
        served, admission = self.kernel.models.current(), self.kernel.admission
        pending = sum(not each.done() for each in self.asked)
        assert pending == len(admission._waiting) == sum(admission.waiting(served, lane) for lane in LANES)
        assert admission._door(served).passing.total() == 0
        for lane, bound in BOUNDS.items():
            assert served.scheduler.queued(lane) <= bound
            assert admission.waiting(served, lane) <= LIMITS["waiting"]
            if admission.waiting(served, lane):
                assert served.scheduler.queued(lane) == bound
        served.scheduler.check_integrity()


@given(st.integers(1, 2), st.lists(execs | others, max_size=60))
@settings(max_examples=60)
def test_no_lane_is_overrun_and_nobody_waits_beside_room(slots, acts) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            bench = await boot(Path(folder), engine={"slots": slots}, limits=LIMITS)
            crowd = Crowd(bench)
            for act in acts:
                crowd.act(*act)
                if act[0] == "settle":
                    await settle()
                    crowd.check()
            await settle()
            crowd.check()
            while list(bench.kernel.table) or any(not each.done() for each in crowd.asked):
                crowd.act("kill")
                await settle()
            for each in crowd.asked:
                error = None if each.cancelled() else each.exception()
                assert error is None or (isinstance(error, KernelError) and error.code == "BUSY")
            assert not bench.kernel.table._promised
            await bench.kernel.close()

    run(main())

"""The kernel with its journal, under any order of requests, signals, calls, letters and engine deaths.

Whatever has happened, the journal has all of every live process, and nobody was shown what it has not.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import structlog.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from agentkernel.journal.opening import FILE_NAME
from agentkernel.journal.store import Journal
from agentkernel.plan import LANES
from agentkernel.process import PRIORITIES, Process
from agentkernel.recording import Recorder
from agentkernel.records import Saved
from tests.by_hand import ME, Bench, JumpingLoop
from tests.callers import ASK, NO_FILES, SUM, WORK, Held, Slow, call, calling
from tests.checkpointed import at_once
from tests.kept import MIXED, POWER, Witness, assert_kept, copied, facts, without_threads
from tests.properties.test_calling_machine import CallingMachine, requests

SAID = {
    "sum": f"Well,\n{SUM}",
    "work": WORK,
    "ask": ASK,
    "note": call("mem_write", key="k", value="v"),
    "hear": call("receive", seconds=50),
    "tell": call("send", pid=1, text="work"),
    "child": call("spawn", prompt="work"),
    "twin": call("spawn", prompt="hear", wait=False),
    "talk": "one two three four five six seven eight",
    "5": "So it is 5.",
    "ok: stored k": call("mem_write", key="again", value="w"),
    "go on": WORK,
    "again": SUM,
}
PROMPTS = [said for said in SAID if said not in ("5", "ok: stored k", "go on", "again")]
asked = st.builds(
    lambda request, others: request | others,
    requests,
    st.fixed_dictionaries(
        {
            "prompt": st.sampled_from(PROMPTS),
            "priority": st.sampled_from(PRIORITIES),
            "stop": st.sampled_from([[], ["four"]]),
            "nice": st.sampled_from([0, 7]),
            "lane": st.sampled_from(LANES),
            "deadline_ms": st.sampled_from([None, 5, 60_000, 600_000]),
            "ttft_ms": st.sampled_from([None, 5, 60_000]),
            "max_wall_ms": st.sampled_from([None, None, 5, 90_000]),
        }
    ),
)


class RecoveryMachine(CallingMachine):
    @initialize(slots=st.integers(1, 2), context=st.sampled_from([64, 160]), power=st.booleans())
    def begin(self, slots: int, context: int, power: bool) -> None:
        self.logs = structlog.testing.capture_logs()
        self.logged = self.logs.__enter__()
        self.loop, self.folder = JumpingLoop(), tempfile.TemporaryDirectory()
        self.made = {
            "engine": {"slots": slots, "context": context},
            "limits": {"processes": 6, "ended_processes": 100, "term_grace_tokens": 3},
            "tools": {"messages": 1, "approval_seconds": 60.0, "answer_seconds": 60.0, "calls": 4},
            **(POWER if power else MIXED),
        }
        self.jail = Held()
        self.bench: Bench = self.run(calling(Path(self.folder.name), SAID, self.jail, make=Slow, **self.made))
        self.kernel, self.observer = self.bench.kernel, self.bench.screen
        without_threads(self.kernel.recorder.journal)
        self.screens = [self.new_screen(), self.new_screen()]
        self.processes, self.asked = {}, []
        self.returned: set[int] = set()  # PIDs of processes of a checkpoint
        self.patch = pytest.MonkeyPatch()
        at_once(self.patch)
        reborn = self.kernel.recorder.reborn

        def noticed(returned: list[tuple[Process, Saved, list[bytes]]]) -> None:
            self.returned |= {process.pid for process, _, _ in returned}
            reborn(returned)

        self.kernel.recorder.reborn = noticed

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "patch"):
            self.patch.undo()

    def new_screen(self) -> Witness:
        return Witness(self.kernel.recorder.journal)

    # What clients do besides

    @rule(asked=asked, screen=st.integers(0, 1))
    def exec(self, asked: dict, screen: int) -> None:
        self.ask(self.bench.exec(sink=self.screens[screen], paths=NO_FILES, **asked))

    @rule(screen=st.integers(0, 1))
    def disconnect(self, screen: int) -> None:
        gone, self.screens[screen] = self.screens[screen], self.new_screen()
        self.do(self.kernel.disconnected, gone)
        self.settle()

    @rule(data=st.data(), priority=st.sampled_from(PRIORITIES), nice=st.none() | st.integers(0, 19))
    def set_priority(self, data: st.DataObject, priority: str, nice: int | None) -> None:
        self.tell(self.kernel.set_priority, self.pick(data), priority, nice)

    @rule(data=st.data(), start=st.integers(0, 40), screen=st.integers(0, 1), take=st.booleans())
    def attach(self, data: st.DataObject, start: int, screen: int, take: bool) -> None:
        process = self.processes.get(self.pick(data))
        if process is not None and process.sink is not self.screens[screen]:
            reader = self.new_screen()
            self.ask(self.kernel.attach(ME, process.pid, min(start, process.offset), reader, take=take))

    @precondition(lambda self: len(self.kernel.table))
    @rule(data=st.data(), everybody=st.booleans())
    def checkpoint(self, data: st.DataObject, everybody: bool) -> None:
        self.ask(self.kernel.checkpoint(ME, None if everybody else self.pick(data), "tale"))

    @precondition(lambda self: self.kernel.checkpoints.visible(ME))
    @rule(as_new=st.booleans())
    def restore(self, as_new: bool) -> None:
        """Beside those who live, or in their place, for clients who have not seen them end."""
        for process in () if as_new else self.kernel.table:
            self.tell(self.kernel.kill, process.pid)
        for screen in () if as_new else (0, 1):
            self.disconnect(screen=screen)
        self.ask(self.kernel.restore(ME, "tale", as_new=as_new))

    def everything_comes_to_an_end(self) -> None:
        """And who waits for input then would be found by the next kernel."""
        super().everything_comes_to_an_end()
        for process in self.kernel.table:
            process.changed()  # its quota, by the test itself
        with tempfile.TemporaryDirectory() as folder:
            self.run(self.nothing_is_lost(Path(folder)))
        for process in self.kernel.table:
            self.tell(self.kernel.kill, process.pid)

    async def nothing_is_lost(self, folder: Path) -> None:
        self.kernel.recorder.commit()
        journal = Journal(copied(Path(self.kernel.config.state), folder) / FILE_NAME)
        found = {process.pid: process for process, _ in Recorder(journal, lambda: 0.0).recover()}
        assert {pid: facts(p) for pid, p in found.items()} == {p.pid: facts(p) for p in self.kernel.table}
        journal.close()

    # What has to agree

    @invariant()
    def each_call_is_written_down_once(self) -> None:
        """And once more in another life."""
        if not self.returned:
            super().each_call_is_written_down_once()

    @invariant()
    def memory_is_that_of_who_lives_or_is_being_saved(self) -> None:
        self.kernel.memory.check_integrity()
        saving = {process.pid for process in self.kernel.table} | self.kernel._frozen
        assert {abs(pid) for pid in self.kernel.memory._spaces} <= saving

    @invariant()
    def nothing_is_forgotten(self) -> None:
        async def main() -> None:
            assert_kept(self.kernel)

        self.run(main())


RecoveryMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestRecovery = RecoveryMachine.TestCase

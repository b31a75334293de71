"""A kernel that dies while a turn is being begun."""

from __future__ import annotations

import asyncio

from agentkernel.process import State, Wait
from tests.by_hand import ME, Gated, boot, run, settle, words
from tests.kept import MIXED, copied, without_threads


def test_an_input_that_was_on_its_way_is_waited_for_again(tmp_path):
    async def main():
        bench = await boot(tmp_path / "a", make=Gated, **MIXED)
        without_threads(bench.kernel.recorder.journal)
        process = await bench.exec(interactive=True, max_tokens=3)
        bench.finish()
        assert process.wait is Wait.INPUT
        bench.engine.gate.clear()
        sending = asyncio.get_running_loop().create_task(
            bench.kernel.send_input(ME, process.pid, "more", bench.screen)
        )
        await settle()
        bench.kernel.recorder.commit()
        after = await boot(copied(tmp_path / "a", tmp_path / "b"), make=Gated, **MIXED)
        without_threads(after.kernel.recorder.journal)
        await after.kernel.recover()
        await settle()
        again = after.kernel.live(ME, process.pid)
        assert (again.state, again.wait) == (State.WAITING, Wait.INPUT)
        await after.kernel.send_input(ME, process.pid, "more", after.screen)
        await settle()
        after.finish()
        assert after.screen.text[process.pid] == words(3)
        bench.engine.gate.set()
        await sending
        for each in (bench, after):
            await each.kernel.drain(0)
            await each.kernel.close()

    run(main())

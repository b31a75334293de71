"""What processes and owners may use of each kind, and what follows when they have."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentkernel.errors import KernelError
from agentkernel.jail.port import Job, Outcome
from agentkernel.process import Process, State
from agentkernel.quotas import NO_BOUNDS, NOTHING, Held, Meter, Quota
from tests.by_hand import ADMIN, ME, OTHER, Bench, boot, run, settle, words
from tests.callers import SUM, call, calling, context, events, outcomes, rest
from tests.fake_jail import FakeJail
from tests.kept import MIXED

RUN = call("python", code="work")


def refused(error: pytest.ExceptionInfo[KernelError]) -> tuple[str, dict[str, Any]]:
    return error.value.code, error.value.details


def limit(bench: Bench, **changes: float | None) -> None:
    """The owner of most processes may use so much."""
    bench.kernel.set_owner_quota(ADMIN, ME.name, changes)


def used(bench: Bench) -> Quota:
    return bench.kernel.owner_quota(ME, ME.name)[0].used


async def over(bench: Bench, process: Process) -> None:
    """Wait for a process's end; threads may serve its calls, and no time passes."""
    while not process.state.ended:
        await rest(bench)


# Soft limits


def test_who_reaches_a_soft_limit_is_told_once_and_may_finish(tmp_path: Path) -> None:
    async def main() -> None:
        said = {
            "go": words(50),
            "You have almost used up your quota. Finish your answer now, in a few words.": "I see.",
        }
        bench = await calling(tmp_path, said)
        process = await bench.exec("go", limits={"soft_tokens": 5})
        await rest(bench)
        expected = {"pid": 1, "quota": "tokens", "used": 5, "limit": 5}
        assert events(bench, "quota_soft") == [{"kind": "quota_soft", **expected}]
        assert bench.screen.text[1] == f"{words(5)}\nI see."
        assert (process.state, process.reason, process.generated) == (State.DONE, "stop", 7)

    run(main())


def test_who_does_not_finish_ends_after_as_many_tokens_as_the_settings_say(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, limits={"wrap_up_tokens": 3})
        process = await bench.exec(interactive=True, limits={"soft_tokens": 5})
        await rest(bench)
        assert (process.state, process.reason, process.generated) == (State.DONE, "quota", 8)

    run(main())


@pytest.mark.parametrize("how", [{"raw": True}, {"json_schema": {"type": "object"}}])
def test_what_is_no_conversation_is_not_told_but_bounded(tmp_path: Path, how: dict[str, Any]) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, limits={"wrap_up_tokens": 3})
        process = await bench.exec(limits={"soft_tokens": 5}, **how)
        before = context(process)
        await rest(bench)
        assert (context(process), process.reason, process.generated) == ("", "quota", 8)
        assert bench.screen.text[1] == words(8)
        assert "almost" not in before

    run(main())


def test_an_interactive_process_that_has_finished_goes_on_up_to_its_hard_limit(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": words(9), "more": words(30)})
        process = await bench.exec("go", interactive=True, limits={"soft_tokens": 5, "max_tokens": 20})
        await rest(bench)
        assert (process.wrap_up, process.generated) == ("", 6)  # it was told, and said: ok
        await bench.kernel.send_input(ME, 1, "more", bench.screen)
        await rest(bench)
        assert (process.reason, process.generated, len(events(bench, "quota_soft"))) == ("quota", 20, 1)

    run(main())


def test_who_is_told_amid_a_call_hears_of_it_behind_the_result(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": words(40)}, limits={"wrap_up_tokens": 2})
        process = await bench.exec("go", limits={"soft_syscalls": 1})
        await rest(bench)
        assert [event["quota"] for event in events(bench, "quota_soft")] == ["syscalls"]
        assert (process.reason, bench.screen.text[1].endswith("ok")) == ("stop", True)

    run(main())


def test_another_soft_limit_is_told_of_anew(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {})
        await bench.exec(interactive=True, limits={"soft_prompt_tokens": 1})
        await rest(bench)
        bench.kernel.set_quota(ME, 1, {"soft_prompt_tokens": 9})
        assert len(events(bench, "quota_soft")) == 1 + (bench.kernel.find(ME, 1).heard >= 9)
        bench.kernel.set_quota(ME, 1, {"soft_prompt_tokens": 2})
        assert len(events(bench, "quota_soft")) == 2 + (bench.kernel.find(ME, 1).heard >= 9)

    run(main())


def test_an_owners_soft_limit_is_told_of_once_and_all_its_processes_finish(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": words(50)})
        limit(bench, soft_tokens=6)
        mine = [await bench.exec("go") for _ in range(2)]
        other = await bench.exec("go", owner=OTHER)
        await rest(bench)
        told = [(event["owner"], event["used"]) for event in events(bench, "quota_soft")]
        assert told == [(ME.name, 6)]
        assert [process.generated for process in (*mine, other)] == [4, 4, 50]

    run(main())


# What time brings


def test_a_process_ends_when_its_time_is_up_and_its_children_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        child = call("spawn", prompt="sleep", wait=False)
        bench = await calling(tmp_path, {"go": child, "sleep": call("sleep", seconds=99)})
        parent = await bench.exec("go", interactive=True, limits={"max_wall_secs": 10, "soft_wall_secs": 4})
        await rest(bench)
        await asyncio.sleep(2)
        born = bench.kernel.find(ME, 2)
        assert parent.state is born.state is State.WAITING
        await asyncio.sleep(3)
        assert [event["quota"] for event in events(bench, "quota_soft")] == ["wall_secs"]
        await asyncio.sleep(6)
        assert (parent.reason, born.reason) == ("quota", "quota")
        assert parent.elapsed(0) == pytest.approx(10, abs=0.1)
        assert born.ended == pytest.approx(parent.ended, abs=0.1)

    run(main())


def test_an_owners_seconds_are_those_of_all_its_processes(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        first = await bench.exec(interactive=True)
        await asyncio.sleep(4)
        limit(bench, max_wall_secs=10)
        second = await bench.exec(interactive=True)
        other = await bench.exec(interactive=True, owner=OTHER)
        await asyncio.sleep(2.9)
        assert not first.state.ended
        await asyncio.sleep(0.2)
        assert (first.reason, second.reason, other.state.ended) == ("quota", "quota", False)
        assert used(bench).wall_secs == pytest.approx(10, abs=0.1)

    run(main())


def test_bytes_held_count_while_they_are_held_wherever_they_are(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"slots": 1}, memory={"ram_mb": 64})
        served = bench.kernel.models.current()
        process = await bench.exec(interactive=True, max_tokens=3)
        bench.finish()
        size = (len(process.tokens) - 1) * served.card.kv_bytes_per_token
        await asyncio.sleep(1)
        assert bench.kernel.owner_quota(ME, ME.name)[0].used.kv_byte_secs <= size  # it grew meanwhile
        before = used(bench).kv_byte_secs
        await asyncio.sleep(2)
        assert used(bench).kv_byte_secs - before == pytest.approx(2 * size)
        await bench.exec(owner=OTHER)  # it takes the slot
        assert served.paging.tokens(1)[0] == "ram"
        held, before = served.paging.held(1).size, used(bench).kv_byte_secs
        await asyncio.sleep(3)
        assert used(bench).kv_byte_secs - before == pytest.approx(3 * held)
        bench.kernel.set_quota(
            ME, 1, {"max_kv_byte_secs": process.meter.total(bench.kernel.clock()) + held * 5}
        )
        await asyncio.sleep(4.9)
        assert not process.state.ended
        await asyncio.sleep(0.2)
        assert process.reason == "quota"
        await asyncio.sleep(9)
        assert used(bench).kv_byte_secs == pytest.approx(process.meter.byte_secs)

    run(main())


def test_what_grows_evenly_is_counted_by_its_mean() -> None:
    meter = Meter()
    meter.hold(Held(0, grows=True), 0.0)
    assert meter.hold(Held(100, grows=True), 2.0) == 100
    assert meter.hold(Held(100, grows=False), 3.0) == 100
    assert meter.hold(NOTHING, 5.0) == 200
    assert (meter.byte_secs, meter.total(99.0)) == (400, 400)


# Calls


def busy(job: Job) -> Outcome:
    """Every program takes 1.5 seconds of a processor, or all that it may."""
    return Outcome(0, "", b"done", 0.0, min(1500.0, job.limits.cpu_s * 1e3), 0, "fake")


def test_programs_run_as_long_as_there_are_processor_seconds_left(tmp_path: Path) -> None:
    async def main() -> None:
        jail = FakeJail(busy)
        bench = await calling(tmp_path, {"go": RUN, "done": RUN}, jail)
        process = await bench.exec("go", limits={"max_cpu_secs": 2})
        await over(bench, process)
        assert [job.limits.cpu_s for job in jail.jobs] == [2, 0.5]
        assert (process.reason, process.cpu_secs, used(bench).cpu_secs) == ("quota", 2, 2)
        assert [code for _, _, code in outcomes(bench)] == ["ok", "ok", "QUOTA"]

    run(main())


def test_an_owners_calls_stop_exactly_at_its_limit(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": SUM}, tools={"calls": 99})
        limit(bench, max_syscalls=5)
        made = [await bench.exec("go", max_syscalls=4, limits={}) for _ in range(2)]
        for process in made:
            await over(bench, process)
        await rest(bench)
        assert sum(process.syscalls for process in made) == used(bench).syscalls == 5
        assert [process.reason for process in made] == ["quota", "quota"]

    run(main())


def test_a_child_is_lent_a_part_of_all_that_is_limited(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"go": call("spawn", prompt="work"), "work": RUN, "done": "so"}
        bench = await calling(tmp_path, said, FakeJail(busy))
        limits = {"max_cpu_secs": 4, "max_prompt_tokens": 400, "max_kv_byte_secs": 1e12}
        parent = await bench.exec("go", limits=limits)
        while not events(bench, "session_started")[1:]:
            bench.engine.step()
            await settle()
        child = bench.kernel.find(ME, 2)
        assert child.bounds.hard.cpu_secs == child.granted.cpu_secs == parent.lent.cpu_secs == 3
        assert child.bounds.hard.prompt_tokens == int((400 - parent.heard) * 3 / 4)
        assert child.bounds.hard.wall_secs is None
        await over(bench, child)
        await rest(bench)
        assert (parent.lent, parent.settled.cpu_secs, parent.settled.prompt_tokens) == (
            Quota(),
            1.5,
            child.heard,
        )
        assert parent.left("cpu_secs") == 2.5

    run(main())


def test_what_is_lent_of_bytes_held_is_not_the_parents_meanwhile(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"go": call("spawn", prompt="sleep"), "sleep": call("sleep", seconds=999)}
        bench = await calling(tmp_path, said)
        limits = {"max_kv_byte_secs": 1e6}
        parent = await bench.exec("go", limits=limits)
        await rest(bench)
        assert parent.lent.kv_byte_secs > 7e5
        held = bench.kernel.models.current().paging.held(1).size
        await asyncio.sleep(2.6e5 / held)
        assert (parent.reason, parent.meter.byte_secs < 3e5) == ("quota", True)

    run(main())


# What is put into contexts


def test_a_prompt_of_as_many_tokens_as_are_left_is_taken_and_no_longer_one(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec("x" * 10, limits={"max_prompt_tokens": 10})
        assert process.heard == 10
        with pytest.raises(KernelError) as error:
            await bench.exec("x" * 11, limits={"max_prompt_tokens": 10})
        assert refused(error) == ("QUOTA_EXCEEDED", {"tokens": 11, "left": 10})
        assert used(bench).prompt_tokens == 10
        limit(bench, max_prompt_tokens=15)
        asked = [bench.exec("x" * 3) for _ in range(3)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(each, Process) for each in found] == [True, False, False]
        assert used(bench).prompt_tokens == 13

    run(main())


def test_an_input_that_is_too_long_is_refused_and_a_shorter_one_taken(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {})
        process = await bench.exec("go", interactive=True, limits={"max_prompt_tokens": 8})
        await rest(bench)
        with pytest.raises(KernelError, match="QUOTA_EXCEEDED"):
            await bench.kernel.send_input(ME, 1, "x" * 6, bench.screen)  # with what ends the answer before: 7
        await bench.kernel.send_input(ME, 1, "x" * 5, bench.screen)
        await rest(bench)
        assert (process.heard, bench.screen.text[1]) == (8, "okok")

    run(main())


def test_a_result_that_is_too_long_ends_its_process(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM})
        process = await bench.exec("go", limits={"max_prompt_tokens": 3})
        await over(bench, process)
        assert (process.reason, process.heard) == ("quota", 2)

    run(main())


# Owners


def test_an_owner_that_has_used_up_its_quota_is_refused_and_others_are_not(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {})
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        limit(bench, max_tokens=1)
        assert process.state is State.WAITING  # it asks for nothing
        for asked in (
            bench.exec("go"),
            bench.kernel.send_input(ME, 1, "more", bench.screen),
            bench.kernel.fork(ME, 1, 1, None),
        ):
            with pytest.raises(KernelError) as error:
                await asked
            expected = {"owner": "me", "quota": "tokens", "used": 1, "limit": 1}
            assert refused(error) == ("QUOTA_EXCEEDED", expected)
        assert (await bench.exec("go", owner=OTHER)).pid == 2
        limit(bench, max_tokens=None)
        await bench.kernel.send_input(ME, 1, "more", bench.screen)

    run(main())


def test_owners_limits_are_an_administrators_and_their_use_their_own(tmp_path: Path) -> None:
    async def main() -> None:
        kernel = (await boot(tmp_path)).kernel
        for asked in (lambda: kernel.set_owner_quota(ME, "me", {}), lambda: kernel.owner_quota(OTHER, "me")):
            with pytest.raises(KernelError, match="FORBIDDEN"):
                asked()
        assert kernel.owner_quota(ADMIN, "me")[0].bounds == NO_BOUNDS

    run(main())


def test_what_an_owner_has_used_and_may_use_survives_the_kernel(tmp_path: Path) -> None:
    async def main() -> None:
        first = await boot(tmp_path, **MIXED)
        limit(first, max_tokens=20, soft_syscalls=7)
        ended = await first.exec(max_tokens=4)
        first.finish()
        live = await first.exec("again", max_tokens=100)
        first.step(5)
        await first.kernel.recorder.synced()
        assert (ended.generated, live.generated) == (4, 5)
        await first.kernel.drain(0)
        await first.kernel.close()
        bench = await boot(tmp_path, **MIXED)
        await bench.kernel.recover()
        account = bench.kernel.owner_quota(ME, ME.name)[0]
        assert account.bounds.hard.shown("max") == {"max_tokens": 20}
        assert account.bounds.soft.shown("soft") == {"soft_syscalls": 7}
        assert (account.used.tokens, account.used.prompt_tokens) == (9, len("hello") + len("again"))
        bench.finish()
        assert bench.kernel.find(ME, live.pid).generated == 16
        assert used(bench).tokens == 20
        await bench.kernel.close()

    run(main())


def test_what_is_brought_back_was_used_before(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, **MIXED)
        process = await bench.exec(max_tokens=6)
        bench.step(2)
        await bench.kernel.checkpoint(ME, 1, "early")
        bench.finish()
        assert (process.generated, used(bench).tokens, used(bench).prompt_tokens) == (6, 6, 5)
        await bench.kernel.restore(ME, "early", as_new=True)
        assert (used(bench).tokens, used(bench).prompt_tokens) == (6, 5)
        bench.finish()
        assert (bench.kernel.find(ME, 2).generated, used(bench).tokens) == (6, 10)
        await bench.kernel.close()

    run(main())


def test_an_exec_that_leaves_no_process_uses_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"context": 64})
        with pytest.raises(KernelError, match="MEMORY_ADMISSION"):
            await bench.exec("x" * 99)
        assert (used(bench), bench.kernel.accounts.of("me").live) == (Quota(), 0)

    run(main())

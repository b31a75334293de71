"""Processes from EXEC to their end: output, limits, and what is refused."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.process import Owner, State
from agentkernel.request import ExecRequest
from tests.by_hand import ADMIN, MARKER, ME, OTHER, Bench, Gated, Screen, boot, run, settle, words


async def refused(awaitable) -> KernelError:
    with pytest.raises(KernelError) as caught:
        await awaitable
    return caught.value


def marker(bench: Bench, pid: int, tokens: int) -> None:
    assert re.fullmatch(MARKER % (pid, tokens), bench.screen.ends[pid])


def test_exec_answers_before_anything_runs_and_the_process_is_granted_after(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.kernel.exec(ME, ExecRequest(prompt="hello"), bench.screen)
        assert (process.pid, process.state, process.prompt_tokens) == (1, State.READY, 5)
        assert bench.sent(port.Grant) == []
        await settle()
        assert process.state is State.RUNNING
        assert bench.sent(port.Grant) == [port.Grant(1, 0)]

    run(main())


def test_output_comes_token_by_token_then_the_marker(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: f"You said: {text}!")
        process = await bench.exec("two words")
        seen = []
        while bench.engine.step():
            seen.append(bench.screen.text[1])
        assert seen == ["You", "You said:", "You said: two", "You said: two words!", "You said: two words!"]
        marker(bench, 1, 4)
        assert (process.state, process.reason) == (State.DONE, "stop")
        assert len(bench.kernel.table) == 0

    run(main())


@pytest.mark.parametrize(
    ("fields", "tokens", "text", "reason"),
    [
        ({"max_tokens": 7}, 7, words(7), "length"),
        ({"max_tokens": 1}, 1, words(1), "length"),
        ({"limits": {"max_tokens": 5}}, 5, words(5), "quota"),
        ({"max_tokens": 5, "limits": {"max_tokens": 5}}, 5, words(5), "length"),
        ({"max_tokens": 6, "limits": {"max_tokens": 5}}, 5, words(5), "quota"),
        ({"max_tokens": 500}, 59, words(59), "context_full"),
        ({"stop": [" w3 w4"]}, 5, words(3), "stop"),
        ({"stop": "3"}, 4, words(3) + " w", "stop"),
    ],
)
def test_every_limit_is_exact_and_named(
    tmp_path: Path, fields: dict, tokens: int, text: str, reason: str
) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"context": 64})
        process = await bench.exec("hello", **fields)
        bench.finish()
        assert (process.state, process.reason, process.generated) == (State.DONE, reason, tokens)
        assert bench.screen.text[1] == text
        marker(bench, 1, tokens)

    run(main())


def test_a_process_that_cannot_be_decoded_fails(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec()
        bench.step(2)
        bench.engine.on_step(port.Step(1, 1.0, 1, [port.Output(1, [], b"", 2, "failed")]))
        assert (process.state, process.reason) == (State.FAILED, "failed")
        marker(bench, 1, 2)

    run(main())


def test_messages_are_answered_by_their_last(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: text.upper())
        turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
        await bench.exec(messages=turns)
        bench.finish()
        assert bench.screen.text[1] == "HI"

    run(main())


def test_without_a_model_nothing_is_started(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, model="")
        assert (await refused(bench.exec())).code == "NO_MODEL"

    run(main())


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"prompt": "x" * 64}, "MEMORY_ADMISSION"),
        ({"messages": [{"role": "user", "content": ""}]}, "EXEC_INVALID"),
        ({"prompt": "  "}, "EXEC_INVALID"),
        ({"tools": ["search"]}, "TOOL_NOT_FOUND"),
    ],
)
def test_what_is_not_admitted_leaves_nothing_behind(tmp_path: Path, fields: dict, code: str) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"context": 64, "slots": 1})
        assert (await refused(bench.exec(**fields))).code == code
        assert len(bench.kernel.table) == 0
        assert bench.kernel.models.current().users == 0
        process = await bench.exec("x" * 63, max_tokens=1)
        assert process.state is State.RUNNING
        bench.finish()
        assert bench.screen.text == {process.pid: "w0"}
        for pid in range(1, process.pid):
            assert (await refused(bench.kernel.wait(ME, pid, None))).code == "PID_NOT_FOUND"

    run(main())


def test_the_queue_for_a_slot_is_bounded_and_its_refusal_says_how_long_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"slots": 1}, limits={"queued": 2})
        for _ in range(3):
            await bench.exec(max_tokens=2)
        error = await refused(bench.exec())
        unknown = dict.fromkeys(("estimate_ms", "retry_after_ms"))
        assert (error.code, error.details) == ("BUSY", {"queued": 2, "position": 3, **unknown})
        bench.step(2)
        await bench.exec(max_tokens=2)
        bench.finish()
        assert bench.screen.text == dict.fromkeys((1, 2, 3, 4), words(2))

    run(main())


def test_a_full_table_refuses(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, limits={"processes": 2})
        for _ in range(2):
            await bench.exec()
        assert (await refused(bench.exec())).code == "SPAWN_FAILED"
        bench.kernel.kill(ME, 1)
        assert (await bench.exec()).pid == 3

    run(main())


def test_processes_being_admitted_count_towards_the_limit(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, make=Gated, limits={"processes": 2})
        bench.engine.gate.clear()
        asked = [asyncio.ensure_future(bench.exec()) for _ in range(5)]
        await settle()
        bench.engine.gate.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        codes = [answer.code for answer in answers if isinstance(answer, KernelError)]
        assert codes == ["SPAWN_FAILED"] * 3
        assert len(bench.kernel.table) == 2

    run(main())


def test_a_refused_admission_gives_its_place_back(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, engine={"context": 64}, limits={"processes": 1})
        for _ in range(3):
            assert (await refused(bench.exec("x" * 99))).code == "MEMORY_ADMISSION"
        await bench.exec()
        assert len(bench.kernel.table) == 1

    run(main())


def test_the_first_to_come_are_served_first_and_a_critical_one_before_them(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: text, engine={"slots": 1})
        for prompt, priority in (("a b", "normal"), ("c", "low"), ("d", "normal"), ("e", "critical")):
            await bench.exec(prompt, priority=priority)
        bench.finish()
        ended = sorted(bench.screen.ends, key=list(bench.screen.ends).index)
        assert ended == [4, 1, 3, 2]
        assert bench.screen.text == {1: "a b", 2: "c", 3: "d", 4: "e"}

    run(main())


def test_a_changed_priority_decides_who_is_next(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: text, engine={"slots": 1})
        for prompt in "abc":
            await bench.exec(prompt)
        assert bench.kernel.set_priority(ME, 3, "high").priority == "high"
        bench.finish()
        assert list(bench.screen.ends) == [1, 3, 2]

    run(main())


def test_who_is_nicer_is_later_also_when_it_becomes_so(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path, lambda text: text, engine={"slots": 1})
        for prompt, nice in (("a", 0), ("b", 5), ("c", 4), ("d", 0)):
            await bench.exec(prompt, nice=nice)
        assert bench.kernel.set_priority(ME, 4, "normal", 6).nice == 6
        assert bench.kernel.set_priority(ME, 4, "normal").nice == 6
        bench.finish()
        assert list(bench.screen.ends) == [1, 3, 2, 4]

    run(main())


def test_a_nice_value_weighs_in_the_engine_too(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        await bench.exec(nice=0)
        await bench.exec(nice=3)
        (child,) = await bench.kernel.fork(ME, 2, 1, bench.screen)
        assert child.nice == 3
        bench.kernel.kill(ME, child.pid)
        bench.step(40)
        said = [bench.kernel.find(ME, pid).generated for pid in (1, 2)]
        assert said[0] == 40
        assert abs(said[1] - 40 / 1.25**3) <= 2
        bench.kernel.set_priority(ADMIN, 2, "normal", -3)
        before = bench.kernel.find(ME, 1).generated
        bench.step(40)
        assert abs(bench.kernel.find(ME, 1).generated - before - 40 / 1.25**3) <= 2

    run(main())


def test_only_an_administrator_makes_a_process_less_nice_than_others(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        assert (await refused(bench.exec(nice=-1))).code == "FORBIDDEN"
        await bench.exec(nice=1)
        with pytest.raises(KernelError, match="FORBIDDEN"):
            bench.kernel.set_priority(ME, 1, "high", -1)
        process = bench.kernel.find(ME, 1)
        assert (process.priority, process.nice) == ("normal", 1)
        assert bench.kernel.set_priority(ADMIN, 1, "high", -20).nice == -20
        assert (await bench.exec(owner=ADMIN, nice=-20)).nice == -20

    run(main())


def test_a_slow_reader_holds_its_own_process_only(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        slow, quick = Screen(), Screen()
        held = await bench.exec(sink=slow)
        await bench.exec(sink=quick)
        slow.full = True
        bench.step(3)
        assert (held.state, held.wait.value) == (State.WAITING, "output")
        assert (slow.text[1], quick.text[2]) == (words(1), words(3))
        slow.full = False
        bench.kernel.readable(1)
        bench.step(2)
        assert (slow.text[1], quick.text[2]) == (words(3), words(5))

    run(main())


def test_reading_wakes_only_what_waits_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec()
        bench.kernel.stop_output(ME, 1)
        bench.kernel.readable(1)
        bench.kernel.readable(99)
        assert process.state is State.WAITING

    run(main())


def test_lowering_a_quota_below_what_was_used_ends_the_process(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec()
        bench.step(5)
        bench.kernel.set_quota(ME, 1, {"max_tokens": 5})
        assert (process.state, process.reason, process.generated) == (State.DONE, "quota", 5)
        assert bench.engine.step() is False

    run(main())


def test_a_changed_quota_is_exact(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(limits={"max_tokens": 4})
        bench.step(2)
        assert bench.kernel.set_quota(ME, 1, {"max_tokens": 6, "max_syscalls": 3}).quota_syscalls == 3
        bench.finish()
        assert (process.generated, process.reason) == (6, "quota")

    run(main())


def test_a_step_that_was_under_way_does_not_break_a_lowered_quota(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec()
        bench.step(3)
        late = port.Step(1, 1.0, 1, [port.Output(1, [7], b" late", 4), port.Output(1, [7], b" later", 5)])
        bench.kernel.set_quota(ME, 1, {"max_tokens": 4})
        bench.engine.on_step(late)
        assert (process.generated, process.reason) == (4, "quota")
        assert bench.screen.text[1] == words(3) + " late"

    run(main())


def test_a_waiter_gets_the_end_and_its_reason(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        process = await bench.exec(max_tokens=2)
        waiters = [asyncio.ensure_future(bench.kernel.wait(ME, 1, None)) for _ in range(3)]
        await settle()
        bench.finish()
        assert await asyncio.gather(*waiters) == [process] * 3
        assert await bench.kernel.wait(ADMIN, 1, 0) is process
        assert process.reason == "length"

    run(main())


def test_a_wait_that_is_over_leaves_the_process_and_the_other_waiters(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        await bench.exec()
        patient = asyncio.ensure_future(bench.kernel.wait(ME, 1, None))
        assert (await refused(bench.kernel.wait(ME, 1, 5))).code == "TIMEOUT"
        assert bench.kernel.clock() - bench.kernel.started == pytest.approx(5)
        bench.kernel.kill(ME, 1)
        assert (await patient).state is State.KILLED

    run(main())


def test_only_its_owner_and_an_administrator_may_touch_a_process(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        await bench.exec()
        kernel, before = bench.kernel, dict(bench.kernel.counters)
        tried = [
            lambda who: kernel.find(who, 1),
            lambda who: kernel.stop_output(who, 1),
            lambda who: kernel.continue_output(who, 1),
            lambda who: kernel.suspend(who, 1),
            lambda who: kernel.resume(who, 1, None),
            lambda who: kernel.set_priority(who, 1, "low"),
            lambda who: kernel.set_quota(who, 1, {"max_tokens": 1, "max_syscalls": 1}),
            lambda who: kernel.term(who, 1),
            lambda who: kernel.kill(who, 1),
        ]
        for method in tried:
            with pytest.raises(KernelError, match="FORBIDDEN"):
                method(OTHER)
        for waiting in (kernel.wait(OTHER, 1, 0), kernel.send_input(OTHER, 1, "x", bench.screen)):
            assert (await refused(waiting)).code == "FORBIDDEN"
        assert kernel.counters == before
        assert kernel.visible(OTHER) == []
        assert [process.pid for process in kernel.visible(ADMIN)] == [1]
        assert kernel.kill(ADMIN, 1).state is State.KILLED
        with pytest.raises(KernelError, match="FORBIDDEN"):
            kernel.find(OTHER, 1)
        assert kernel.find(Owner(1, "me, again"), 1).state is State.KILLED

    run(main())


def test_generation_settings_are_for_later_processes_and_change_all_or_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        first = await bench.exec()
        bench.kernel.set_generation({"max_tokens": "3", "seed": "7"})
        with pytest.raises(KernelError, match="SET_GEN_INVALID"):
            bench.kernel.set_generation({"temperature": "0.1", "top_p": "7"})
        second = await bench.exec()
        assert (first.plan.max_tokens, second.plan.max_tokens) == (500, 3)
        assert (second.plan.sampling.seed, second.plan.sampling.temperature) == (7, 0.7)

    run(main())


def test_its_repr_shows_its_load(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await boot(tmp_path)
        await bench.exec()
        assert repr(bench.kernel) == "<Kernel processes=1 models=1>"

    run(main())

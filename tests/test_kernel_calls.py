"""Calls in the kernel: what a process waits for meanwhile, how its turn goes on, what fills its context."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.process import State, Wait
from tests.by_hand import ME, run, words
from tests.callers import (
    NO_FILES,
    SUM,
    WORK,
    Slow,
    audited,
    call,
    calling,
    context,
    events,
    outcomes,
    rest,
)

WORDS = len(WORK.split(" "))


def test_a_call_stops_the_turn_and_its_result_joins_the_context(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": f"Let me see.\n{SUM}", "5": "It is 5."})
        process = await bench.exec("go")
        await rest(bench)
        assert bench.screen.text[1] == f"Let me see.\n{SUM}\nIt is 5."
        assert context(process) == ""  # it has ended
        assert (process.state, process.reason, process.syscalls, process.called) == (State.DONE, "stop", 1, 1)
        assert process.generated == len(f"Let me see.\n{SUM}".split(" ")) + 3
        assert outcomes(bench) == [(1, "calc", "ok")]
        assert bench.kernel.counters["execs"] == 1

    run(main())


def test_text_behind_a_call_is_neither_shown_nor_generated(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": f"{SUM} and so on and on", "5": "It is 5."})
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        assert bench.screen.text[1] == f"{SUM}\nIt is 5."
        assert context(process) == "go|5"

    run(main())


def test_the_time_of_a_call_is_a_phase_of_its_own_and_times_add_up(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": call("sleep", seconds=30)})
        process = await bench.exec("go")
        for _ in range(4):
            bench.engine.step()
        assert (process.state, process.wait, process.phase) == (State.WAITING, Wait.SYSCALL, "syscall")
        await asyncio.sleep(31)
        await rest(bench)
        times = process.times(bench.kernel.clock())
        assert times["syscall"] == pytest.approx(30)
        assert sum(times.values()) == pytest.approx(process.elapsed(bench.kernel.clock()))
        assert "|ok: slept 30 seconds" not in bench.screen.text[1]

    run(main())


def test_a_slot_is_for_others_during_a_call_and_nothing_is_read_twice(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK, "done": "yes"}, engine={"slots": 1})
        served, jail = bench.kernel.models.current(), bench.kernel.gate.jail
        first = await bench.exec("go", paths=NO_FILES)
        await rest(bench)
        assert first.wait is Wait.SYSCALL
        second = await bench.exec("x" * 50)
        await asyncio.sleep(1)  # the slot settles
        await rest(bench)
        assert second.reason == "stop"
        assert [revoke.keep for revoke in bench.sent(port.Revoke) if revoke.pid == 1] == [True]
        before = served.prompt_tokens
        jail.end()
        await asyncio.sleep(1)
        await rest(bench)
        assert first.reason == "stop"
        assert served.prompt_tokens - before <= len("|done") + 1
        assert bench.screen.text[1] == f"{WORK}\nyes"

    run(main())


def test_several_calls_follow_each_other_within_one_turn(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"go": call("calc", expression="1+1"), "2": call("calc", expression="2*2"), "4": "so 4"}
        bench = await calling(tmp_path, said)
        process = await bench.exec("go", interactive=True)
        await rest(bench)
        assert context(process).startswith("go|2|4")
        (finished,) = events(bench, "turn_finished")
        assert (process.wait, process.called, finished["tokens_generated"]) == (Wait.INPUT, 2, 8)
        await bench.kernel.send_input(ME, 1, "more", bench.screen)
        await rest(bench)
        assert events(bench, "turn_finished")[-1]["tokens_generated"] == 1
        assert [entry["call"] for entry in audited(bench)] == [1, 2]

    run(main())


def test_max_tokens_counts_on_behind_a_result(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": words(100)})
        process = await bench.exec("go", max_tokens=10)
        await rest(bench)
        assert (process.generated, process.reason) == (10, "length")
        assert bench.screen.text[1] == f"{SUM}\n{words(7)}"

    run(main())


def test_a_quota_counts_on_behind_a_result(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": words(100)})
        process = await bench.exec("go", limits={"max_tokens": 10})
        await rest(bench)
        assert (process.generated, process.reason) == (10, "quota")

    run(main())


@pytest.mark.parametrize(("fields", "reason"), [({}, "length"), ({"limits": {"max_tokens": 3}}, "quota")])
def test_a_call_that_ends_with_the_last_token_is_not_made(tmp_path: Path, fields, reason: str) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM})
        process = await bench.exec("go", **({"max_tokens": 3} if reason == "length" else fields))
        await rest(bench)
        assert (process.state, process.reason, process.called) == (State.DONE, reason, 0)
        assert outcomes(bench) == []

    run(main())


def test_a_call_that_ends_with_a_turns_last_token_is_made_and_the_turn_ends_behind_its_result(
    tmp_path: Path,
) -> None:
    """What goes on with CONTINUE_OUTPUT goes on behind the result, and may call again."""

    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": SUM})
        process = await bench.exec("go", max_tokens=3, interactive=True)
        for called in (1, 2):
            await rest(bench)
            assert (process.wait, process.reason, process.called) == (Wait.INPUT, "length", called)
            assert context(process) == "go" + "|5" * called
            finished = events(bench, "turn_finished")
            assert [(event["reason"], event["tokens_generated"]) for event in finished][-1] == (
                "length",
                3 * called,
            )
            assert len(finished) == called
            bench.kernel.continue_output(ME, 1)
        await rest(bench)
        assert outcomes(bench) == [(1, "calc", "ok")] * 3

    run(main())


def test_a_turn_that_ended_behind_a_call_takes_an_input(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "more": "well"})
        process = await bench.exec("go", max_tokens=3, interactive=True)
        await rest(bench)
        await bench.kernel.send_input(ME, 1, "more", bench.screen)
        await rest(bench)
        assert (process.reason, context(process)) == ("stop", "go|5|more")
        assert bench.screen.text[1] == f"{SUM}\nwell"

    run(main())


def test_a_turn_that_ended_behind_a_call_is_over_for_one_that_was_suspended(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK})
        process = await bench.exec("go", max_tokens=WORDS, interactive=True, paths=NO_FILES)
        await rest(bench)
        bench.kernel.suspend(ME, 1)
        bench.kernel.gate.jail.end()
        await rest(bench)
        bench.kernel.resume(ME, 1, None)
        await rest(bench)
        assert (process.wait, process.reason, process.generated) == (Wait.INPUT, "length", WORDS)

    run(main())


def test_a_new_limit_during_a_call_holds_behind_it(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK, "done": words(50)})
        process = await bench.exec("go", paths=NO_FILES)
        await rest(bench)
        bench.kernel.set_quota(ME, 1, {"max_tokens": WORDS + 4})
        bench.kernel.gate.jail.end()
        await rest(bench)
        assert (process.generated, process.reason) == (WORDS + 4, "quota")

    run(main())


def test_a_limit_set_while_a_result_is_appended_lets_no_turn_grow(tmp_path: Path) -> None:
    """The engine counts the new part of the turn from its start, and so does the limit."""

    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": words(50)}, make=Slow)
        process = await bench.exec("go", max_tokens=10)
        bench.engine.gate.clear()
        await rest(bench)
        assert process.calls
        bench.kernel.set_quota(ME, 1, {"max_tokens": 1000})
        bench.engine.gate.set()
        await rest(bench)
        assert (process.generated, process.reason) == (10, "length")

    run(main())


def test_an_interactive_process_takes_input_behind_its_calls_but_not_within(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK, "done": "well", "next": SUM, "5": "five"})
        process = await bench.exec("go", interactive=True, paths=NO_FILES)
        await rest(bench)
        with pytest.raises(KernelError, match="WRONG_STATE"):
            await bench.kernel.send_input(ME, 1, "next", bench.screen)
        bench.kernel.gate.jail.end()
        await rest(bench)
        await bench.kernel.send_input(ME, 1, "next", bench.screen)
        await rest(bench)
        assert context(process) == "go|done|next|5"
        assert bench.screen.text[1] == f"{WORK}\nwell{SUM}\nfive"

    run(main())


def test_a_second_process_is_not_held_up_by_the_first_ones_call(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK, "other": SUM, "5": "five"})
        await bench.exec("go", paths=NO_FILES)
        other = await bench.exec("other")
        await rest(bench)
        assert other.reason == "stop"

    run(main())


# Contexts that are full


def test_a_result_too_long_for_the_context_is_cut_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"go": WORK}, engine={"context": 256})
        process = await bench.exec("go", paths=NO_FILES, interactive=True)
        await rest(bench)
        bench.kernel.gate.jail.end("é".encode() * 400)
        await rest(bench)
        assert process.reason == "stop"
        result = context(process).partition("|")[2].encode("latin-1").decode()
        kept, note = result.rsplit("\n", 1)
        assert note == "[cut: 800 bytes in all]"
        assert set(kept) == {"é"}
        assert len(kept.encode()) == 200

    run(main())


def test_a_result_that_can_not_be_cut_enough_ends_the_process(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {"x" * 247: WORK}, engine={"context": 256})
        process = await bench.exec("x" * 247, paths=NO_FILES)
        await rest(bench)
        bench.kernel.gate.jail.end(b"y" * 400)
        await rest(bench)
        assert (process.state, process.reason) == (State.DONE, "context_full")

    run(main())


def test_old_turns_give_way_to_a_result(tmp_path: Path) -> None:
    async def main() -> None:
        said = {"a" * 40: "yes", "go": WORK, "z" * 60: "well"}
        bench = await calling(tmp_path, said, engine={"context": 100})
        process = await bench.exec("a" * 40, paths=NO_FILES, interactive=True, context_strategy="slide")
        await rest(bench)
        await bench.kernel.send_input(ME, 1, "go", bench.screen)
        await rest(bench)
        bench.kernel.gate.jail.end(b"z" * 60)
        await rest(bench)
        assert context(process).endswith("go|" + "z" * 60)
        assert "a" not in context(process)
        assert len(events(bench, "context_slid")) == 1
        assert (process.wait, process.reason) == (Wait.INPUT, "stop")

    run(main())


def test_a_call_and_its_result_give_way_together(tmp_path: Path) -> None:
    """A result is no turn of its own: it never stands without its call."""

    async def main() -> None:
        bench = await calling(tmp_path, {"go": SUM, "5": "five"}, engine={"context": 64})
        process = await bench.exec("go", interactive=True, context_strategy="slide")
        await rest(bench)
        for text in ("next", "b" * 50):
            await bench.kernel.send_input(ME, 1, text, bench.screen)
            await rest(bench)
        assert context(process) == "|next|" + "b" * 50

    run(main())

"""Processes that draft: a step brings several tokens, and each counts, is said and is written down as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from agentkernel.process import Process, Wait
from tests.by_hand import ADMIN, ME, Bench, boot, die, run, settle
from tests.engine.fakes import Always

ROUND = " one two three four"
SAID = (ROUND * 50).lstrip()


async def drafting(folder: Path, length: int = 3, text: str = SAID, **settings: Any) -> Bench:
    """A kernel whose engines say this, and draft always so many tokens."""
    bench = await boot(folder, lambda _text: text, **settings)
    draft(bench, length)
    return bench


def draft(bench: Bench, length: int = 3) -> None:
    bench.engine._batcher._drafter._lengths = Always(length)


def words(count: int) -> str:
    return (ROUND * 50)[: len(" ".join(["", *(ROUND * 50).split()[:count]]))].lstrip()


def said(bench: Bench, process: Process) -> tuple[str, int, str]:
    return bench.screen.text.get(process.pid, ""), process.generated, process.reason


def test_a_step_brings_several_tokens_that_are_said_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await drafting(tmp_path)
        process = await bench.exec(prompt_lookup=True, max_tokens=20)
        bench.step(7)
        assert process.generated == 7  # it has begun to repeat itself
        bench.step()
        assert said(bench, process) == (words(11), 11, "")
        assert len(process.tokens) == len("hello") + 11
        bench.finish()
        assert said(bench, process) == (words(20), 20, "length")
        await bench.kernel.close()

    run(main())


@pytest.mark.parametrize("most", range(7, 13))
def test_a_quota_that_ends_within_a_draft_is_exact(tmp_path: Path, most: int) -> None:
    async def main() -> None:
        bench = await drafting(tmp_path)
        process = await bench.exec(prompt_lookup=True, limits={"max_tokens": most})
        bench.finish()
        assert said(bench, process) == (words(most), most, "quota")
        await bench.kernel.close()

    run(main())


@pytest.mark.parametrize("most", range(8, 12))
def test_a_quota_lowered_while_a_step_is_under_way_is_exact(tmp_path: Path, most: int) -> None:
    async def main() -> None:
        bench = await drafting(tmp_path)
        process = await bench.exec(prompt_lookup=True)
        bench.step(7)
        step = bench.engine._batcher.step()
        assert len(step.outputs) == 4
        bench.kernel.set_quota(ADMIN, process.pid, {"max_tokens": most})
        bench.engine.on_step(step)
        await settle()
        assert said(bench, process) == (words(most), most, "quota")
        await bench.kernel.close()

    run(main())


def test_behind_a_token_that_is_too_many_the_end_of_an_answer_is_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await drafting(tmp_path, text=words(9))
        process = await bench.exec(prompt_lookup=True)
        bench.step(7)
        step = bench.engine._batcher.step()
        assert [len(output.tokens) for output in step.outputs] == [1, 1, 0]
        bench.kernel.set_quota(ADMIN, process.pid, {"max_tokens": 8})
        bench.engine.on_step(step)
        await settle()
        assert said(bench, process) == (words(8), 8, "quota")
        await bench.kernel.close()

    run(main())


@pytest.mark.parametrize("most", range(14, 23))
def test_a_quota_of_an_owner_is_exact_whoever_of_its_processes_drafts(tmp_path: Path, most: int) -> None:
    async def main() -> None:
        bench = await drafting(tmp_path)
        bench.kernel.set_owner_quota(ADMIN, ME.name, {"max_tokens": most})
        both = [await bench.exec(prompt_lookup=looks) for looks in (True, False)]
        bench.finish()
        await settle()
        assert sum(process.generated for process in both) == most
        assert [process.reason for process in both] == ["quota", "quota"]
        assert [bench.screen.text[p.pid] for p in both] == [words(p.generated) for p in both]
        await bench.kernel.close()

    run(main())


@pytest.mark.parametrize("looks", [False, True])
def test_an_answer_that_stops_with_the_last_token_of_its_quota_has_stopped(
    tmp_path: Path, looks: bool
) -> None:
    async def main() -> None:
        bench = await drafting(tmp_path, text=f"{SAID[: len(words(9))]} end now")
        process = await bench.exec(
            prompt_lookup=looks, stop=" two three four one end", limits={"max_tokens": 10}
        )
        bench.finish()
        assert said(bench, process) == (words(5), 10, "stop")
        await bench.kernel.close()

    run(main())


def test_every_token_of_a_draft_that_is_said_is_charged_and_no_other(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await drafting(tmp_path, text=f"{words(8)} one five six")
        scheduler, charged, answered = bench.kernel.models.current().scheduler, [], []
        commit = scheduler.commit

        def watched(used: Mapping[int, int], answers: Iterable[int]) -> None:
            charged.append(sum(used.values()))
            answered.append(len(list(answers)))
            commit(used, answers)

        scheduler.commit = watched  # type: ignore[method-assign]
        process = await bench.exec(prompt_lookup=True)
        bench.finish()
        assert process.generated == 11
        assert answered == [1] * 7 + [3, 1, 0]
        assert sum(charged[1:]) == 11  # in the first step its prompt is read
        await bench.kernel.close()

    run(main())


@pytest.mark.parametrize("after", range(1, 12))
def test_a_death_after_any_step_is_not_seen_in_the_text(tmp_path: Path, after: int) -> None:
    async def main() -> None:
        bench = await drafting(tmp_path)
        process = await bench.exec(prompt_lookup=True, max_tokens=40)
        bench.step(after)
        await die(bench)
        draft(bench)
        bench.finish()
        assert said(bench, process) == (words(40), 40, "length")
        await bench.kernel.close()

    run(main())


def test_who_is_paged_out_between_drafts_goes_on_where_it_was(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await drafting(tmp_path, engine={"slots": 1}, scheduler={"quantum": 4})
        both = [await bench.exec(prompt_lookup=True, max_tokens=40) for _ in range(2)]
        bench.finish()
        assert [said(bench, process) for process in both] == [(words(40), 40, "length")] * 2
        await bench.kernel.close()

    run(main())


def test_who_reads_slowly_is_held_with_all_that_a_step_brought_it(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await drafting(tmp_path)
        process = await bench.exec(prompt_lookup=True, max_tokens=40)
        bench.step(7)
        bench.screen.full = True
        bench.step()
        assert (said(bench, process), process.wait) == ((words(11), 11, ""), Wait.OUTPUT)
        assert not bench.engine.step()
        await bench.kernel.close()

    run(main())


def test_the_option_is_that_of_a_process_and_off_by_default(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await drafting(tmp_path)
        plain, looking = await bench.exec(max_tokens=40), await bench.exec(max_tokens=40, prompt_lookup=True)
        bench.step(10)
        assert (plain.generated, looking.generated) == (10, 19)
        (child,) = await bench.kernel.fork(ME, looking.pid, 1, bench.screen)
        assert child.plan.prompt_lookup
        await bench.kernel.close()

    run(main())

"""Questions to people: one answer each, by its kind and number, in time or not at all."""

from __future__ import annotations

import asyncio

import pytest

from agentkernel.errors import KernelError
from agentkernel.syscalls.people import People
from tests.by_hand import run, settle


def ask(people: People, kind: str = "answer", pid: int = 1, number: int = 3, seconds: float = 10):
    return asyncio.get_running_loop().create_task(people.ask(kind, pid, number, "Which?", seconds))


def refused(people: People, *arguments) -> str:
    with pytest.raises(KernelError) as error:
        people.reply(*arguments)
    return error.value.code


def test_a_reply_is_what_was_asked_for_and_closes_the_question() -> None:
    async def main() -> None:
        people = People()
        asked = ask(people)
        await settle()
        question = people.of(1)
        assert (question.kind, question.pid, question.call, question.said) == ("answer", 1, 3, "Which?")
        assert people.reply("answer", 1, None, "that") is question
        assert refused(people, "answer", 1, None, "no, that") == "WRONG_STATE"
        assert await asked == "that"
        assert people.of(1) is None
        assert refused(people, "answer", 1, None, "that") == "WRONG_STATE"

    run(main())


def test_a_reply_has_to_be_of_the_kind_and_number_and_process() -> None:
    async def main() -> None:
        people = People()
        asked, other = ask(people, "approval"), ask(people, "answer", pid=2)
        await settle()
        assert repr(people) == "<People questions=2>"
        assert refused(people, "answer", 1, None, "x") == "WRONG_STATE"
        assert refused(people, "approval", 2, 3, None) == "WRONG_STATE"
        assert refused(people, "approval", 1, 4, None) == "CALL_NOT_FOUND"
        assert refused(people, "approval", 7, 3, None) == "WRONG_STATE"
        people.reply("approval", 1, 3, None)
        assert await asked is None
        assert not other.done()
        people.reply("answer", 2, None, "")
        assert await other == ""

    run(main())


def test_a_reply_in_the_last_moment_counts() -> None:
    """Who gave it was told so."""

    async def main() -> None:
        people, loop = People(), asyncio.get_running_loop()
        loop.call_at(loop.time() + 5 - 1e-10, people.reply, "answer", 1, None, "that")
        assert await ask(people, seconds=5) == "that"

    run(main())


def test_who_asked_too_long_ago_or_is_gone_is_not_answered() -> None:
    async def main() -> None:
        people = People()
        late, gone = ask(people, seconds=5), ask(people, pid=2)
        await settle()
        gone.cancel()
        await asyncio.sleep(6)
        with pytest.raises(TimeoutError):
            await late
        assert gone.cancelled()
        assert (people.of(1), people.of(2)) == (None, None)

    run(main())

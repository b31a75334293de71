"""Messages between processes: none is lost, whoever gives up or ends, and nobody waits for what is there."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.mailbox import Letter, Mailboxes
from tests.by_hand import run, settle


def letter(number: int) -> Letter:
    return Letter(number, f"message {number}")


def begin(*coroutines) -> list[asyncio.Task]:
    return [asyncio.get_running_loop().create_task(each) for each in coroutines]


def test_letters_are_read_in_the_order_they_were_sent() -> None:
    async def main() -> None:
        boxes = Mailboxes(4)
        boxes.open(1)
        for i in range(4):
            await boxes.send(1, letter(i))
        assert boxes.count(1) == 4
        assert [await boxes.receive(1) for _ in range(4)] == [letter(i) for i in range(4)]

    run(main())


def test_a_full_box_takes_senders_one_by_one_in_their_order() -> None:
    async def main() -> None:
        boxes = Mailboxes(1)
        boxes.open(1)
        tasks = begin(*(boxes.send(1, letter(i)) for i in range(4)))
        await settle()
        assert [task.done() for task in tasks] == [True, False, False, False]
        for i in range(4):
            assert await boxes.receive(1) == letter(i)
            await settle()
            assert sum(task.done() for task in tasks) == min(i + 2, 4)

    run(main())


def test_who_comes_later_waits_behind_those_who_wait() -> None:
    async def main() -> None:
        boxes = Mailboxes(1)
        boxes.open(1)
        await boxes.send(1, letter(0))
        begin(boxes.send(1, letter(1)), boxes.send(1, letter(2)))
        await settle()
        read = []

        async def late() -> None:
            read.append((await boxes.receive(1)).sender)
            await boxes.send(1, letter(3))  # there is room, but not for this one

        begin(late())
        await settle()
        read += [(await boxes.receive(1)).sender for _ in range(3)]
        assert read == [0, 1, 2, 3]

    run(main())


def test_a_reader_waits_for_the_next_letter() -> None:
    async def main() -> None:
        boxes = Mailboxes(1)
        boxes.open(1)
        (reader,) = begin(boxes.receive(1))
        await settle()
        assert not reader.done()
        await boxes.send(1, letter(7))
        assert await reader == letter(7)
        assert boxes.count(1) == 0

    run(main())


@pytest.mark.parametrize("given_up", [0, 1, 2])
def test_a_sender_that_gives_up_sends_nothing_and_holds_up_nobody(given_up: int) -> None:
    async def main() -> None:
        boxes = Mailboxes(1)
        boxes.open(1)
        await boxes.send(1, letter(9))
        tasks = begin(*(boxes.send(1, letter(i)) for i in range(3)))
        await settle()
        tasks[given_up].cancel()
        await settle()
        read = [(await boxes.receive(1)).sender for _ in range(1)]
        await settle()
        read += [(await boxes.receive(1)).sender for _ in range(2) if not await settle()]
        assert read == [9] + [i for i in range(3) if i != given_up]

    run(main())


def test_a_turn_that_comes_with_a_cancellation_goes_to_the_next() -> None:
    async def main() -> None:
        boxes = Mailboxes(1)
        boxes.open(1)
        await boxes.send(1, letter(0))
        first, second = begin(boxes.send(1, letter(1)), boxes.send(1, letter(2)))
        await settle()
        await boxes.receive(1)  # the first's turn
        first.cancel()
        await settle()
        assert first.cancelled()
        assert second.done()
        assert await boxes.receive(1) == letter(2)

    run(main())


def test_a_letter_stays_when_its_reader_gives_up_as_it_comes() -> None:
    async def main() -> None:
        boxes = Mailboxes(1)
        boxes.open(1)
        (reader,) = begin(boxes.receive(1))
        await settle()
        await boxes.send(1, letter(1))
        reader.cancel()
        await settle()
        assert reader.cancelled()
        assert boxes.count(1) == 1

    run(main())


def test_a_box_that_is_closed_is_nobodys_to_wait_for() -> None:
    async def main() -> None:
        boxes = Mailboxes(1)
        boxes.open(1)
        await boxes.send(1, letter(0))
        tasks = begin(*(boxes.send(1, letter(i)) for i in range(3)))
        boxes.open(2)
        tasks += begin(boxes.receive(2))
        await settle()
        boxes.close(1)
        boxes.close(2)
        await settle()
        for task in tasks:
            error = task.exception()
            assert isinstance(error, ToolError)
            assert error.code == "NOT_FOUND"
        assert (boxes.count(1), repr(boxes)) == (0, "<Mailboxes boxes=0 letters=0>")

    run(main())


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "read", "read", "tick", "cancel sender", "cancel reader"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


class Post:
    """One reader and many senders of a box, any of which may be cancelled at any time."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.boxes = capacity, Mailboxes(capacity)
        self.boxes.open(1)
        self.senders: list[asyncio.Task[None]] = []
        self.readers: list[asyncio.Task[Letter]] = []

    async def act(self, what: str, which: int) -> None:
        match what:
            case "send":
                self.senders += begin(self.boxes.send(1, letter(len(self.senders))))
            case "read":
                if not self.readers or self.readers[-1].done():
                    self.readers += begin(self.boxes.receive(1))
            case "tick":
                await asyncio.sleep(0)
            case _:
                tasks = self.senders[which : which + 1] if what == "cancel sender" else self.readers[-1:]
                for task in tasks:
                    task.cancel()

    def check(self) -> None:
        letters = self.boxes.count(1)
        assert letters <= self.capacity
        if not all(reader.done() for reader in self.readers):
            assert not letters, "a reader waits beside a letter"
        if not all(sender.done() for sender in self.senders):
            assert letters == self.capacity, "a sender waits beside room"

    def sent(self) -> list[int]:
        return [i for i, task in enumerate(self.senders) if task.done() and not task.cancelled()]

    async def read(self) -> list[int]:
        """What was read, and what is still there."""
        for task in (*self.senders, *self.readers):
            task.cancel()
        await settle()
        read = [task.result().sender for task in self.readers if not task.cancelled()]
        while self.boxes.count(1):
            read.append((await self.boxes.receive(1)).sender)
        return read


@given(capacity=st.integers(1, 3), acts=ACTS, together=st.booleans())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_in_any_order_nothing_is_lost_doubled_or_stuck(capacity: int, acts: list, together: bool) -> None:
    async def main() -> None:
        post = Post(capacity)
        for what, which in acts:
            await post.act(what, which)
            if not together:
                await settle()
        await settle()
        post.check()
        sent, read = post.sent(), await post.read()
        assert sorted(read) == sent
        if not together:
            assert read == sent

    run(main())

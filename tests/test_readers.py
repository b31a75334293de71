"""Readers of a process's output: each gets all of it from its own byte on, once, whoever else is behind."""

from __future__ import annotations

import pytest

from agentkernel import readers as module
from agentkernel.readers import Readers
from tests.by_hand import Screen
from tests.test_process import process

TEXT = "aé✓😀" * 3  # characters of one to four bytes
OUTPUT = TEXT.encode()
MARKER = b"the end"


class Told:
    """A process that puts out text, and the readers of it; `reads` are what was read back."""

    def __init__(self, pid: int = 1) -> None:
        self.process = process(pid)
        self.output = b""
        self.reads: list[tuple[int, int]] = []
        self.readers = Readers(self.read)

    def read(self, pid: int, start: int, limit: int) -> bytes:
        assert pid == self.process.pid
        self.reads.append((start, limit))
        return self.output[start : start + limit]

    def say(self, text: str) -> None:
        start, data = self.process.offset, text.encode()
        self.output += data
        self.process.offset += len(data)
        self.readers.data(self.process.pid, start, data)

    def end(self) -> None:
        self.readers.end(self.process.pid, self.process.offset, MARKER)

    def attach(
        self, offset: int, *, full: bool = False, caught_up: bool = True, marker: bytes = b""
    ) -> Screen:
        screen = Screen()
        screen.full = full
        self.readers.attach(self.process, screen, offset, marker)
        if caught_up:
            self.caught_up(screen)
        return screen

    def caught_up(self, screen: Screen | None = None) -> None:
        self.readers.caught_up(self.process.pid, self.process.offset, screen)


def test_each_gets_what_there_is_from_its_byte_on_and_then_what_comes() -> None:
    told = Told()
    told.say("one ")
    first, second, third = (told.attach(offset) for offset in (0, 2, 4))
    told.say("two")
    assert [screen.text.get(1) for screen in (first, second, third)] == ["one two", "e two", "two"]
    told.end()
    assert [screen.ends for screen in (first, second, third)] == [{1: MARKER}] * 3
    assert repr(told.readers) == "<Readers processes=0 readers=0>"


def test_nothing_comes_before_the_first_time_it_is_said_to_have_caught_up() -> None:
    told = Told()
    told.say("one ")
    screen = told.attach(0, caught_up=False)
    told.say("two ")
    told.end()
    assert (screen.text, screen.ends) == ({}, {})
    told.caught_up(screen)
    assert (screen.text, screen.ends) == ({1: "one two "}, {1: MARKER})


def test_one_who_is_behind_reads_back_what_it_missed_and_the_others_nothing() -> None:
    told = Told()
    slow, fast = told.attach(0, full=True), told.attach(0)
    for word in ("one ", "two ", "three "):
        told.say(word)
    assert (slow.text, fast.text) == ({1: "one "}, {1: "one two three "})
    assert told.reads == []
    slow.full = False
    told.caught_up(slow)
    told.say("four")
    assert slow.text == fast.text == {1: "one two three four"}
    assert told.reads == [(4, 10)]


def test_one_who_falls_behind_while_it_reads_back_goes_on_later(monkeypatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 4)
    told = Told()
    told.say("one two three")
    screen = told.attach(0, full=True)
    assert screen.text == {1: "one "}
    told.caught_up(screen)
    assert screen.text == {1: "one two "}
    screen.full = False
    told.caught_up(screen)
    assert screen.text == {1: "one two three"}


def test_that_another_has_caught_up_is_nothing_to_one_who_is_behind() -> None:
    told = Told()
    slow, fast = told.attach(0, full=True), told.attach(0)
    told.say("one ")
    told.say("two")
    told.caught_up(fast)
    assert slow.text == {1: "one "}
    told.caught_up()
    assert slow.text == {1: "one two"}


def test_one_who_is_behind_at_the_end_gets_the_rest_and_then_the_marker() -> None:
    told = Told()
    slow, fast = told.attach(0, full=True), told.attach(0)
    told.say("one ")
    told.say("two")
    told.end()
    assert (fast.ends, slow.ends) == ({1: MARKER}, {})
    slow.full = False
    told.caught_up(slow)
    assert (slow.text, slow.ends) == ({1: "one two"}, {1: MARKER})
    assert repr(told.readers) == "<Readers processes=0 readers=0>"


def test_one_who_has_all_but_is_behind_gets_the_marker_when_it_has_caught_up() -> None:
    told = Told()
    slow = told.attach(0, full=True)
    told.say("one")
    told.end()
    assert (slow.text, slow.ends) == ({1: "one"}, {})
    told.caught_up(slow)
    assert slow.ends == {1: MARKER}


def test_what_was_read_back_already_does_not_come_again() -> None:
    told = Told()
    told.say("one ")
    screen = told.attach(0)
    told.readers.data(1, 0, b"one ")
    told.say("two")
    assert screen.text == {1: "one two"}


def test_one_who_is_told_how_much_may_be_seen_gets_no_more() -> None:
    told = Told()
    told.say("one two")
    screen = told.attach(0, caught_up=False)
    told.readers.caught_up(1, 3, screen)
    assert screen.text == {1: "one"}
    told.caught_up(screen)
    assert screen.text == {1: "one two"}


@pytest.mark.parametrize("chunk", range(4, 12))
def test_what_is_read_back_comes_in_whole_characters(monkeypatch, chunk) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    told = Told()
    told.say(TEXT)
    starts = [len(TEXT[:at].encode()) for at in range(len(TEXT) + 1)]
    for start in starts:
        screen = told.attach(start)  # which decodes each piece
        assert screen.text.get(1, "") == OUTPUT[start:].decode()


def test_of_a_process_that_has_ended_all_is_read_back_and_then_its_marker() -> None:
    told = Told()
    told.say(TEXT)
    screens = [told.attach(offset, marker=MARKER) for offset in (0, 1, len(OUTPUT))]
    assert [screen.text.get(1, "") for screen in screens] == [TEXT, TEXT[1:], ""]
    assert [screen.ends for screen in screens] == [{1: MARKER}] * 3


def test_output_that_is_no_longer_kept_is_passed_over() -> None:
    told = Told()
    told.say("gone")
    told.output = b""
    screen = told.attach(0, marker=MARKER)
    assert (screen.text, screen.ends) == ({}, {1: MARKER})


def test_one_who_has_left_or_is_gone_gets_nothing_more() -> None:
    told = Told()
    left, gone, stays = (told.attach(0) for _ in range(3))
    told.say("one ")
    assert told.readers.detach(1, left)
    assert not told.readers.detach(1, left)
    assert not told.readers.detach(2, stays)
    told.readers.forget(gone)
    assert [told.readers.reads(screen) for screen in (left, gone, stays)] == [False, False, True]
    assert [told.readers.reads(stays, pid) for pid in (1, 2)] == [True, False]
    told.say("two")
    told.end()
    assert [screen.text for screen in (left, gone, stays)] == [{1: "one "}, {1: "one "}, {1: "one two"}]
    assert left.ends == gone.ends == {}


def test_a_second_attach_takes_the_place_of_the_first() -> None:
    told = Told()
    told.say("one ")
    screen = told.attach(0, full=True)
    screen.drop(1)
    told.readers.attach(told.process, screen, 2)
    screen.full = False
    told.caught_up(screen)
    assert screen.text == {1: "one e "}
    assert repr(told.readers) == "<Readers processes=1 readers=1>"

"""From token pieces to text; properties of every chunking are in properties/."""

from __future__ import annotations

import pytest

from agentkernel.engine.worker.text import TextStream, sentence_end


def said(pieces: list[bytes], *stops: str) -> list[str]:
    """What each piece makes safe to show, then what the end does."""
    stream = TextStream(stops)
    return [*(stream.feed(piece) for piece in pieces), stream.flush()]


def test_characters_come_whole() -> None:
    euro = "€".encode()
    assert said([b"a", euro[:1], euro[1:2], euro[2:] + b"b"]) == ["a", "", "", "€b", ""]


def test_what_is_no_character_is_replaced() -> None:
    assert said([b"\xff", b"a\xc3", b"b"]) == ["\ufffd", "a", "\ufffdb", ""]
    assert said([b"\xe2\x82"]) == ["", "\ufffd"]


def test_what_may_begin_a_stop_string_is_held_back() -> None:
    assert said([b"one E", b"N", b"d"], "END") == ["one ", "", "ENd", ""]
    assert said([b"one E", b"N"], "END") == ["one ", "", "EN"]


def test_a_stop_string_is_cut_off_with_all_that_follows() -> None:
    assert said([b"one E", b"N", b"D two", b"three"], "END") == ["one ", "", "", "", ""]
    assert said([b"a STOP b"], "STOP") == ["a ", ""]


def test_a_stop_string_may_be_cut_inside_a_character() -> None:
    stop = "§".encode()
    assert said([b"a" + stop[:1], stop[1:] + b"b"], "§") == ["a", "", ""]


def test_the_stop_string_that_is_whole_first_counts() -> None:
    assert said([b"xabcd"], "abcd", "c") == ["xab", ""]
    assert said([b"xabcd"], "bcd", "abcd") == ["x", ""]


def test_an_empty_stop_string_stops_nothing() -> None:
    assert said([b"a", b"b"], "") == ["a", "b", ""]


def test_a_stream_says_that_it_stopped() -> None:
    stream = TextStream(("END",))
    stream.feed(b"EN")
    assert not stream.stopped
    stream.feed(b"D")
    assert stream.stopped


def test_the_end_can_complete_a_stop_string() -> None:
    stream = TextStream(("a\ufffd",))
    assert stream.feed(b"xa\xc3") == "x"
    assert stream.flush() == ""
    assert stream.stopped


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("one. two", 4),
        ("one.", 4),
        ("one! Two. three", 4),
        ('he said "one." and', 14),
        ("(really?) yes", 9),
        ("one…", 4),
        ("一二。", 3),
        ("line\nnext", 5),
        ("3.14 is pi", None),
        ("a.b", None),
        ("e.g", None),
        ("no end", None),
        ("", None),
    ],
)
def test_a_sentence_ends_behind_its_mark(text: str, end: int | None) -> None:
    assert sentence_end(text) == end

"""However the pieces are cut: the same text, whole characters, and no stop string."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentkernel.engine.worker.text import TextStream

characters = st.sampled_from([b"a", b"b", "ü".encode(), "😀".encode(), b"\xff", b"\xe2\x82"])
places = st.integers(0, 20)


@st.composite
def texts_and_stops(draw: st.DrawFn) -> tuple[bytes, tuple[str, ...]]:
    """Bytes, and stop strings of which most are somewhere in them."""
    data = b"".join(draw(st.lists(characters, max_size=12)))
    text = data.decode("utf-8", "replace")
    spans = draw(st.lists(st.tuples(places, st.integers(1, 4)), max_size=3))
    inside = (text[start : start + length] for start, length in spans)
    other = draw(st.lists(st.text("abü", min_size=1, max_size=3), max_size=1))
    return data, (*(stop for stop in inside if stop), *other)


cut_lists = st.lists(st.integers(0, 100), max_size=6)


def feed(text: bytes, stops: tuple[str, ...], cuts: list[int]) -> str:
    stream = TextStream(stops)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    shown = [stream.feed(text[start:end]) for start, end in pairwise(places)]
    return "".join([*shown, stream.flush()])


def expected(text: str, stops: tuple[str, ...]) -> str:
    """Up to the stop string that is whole first."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)]
    return text


@settings(max_examples=500)
@example((b"abab", ("aba", "b")), [])
@given(texts_and_stops(), cut_lists)
def test_any_chunking_gives_the_text_up_to_the_first_stop_string(
    drawn: tuple[bytes, tuple[str, ...]], cuts: list[int]
) -> None:
    text, stops = drawn
    wanted = expected(text.decode("utf-8", "replace"), stops)
    assert feed(text, stops, cuts) == feed(text, stops, []) == wanted
    assert feed(text, stops, list(range(len(text)))) == wanted
    wanted.encode()


@given(texts_and_stops())
def test_only_the_beginning_of_a_stop_string_or_a_character_is_held_back(
    drawn: tuple[bytes, tuple[str, ...]],
) -> None:
    text, stops = drawn
    stream = TextStream(stops)
    fed, shown = b"", ""
    for i in range(len(text)):
        fed += text[i : i + 1]
        shown += stream.feed(text[i : i + 1])
        if stream.stopped:
            return
        whole = fed.decode("utf-8", "replace")
        assert whole.startswith(shown)
        assert len(whole) - len(shown) <= max((len(stop) for stop in stops), default=1)

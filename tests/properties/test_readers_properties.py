"""Readers come, fall behind, catch up and leave while a process speaks: no byte twice, none left out."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from tests.by_hand import Screen
from tests.test_readers import MARKER, Told

ACTS = st.one_of(
    st.tuples(st.just("say"), st.text("aé✓😀", min_size=1, max_size=9)),
    st.tuples(st.just("attach"), st.integers(0, 30)),
    st.tuples(st.sampled_from(["fill", "drain", "leave"]), st.integers(0, 3)),
)


class Reader(Screen):
    """One that reads from a character on."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = start


@given(acts=st.lists(ACTS, max_size=40), chunk=st.integers(4, 9))
def test_every_reader_gets_all_from_its_byte_on_once_and_then_the_marker(acts, chunk) -> None:
    told, said, readers = Told(), "", []
    with patch("agentkernel.readers._CHUNK", chunk):
        for act, value in acts:
            reader = readers[value % len(readers)] if readers and act in ("fill", "drain", "leave") else None
            if act == "say":
                said += value
                told.say(value)
            elif act == "attach":
                reader = Reader(min(value, len(said)))
                readers.append(reader)
                told.readers.attach(told.process, reader, len(said[: reader.start].encode()))
                told.caught_up(reader)
            elif reader is not None and act == "leave":
                told.readers.detach(1, reader)
                readers.remove(reader)
            elif reader is not None:
                reader.full = act == "fill"
                if not reader.full:
                    told.caught_up(reader)
                    assert reader.text.get(1, "") == said[reader.start :]
            for each in readers:
                assert said[each.start :].startswith(each.text.get(1, ""))
        told.end()
        for each in readers:
            assert each.full or each.ends == {1: MARKER}
            each.full = False
            told.caught_up(each)
        assert [each.text.get(1, "") for each in readers] == [said[each.start :] for each in readers]
        assert all(each.ends == {1: MARKER} for each in readers)

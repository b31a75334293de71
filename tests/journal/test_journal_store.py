"""The journal: what is written, when it is found, and what is refused as a mistake."""

from __future__ import annotations

import pytest

from agentkernel.journal.errors import JournalClosedError
from agentkernel.journal.reading import Call
from agentkernel.journal.store import KEY_SECONDS, STANDS, Journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def journal(path):
    journal = Journal(path)
    yield journal
    journal.close()


def reopened(journal, path):
    """A second journal on what the first leaves when it is closed; the caller closes it."""
    journal.close()
    return Journal(path)


def call(number, **fields):
    return Call(number, **{"tool": "calc", "digest": "d", "idempotent": True, **fields})


def test_records_come_back_in_the_order_of_all_processes(journal):
    journal.begin(1, "ann", b"a")
    journal.begin(2, "bob", b"b")
    journal.append(2, "tokens", b"c")
    journal.append(1, "state", b"\x00\xff")
    journal.commit()
    expected = [(1, STANDS, b"a"), (2, STANDS, b"b"), (2, "tokens", b"c"), (1, "state", b"\x00\xff")]
    assert list(journal.replay()) == expected
    assert journal.records(2) == [(STANDS, b"b"), ("tokens", b"c")]


def test_more_records_than_are_read_at_once_come_back_once_each(journal):
    journal.begin(1, "ann", b"")
    for number in range(2500):
        journal.append(1, "tokens", b"%d" % number)
    journal.commit()
    assert [body for _, _, body in journal.replay()][1:] == [b"%d" % number for number in range(2500)]


def test_nothing_is_found_before_it_is_committed(journal):
    journal.begin(1, "ann", b"a")
    journal.output(1, 0, b"text")
    journal.intent(1, call(1))
    assert list(journal.replay()) == []
    assert (journal.read_output(1, 0, 9), journal.output_size(1), journal.calls(1)) == (b"", 0, [])
    journal.commit()
    assert list(journal.replay()) == [(1, STANDS, b"a")]
    assert (journal.read_output(1, 0, 9), journal.output_size(1)) == (b"text", 4)
    assert journal.calls(1) == [call(1)]


def test_a_commit_of_nothing_writes_nothing(journal, path):
    journal.begin(1, "ann", b"a")
    journal.commit()
    size = path.with_name("journal.db-wal").stat().st_size
    journal.commit()
    assert path.with_name("journal.db-wal").stat().st_size == size


def test_a_close_commits(journal, path):
    journal.begin(1, "ann", b"a")
    again = reopened(journal, path)
    assert list(again.replay()) == [(1, STANDS, b"a")]
    again.close()


def test_a_closed_journal_takes_and_gives_nothing(path):
    journal = Journal(path)
    journal.close()
    journal.begin(1, "ann", b"a")
    with pytest.raises(JournalClosedError, match="closed"):
        journal.commit()
    with pytest.raises(JournalClosedError, match="closed"):
        next(journal.replay())


def test_a_compacted_process_begins_with_how_it_stands(journal, path):
    journal.begin(1, "ann", b"a")
    journal.begin(2, "ann", b"b")
    journal.append(1, "tokens", b"c")
    journal.compact(1, b"all of it")
    journal.append(1, "tokens", b"d")
    journal.commit()
    expected = [(2, STANDS, b"b"), (1, STANDS, b"all of it"), (1, "tokens", b"d")]
    assert list(journal.replay()) == expected
    again = reopened(journal, path)
    assert list(again.replay()) == expected
    again.close()


def test_an_ended_process_is_not_replayed_but_its_records_and_output_are_there(journal, path):
    journal.begin(1, "ann", b"a")
    journal.output(1, 0, b"bye")
    journal.ended(1, 12.5)
    journal.compact(1, b"short")
    again = reopened(journal, path)
    assert list(again.replay()) == []
    assert again.records(1) == [(STANDS, b"short")]
    assert again.read_output(1, 0, 9) == b"bye"
    [ended] = again.ended_processes()
    assert (ended.pid, ended.owner, ended.ended, ended.size) == (1, "ann", 12.5, 3)
    again.close()


def test_ended_processes_come_in_the_order_of_their_ends(journal, path):
    for pid in (1, 2, 3):
        journal.begin(pid, "ann", b"")
    for pid, now in ((2, 1.0), (3, 2.0), (1, 3.0)):
        journal.ended(pid, now)
    assert [each.pid for each in journal.ended_processes()] == [2, 3, 1]
    again = reopened(journal, path)
    assert [each.pid for each in again.ended_processes()] == [2, 3, 1]
    again.close()


@pytest.mark.parametrize(
    ("start", "limit", "text"),
    [(0, 99, b"abcdefgh"), (0, 4, b"abcd"), (4, 2, b"ef"), (8, 9, b""), (99, 1, b"")],
)
def test_output_is_read_from_any_byte(journal, start, limit, text):
    journal.begin(1, "ann", b"")
    journal.begin(2, "ann", b"")
    for at, piece in ((0, b"abc"), (3, b""), (3, b"def"), (6, b"gh")):
        journal.output(1, at, piece)
        journal.output(2, at, piece.upper())
    journal.commit()
    assert journal.read_output(1, start, limit) == text
    assert journal.read_output(2, start, limit) == text.upper()


@pytest.mark.parametrize("start", [0, 2, 4])
def test_output_that_overlaps_or_leaves_a_gap_is_a_mistake(journal, start):
    journal.begin(1, "ann", b"")
    journal.output(1, 0, b"abc")
    with pytest.raises(ValueError, match=f"goes on at 3, not at {start}"):
        journal.output(1, start, b"x")
    journal.commit()
    assert journal.read_output(1, 0, 9) == b"abc"


def test_output_goes_on_where_it_ended_before_a_restart(journal, path):
    journal.begin(1, "ann", b"")
    journal.output(1, 0, b"abc")
    again = reopened(journal, path)
    assert again.output_size(1) == 3
    with pytest.raises(ValueError, match="goes on at 3"):
        again.output(1, 0, b"x")
    again.output(1, 3, b"def")
    again.commit()
    assert again.read_output(1, 0, 9) == b"abcdef"
    again.close()


def test_nothing_becomes_of_a_process_that_is_not_there_or_has_ended(journal):
    acts = [
        lambda pid: journal.append(pid, "tokens", b""),
        lambda pid: journal.output(pid, 0, b"x"),
        lambda pid: journal.ended(pid, 1.0),
        lambda pid: journal.intent(pid, call(1)),
    ]
    journal.begin(1, "ann", b"")
    journal.ended(1, 1.0)
    for act in acts:
        with pytest.raises(ValueError, match="process 1 has ended"):
            act(1)
        with pytest.raises(ValueError, match="no process 2"):
            act(2)
    with pytest.raises(ValueError, match="no process 2"):
        journal.compact(2, b"")
    with pytest.raises(ValueError, match="no process 2"):
        journal.read_output(2, 0, 1)
    journal.commit()
    assert journal.records(1) == [(STANDS, b"")]
    assert journal.calls(1) == []


def test_a_pid_is_not_given_twice(journal, path):
    assert journal.next_pid == 1
    journal.begin(7, "ann", b"")
    with pytest.raises(ValueError, match="process 7 was there before"):
        journal.begin(7, "ann", b"")
    assert journal.next_pid == 8
    again = reopened(journal, path)
    assert again.next_pid == 8
    with pytest.raises(ValueError, match="process 7 was there before"):
        again.begin(7, "ann", b"")
    again.close()


def test_a_call_is_open_until_its_result(journal, path):
    journal.begin(1, "ann", b"")
    journal.intent(1, call(1))
    journal.intent(1, call(5, idempotent=False))
    journal.result(1, 1, b"42")
    again = reopened(journal, path)
    assert again.calls(1) == [call(1, result=b"42"), call(5, idempotent=False)]
    with pytest.raises(ValueError, match="call 1 of process 1 is not open"):
        again.result(1, 1, b"43")
    with pytest.raises(ValueError, match="call 2 of process 1 is not open"):
        again.result(1, 2, b"43")
    with pytest.raises(ValueError, match="call 5 of process 1 follows call 5"):
        again.intent(1, call(5))
    again.ended(1, 1.0)
    again.result(1, 5, b"late")
    again.commit()
    assert again.calls(1)[1].result == b"late"
    again.close()


def test_a_key_is_its_first_process_s_for_a_day_also_before_and_after_a_restart(journal, path):
    assert journal.claim("ann", "k", 1, 100.0) == 1
    assert journal.claim("ann", "k", 2, 100.0) == 1
    assert journal.claim("bob", "k", 3, 100.0) == 3
    assert journal.claim("ann", "other", 4, 100.0) == 4
    again = reopened(journal, path)
    last = 100.0 + KEY_SECONDS - 1
    assert again.claim("ann", "k", 5, last) == 1
    assert again.claimed("ann", "k", last) == 1
    assert again.claimed("ann", "k", last + 1) is None
    assert again.claimed("ann", "none", last) is None
    assert again.claim("ann", "k", 6, last + 1) == 6
    assert again.claimed("ann", "k", last + 2) == 6
    again.commit()
    assert again.claimed("ann", "k", last + 2) == 6
    again.close()


def test_a_key_that_was_released_is_the_next_one_s_also_before_a_commit_and_after_a_restart(journal, path):
    journal.claim("ann", "k", 1, 100.0)
    journal.commit()
    journal.release("ann", "k")
    assert journal.claimed("ann", "k", 101.0) is None
    journal.commit()
    assert journal.claimed("ann", "k", 101.0) is None
    assert journal.claim("ann", "k", 2, 101.0) == 2
    journal.release("ann", "k")
    again = reopened(journal, path)
    assert again.claimed("ann", "k", 101.0) is None
    again.close()


def test_a_process_can_be_withdrawn_until_it_is_committed(journal, path):
    journal.begin(1, "ann", b"a")
    journal.begin(2, "ann", b"b")
    assert journal.withdraw(1)
    journal.commit()
    assert list(journal.replay()) == [(2, STANDS, b"b")]
    assert not journal.withdraw(2)
    again = reopened(journal, path)
    assert (list(again.replay()), again.processes) == ([(2, STANDS, b"b")], 1)
    again.close()


def test_it_says_what_it_is(journal, path):
    journal.begin(1, "ann", b"")
    assert repr(journal) == f"<Journal {path} mixed processes=1 buffered=2>"

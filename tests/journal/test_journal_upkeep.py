"""What keeps a journal small, and that no reader notices."""

from __future__ import annotations

import threading

import pytest

from agentkernel.journal import store
from agentkernel.journal.opening import read_only, wal_of
from agentkernel.journal.reading import Call
from agentkernel.journal.shrinking import shrink
from agentkernel.journal.store import KEY_SECONDS, STANDS, Journal
from agentkernel.journal.upkeep import Retention
from agentkernel.journal.verification import verify


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


@pytest.fixture
def make(path):
    """Journals at the path, closed at the end."""
    made = []

    def make(**retention):
        for journal in made:
            journal.close()
        made.append(Journal(path, retention=Retention(**retention)))
        return made[-1]

    yield make
    made[-1].close()


def maintain(journal, now=0.0):
    """All there is to do; how many pieces it was."""
    pieces = 0
    while journal.maintain(now):
        pieces += 1
    return pieces


def end(journal, pid, now, text=b"text"):
    journal.begin(pid, "ann", b"body")
    journal.output(pid, 0, text)
    journal.ended(pid, now)


def kept(journal):
    return [each.pid for each in journal.ended_processes()]


def rows(journal, table):
    with journal._database.reading() as db:
        return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_ended_processes_go_when_they_are_too_old(make):
    journal = make(seconds=10.0)
    end(journal, 1, 100.0)
    end(journal, 2, 105.0)
    maintain(journal, 109.9)
    assert kept(journal) == [1, 2]
    maintain(journal, 110.0)
    assert kept(journal) == [2]
    assert kept(make(seconds=10.0)) == [2]


def test_the_first_to_end_go_when_there_are_too_many(make):
    journal = make(processes=2)
    for pid, now in ((3, 1.0), (1, 2.0), (4, 3.0), (2, 4.0)):
        end(journal, pid, now)
    journal = make(processes=2)
    maintain(journal)
    assert kept(journal) == [4, 2]
    end(journal, 5, 5.0)
    maintain(journal)
    assert kept(journal) == [2, 5]


def test_the_first_to_end_go_when_all_are_too_large(make):
    journal = make(bytes=5_000)
    for pid in (1, 2, 3):
        end(journal, pid, float(pid), b"x" * 2_000)
    maintain(journal)
    assert kept(journal) == [2, 3]
    assert maintain(make(bytes=5_000)) == 0
    journal = make(bytes=5_000)
    journal.begin(4, "ann", b"")
    journal.append(4, "tokens", b"x" * 2_000)
    journal.intent(4, Call(1, "calc", "d", idempotent=True))
    journal.result(4, 1, b"x" * 500)
    maintain(journal)
    assert kept(journal) == [2, 3]  # a live one is not counted
    journal.ended(4, 4.0)
    maintain(journal)
    assert kept(journal) == [3, 4]


def test_compacting_an_ended_process_makes_it_smaller(make):
    journal = make(bytes=1_000)
    journal.begin(1, "ann", b"x" * 2_000)
    journal.compact(1, b"x" * 900)
    journal.ended(1, 1.0)
    maintain(journal)
    assert kept(journal) == [1]
    journal.compact(1, b"x" * 100)
    end(journal, 2, 2.0, b"x" * 800)
    maintain(journal)
    assert kept(journal) == [1, 2]


def test_a_process_that_is_gone_leaves_nothing_but_its_pid(make, path):
    journal = make(processes=0)
    journal.begin(5, "ann", b"body")
    journal.output(5, 0, b"x" * 200_000)
    for number in range(1, 150):
        journal.intent(5, Call(number, "calc", "d", idempotent=True))
        journal.result(5, number, b"r" * 2000)
    journal.ended(5, 1.0)
    journal.begin(6, "ann", b"other")
    journal.output(6, 0, b"stays")
    maintain(journal)
    with pytest.raises(ValueError, match="no process 5"):
        journal.read_output(5, 0, 1)
    assert journal.calls(5) == []
    journal.close()
    shrink(path)
    journal = make()
    assert (journal.next_pid, list(journal.replay())) == (7, [(6, STANDS, b"other")])
    assert [rows(journal, table) for table in ("records", "output", "recent", "calls", "dropped")] == [
        1,
        1,
        0,
        0,
        0,
    ]
    assert journal.read_output(6, 0, 9) == b"stays"
    with pytest.raises(ValueError, match="process 5 was there before"):
        journal.begin(5, "ann", b"")


def test_what_is_being_removed_is_gone_on_with_after_a_restart(make):
    journal = make(processes=0)
    end(journal, 1, 1.0)
    journal.commit()
    assert journal.maintain(0.0)
    assert kept(journal) == []
    assert rows(journal, "dropped") == 1
    journal = make(processes=0)
    assert maintain(journal) > 0
    assert rows(journal, "dropped") == 0


def test_joined_output_reads_the_same(make, path):
    journal = make()
    sizes = dict.fromkeys(range(1, 90), 0)
    for pid in sizes:
        journal.begin(pid, "ann", b"")
    given = dict.fromkeys(sizes, b"")
    for number in range(60):
        for pid in sizes:
            text = b"%d:%d " % (pid, number)
            journal.output(pid, len(given[pid]), text)
            given[pid] += text
        journal.commit()
        journal.maintain(0.0)
    assert rows(journal, "output") > 0
    for again in (False, True):
        journal = make() if again else journal
        for pid, text in given.items():
            assert journal.read_output(pid, 0, 1 << 20) == text
            assert journal.read_output(pid, 7, 100) == text[7:107]
            assert journal.output_size(pid) == len(text)
        maintain(journal)
        assert rows(journal, "recent") <= 1024
    journal.close()
    shrink(path)
    journal = make()
    assert rows(journal, "recent") == 0
    assert {pid: journal.read_output(pid, 0, 1 << 20) for pid in given} == given
    journal.close()
    with read_only(path) as db:
        assert verify(db).faults == ()


def test_joined_rows_are_long_also_of_processes_that_take_turns(make):
    journal = make()
    for pid in range(1, 9):
        journal.begin(pid, "ann", b"")
    for number in range(3000):
        for pid in range(1, 9):
            journal.output(pid, number * 4, b"abcd")
    maintain(journal)
    assert rows(journal, "output") <= 8 * (3000 * 4 // 2048 + 1)
    assert journal.read_output(1, 0, 1 << 20) == b"abcd" * 3000


def test_a_piece_a_step_keeps_up_with_256_processes(make):
    journal = make()
    for pid in range(1, 257):
        journal.begin(pid, "ann", b"")
    for number in range(30):
        for pid in range(1, 257):
            journal.output(pid, number * 4, b"abcd")
        journal.maintain(0.0)
    assert rows(journal, "recent") <= 1024 + 256


def test_dead_records_are_swept_and_live_ones_stay(make):
    journal = make()
    journal.begin(1, "ann", b"")
    journal.begin(2, "ann", b"")
    for number in range(1500):
        journal.append(1, "tokens", b"%d" % number)
        journal.append(2, "tokens", b"%d" % number)
    journal.commit()
    journal.compact(1, b"all")
    assert maintain(journal) == 0  # fewer are dead than live
    journal.compact(2, b"all")
    journal.append(2, "tokens", b"more")
    assert maintain(journal) > 2
    assert rows(journal, "records") == 3
    expected = [(1, STANDS, b"all"), (2, STANDS, b"all"), (2, "tokens", b"more")]
    assert list(journal.replay()) == expected
    assert list(make().replay()) == expected


def test_old_keys_are_forgotten_and_no_others(make):
    journal = make()
    for number in range(200):
        journal.claim("ann", f"key{number}", 1, float(number))
    maintain(journal, 149.0 + KEY_SECONDS)
    assert rows(journal, "keys") == 50
    assert maintain(make(), 199.0 + KEY_SECONDS) > 0
    assert maintain(make(), 1e12) == 0


def test_a_piece_of_work_is_bounded_in_bytes(make):
    journal = make(processes=0)
    journal.begin(1, "ann", b"")
    for number in range(10):
        journal.output(1, number * 50_000, b"x" * 50_000)
        journal.append(1, "tokens", b"x" * 50_000)
    journal.compact(1, b"")
    journal.commit()

    def left(table):
        while journal._upkeep.step(0.0, backlog=0) and (size := rows(journal, table)):
            yield size

    assert list(left("recent")) == [8, 6, 4, 2]
    assert rows(journal, "output") == 5
    assert list(left("records")) == [9, 7, 5, 3, 1]
    journal.ended(1, 0.0)
    journal.commit()
    assert list(left("output")) == [5, 4, 3, 2, 1]


def test_the_log_is_brought_into_the_tables_and_begins_anew(make, path, monkeypatch):
    monkeypatch.setattr(store, "WAL_PAGES", 50)
    journal = make()
    journal.begin(1, "ann", b"")
    sizes = []
    for number in range(60):
        journal.append(1, "tokens", bytes([number]) * 20_000)
        journal.commit()
        journal.maintain(0.0)
        if journal._checkpoint is not None:
            journal._checkpoint.result()
        sizes.append(wal_of(path).stat().st_size)
    assert max(sizes) < 70 * 4120
    assert path.stat().st_size > 60 * 20_000 * 0.8
    assert [body[0] for _, kind, body in journal.replay() if kind != STANDS] == list(range(60))


def test_a_log_that_was_brought_in_is_not_again_before_it_has_grown(make, monkeypatch):
    monkeypatch.setattr(store, "WAL_PAGES", 3)
    journal = make()
    journal.begin(1, "ann", b"x" * 20_000)
    journal.maintain(0.0)
    first = journal._checkpoint
    assert first.result()
    journal.maintain(0.0)
    assert journal._checkpoint is first
    journal.append(1, "tokens", b"x" * 20_000)
    journal.maintain(0.0)
    assert journal._checkpoint is not first


def test_while_the_log_is_brought_in_no_piece_of_work_waits_for_it(make, monkeypatch):
    monkeypatch.setattr(store, "WAL_PAGES", 3)
    journal = make(processes=0)
    journal.begin(1, "ann", b"x" * 20_000)
    journal.ended(1, 0.0)
    goes_on = threading.Event()
    monkeypatch.setattr(journal._database, "checkpoint", goes_on.wait)
    assert journal.maintain(0.0)
    assert journal.maintain(0.0)
    assert journal.processes == 1
    goes_on.set()
    journal._checkpoint.result()
    monkeypatch.setattr(journal._database, "wal_has", lambda frames: False)
    journal.maintain(0.0)
    assert journal.processes == 0


def test_a_commit_does_not_bring_the_log_in_itself(make, path):
    journal = make()
    size = path.stat().st_size
    journal.begin(1, "ann", b"x" * 8_000_000)
    journal.commit()
    journal.append(1, "tokens", b"")
    journal.commit()
    assert path.stat().st_size == size


def test_shrinking_gives_room_back_and_changes_nothing_that_is_read(make, path):
    journal = make()
    end(journal, 1, 1.0)
    journal.begin(2, "ann", b"")
    for _ in range(500):
        journal.append(2, "tokens", b"x" * 1000)
    journal.compact(2, b"all")
    journal.claim("ann", "k", 2, 0.0)
    journal.close()
    before, after = shrink(path)
    assert before > 500_000
    assert after == path.stat().st_size < 100_000
    journal = make()
    assert list(journal.replay()) == [(2, STANDS, b"all")]
    assert kept(journal) == [1]
    assert journal.claimed("ann", "k", 1.0) == 2

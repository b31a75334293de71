"""What is opened, what is refused, and that what is refused stays as it is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing

import pytest

from agentkernel.journal.errors import JournalCorruptError, JournalError
from agentkernel.journal.migrations import MIGRATIONS
from agentkernel.journal.opening import read_only, wal_of
from agentkernel.journal.store import STANDS, Journal
from agentkernel.journal.verification import verify


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.db"


def write(path):
    """A journal of a process, closed."""
    journal = Journal(path)
    journal.begin(1, "ann", b"body" * 2000)
    journal.output(1, 0, b"text" * 2000)
    journal.close()


def crash(path, to):
    """What a journal leaves that is not closed: its file, and a log with a process and its output."""
    journal = Journal(path)
    journal.begin(1, "ann", b"body" * 2000)
    journal.output(1, 0, b"text" * 2000)
    journal.commit()
    to.parent.mkdir()
    shutil.copyfile(path, to)
    shutil.copyfile(wal_of(path), wal_of(to))
    journal.close()


def files(path):
    """The folder's files and what is in them."""
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


def refused(path, error=JournalError):
    """What opening says, which changes nothing."""
    before = files(path)
    with pytest.raises(error) as caught:
        Journal(path)
    assert files(path) == before
    return str(caught.value)


def change(path, statement):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)


def test_its_file_is_for_its_owner_alone_and_nothing_else_is_left(path):
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(files(path)) == ["journal.db"]
    journal = Journal(path)
    assert stat.S_IMODE(wal_of(path).stat().st_mode) == 0o600
    journal.close()


def test_what_a_crash_left_is_recovered(path, tmp_path):
    left = tmp_path / "left" / "journal.db"
    crash(path, left)
    journal = Journal(left)
    assert list(journal.replay()) == [(1, STANDS, b"body" * 2000)]
    assert journal.read_output(1, 0, 9000) == b"text" * 2000
    journal.close()


def test_a_newer_journal_is_refused_and_untouched_also_after_a_crash(path, tmp_path, monkeypatch):
    left = tmp_path / "left" / "journal.db"
    newer = (*MIGRATIONS, lambda db: db.execute("CREATE TABLE later (x)"))
    monkeypatch.setattr("agentkernel.journal.opening.migrate.__defaults__", (newer,))
    monkeypatch.setattr("agentkernel.journal.opening.MIGRATIONS", newer)
    crash(path, left)
    monkeypatch.undo()
    for each in (path, left):
        assert refused(each) == (
            f"{each}: of version {len(MIGRATIONS) + 1}; this program knows {len(MIGRATIONS)} and before"
        )


def test_what_is_no_journal_is_refused_and_untouched(path):
    path.parent.mkdir()
    path.write_bytes(b"SQLite format 2\x00" + b"x" * 8000)
    assert "file is not a database" in refused(path, JournalCorruptError)
    path.write_bytes(b"")
    assert refused(path) == f"{path}: not a journal"
    path.unlink()
    change(path, "CREATE TABLE mine (x)")
    assert refused(path) == f"{path}: not a journal"


@pytest.mark.parametrize("page", [1, 2, 5])
def test_a_damaged_page_is_found_and_the_file_refused_untouched(path, page):
    write(path)
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096 + (100 if page == 1 else 0))
        file.write(b"\xa5" * 64)
    said = refused(path, JournalCorruptError)
    assert said.startswith(f"{path}: corrupt: ")
    assert said.endswith("; look at it: agentkernel journal check")


def test_a_cut_off_file_is_refused_untouched(path):
    write(path)
    os.truncate(path, path.stat().st_size - 4096)
    refused(path, JournalCorruptError)


def test_damage_that_only_the_log_holds_is_refused_untouched(path, tmp_path, monkeypatch):
    left = tmp_path / "left" / "journal.db"
    crash(path, left)
    change(left, "PRAGMA user_version")  # closes the log into the file
    with closing(sqlite3.connect(left, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'records'")
        copy = tmp_path / "copy" / "journal.db"
        copy.parent.mkdir()
        shutil.copyfile(left, copy)
        shutil.copyfile(wal_of(left), wal_of(copy))
    refused(copy, JournalCorruptError)


def test_a_torn_end_of_the_log_is_as_if_it_had_not_been_written(path, tmp_path):
    journal = Journal(path)
    journal.begin(1, "ann", b"first")
    journal.commit()
    whole = wal_of(path).stat().st_size
    journal.append(1, "tokens", b"x" * 9000)
    journal.commit()
    left = tmp_path / "left" / "journal.db"
    left.parent.mkdir()
    shutil.copyfile(path, left)
    log = wal_of(path).read_bytes()
    journal.close()
    for cut in (whole, whole + 1, whole + 4120, len(log) - 4120, len(log) - 1):
        wal_of(left).write_bytes(log[:cut])
        with read_only(left) as db:
            assert verify(db).faults == ()
            assert db.execute("SELECT body FROM records").fetchall() == [(b"first",)]
    wal_of(left).write_bytes(log)
    with read_only(left) as db:
        assert db.execute("SELECT count(*) FROM records").fetchone() == (2,)


def test_only_one_has_it_at_a_time(path):
    write(path)
    program = (
        "import sys; from pathlib import Path; from agentkernel.journal.store import Journal;"
        "journal = Journal(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(JournalError, match="in use by another program; a kernel that runs"):
            Journal(path)
        with pytest.raises(JournalError, match="in use by another program"), read_only(path):
            pass
        other.stdin.close()
        assert other.wait() == 0
    Journal(path).close()


def test_a_log_without_its_journal_is_not_taken_for_a_new_one_s(path):
    write(path)
    path.unlink()
    wal_of(path).write_bytes(b"of another")
    assert refused(path).startswith(f"{wal_of(path)}: its journal is gone")


def test_what_was_left_of_making_it_is_no_hindrance(path):
    path.parent.mkdir()
    path.with_name("journal.db.part").write_bytes(b"half")
    path.with_name("journal.db.part-journal").write_bytes(b"half")
    write(path)
    assert list(files(path)) == ["journal.db"]


def test_where_no_file_can_be_made_it_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="file: File exists"):
        Journal(tmp_path / "file" / "journal.db")


def test_reading_leaves_nothing_beside_it_and_does_not_close_the_log_into_it(path, tmp_path):
    left = tmp_path / "left" / "journal.db"
    crash(path, left)
    for each in (path, left):
        before = files(each)
        with read_only(each) as db:
            assert verify(db).records == 1
        assert files(each) == before

"""Journals of earlier versions, and what a migration that fails leaves."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from agentkernel.journal.migrations import APPLICATION, MIGRATIONS, migrate, version_of
from agentkernel.journal.opening import read_only
from agentkernel.journal.store import Journal
from agentkernel.journal.upkeep import Retention
from agentkernel.journal.verification import verify
from tests.journal.old import DATA, EXPECTED, expected, fill, seen


def test_there_is_a_journal_of_every_version():
    stored = sorted(path.name for path in DATA.glob("*.sqlite"))
    assert stored == [f"v{number}.sqlite" for number in range(1, len(MIGRATIONS) + 1)]


@pytest.mark.parametrize("number", range(1, len(MIGRATIONS) + 1))
def test_a_journal_of_an_earlier_version_is_read_and_gone_on_with(tmp_path, number):
    path = tmp_path / "journal.db"
    shutil.copyfile(DATA / f"v{number}.sqlite", path)
    journal = Journal(path)
    assert seen(journal) == expected(number)
    journal.result(3, 2, b"late")
    journal.begin(4, "ann", b"new")
    journal.commit()
    assert list(journal.replay())[-1] == (4, "stands", b"new")
    assert journal.calls(3)[1].result == b"late"
    journal.close()
    with read_only(path) as db:
        assert (version_of(db), verify(db).faults) == (len(MIGRATIONS), ())


def test_what_the_stored_journals_were_made_with_is_what_they_hold(tmp_path):
    journal = Journal(tmp_path / "journal.db", retention=Retention(processes=0))
    fill(journal)
    assert seen(journal) == EXPECTED
    journal.close()


def _add_column(db):
    db.execute("ALTER TABLE processes ADD COLUMN epoch INTEGER NOT NULL DEFAULT 7")


def _fail(db):
    db.execute("DELETE FROM processes")
    raise OSError("in its middle")


@pytest.fixture
def db(tmp_path):
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as db:
        migrate(db)
        db.execute("INSERT INTO processes VALUES (1, 'ann', 1, NULL)")
        yield db


def test_only_what_was_not_yet_is_applied_and_in_order(db):
    order = []
    changes = (*MIGRATIONS, _add_column, lambda db: order.append(version_of(db)))
    migrate(db, changes)
    assert order == [len(MIGRATIONS) + 1]
    migrate(db, changes)
    assert order == [len(MIGRATIONS) + 1]
    assert db.execute("SELECT epoch FROM processes").fetchall() == [(7,)]
    assert version_of(db) == len(changes)


def test_a_migration_that_fails_leaves_what_those_before_it_made(db):
    with pytest.raises(OSError, match="in its middle"):
        migrate(db, (*MIGRATIONS, _add_column, _fail))
    assert version_of(db) == len(MIGRATIONS) + 1
    assert db.execute("SELECT pid, epoch FROM processes").fetchall() == [(1, 7)]


def test_a_file_of_another_application_has_no_version(db):
    db.execute(f"PRAGMA application_id = {APPLICATION + 1}")
    with pytest.raises(ValueError, match="not a journal"):
        version_of(db)

"""How a journal's tables came to be: one function for each change, in the order in which they are applied.

Rules
1. A function here is never changed once a journal was written with it; another is added behind it, and a
   journal of its time to `tests/journal/data`.
2. `user_version` is how many have been applied, `application_id` whose file it is. Each is applied whole or
   not at all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

Migration = Callable[[sqlite3.Connection], None]

APPLICATION = 0x616B6A6C  # "akjl"


def _create(db: sqlite3.Connection) -> None:
    """Make the tables of the first version.

    `records` and `recent` are logs: what is added stands at their ends, so that a commit for many processes
    changes few pages. For the same reason they have no index. A record counts while its `seq` is not before
    the `first` of its process. `output` is what has been joined of `recent`, in longer pieces. `dropped` are
    processes that are gone and of which rows may be left. `marks` has `next_pid`, above all that are gone.
    """
    db.execute(
        "CREATE TABLE records (seq INTEGER PRIMARY KEY, pid INTEGER NOT NULL, kind TEXT NOT NULL,"
        " body BLOB NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TABLE recent (seq INTEGER PRIMARY KEY, pid INTEGER NOT NULL, start INTEGER NOT NULL,"
        " text BLOB NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TABLE output (pid INTEGER, start INTEGER, text BLOB NOT NULL, PRIMARY KEY (pid, start))"
        " STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE processes (pid INTEGER PRIMARY KEY, owner TEXT NOT NULL, first INTEGER NOT NULL,"
        " ended REAL) STRICT"
    )
    db.execute(
        "CREATE TABLE calls (pid INTEGER, call INTEGER, tool TEXT NOT NULL, digest TEXT NOT NULL,"
        " idempotent INTEGER NOT NULL, result BLOB, PRIMARY KEY (pid, call)) STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE keys (owner TEXT, key TEXT, pid INTEGER NOT NULL, expires REAL NOT NULL,"
        " PRIMARY KEY (owner, key)) STRICT, WITHOUT ROWID"
    )
    db.execute("CREATE INDEX keys_by_expiry ON keys (expires)")
    db.execute("CREATE TABLE dropped (pid INTEGER PRIMARY KEY) STRICT")
    db.execute("CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID")


def _add_pages(db: sqlite3.Connection) -> None:
    """Make the tables of processes' memory.

    `pages` says which content a process has at a page; after a fork several have the same. A content ends
    where what was written does. One that no live process has waits to be removed, as do pages of processes
    that have ended.
    """
    db.execute("CREATE TABLE contents (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT")
    db.execute(
        "CREATE TABLE pages (pid INTEGER, page INTEGER, content INTEGER NOT NULL, PRIMARY KEY (pid, page))"
        " STRICT, WITHOUT ROWID"
    )


def _add_accounts(db: sqlite3.Connection) -> None:
    """Make the table of owners' accounts: of each its limits, and what its ended processes used."""
    db.execute("CREATE TABLE accounts (owner TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID")


WITH_PAGES = 2  # the version from which on there is processes' memory

MIGRATIONS: tuple[Migration, ...] = (_create, _add_pages, _add_accounts)


def version_of(db: sqlite3.Connection) -> int:
    """How many migrations were applied. Raises ValueError for what is no journal."""
    if int(db.execute("PRAGMA application_id").fetchone()[0]) != APPLICATION:
        raise ValueError("not a journal")
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Apply those that were not yet, to a connection that begins no transactions by itself."""
    done = int(db.execute("PRAGMA user_version").fetchone()[0])
    for number, migration in enumerate(migrations[done:], done + 1):
        db.execute("BEGIN IMMEDIATE")
        try:
            migration(db)
            db.execute(f"PRAGMA application_id = {APPLICATION}")  # a pragma takes no parameters
            db.execute(f"PRAGMA user_version = {number}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

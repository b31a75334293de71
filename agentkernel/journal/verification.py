"""Whether a journal is as it must be: by SQLite's own rules, and by the store's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from agentkernel.journal.migrations import version_of

_FAULTS = 100  # that SQLite looks for

# What is wrong, and where: queries that find nothing in a journal that is sound.
_RULES = {
    "process {} does not begin with how it stands": """
        SELECT p.pid FROM processes p LEFT JOIN records r ON r.seq = p.first AND r.pid = p.pid
        WHERE r.kind IS NOT 'stands'
    """,
    "output of process {} does not go on at byte {}": """
        SELECT pid, due FROM (
            SELECT pid, start, lag(start + length(text), 1, 0) OVER (PARTITION BY pid ORDER BY start) AS due
            FROM (SELECT pid, start, text FROM output UNION ALL SELECT pid, start, text FROM recent)
            WHERE pid IN (SELECT pid FROM processes)
        ) WHERE start != due
    """,
    "output or calls of process {}, which is not known": """
        SELECT pid FROM (SELECT pid FROM output UNION SELECT pid FROM calls)
        WHERE pid NOT IN (SELECT pid FROM processes UNION ALL SELECT pid FROM dropped)
    """,
    "process {} is gone, and its PID may be given again": """
        SELECT pid FROM dropped
        WHERE pid >= coalesce((SELECT value FROM marks WHERE name = 'next_pid'), 0)
    """,
}


class Report(msgspec.Struct, frozen=True):
    """What was found: counts, bytes of output, and a line for each fault."""

    version: int
    live: int = 0
    ended: int = 0
    records: int = 0
    output: int = 0
    faults: tuple[str, ...] = ()


def verify(db: sqlite3.Connection) -> Report:
    """Read all of it. Raises sqlite3.Error where that can't be done."""
    version = version_of(db)
    faults = [row[0] for row in db.execute(f"PRAGMA integrity_check({_FAULTS})")]
    if faults != ["ok"]:
        return Report(version, faults=tuple(faults))
    live, ended = db.execute("SELECT count(*) - count(ended), count(ended) FROM processes").fetchone()
    records = db.execute("SELECT count(*) FROM records").fetchone()[0]
    output = sum(
        db.execute(f"SELECT coalesce(sum(length(text)), 0) FROM {table}").fetchone()[0]  # noqa: S608 - of two
        for table in ("output", "recent")
    )
    return Report(version, live, ended, records, output, tuple(_broken_rules(db)))


def _broken_rules(db: sqlite3.Connection) -> Iterator[str]:
    for text, query in _RULES.items():
        for row in db.execute(query):
            yield text.format(*row)

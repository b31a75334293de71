"""Whether a journal is as it must be: by SQLite's own rules, and by the store's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from agentkernel.journal.migrations import WITH_PAGES, version_of

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
# And in one that has processes' memory.
_RULES_OF_PAGES = {
    "a page of process {}, which is not known": """
        SELECT DISTINCT pid FROM pages
        WHERE pid NOT IN (SELECT pid FROM processes UNION ALL SELECT pid FROM dropped)
    """,
    "page {1} of process {0} is not there": """
        SELECT p.pid, g.page FROM processes p JOIN pages g ON g.pid = p.pid AND p.ended IS NULL
        LEFT JOIN contents c ON c.id = g.content WHERE c.id IS NULL
    """,
    "one content is at pages {} and {}": """
        SELECT min(g.page), max(g.page) FROM processes p JOIN pages g ON g.pid = p.pid AND p.ended IS NULL
        GROUP BY g.content HAVING min(g.page) != max(g.page)
    """,
}


class Report(msgspec.Struct, frozen=True):
    """What was found: counts, bytes of output and of memory, and a line for each fault."""

    version: int
    live: int = 0
    ended: int = 0
    records: int = 0
    output: int = 0
    memory: int = 0
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
    rules, memory = _RULES, 0
    if version >= WITH_PAGES:
        rules = _RULES | _RULES_OF_PAGES
        memory = db.execute("SELECT coalesce(sum(length(data)), 0) FROM contents").fetchone()[0]
    return Report(version, live, ended, records, output, memory, tuple(_broken_rules(db, rules)))


def _broken_rules(db: sqlite3.Connection, rules: dict[str, str]) -> Iterator[str]:
    for text, query in rules.items():
        for row in db.execute(query):
            yield text.format(*row)

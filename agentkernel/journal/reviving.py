"""A process that has ended is made to live again, as it was at an earlier moment: its rows in the tables."""

from __future__ import annotations

import sqlite3

_CUT = "SET text = substr(text, 1, :size - start) WHERE pid = :pid AND start + length(text) > :size"
_CUTS = (
    f"UPDATE recent {_CUT}",
    "DELETE FROM output WHERE pid = :pid AND start >= :size",
    f"UPDATE output {_CUT}",
    "DELETE FROM calls WHERE pid = :pid AND call > :calls",
    "DELETE FROM pages WHERE pid = :pid",
)


def cut_back(db: sqlite3.Connection, pid: int, size: int, calls: int) -> int:
    """Take from a process what it came to after so many bytes and calls, and its memory.

    How many rows of `recent` went.
    """
    place = {"pid": pid, "size": size, "calls": calls}
    removed = db.execute("DELETE FROM recent WHERE pid = :pid AND start >= :size", place).rowcount
    for statement in _CUTS:
        db.execute(statement, place)
    return removed

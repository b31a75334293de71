"""Processes that live again, as they stood at an earlier moment, here or elsewhere: their rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from agentkernel.journal.reading import Call


class Revival(NamedTuple):
    """A process as it is to live: its first record, and all that it has put out.

    It has made so many calls; `call` is the one that it makes.
    """

    pid: int
    owner: str
    body: bytes
    output: list[bytes]
    calls: int = 0
    call: Call | None = None


class Replaced(NamedTuple):
    """What has gone, in rows of `recent`, and the bytes of results that have stayed."""

    recent: int
    results: int


_RECENT = "DELETE FROM recent WHERE pid = :pid"
_CUTS = (
    "DELETE FROM output WHERE pid = :pid",
    "DELETE FROM calls WHERE pid = :pid AND call > :calls",
    "DELETE FROM pages WHERE pid = :pid",
    "INSERT OR REPLACE INTO processes VALUES (:pid, :owner, :first, NULL)",
)
_CALL = "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?)"
_RESULTS = "SELECT coalesce(sum(length(result)), 0) FROM calls WHERE pid = ?"


def bring_back(
    db: sqlite3.Connection, revival: Revival, first: int, kind: str, pages: Mapping[int, int]
) -> Replaced:
    """Put the process in the place of what it came to, if it was there; with these pages, and no others.

    Its records begin with the number `first`, that of a record of this kind.
    """
    pid = revival.pid
    place = {"pid": pid, "owner": revival.owner, "first": first, "calls": revival.calls}
    removed = db.execute(_RECENT, place).rowcount
    for statement in _CUTS:
        db.execute(statement, place)
    db.execute("INSERT INTO records VALUES (?, ?, ?, ?)", (first, pid, kind, revival.body))
    start = 0
    for text in revival.output:
        db.execute("INSERT INTO recent (pid, start, text) VALUES (?, ?, ?)", (pid, start, text))
        start += len(text)
    db.executemany("INSERT INTO pages VALUES (?, ?, ?)", [(pid, *item) for item in pages.items()])
    results = db.execute(_RESULTS, (pid,)).fetchone()[0]
    if revival.call is not None:
        db.execute(_CALL, (pid, *msgspec.structs.astuple(revival.call)))
    return Replaced(removed, results)

"""What a journal says, read from its tables; whoever opened it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

import msgspec

from agentkernel.journal.migrations import WITH_PAGES, version_of

_BATCH = 1000  # records read at once: half a millisecond


class Call(msgspec.Struct, frozen=True):
    """A call of a process: `digest` is of its arguments, `result` None while it is not known.

    An idempotent one may be made again when it is not known whether it was.
    """

    call: int
    tool: str
    digest: str
    idempotent: bool
    result: bytes | None = None


class Standing(msgspec.Struct, frozen=True):
    """A process: `ended` is Unix time, or None; `size` is of its output, in bytes."""

    pid: int
    owner: str
    ended: float | None
    size: int


def live_records(db: sqlite3.Connection, after: int) -> list[tuple[int, int, str, bytes]]:
    """Some of the records that count of processes that live, from one on, as (seq, pid, kind, body)."""
    return db.execute(
        "SELECT r.seq, r.pid, r.kind, r.body FROM records r CROSS JOIN processes p ON p.pid = r.pid"
        " WHERE r.seq > ? AND r.seq >= p.first AND p.ended IS NULL ORDER BY r.seq LIMIT ?",
        (after, _BATCH),
    ).fetchall()


def all_records(db: sqlite3.Connection) -> Iterator[tuple[int, str, bytes]]:
    """The records that count of all processes, in order, as (pid, kind, body)."""
    yield from db.execute(
        "SELECT r.pid, r.kind, r.body FROM records r CROSS JOIN processes p ON p.pid = r.pid"
        " WHERE r.seq >= p.first ORDER BY r.seq"
    )


def records(db: sqlite3.Connection, pid: int) -> list[tuple[str, bytes]]:
    """The records that count of a process, live or ended, as (kind, body). Reads the whole log."""
    return db.execute(
        "SELECT r.kind, r.body FROM processes p CROSS JOIN records r"
        " ON r.pid = p.pid AND r.seq >= p.first WHERE p.pid = ? ORDER BY r.seq",
        (pid,),
    ).fetchall()


def first_record(db: sqlite3.Connection, pid: int) -> bytes | None:
    """The body of the first record that counts of a process, live or ended."""
    found = db.execute(
        "SELECT r.body FROM processes p JOIN records r ON r.seq = p.first WHERE p.pid = ?", (pid,)
    ).fetchone()
    return found[0] if found else None


def calls(db: sqlite3.Connection, pid: int) -> list[Call]:
    """The calls of a process, in their order."""
    found = db.execute(
        "SELECT call, tool, digest, idempotent, result FROM calls WHERE pid = ? ORDER BY call", (pid,)
    )
    return [Call(call, tool, digest, bool(again), result) for call, tool, digest, again, result in found]


def output(db: sqlite3.Connection, pid: int, start: int, limit: int) -> bytes:
    """What a process gave out from a byte on, so many bytes at most."""
    text = bytearray()
    for at, piece in _pieces(db, pid, start):
        text += piece[max(0, start - at) :]
        if len(text) >= limit:
            break
    return bytes(text[:limit])


def standings(db: sqlite3.Connection) -> list[Standing]:
    """All processes by PID."""
    found = db.execute(
        "SELECT p.pid, p.owner, p.ended, coalesce("
        "(SELECT max(r.start + length(r.text)) FROM recent r WHERE r.pid = p.pid),"
        "(SELECT o.start + length(o.text) FROM output o WHERE o.pid = p.pid ORDER BY o.start DESC LIMIT 1),"
        " 0) FROM processes p ORDER BY p.pid"
    )
    return [Standing(*row) for row in found]


def pages(db: sqlite3.Connection, pid: int) -> Iterator[tuple[int, bytes]]:
    """The pages of memory of a live process that were written to, in their order, each with its content."""
    if version_of(db) < WITH_PAGES:
        return
    yield from db.execute(
        "SELECT g.page, c.data FROM processes p JOIN pages g ON g.pid = p.pid JOIN contents c"
        " ON c.id = g.content WHERE p.pid = ? AND p.ended IS NULL ORDER BY g.page",
        (pid,),
    )


def contents(db: sqlite3.Connection, ids: Iterable[int]) -> list[bytes]:
    """These contents of pages."""
    return [
        row[0] for content in ids for row in db.execute("SELECT data FROM contents WHERE id = ?", (content,))
    ]


def claim(db: sqlite3.Connection, owner: str, key: str, now: float) -> int | None:
    """The process that an owner has begun under a key, for as long as that is remembered."""
    found = db.execute(
        "SELECT pid FROM keys WHERE owner = ? AND key = ? AND expires > ?", (owner, key, now)
    ).fetchone()
    return found[0] if found else None


def claims(db: sqlite3.Connection) -> Iterator[tuple[str, str, int, float]]:
    """All keys as (owner, key, pid, expires)."""
    yield from db.execute("SELECT owner, key, pid, expires FROM keys ORDER BY owner, key")


def accounts(db: sqlite3.Connection) -> list[tuple[str, bytes]]:
    """All accounts as (owner, body)."""
    return db.execute("SELECT owner, body FROM accounts ORDER BY owner").fetchall()


def _pieces(db: sqlite3.Connection, pid: int, start: int) -> Iterator[tuple[int, bytes]]:
    yield from db.execute(
        "SELECT start, text FROM output WHERE pid = ?1 AND start >= coalesce("
        "(SELECT max(start) FROM output WHERE pid = ?1 AND start <= ?2), 0) ORDER BY start",
        (pid, start),
    )
    yield from db.execute(
        "SELECT start, text FROM recent WHERE pid = ? AND start + length(text) > ? ORDER BY seq", (pid, start)
    )

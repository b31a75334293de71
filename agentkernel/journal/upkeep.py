"""What keeps a journal small: a bounded piece of work at a time, each whole or not done at all.

Rules
1. A process that has ended is kept until it is too old, or all such are too many or too large; the first to
   end goes first. It goes at once and whole; the rows it leaves are removed piece by piece.
2. A row is removed only where no reader finds it: a record that does not count, output of a process that is
   gone, or output that stands joined elsewhere from the same transaction on; pages of a process that has
   ended, and contents of pages that nobody has.
3. The bounds of a piece are counted, not timed: chosen for a millisecond or so, and two at the most.
"""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import islice

import msgspec

from agentkernel.journal.ledger import Ledger

Transaction = Callable[[], AbstractContextManager[sqlite3.Connection]]

# Bounds of one piece of work, in rows, processes and bytes.
_REMOVED, _SWEPT, _OWNERS, _BYTES = 64, 512, 64, 128 * 1024
_CONTENTS = 16  # of pages, of 16 KiB
_WINDOW, _JOINED = 1024, 512  # rows looked at, so that those of one process are several, and rows joined
_BACKLOG = 1024  # rows that stay unjoined, and dead records that stay unswept
_PIECE = 2048  # bytes from which on a joined row isn't added to: it fills half a page


class Retention(msgspec.Struct, frozen=True):
    """How long ended processes are kept: `seconds` each, and so many and so many bytes of all of them."""

    seconds: float = 7 * 86_400
    processes: int = 1_000
    bytes: int = 1 << 30


class Upkeep:
    """The pieces of work; each says whether there was something to do. They raise what a transaction does."""

    def __init__(self, ledger: Ledger, transaction: Transaction, retention: Retention) -> None:
        self._ledger, self._transaction, self._retention = ledger, transaction, retention
        self._at: int | None = None  # the record at which a sweep goes on

    def __repr__(self) -> str:
        return f"<Upkeep of {self._ledger} sweeping={self._at is not None}>"

    def step(self, now: float, backlog: int = _BACKLOG) -> bool:
        """Do one piece of what there is to do; with less `backlog` there is more."""
        return (
            self._retire(now)
            or self._remove_pages()
            or self._remove()
            or self._remove_contents()
            or self._join(backlog)
            or self._sweep(backlog)
            or self._expire(now)
        )

    def _retire(self, now: float) -> bool:
        ledger, kept = self._ledger, self._retention
        pid = next(iter(ledger.ended), None)
        if pid is None:
            return False
        ended = ledger.entries[pid].ended or 0.0
        few = len(ledger.ended) <= kept.processes and ledger.ended_bytes <= kept.bytes
        if few and ended + kept.seconds > now:
            return False
        with self._transaction() as db:
            db.execute("DELETE FROM processes WHERE pid = ?", (pid,))
            db.execute("INSERT INTO dropped VALUES (?)", (pid,))
            mark = max(ledger.mark, pid + 1)
            db.execute("INSERT OR REPLACE INTO marks VALUES ('next_pid', ?)", (mark,))
        ledger.forget(pid)
        return True

    def _remove_pages(self) -> bool:
        """Remove pages of a process that has ended; their contents follow."""
        pid = next(iter(self._ledger.pages.leaving), None)
        if pid is None:
            return False
        with self._transaction() as db:
            removed = db.execute(
                "DELETE FROM pages WHERE pid = ?1 AND page IN"
                " (SELECT page FROM pages WHERE pid = ?1 ORDER BY page LIMIT ?2)",
                (pid, _SWEPT),
            ).rowcount
        if removed < _SWEPT:
            del self._ledger.pages.leaving[pid]
        return True

    def _remove_contents(self) -> bool:
        """Remove contents of pages that nobody has."""
        unused = self._ledger.pages.unused
        gone = [(content,) for content in islice(unused, _CONTENTS)]
        if gone:
            with self._transaction() as db:
                db.executemany("DELETE FROM contents WHERE id = ?", gone)
            for _ in gone:
                unused.popleft()
        return bool(gone)

    def _remove(self) -> bool:
        """Remove output and calls of a process that is gone."""
        pid = next(iter(self._ledger.dropped), None)
        if pid is None:
            return False
        removed = 0
        with self._transaction() as db:
            for sizes, removal in (
                (
                    "SELECT start, length(text) FROM output WHERE pid = ? ORDER BY start LIMIT ?",
                    "DELETE FROM output WHERE pid = ? AND start = ?",
                ),
                (
                    "SELECT call, length(result) FROM calls WHERE pid = ? ORDER BY call LIMIT ?",
                    "DELETE FROM calls WHERE pid = ? AND call = ?",
                ),
            ):
                keys = _bounded(db.execute(sizes, (pid, _REMOVED)))
                db.executemany(removal, [(pid, key) for key in keys])
                removed += len(keys)
            if not removed:
                db.execute("DELETE FROM dropped WHERE pid = ?", (pid,))
        if not removed:
            self._ledger.dropped.discard(pid)
        return True

    def _join(self, backlog: int) -> bool:
        """Move the oldest output to where it stands by process, in longer pieces."""
        if self._ledger.recent <= backlog:
            return False
        texts: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(list)
        joined: list[tuple[int]] = []
        total = 0
        with self._transaction() as db:
            for seq, pid, start, text in db.execute(
                "SELECT seq, pid, start, text FROM recent ORDER BY seq LIMIT ?", (_WINDOW,)
            ):
                if pid not in texts and len(texts) == _OWNERS:
                    continue
                total += len(text)
                if joined and (total > _BYTES or len(joined) == _JOINED):
                    break
                texts[pid].append((start, text))
                joined.append((seq,))
            for pid, pieces in texts.items():
                if pid in self._ledger.entries:
                    _extend(db, pid, pieces[0][0], b"".join(text for _, text in pieces))
            db.executemany("DELETE FROM recent WHERE seq = ?", joined)
        self._ledger.recent -= len(joined)
        return True

    def _sweep(self, backlog: int) -> bool:
        """Remove records that don't count, when there are more of them than those that do."""
        ledger = self._ledger
        if self._at is None:
            if ledger.dead_rows <= max(backlog, ledger.live_rows if backlog else 0):
                return False
            self._at = 0
        with self._transaction() as db:
            found = db.execute(
                "SELECT seq, pid, length(body) FROM records WHERE seq >= ? ORDER BY seq LIMIT ?",
                (self._at, _SWEPT),
            ).fetchall()
            all_dead = [(seq, size) for seq, pid, size in found if not self._counts(seq, pid)]
            dead = _bounded(all_dead)
            db.executemany("DELETE FROM records WHERE seq = ?", [(seq,) for seq in dead])
        ledger.rows -= len(dead)
        if len(dead) < len(all_dead):
            self._at = dead[-1] + 1
        else:
            self._at = found[-1][0] + 1 if len(found) == _SWEPT else None
        return True

    def _counts(self, seq: int, pid: int) -> bool:
        entry = self._ledger.entries.get(pid)
        return entry is not None and seq >= entry.first

    def _expire(self, now: float) -> bool:
        """Forget keys that are too old."""
        if now < self._ledger.next_expiry:
            return False
        with self._transaction() as db:
            db.execute(
                "DELETE FROM keys WHERE (owner, key) IN"
                " (SELECT owner, key FROM keys WHERE expires <= ? ORDER BY expires LIMIT ?)",
                (now, _REMOVED),
            )
            left = db.execute("SELECT min(expires) FROM keys").fetchone()[0]
        self._ledger.next_expiry = math.inf if left is None else left
        return True


def _bounded(found: Iterable[tuple[int, int | None]]) -> list[int]:
    """The keys of rows, of these sizes in bytes, that may be removed at once: one at least."""
    keys: list[int] = []
    total = 0
    for key, size in found:
        total += size or 0
        if keys and total > _BYTES:
            break
        keys.append(key)
    return keys


def _extend(db: sqlite3.Connection, pid: int, start: int, text: bytes) -> None:
    last = db.execute(
        "SELECT start, text FROM output WHERE pid = ? ORDER BY start DESC LIMIT 1", (pid,)
    ).fetchone()
    if last is not None and len(last[1]) < _PIECE:
        db.execute("UPDATE output SET text = ? WHERE pid = ? AND start = ?", (last[1] + text, pid, last[0]))
    else:
        db.execute("INSERT INTO output VALUES (?, ?, ?)", (pid, start, text))

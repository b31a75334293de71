"""What is known of each process in the journal without reading it: pure, but for `load`.

Rules
1. It holds what was given to the journal, committed or not; only `shown` is what a reader finds.
2. A process is live, then ended, then forgotten, and its PID is never given again.
3. `rows` counts the records that count; a record that does not is dead, and waits to be swept.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass

from agentkernel.journal import pages
from agentkernel.journal.pages import Pages


@dataclass(slots=True)
class Entry:
    """A process: `first` is where its records begin, `ended` is Unix time, sizes are bytes."""

    owner: str
    first: int
    ended: float | None = None
    size: int = 0  # of its output
    shown: int = 0  # of that, committed
    rows: int = 0
    weight: int = 0  # of its records
    results: int = 0  # of its calls
    last_call: int = 0

    @property
    def bytes(self) -> int:
        """What it takes, near enough."""
        return self.size + self.weight + self.results


class Ledger:
    """All processes by PID, and sums over them."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.ended: dict[int, None] = {}  # PIDs, in the order of their ends
        self.open_calls: set[tuple[int, int]] = set()
        self.dropped: set[int] = set()  # processes that are gone and of which rows may be left
        self.mark = 1  # above the PIDs of all that are gone
        self.next_seq = 1
        self.rows = self.live_rows = 0  # of `records`, and of these those that count
        self.recent = 0  # rows that have not been joined
        self.ended_bytes = 0
        self.next_expiry = math.inf  # of a key
        self.pages = Pages()

    def __repr__(self) -> str:
        return f"<Ledger processes={len(self.entries)} ended={len(self.ended)} rows={self.rows}>"

    @property
    def dead_rows(self) -> int:
        """How many records wait to be swept."""
        return self.rows - self.live_rows

    @property
    def next_pid(self) -> int:
        """Above every PID there was."""
        return max(self.mark, max(self.entries, default=0) + 1)

    def begin(self, pid: int, owner: str) -> Entry:
        """A new process, whose records begin with the next. Raises ValueError for a PID that was given."""
        if pid < self.mark or pid in self.entries:
            raise ValueError(f"process {pid} was there before")
        entry = self.entries[pid] = Entry(owner, self.next_seq)
        return entry

    def withdraw(self, pid: int) -> None:
        """A process has not begun: none of its records will be written."""
        entry = self.entries.pop(pid)
        self.rows -= entry.rows
        self.live_rows -= entry.rows

    def known(self, pid: int) -> Entry:
        """The process, live or ended. Raises ValueError."""
        entry = self.entries.get(pid)
        if entry is None:
            raise ValueError(f"no process {pid}")
        return entry

    def live(self, pid: int) -> Entry:
        """The process. Raises ValueError where it has ended."""
        entry = self.known(pid)
        if entry.ended is not None:
            raise ValueError(f"process {pid} has ended")
        return entry

    def record(self, entry: Entry, size: int) -> int:
        """Count a record of so many bytes; its number."""
        entry.rows += 1
        entry.weight += size
        self._weigh(entry, size)
        self.rows += 1
        self.live_rows += 1
        self.next_seq += 1
        return self.next_seq - 1

    def restart(self, entry: Entry) -> None:
        """Let none of its records count but those that follow."""
        self.live_rows -= entry.rows
        self._weigh(entry, -entry.weight)
        entry.first, entry.rows, entry.weight = self.next_seq, 0, 0

    def call(self, pid: int, call: int) -> None:
        """A live process begins a call. Raises ValueError unless its number is above those before."""
        entry = self.live(pid)
        if call <= entry.last_call:
            raise ValueError(f"call {call} of process {pid} follows call {entry.last_call}")
        entry.last_call = call
        self.open_calls.add((pid, call))

    def result(self, pid: int, call: int, size: int) -> None:
        """A call is over, with so many bytes. Raises ValueError for one that is not open."""
        if (pid, call) not in self.open_calls:
            raise ValueError(f"call {call} of process {pid} is not open")
        self.open_calls.discard((pid, call))
        entry = self.known(pid)
        entry.results += size
        self._weigh(entry, size)

    def end(self, pid: int, now: float) -> None:
        """It has ended."""
        entry = self.live(pid)
        entry.ended = now
        self.ended[pid] = None
        self.ended_bytes += entry.bytes
        self.pages.release(pid)

    def lives(self, pid: int) -> bool:
        """Whether the process has begun, and not ended."""
        return pid in self.entries and self.entries[pid].ended is None

    def check_may_live(self, pid: int) -> None:
        """Raise ValueError unless the process has ended, or its PID was never given."""
        if self.lives(pid) or (pid not in self.entries and pid < self.mark):
            raise ValueError(f"process {pid} lives, or is gone")

    def revive(self, pid: int, owner: str, size: int, calls: int) -> Entry:
        """A process that has ended, or is new, lives, with so many bytes of output, and so many calls.

        Its records begin with the next; it has the memory that it was given since it ended.
        """
        if pid not in self.entries:
            entry = self.begin(pid, owner)
        else:
            entry = self.entries[pid]
            self.ended_bytes -= entry.bytes
            del self.ended[pid]
            entry.ended = None
            self.restart(entry)
            self.open_calls -= {each for each in self.open_calls if each[0] == pid and each[1] > calls}
            self.pages.leaving.pop(pid, None)
        entry.size = entry.shown = size
        entry.last_call = calls
        return entry

    def forget(self, pid: int) -> None:
        """It is gone; its rows stay until they have been removed."""
        entry = self.entries.pop(pid)
        del self.ended[pid]
        self.ended_bytes -= entry.bytes
        self.live_rows -= entry.rows
        self.open_calls -= {each for each in self.open_calls if each[0] == pid}
        self.mark = max(self.mark, pid + 1)
        self.dropped.add(pid)

    def _weigh(self, entry: Entry, size: int) -> None:
        if entry.ended is not None:
            self.ended_bytes += size


def load(db: sqlite3.Connection) -> Ledger:
    """What the journal says of all processes."""
    ledger = Ledger()
    ended = []
    for pid, owner, first, end in db.execute("SELECT pid, owner, first, ended FROM processes ORDER BY pid"):
        ledger.entries[pid] = Entry(owner, first, end)
        if end is not None:
            ended.append((end, pid))
    ledger.ended = {pid: None for _, pid in sorted(ended)}
    _load_records(db, ledger)
    _load_output(db, ledger)
    _load_calls(db, ledger)
    ledger.dropped = {row[0] for row in db.execute("SELECT pid FROM dropped")}
    for (mark,) in db.execute("SELECT value FROM marks WHERE name = 'next_pid'"):
        ledger.mark = mark
    for (expires,) in db.execute("SELECT expires FROM keys ORDER BY expires LIMIT 1"):
        ledger.next_expiry = expires
    ledger.ended_bytes = sum(ledger.entries[pid].bytes for pid in ledger.ended)
    ledger.pages = pages.load(db)
    return ledger


def _load_records(db: sqlite3.Connection, ledger: Ledger) -> None:
    ledger.rows, last = db.execute("SELECT count(*), coalesce(max(seq), 0) FROM records").fetchone()
    ledger.next_seq = last + 1
    for pid, rows, weight in db.execute(
        "SELECT r.pid, count(*), sum(length(r.body)) FROM records r CROSS JOIN processes p ON p.pid = r.pid"
        " WHERE r.seq >= p.first GROUP BY r.pid"
    ):
        entry = ledger.entries[pid]
        entry.rows, entry.weight = rows, weight
        ledger.live_rows += rows


def _load_output(db: sqlite3.Connection, ledger: Ledger) -> None:
    for pid, size in db.execute(
        "SELECT p.pid, (SELECT o.start + length(o.text) FROM output o WHERE o.pid = p.pid"
        " ORDER BY o.start DESC LIMIT 1) FROM processes p"
    ):
        ledger.entries[pid].size = size or 0
    for pid, size in db.execute("SELECT pid, start + length(text) FROM recent ORDER BY seq"):
        ledger.recent += 1
        if entry := ledger.entries.get(pid):
            entry.size = size
    for entry in ledger.entries.values():
        entry.shown = entry.size


def _load_calls(db: sqlite3.Connection, ledger: Ledger) -> None:
    for pid, call, size in db.execute("SELECT pid, call, length(result) FROM calls ORDER BY pid, call"):
        if entry := ledger.entries.get(pid):
            entry.last_call = call
            entry.results += size or 0
            if size is None:
                ledger.open_calls.add((pid, call))

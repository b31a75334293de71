"""Reading an audit log back: what it says, and whether it is what was written.

Rules
1. Nothing is locked: a kernel may write meanwhile. Its lines are read before the head, and again behind it.
2. A fault names the line of the file that it was found for; behind one the check goes on from that line.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from agentkernel.syscalls.audit import Entry, Link, digest, head_of, parse, read_head

_MOST_FAULTS = 100


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a line; they count from 1."""

    line: int
    reason: str


class Report(msgspec.Struct, frozen=True):
    """What was found: calls, lines that a crash left torn, and faults, of which the first hundred."""

    calls: int
    torn: int
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether the log is what was written."""
        return not self.faults


def verify(path: Path) -> Report:
    """Check the log and its head. Raises OSError; FileNotFoundError where there is neither."""
    head = head_of(path)
    lines = _Lines(path.open("rb") if path.exists() or not head.exists() else io.BytesIO())
    check = _Check()
    with lines.file:
        for line in lines:
            check.add(line)
        ends = {check.before, check.last}
        known = read_head(head.read_bytes()) if head.exists() else None
        for line in lines:
            check.add(line)
            ends.add(check.last)
    check.finish(lines.rest)
    if known is None or known not in ends:
        check.compare(known)
    return Report(check.calls, check.torn, tuple(check.faults[:_MOST_FAULTS]))


def show(path: Path, pid: int | None = None) -> Iterator[dict[str, Any]]:
    """The entries, all or those of a PID; a line that can't be read is `unreadable`. Raises OSError."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                entry = msgspec.json.decode(line, type=dict[str, Any])
            except ValueError:
                entry = {"event": "unreadable", "line": number}
            if pid is None or entry.get("pid") == pid:
                yield entry


class _Lines:
    """A file's whole lines without their ends, as far as it goes; again, and those that came meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.rest = file, b""

    def __iter__(self) -> Iterator[bytes]:
        while line := self.file.readline():
            line, self.rest = self.rest + line, b""
            if not line.endswith(b"\n"):
                self.rest = line
                return
            yield line[:-1]


class _Check:
    """Follows the chain; `last` and `before` are its last two links."""

    def __init__(self) -> None:
        self.last = self.before = Link()
        self.calls = self.torn = 0
        self.faults: list[Fault] = []
        self._number = self._whole = 0  # of the line, and of the last that could be read
        self._loose: tuple[int, bytes] | None = (
            None  # a line that could not be read, until the next tells why
        )

    def add(self, line: bytes) -> None:
        """The next line."""
        self._number += 1
        entry = parse(line)
        if entry is None:
            self._close_loose(None)
            self._loose = self._number, line
            return
        if entry.fragment and self._loose is None:
            self._fault(self._number, "the torn line before it is missing")
        if not self._close_loose(entry):
            self._check(entry)
        if entry.event == "broken":
            self._fault(self._number, f"the kernel found it broken: {entry.reason}")
        self.calls += entry.event == "call"
        self.before, self.last = self.last, Link(entry.seq, digest(line))
        self._whole = self._number

    def finish(self, rest: bytes) -> None:
        """There is no further line, but perhaps a part of one."""
        self._close_loose(None)
        if rest:
            self._fault(self._number + 1, "incomplete: its end is missing")

    def compare(self, head: Link | None) -> None:
        """The chain does not end where the head says: tell how."""
        if head is None:
            self._fault(self._whole, "the head is missing or can't be read")
        elif head.seq > self.last.seq:
            self._fault(self._whole + 1, f"cut off from here: {_lines(head.seq - self.last.seq)}")
        elif head.seq == self.last.seq:
            self._fault(self._whole, "changed: the head has another hash of it")
        else:
            self._fault(self._whole, f"the head knows of {_lines(self.last.seq - head.seq)} less")

    def _check(self, entry: Entry) -> None:
        missing = entry.seq - self.last.seq - 1
        if missing > 0 and entry.event != "broken":
            self._fault(self._number, f"{_lines(missing)} missing before it")
        elif missing < 0 and entry.event != "broken":
            self._fault(self._number, f"number {entry.seq} does not belong here")
        elif entry.prev != self.last.digest:
            self._fault(max(self._whole, 1), "changed: the next line has another hash of it")

    def _close_loose(self, entry: Entry | None) -> bool:
        """Say what an unreadable line was, if there was one; whether it was no part of the chain."""
        if self._loose is None:
            return False
        number, line = self._loose
        self._loose = None
        torn = entry is not None and entry.event == "torn" and entry.fragment == digest(line)
        self.torn += torn
        if not torn:
            self._fault(number, "can't be read")
        return not torn

    def _fault(self, line: int, reason: str) -> None:
        self.faults.append(Fault(line, reason))


def _lines(count: int) -> str:
    return f"{count} line{'s' if count > 1 else ''}"

"""The audit log: a line of JSON for each call, each line with the hash of the one before.

Rules
1. Lines are only ever added. `prev` is the SHA-256 of the line before, `seq` counts from 1.
2. The head, `audit.head`, holds the number and hash of the last line. It is written behind the line: a crash
   between the two leaves the log one line ahead, which is taken for what it is.
3. What a crash left of a line stays; an entry `torn` behind it holds its hash. Where log and head do not fit
   each other when the log is opened, an entry `broken` says so for good, and the chain goes on behind it.
4. A record that could not be written is an AuditError, and leaves nothing of itself behind.
5. Found is what was changed, inserted, moved, removed or cut off without making all later lines and the head
   anew. Whoever may write both can do that: a copy of the head kept elsewhere shows it.
6. The log has no bound. To begin another, stop the kernel and move `audit.log` and `audit.head` away.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from agentkernel.config import ConfigError

FIRST = "0" * 64  # `prev` of the first line
_HEAD_BYTES = 256  # that are read of a head; it has 86
_HEAD = re.compile(rb"([0-9]{20}) ([0-9a-f]{64})\n")
_BLOCK = 64 * 1024
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class AuditError(ConfigError):
    """The log can't be opened or written; the text says why."""


class Entry(msgspec.Struct, frozen=True):
    """What a line has in any case. `event` is `call`, `torn` or `broken`."""

    seq: int
    prev: str
    event: str
    fragment: str = ""  # hash of the torn line
    reason: str = ""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call to be written down. `outcome` is `ok` or an error's code; resources are those of its job."""

    owner: str
    pid: int
    call: int
    tool: str
    arguments: str
    trust: str
    backend: str
    outcome: str
    ms: float
    cpu_ms: float = 0.0
    memory_kb: int = 0
    output_bytes: int = 0


class Link(msgspec.Struct, frozen=True):
    """A place in the chain: the number and hash of its last line."""

    seq: int = 0
    digest: str = FIRST


class Audit:
    """The log, open for writing; one kernel at a time has it.

    With `full` the arguments are written too, not their hash alone. With `sync` each line is on the disk when
    `append` is back. `clock` tells the time in UTC.
    """

    def __init__(
        self,
        path: Path,
        *,
        full: bool = False,
        sync: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Raises AuditError."""
        self._path, self._full, self._sync, self._clock = path, full, sync, clock
        self._last, self._fault = Link(), ""
        self._log, self._head = _open(path)
        try:
            self._resume()
        except (OSError, AuditError) as error:
            self.close()
            raise AuditError(str(error)) from error

    def __repr__(self) -> str:
        return f"<Audit {self._path} seq={self._last.seq}>"

    def append(self, call: Call, *, confidential: bool = False) -> None:
        """Write the call down, without the arguments of a confidential one. Raises AuditError."""
        record = msgspec.structs.asdict(call)
        arguments = record.pop("arguments").encode("utf-8", "surrogatepass")
        record["digest"] = digest(arguments)
        if self._full and not confidential:
            record["arguments"] = arguments.decode("utf-8", "replace")
        self._add("call", record)

    def close(self) -> None:
        """Let another have it."""
        self._fault = "closed"
        os.close(self._log)
        os.close(self._head)

    def _add(self, event: str, record: dict[str, Any], before: bytes = b"") -> None:
        if self._fault:
            raise AuditError(f"{self._path}: {self._fault}")
        moment = self._clock().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        link = {"seq": self._last.seq + 1, "prev": self._last.digest, "time": moment, "event": event}
        try:
            line = msgspec.json.encode({**link, **record})
        except ValueError as error:
            raise AuditError(f"{self._path}: {error}") from error
        size = self._write(before + line + b"\n")
        last, self._last = self._last, Link(self._last.seq + 1, digest(line))
        try:
            self._write_head()
        except AuditError:
            self._last = last
            self._undo(size)
            raise

    def _write(self, data: bytes) -> int:
        """Write all of it or nothing; how large the log was."""
        size = os.fstat(self._log).st_size
        try:
            written = os.write(self._log, data)
        except OSError as error:
            raise AuditError(f"{self._path}: {error.strerror}") from error
        if written < len(data):
            self._undo(size)
            raise AuditError(f"{self._path}: no room for a line")
        if self._sync:
            self._flush(size)
        return size

    def _flush(self, size: int) -> None:
        try:
            os.fdatasync(self._log)
        except OSError as error:  # what is on the disk is not known any more, and not by asking again
            self._undo(size)
            self._fault = f"not synced: {error.strerror}"
            raise AuditError(f"{self._path}: {self._fault}") from error

    def _undo(self, size: int) -> None:
        try:
            os.ftruncate(self._log, size)
        except OSError as error:
            self._fault = f"a part of a line stays: {error.strerror}"

    def _write_head(self) -> None:
        try:
            os.pwrite(self._head, f"{self._last.seq:020d} {self._last.digest}\n".encode(), 0)
        except OSError as error:
            raise AuditError(f"{head_of(self._path)}: {error.strerror}") from error

    def _resume(self) -> None:
        """Go on where log and head end, and write down what is wrong there."""
        line, fragment = self._end()
        content = os.pread(self._head, _HEAD_BYTES, 0)
        head = read_head(content)
        entry = None if line is None else parse(line)
        known = line is None or entry is not None
        self._last = Link(entry.seq if entry else 0, FIRST if line is None else digest(line))
        ahead = entry is not None and Link(entry.seq - 1, entry.prev) == head
        marker = {"fragment": digest(fragment)} if fragment else {}
        before = b"\n" if fragment else b""
        if not (ahead or (known and self._last == head)):
            there = f"number {self._last.seq}" if known else "a line that can't be read"
            noted = f"number {head.seq}" if head else "what can't be read"
            marker["reason"] = f"the log ended with {there}, its head with {noted}"
            self._add("broken", {**marker, "head": content.decode("latin-1")}, before)
        elif fragment:
            self._add("torn", marker, before)
        elif ahead:
            self._write_head()

    def _end(self) -> tuple[bytes | None, bytes]:
        """The last whole line and what stands behind it; a line that lacks nothing but its end gets that."""
        line, fragment = _tail(self._log)
        entry, before = parse(fragment), parse(line or b"")
        follows = Link(before.seq, digest(line or b"")) if before else Link()
        if entry is None or Link(entry.seq - 1, entry.prev) != follows:
            return line, fragment
        self._write(b"\n")
        return fragment, b""


def head_of(path: Path) -> Path:
    """The head of a log."""
    return path.with_suffix(".head")


def read_head(content: bytes) -> Link | None:
    """The link that a head holds, the first where it is empty; None for what is no head."""
    match = _HEAD.fullmatch(content)
    if match is None:
        return None if content else Link()
    return Link(int(match[1]), match[2].decode())


def parse(line: bytes) -> Entry | None:
    """What a line says of its place in the chain; None for what is no line of a log."""
    try:
        return msgspec.json.decode(line, type=Entry)
    except ValueError:
        return None


def digest(line: bytes) -> str:
    """The hash of a line, without its end."""
    return hashlib.sha256(line).hexdigest()


def _open(path: Path) -> tuple[int, int]:
    """The log, ours alone, and its head. Raises AuditError."""
    opened: list[int] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for each, flags in ((path, _OPEN | os.O_APPEND), (head_of(path), _OPEN)):
            opened.append(os.open(each, flags, 0o600))
            os.fchmod(opened[-1], 0o600)
        fcntl.flock(opened[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        for descriptor in opened:
            os.close(descriptor)
        busy = isinstance(error, BlockingIOError)
        raise AuditError(f"{path}: {'another kernel writes it' if busy else error.strerror}") from error
    return opened[0], opened[1]


def _tail(log: int) -> tuple[bytes | None, bytes]:
    """The last whole line, if any, and what stands behind it."""
    size = os.fstat(log).st_size
    tail, start = b"", size
    while start > 0 and tail.count(b"\n") < 2:
        start = max(0, start - max(_BLOCK, len(tail)))
        tail = os.pread(log, size - start, start)
    lines = tail.split(b"\n")
    return (lines[-2] if len(lines) > 1 else None), lines[-1]

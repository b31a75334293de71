"""What can be wrong with a journal, in three kinds.

Rules
1. `JournalError`: it can't be opened or read. Nothing of it was changed.
2. `JournalFullError`: it can't be written for now. Nothing that was given to it is lost; it is tried again.
3. `JournalFailedError`: what is on the disk is not known any more, and not by asking again
   (https://wiki.postgresql.org/wiki/Fsync_Errors). It is for ever; what follows is a restart.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from agentkernel.config import ConfigError

# SQLite's primary codes; an extended one has its primary in the lowest byte (sqlite.org/rescode.html).
_BUSY, _READ_ONLY, _IO, _CORRUPT, _FULL, _CANT_OPEN, _NO_DATABASE = 5, 8, 10, 11, 13, 14, 26
_IO_WRITE = 778  # what EIO, EDQUOT and EROFS of a write become; only ENOSPC is _FULL
_IO_INDEX = 4874  # no room for the index of a log, 32 KiB, which is made to look at what a crash left


class JournalError(ConfigError):
    """The journal can't be opened or read; the text says why."""


class JournalCorruptError(JournalError):
    """The file is not as it was written."""


class JournalFullError(JournalError):
    """There is no room, or the disk is read-only. What is buffered stays so; the next commit tries again."""


class JournalFailedError(JournalError):
    """A sync failed. The process must end by `os._exit`, not closing the journal, and recover from disk."""


class JournalClosedError(JournalError):
    """It was closed before."""


def cause(path: Path, error: sqlite3.Error) -> JournalError:
    """What an error of SQLite's means when nothing was being written."""
    code = _primary(error)
    if code == _BUSY:
        return JournalError(f"{path}: in use by another program; a kernel that runs?")
    if code in (_CORRUPT, _NO_DATABASE):
        return JournalCorruptError(f"{path}: corrupt: {error}")
    if code == _FULL or _code(error) == _IO_INDEX:
        return JournalFullError(f"{path}: no room on its disk, not even to open it")
    if code == _CANT_OPEN:
        return JournalError(f"{path}: it, or what belongs to it, can't be opened or made")
    return JournalError(f"{path}: {error}")


def cause_of_writing(path: Path, error: sqlite3.Error) -> JournalFullError | JournalFailedError:
    """What an error of SQLite's means when a transaction, or a checkpoint, has been undone for it."""
    if _primary(error) in (_FULL, _READ_ONLY) or _code(error) == _IO_WRITE:
        return JournalFullError(f"{path}: {error}")
    return JournalFailedError(f"{path}: {error}")


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0)


def _primary(error: sqlite3.Error) -> int:
    return _code(error) & 0xFF

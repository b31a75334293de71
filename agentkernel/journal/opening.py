"""A journal's file is made, looked at and opened.

Rules
1. A file in the journal's place is whole: it is made beside it, synced, and linked there.
2. What is corrupt, newer than this program or no journal is refused, and neither it nor its log is written:
   it is looked at through a descriptor that can't, so that not even closing it checkpoints.
3. One program has it at a time (`locking_mode`), by one connection: SQLite before 3.51.3 can lose a
   checkpoint that races another connection (sqlite.org/wal.html).
4. Its locks are the process's, and fall when that opens and closes the file by other means (fcntl(2)).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from agentkernel.journal.errors import JournalCorruptError, JournalError, cause
from agentkernel.journal.migrations import MIGRATIONS, migrate, version_of

FILE_NAME = "journal.db"  # in the state directory
_MAKE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_CACHE = 8192  # KiB of pages
_FAULTS = 10  # that are looked for


def wal_of(path: Path) -> Path:
    """The log that belongs to a journal's file while it is open, or after a crash."""
    return path.with_name(f"{path.name}-wal")


def open_journal(path: Path, *, durable: bool) -> sqlite3.Connection:
    """The journal for writing, made if there is none, with this version's tables. Raises JournalError."""
    try:
        if not path.exists():
            _make(path)
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))  # SQLite would open it for reading alone instead
        inspect(path)
        return _open(path, "NORMAL" if durable else "OFF")
    except JournalCorruptError as error:
        raise JournalCorruptError(f"{error}; look at it: agentkernel journal check") from error
    except OSError as error:
        raise JournalError(f"{error.filename or path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise cause(path, error) from error


def inspect(path: Path) -> None:
    """Raise JournalError for a journal that is not as it must be; write nothing."""
    with read_only(path) as db:
        faults = [row[0] for row in db.execute(f"PRAGMA quick_check({_FAULTS})")]
    if faults != ["ok"]:
        raise JournalCorruptError(f"{path}: corrupt: {faults[0]}")


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """The journal, for reading alone, of this version or an older one. Raises JournalError.

    Whatever is raised inside by SQLite becomes a JournalError too.
    """
    alone = not wal_of(path).exists()  # then nobody has it open, and no file need be made beside it
    index = path.with_name(f"{path.name}-shm")
    ours = not alone and not index.exists()
    try:
        with contextlib.closing(_connect(path, "mode=ro&immutable=1" if alone else "mode=ro")) as db:
            _check_version(path, db)
            yield db
    except sqlite3.Error as error:
        raise cause(path, error) from error
    finally:
        if ours:
            with contextlib.suppress(OSError):
                index.unlink()


def _check_version(path: Path, db: sqlite3.Connection) -> None:
    try:
        version = version_of(db)
    except ValueError as error:
        raise JournalError(f"{path}: {error}") from error
    if version > len(MIGRATIONS):
        raise JournalError(f"{path}: of version {version}; this program knows {len(MIGRATIONS)} and before")


def _make(path: Path) -> None:
    """Put an empty journal there, unless another program does."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if wal_of(path).exists():  # it would be taken for the new file's
        raise JournalError(f"{wal_of(path)}: its journal is gone; move it away too, or bring that back")
    unfinished = path.with_name(f"{path.name}.part")
    for leftover in (unfinished, wal_of(unfinished), unfinished.with_name(f"{unfinished.name}-journal")):
        leftover.unlink(missing_ok=True)
    descriptor = os.open(unfinished, _MAKE, 0o600)
    try:
        with contextlib.closing(_connect(unfinished, "mode=rw")) as db:
            migrate(db)
            db.execute("PRAGMA journal_mode = WAL")
        os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        os.close(descriptor)
        unfinished.unlink(missing_ok=True)


def _open(path: Path, synchronous: str) -> sqlite3.Connection:
    db = _connect(path, "mode=rw")
    try:
        for setting in (
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            f"synchronous = {synchronous}",
            "wal_autocheckpoint = 0",
            "secure_delete = FAST",
            "temp_store = MEMORY",
            "trusted_schema = OFF",
            f"cache_size = {-_CACHE}",
        ):
            db.execute(f"PRAGMA {setting}")
        migrate(db)
        db.execute("BEGIN EXCLUSIVE")
        db.execute("COMMIT")
        _sync_folder(path.parent)
    except BaseException:
        db.close()
        raise
    return db


def _connect(path: Path, how: str) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time, and that begins no transactions by itself."""
    uri = f"file:{quote(str(path.absolute()))}?{how}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0, check_same_thread=False)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A journal that no kernel has open is made as small as it can be."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from pathlib import Path

from agentkernel.journal.database import Database
from agentkernel.journal.ledger import load
from agentkernel.journal.opening import wal_of
from agentkernel.journal.upkeep import Retention, Upkeep

_ALL = Retention(math.inf, sys.maxsize, sys.maxsize)


def shrink(path: Path) -> tuple[int, int]:
    """Remove all that nobody reads, but no process; bytes before and after. Raises JournalError."""
    before = _size(path) + _size(wal_of(path))
    with contextlib.closing(Database(path, durable=True, sync=os.fdatasync)) as database:
        with database.reading() as db:
            ledger = load(db)
        upkeep = Upkeep(ledger, database.transaction, _ALL)
        while upkeep.step(-math.inf, backlog=0):
            pass
        with database.reading() as db:
            db.execute("VACUUM")
    return before, _size(path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0

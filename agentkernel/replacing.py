"""Files that are replaced whole: after a crash at any moment there is the old one or the new one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PART = ".part"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file, 0600, that takes the path's place once the block is over, unless that raises.

    Its folder is made, 0700, if need be. Raises OSError; then nothing of it is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(path.name + _PART)
    try:
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def removed(path: Path) -> None:
    """Remove the file, for good, if it is there. Raises OSError."""
    path.unlink(missing_ok=True)
    _sync(path.parent)


def sweep(folder: Path) -> None:
    """Remove what a crash has left of files that were being replaced."""
    for left in folder.glob(f"*{_PART}"):
        with contextlib.suppress(OSError):
            left.unlink()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

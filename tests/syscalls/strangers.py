"""Doing things as a user without rights, and with what only programs in a jail would make."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65_534


@contextmanager
def folder_of_nobody() -> Iterator[Path]:
    """A directory that belongs to a user without rights, where that user can get at it."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield folder
    finally:
        shutil.rmtree(folder)


def as_nobody(act: Callable[[], None]) -> None:
    """Do it in a thread whose file system rights are those of a user without any."""
    faults = []

    def run() -> None:
        if os.geteuid() == 0:
            ctypes.CDLL(None).setfsuid(NOBODY)  # of this thread alone
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - told below
            faults.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for fault in faults:
        raise fault


def nest(folder: Path, depth: int) -> None:
    """Make so many directories in each other: deeper than any path can say."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@contextmanager
def swapping(folder: Path, outside: Path) -> Iterator[None]:
    """Within it the directory is now itself, now a link to the other, now not there, all the time."""
    link, spare = folder.with_name("link"), folder.with_name("spare")
    link.symlink_to(outside)
    command = [sys.executable, "-ISc", _SWAP, folder, link, spare]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as racer:
        try:
            assert racer.stdout is not None
            racer.stdout.readline()
            yield
        finally:
            racer.kill()


_SWAP = """
import os, sys
folder, link, spare = sys.argv[1:]
print(flush=True)
while True:
    for old, new in ((folder, spare), (link, folder), (folder, link), (spare, folder)):
        try:
            os.rename(old, new)
        except OSError:  # where others make and remove things too
            pass
"""

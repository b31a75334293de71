"""The directory of one process: what programs in its jail and the kernel's file tools share.

Rules
1. It is made when it is first needed, mode 0700; reading makes nothing.
2. A file is replaced whole: what is read is what was there before a write or after it.
3. Bytes, in blocks, and names are bounded. They are counted when a program may have changed them, and kept
   count of otherwise; what can't be counted within the bound is full.
4. Whatever a program left, however deep, locked or named, can be counted, read past and removed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agentkernel.jail.port import Limits
from agentkernel.syscalls.confined import (
    Tree,
    check_regular,
    normal,
    one_line,
    open_below,
    replace,
    require,
    told,
    unlock,
)
from agentkernel.syscalls.errors import ToolError

_DEPTH = 64  # of directories in each other that are made; what counts them for the jail goes no deeper
_BLOCK = 4096  # bytes; what is counted of a file
_NAMES = 10_000  # of one directory looked at, at most
_ROUNDS = 100_000  # of removal, each of so many names or of one level


class Usage(NamedTuple):
    """What it holds; at least that, unless `complete`. A directory and a link are files without bytes."""

    bytes: int
    files: int
    complete: bool = True


class Entry(NamedTuple):
    """A name in a directory, as one line of text. `size` is a file's, in bytes."""

    name: str
    folder: bool
    size: int


class Found(NamedTuple):
    """A path below the directory that was asked for, and what is there."""

    path: str
    status: os.stat_result

    @property
    def regular(self) -> bool:
        """Whether it is a file of bytes."""
        return stat.S_ISREG(self.status.st_mode)


class Workspace:
    """One process's files. Its methods may be called in any thread; they raise ToolError.

    What is made belongs to `uid`, if there is one; the kernel has to be a user who may give it away. Raises
    ToolError ESANDBOX where paths can't be confined.
    """

    def __init__(self, root: Path, pid: int | str, limits: Limits, uid: int | None = None) -> None:
        require()
        self._path, self._limits, self._uid = root / str(pid), limits, uid
        self._lock = threading.Lock()  # of everything that changes files
        self._touches, self._gone = 0, False
        self._usage: tuple[int, Usage] | None = None  # and after how many touches it was counted

    def make(self) -> Path:
        """Where it is, made now if it wasn't."""
        with self._lock, self._tree(make=True):
            return self._path

    def touched(self) -> None:
        """A program had the directory: count anew before the next write. Never waits."""
        self._touches += 1

    @property
    def empty(self) -> bool:
        """Whether nothing is in it, or it was never made."""
        return not self.listing(".", 1)[0]

    def usage(self) -> Usage:
        """What it holds."""
        with self._lock, self._tree() as tree:
            return self._used(tree)

    def listing(self, path: str = ".", most: int = _NAMES) -> tuple[list[Entry], bool]:
        """At most so many entries of a directory, by name, and whether these are all.

        Of more than 10,000 names any 10,000 are taken.
        """
        path = normal(path)
        with self._tree() as tree:
            if tree is None and path == ".":
                return [], True
            entries = []
            with self._existing(tree, path).folder(path) as folder:
                names, complete = _names(folder)
                for name in names[:most]:
                    with contextlib.suppress(FileNotFoundError):
                        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                        entries.append(Entry(one_line(name), stat.S_ISDIR(status.st_mode), status.st_size))
            return entries, complete and len(names) <= most

    def read(self, path: str, offset: int, limit: int) -> tuple[bytes, int]:
        """At most `limit` bytes of a file from the offset on, and its size."""
        path = normal(path)
        with self._tree() as tree, self._existing(tree, path).file(path) as (file, status):
            return os.pread(file, max(0, min(limit, status.st_size - offset)), offset), status.st_size

    def get(self, path: str, limit: int) -> bytes:
        """A whole file. TOO_LARGE when it is larger than the limit, in bytes."""
        data, size = self.read(path, 0, limit)
        if size > limit:
            raise ToolError("TOO_LARGE", f"the file has {size} bytes, the limit is {limit}")
        return data

    def put(self, path: str, data: bytes) -> None:
        """Make the file, or replace it, and make the directories it is in."""
        path = normal(path)
        with self._lock, self._change(path, len(data)) as (tree, parent, name):
            temporary = f".{secrets.token_hex(8)}.part"
            with tree.folder(parent) as folder:
                file = open_below(folder, temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    tree.own(file, os.fstat(file))
                    _write(file, data)
                    replace(folder, temporary, name)
                except OSError:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary, dir_fd=folder)
                    raise
                finally:
                    os.close(file)

    def append(self, path: str, data: bytes) -> None:
        """Add to the end of the file, which is made if there is none, and the directories it is in."""
        path = normal(path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with (
            self._lock,
            self._change(path, len(data), add=True) as (tree, _, _),
            tree.file(path, flags) as (file, _),
        ):
            _write(file, data)

    def delete(self, path: str) -> None:
        """Remove a file, a link or whatever else has that name; of directories only an empty one."""
        path = normal(path)
        if path == ".":
            raise ToolError("IS_A_DIRECTORY", "the workspace itself can't be deleted")
        parent, _, name = path.rpartition("/")
        with self._lock, self._tree() as found:
            tree = self._existing(found, path)
            touches, used, before = self._touches, self._used(tree), tree.status(path)
            with told(path), tree.folder(parent or ".") as folder:
                if before is not None and stat.S_ISDIR(before.st_mode):
                    os.rmdir(name, dir_fd=folder)
                else:
                    os.unlink(name, dir_fd=folder)
            self._usage = (
                (touches, Usage(used.bytes - _cost(before), used.files - 1)) if used.complete else None
            )

    def walk(self, path: str, most: int) -> tuple[list[Found], bool]:
        """At most so many of all things below a directory, and whether these are all.

        In order of names, those in a directory before those in the directories in it. No link is followed.
        """
        path = normal(path)
        with self._tree() as tree:
            return _walk(self._existing(tree, path), path, most)

    def remove(self, *, for_good: bool = False) -> None:
        """Remove it and all that is in it; it can be made again, unless it was removed for good.

        TOOL_FAILED when something can't be removed.
        """
        with self._lock, self._tree() as tree:
            self._gone = for_good
            if tree is None:
                return
            self._usage = None
            with tree.folder(".") as folder:
                _clear(folder)
            try:
                self._path.rmdir()
            except OSError:
                raise ToolError("TOOL_FAILED", "the workspace can't be removed") from None

    @contextlib.contextmanager
    def _tree(self, *, make: bool = False) -> Iterator[Tree | None]:
        """What is below the directory; None when there is none and none is to be made."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        with told("."):
            try:
                directory = os.open(self._path, flags)
            except FileNotFoundError:
                if self._gone:
                    raise ToolError("NOT_FOUND", "the workspace was removed") from None
                if not make:
                    directory = -1
                else:
                    self._path.mkdir(0o700, parents=True, exist_ok=True)
                    directory = os.open(self._path, flags)
        if directory < 0:
            yield None
            return
        try:
            tree = Tree(directory, self._uid)
            if make and self._uid not in (None, os.fstat(directory).st_uid):
                with told("."):
                    os.chown(self._path, self._uid, -1, follow_symlinks=False)
            yield tree
        finally:
            os.close(directory)

    @staticmethod
    def _existing(tree: Tree | None, path: str) -> Tree:
        if tree is None:
            with told(path):
                raise FileNotFoundError(2, "")
        return tree

    def _used(self, tree: Tree | None) -> Usage:
        """Counted, unless that is known. For who holds the lock."""
        touches = self._touches
        if self._usage is not None and self._usage[0] == touches:
            return self._usage[1]
        found, complete = ([], True) if tree is None else _walk(tree, ".", self._limits.workspace_files)
        usage = Usage(sum(_cost(status) for _, status in found), len(found), complete)
        self._usage = (touches, usage)
        return usage

    @contextlib.contextmanager
    def _change(self, path: str, size: int, *, add: bool = False) -> Iterator[tuple[Tree, str, str]]:
        """A file is going to have so many bytes, or so many more; where it is, by directory and name.

        Raises QUOTA_EXCEEDED, and whatever else is known beforehand to be wrong. For who holds the lock.
        """
        with self._tree(make=True) as found:
            tree = self._existing(found, path)
            touches, used, before = self._touches, self._used(tree), tree.status(path)
            if before is not None:
                check_regular(before, path)
            parent, name = path.rpartition("/")[::2]
            parent = parent or "."
            if parent.count("/") >= _DEPTH:
                raise ToolError("BAD_ARGUMENTS", f"more than {_DEPTH} folders in each other")
            missing = 0 if parent == "." else tree.missing(parent)
            after = size + (before.st_size if add and before is not None else 0)
            more = Usage(_blocks(after) - _cost(before), missing + (before is None))
            total = Usage(used.bytes + more.bytes, used.files + more.files)
            if max(more[:2]) > 0 and not (used.complete and self._fits(total)):
                files, size = self._limits.workspace_files, self._limits.workspace_mb
                raise ToolError("QUOTA_EXCEEDED", f"the workspace is full: {size} MB, {files} files at most")
            self._usage = None
            if missing:
                tree.make(parent)
            with told(path):
                yield tree, parent, name
            known = used.complete and (before is None or _cost(before) == _blocks(before.st_size))
            self._usage = (touches, total) if known else None

    def _fits(self, usage: Usage) -> bool:
        return usage.bytes <= self._limits.workspace_mb << 20 and usage.files <= self._limits.workspace_files


def greatest(root: Path) -> int:
    """The greatest PID that has a workspace, or 0."""
    with contextlib.suppress(FileNotFoundError), os.scandir(root) as entries:
        named = (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return max((int(name) for name in named if name.isascii() and name.isdecimal()), default=0)
    return 0


def _blocks(size: int) -> int:
    """What a file of that size is counted as, in bytes."""
    return -(-size // _BLOCK) * _BLOCK


def _cost(status: os.stat_result | None) -> int:
    """What is counted for what is there: the blocks it needs, or those it has, if these are more."""
    if status is None or not stat.S_ISREG(status.st_mode):
        return 0
    return max(_blocks(status.st_size), status.st_blocks * 512)


def _write(file: int, data: bytes) -> None:
    """Write all of it. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _names(folder: int) -> tuple[list[str], bool]:
    """The names in a directory, sorted, and whether these are all. Raises OSError."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in itertools.islice(entries, _NAMES + 1))
    return names[:_NAMES], len(names) <= _NAMES


def _walk(tree: Tree, path: str, most: int) -> tuple[list[Found], bool]:
    """See `Workspace.walk`. What goes away meanwhile is left out, what can't be entered makes it not all."""
    found: list[Found] = []
    folders, all_seen = [path], True
    while folders:
        here = folders.pop()
        below = []
        try:
            with tree.folder(here) as folder:
                names, complete = _names(folder)
                for name in names:
                    if len(found) == most:
                        return found, False
                    with contextlib.suppress(FileNotFoundError):
                        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                        found.append(Found(name if here == "." else f"{here}/{name}", status))
                        below += [found[-1].path] * stat.S_ISDIR(status.st_mode)
        except ToolError as error:
            if here == path:
                raise
            complete = error.code in ("NOT_FOUND", "NOT_A_DIRECTORY", "PATH_ESCAPE")  # by a swap just now
        folders += reversed(below)
        all_seen = all_seen and complete
    return found, all_seen


def _clear(folder: int) -> None:
    """Remove all that is in the directory, as far as one may: never deeper than one level at a time.

    What is in a directory in it is removed, or, when it is a directory too, moved up to be its neighbour.
    """
    for _ in range(_ROUNDS):
        names, _all = _names(folder)
        if not sum(_drop(folder, name) for name in names):
            return


def _drop(folder: int, name: str) -> int:
    """Remove a name from the directory; how many steps nearer to that it is."""
    steps = 0
    with contextlib.suppress(OSError):
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            steps = _raise_all(folder, name)
            os.rmdir(name, dir_fd=folder)
        steps += 1
    return steps


def _raise_all(folder: int, name: str) -> int:
    """Remove the files of a directory in the directory, and move up its directories; how many it were."""
    steps = 0
    _unlock_in(folder, name)
    below = open_below(folder, name, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for each in _names(below)[0]:
            with contextlib.suppress(OSError):
                try:
                    os.unlink(each, dir_fd=below)
                except IsADirectoryError:
                    _unlock_in(below, each)  # to move a directory is to write its ".."
                    os.rename(each, secrets.token_hex(8), src_dir_fd=below, dst_dir_fd=folder)
                steps += 1
    finally:
        os.close(below)
    return steps


def _unlock_in(folder: int, name: str) -> None:
    """Let the owner into what has that name in the directory. Raises OSError."""
    descriptor = open_below(folder, name, os.O_PATH)
    unlock(descriptor)
    os.close(descriptor)

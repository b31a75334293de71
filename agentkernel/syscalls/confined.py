"""Paths below one directory, opened so that nothing on the way can lead out of it.

Rules
1. Every path is resolved by `openat2` below a descriptor, through no link and into no other file system.
   There is no way around it: a kernel without it gives ESANDBOX.
2. What is opened is looked at afterwards: a regular file with one name, or a directory; opening never waits.
3. What is made, removed or renamed is one name in a directory that was opened by rule 1.
4. Rights that a program took from the owner, here or on the way, are given back, as far as one may.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from agentkernel.syscalls.errors import ToolError

MOUNT = "/workspace"  # as programs in the jail see the directory
_OPENAT2 = 437  # on every architecture but alpha
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x01, 0x02, 0x04, 0x08  # linux/openat2.h
_ALWAYS = os.O_CLOEXEC | os.O_NOFOLLOW
_OPENED = os.O_NONBLOCK | os.O_NOCTTY  # not with O_PATH, which opens nothing
_LONGEST = 4095  # bytes of a path: PATH_MAX without the NUL
_SHOWN = 200  # characters of a path in a reason

_ERRORS = {
    errno.ENOENT: ("NOT_FOUND", "no such file"),
    errno.ENOTDIR: ("NOT_A_DIRECTORY", "not a folder"),
    errno.EISDIR: ("IS_A_DIRECTORY", "it is a folder"),
    errno.ENOTEMPTY: ("IS_A_DIRECTORY", "it is a folder that is not empty"),
    errno.ELOOP: ("PATH_ESCAPE", "the path passes through a link"),
    errno.EXDEV: ("PATH_ESCAPE", "the path leaves the workspace"),
    errno.ENXIO: ("NOT_A_FILE", "not a regular file"),
    errno.EACCES: ("PERMISSION_DENIED", "permission denied"),
    errno.EPERM: ("PERMISSION_DENIED", "permission denied"),
    errno.EROFS: ("PERMISSION_DENIED", "permission denied"),
    errno.ENAMETOOLONG: ("BAD_ARGUMENTS", "the path is too long"),
    errno.ENOSPC: ("QUOTA_EXCEEDED", "the disk is full"),
    errno.EDQUOT: ("QUOTA_EXCEEDED", "the disk is full"),
    errno.ENOSYS: ("ESANDBOX", "openat2 is missing (Linux 5.6)"),
}


class _How(ctypes.Structure):
    """`struct open_how`."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_libc, "renameat2", None)  # some C libraries have none
_EXCHANGE = 2  # linux/fs.h
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_How), ctypes.c_size_t)


def normal(path: str) -> str:
    """The path from the directory on, without `.` and `//`; the directory itself is `.`.

    Raises ToolError PATH_ESCAPE for `..` and for any absolute path that isn't below `MOUNT`, and
    BAD_ARGUMENTS for what no path can be.
    """
    try:
        size = len(path.encode(errors="surrogateescape"))
    except UnicodeEncodeError:
        raise ToolError("BAD_ARGUMENTS", "the path is not Unicode text") from None
    if "\0" in path or size > _LONGEST:
        raise ToolError("BAD_ARGUMENTS", "the path holds a NUL" if "\0" in path else "the path is too long")
    inside = path.removeprefix(MOUNT) if path == MOUNT or path.startswith(f"{MOUNT}/") else path
    parts = [part for part in inside.split("/") if part not in ("", ".")]
    if ".." in parts or (inside is path and path.startswith("/")):
        raise ToolError("PATH_ESCAPE", f"the path leaves the workspace: {shown(path)}")
    return "/".join(parts) or "."


def one_line(name: str) -> str:
    """The name or path as one line of text, whatever bytes it has: those that are no text are escaped."""
    text = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shown(path: str) -> str:
    """The path as a reason has it: one line, cut when long."""
    line = one_line(path)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


@contextlib.contextmanager
def told(path: str) -> Iterator[None]:
    """Within it an OSError becomes the ToolError that says the same of the path."""
    try:
        yield
    except OSError as error:
        reason = (os.strerror(error.errno) if error.errno else "failed").lower()
        code, reason = _ERRORS.get(error.errno or 0, ("TOOL_FAILED", reason))
        raise ToolError(code, f"{reason}: {shown(path)}") from None


def open_below(directory: int, path: str, flags: int, mode: int = 0) -> int:
    """A descriptor of the path, which is below the directory's. Raises OSError."""
    flags |= _ALWAYS if flags & os.O_PATH else _ALWAYS | _OPENED
    how = _How(flags, mode, _NO_XDEV | _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH)
    name = os.fsencode(path)
    descriptor: int = _syscall(_OPENAT2, directory, name, ctypes.byref(how), ctypes.sizeof(how))
    if descriptor < 0:
        number = ctypes.get_errno()
        if number == errno.ENOTDIR and flags & os.O_DIRECTORY and _is_link(directory, path):
            number = errno.ELOOP  # as for any other use of it
        raise OSError(number, os.strerror(number))
    return descriptor


def _is_link(directory: int, path: str) -> bool:
    try:
        with _closing(open_below(directory, path, os.O_PATH)) as descriptor:
            return stat.S_ISLNK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def replace(directory: int, new: str, name: str) -> None:
    """Give the name to the new file, and remove the one that had it, if any. Raises OSError, nothing changed.

    The two change places at once, as rename() makes ext4 write to the disk first: 3 ms instead of 10 us.
    """
    swap = (directory, os.fsencode(new), directory, os.fsencode(name), _EXCHANGE)
    if _renameat2 is None or _renameat2(*swap) != 0:
        os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
        return
    try:
        os.unlink(new, dir_fd=directory)
    except OSError:
        _renameat2(*swap)
        raise


def exchange(directory: int, one: str, other: str) -> None:
    """Each of the two names has what the other had, which may be nothing. Raises OSError."""
    if (
        _renameat2 is not None
        and _renameat2(directory, os.fsencode(one), directory, os.fsencode(other), _EXCHANGE) == 0
    ):
        return
    names = set(os.listdir(directory))
    moves = [(one, other)] if one in names else [(other, one)] if other in names else []
    if {one, other} <= names:
        moves = [(one, aside := f"{one}.{secrets.token_hex(8)}"), (other, one), (aside, other)]
    for before, after in moves:
        os.rename(before, after, src_dir_fd=directory, dst_dir_fd=directory)


def require() -> None:
    """Raise ToolError ESANDBOX unless this machine can confine paths."""
    directory = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(open_below(directory, ".", os.O_PATH))
    except OSError as error:  # a filter of system calls may answer what it likes
        raise ToolError("ESANDBOX", f"openat2 is missing (Linux 5.6): {error.strerror}") from None
    finally:
        os.close(directory)


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Tree:
    """A directory, by its descriptor, and what is below it; what is made there gets the owner `uid`.

    Paths are normal. Methods raise ToolError.
    """

    def __init__(self, directory: int, uid: int | None = None) -> None:
        self._directory, self._uid = directory, uid

    @contextlib.contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """A directory's descriptor."""
        with told(path), _closing(self._open(path, os.O_RDONLY | os.O_DIRECTORY)) as descriptor:
            unlock(descriptor)
            yield descriptor

    @contextlib.contextmanager
    def file(self, path: str, flags: int = os.O_RDONLY) -> Iterator[tuple[int, os.stat_result]]:
        """The descriptor of a regular file with one name, made if `O_CREAT` says so, and its status."""
        with told(path), _closing(self._open(path, flags, 0o600)) as descriptor:
            status = os.fstat(descriptor)
            check_regular(status, path)
            if flags & os.O_CREAT:
                status = self.own(descriptor, status)
            yield descriptor, status

    def status(self, path: str) -> os.stat_result | None:
        """What is there, without opening it; None for nothing. A link is not followed at the path's end."""
        try:
            with told(path), _closing(self._open(path, os.O_PATH)) as descriptor:
                return os.fstat(descriptor)
        except ToolError as error:
            if error.code == "NOT_FOUND":
                return None
            raise

    def missing(self, path: str) -> int:
        """How many directories `make` would make."""
        parts = path.split("/")
        for count in range(len(parts)):
            above = "/".join(parts[: len(parts) - count]) or "."
            if self.status(above) is not None:
                return count
        return len(parts)

    def make(self, path: str) -> None:
        """Make the directory, and those above it that are missing."""
        with told(path), contextlib.ExitStack() as stack:
            here = self._directory
            for part in path.split("/"):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=here)
                here = stack.enter_context(_closing(open_below(here, part, os.O_RDONLY | os.O_DIRECTORY)))
                self.own(here, os.fstat(here))
                unlock(here)

    def own(self, descriptor: int, status: os.stat_result) -> os.stat_result:
        """Give the file to the owner unless it is; its status then."""
        if self._uid is None or status.st_uid == self._uid:
            return status
        os.fchown(descriptor, self._uid, -1)
        return os.fstat(descriptor)

    def _open(self, path: str, flags: int, mode: int = 0) -> int:
        """A descriptor; rule 4. Raises OSError."""
        try:
            return open_below(self._directory, path, flags, mode if flags & os.O_CREAT else 0)
        except PermissionError:
            with contextlib.suppress(OSError):  # the next line says what is the matter
                self._unlock(path)
            return open_below(self._directory, path, flags, mode if flags & os.O_CREAT else 0)

    def _unlock(self, path: str) -> None:
        """Let the owner into every directory of the path, and to the file at its end. Raises OSError."""
        with contextlib.ExitStack() as stack:
            here = self._directory
            unlock(here)
            for part in path.split("/"):
                here = stack.enter_context(_closing(open_below(here, part, os.O_PATH)))
                unlock(here)


def check_regular(status: os.stat_result, path: str) -> None:
    """Raise ToolError unless it is a regular file with one name, or with none left."""
    if stat.S_ISDIR(status.st_mode):
        raise ToolError("IS_A_DIRECTORY", f"it is a folder: {shown(path)}")
    if stat.S_ISLNK(status.st_mode):
        raise ToolError("PATH_ESCAPE", f"the path passes through a link: {shown(path)}")
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise ToolError("NOT_A_FILE", f"not a regular file: {shown(path)}")


def unlock(descriptor: int) -> None:
    """Let its owner into the directory or the file, however it was opened, if one may."""
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        needed = stat.S_IRWXU
    elif stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
        needed = stat.S_IRUSR | stat.S_IWUSR
    else:
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & needed != needed:
        with contextlib.suppress(OSError):  # what is tried next says what is the matter
            Path(f"/proc/self/fd/{descriptor}").chmod(mode | needed)  # fchmod takes no O_PATH descriptor

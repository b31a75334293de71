"""Checkpoints: processes in files, from which a kernel with the same model goes on, here or elsewhere.

Rules
1. A checkpoint is one ZIP archive. Of each process it has a record, its output, its memory and the files of
   its workspace, each by a member's name (`<pid>/record`, `<pid>/output/<offset>`, …), and last a manifest
   with the hashes of all of them.
2. Nothing is taken from one before every member was found to be what its hash says.
3. The folder is looked at whenever it is asked for: a file that is put there is found.
"""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import shutil
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agentkernel import log
from agentkernel.errors import KernelError
from agentkernel.process import Owner
from agentkernel.replacing import removed, replacing, sweep

FORMAT = 1
_MANIFEST = "manifest.json"
_SUFFIX = ".checkpoint"
_DIGEST = 32  # bytes of BLAKE2b
_UNREADABLE = (  # what zipfile raises for a damaged archive, and the rest for a damaged manifest
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile),
    *(struct.error, zlib.error, lzma.LZMAError),
)

_log = log.get("checkpoints")


class Held(msgspec.Struct, frozen=True):
    """One process of a checkpoint, by the PID it had; `fingerprint` is its model file's."""

    pid: int
    model: str
    fingerprint: str
    tokens: int
    image: str = ""  # what can read the KV image; empty when there is none
    image_tokens: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """What a checkpoint says of itself. `created` is Unix time, `hashes` are BLAKE2b by member."""

    format: int
    name: str
    owner: str
    created: float
    processes: tuple[Held, ...]
    hashes: dict[str, str]


class _Format(msgspec.Struct):
    """What every version's manifest says."""

    format: int


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint that is there: its file, and the bytes that has."""

    manifest: Manifest
    path: Path
    bytes: int


class Writer:
    """A checkpoint that is being written. Its methods block, and raise OSError."""

    def __init__(self, path: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._path, self._hashes = path, dict[str, str]()
        file = self._stack.enter_context(replacing(path))
        self._archive = self._stack.enter_context(
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        )

    def add(self, member: str, data: bytes) -> None:
        """Put a member in."""
        self._hashes[member] = _digest(data)
        self._archive.writestr(member, data)

    def add_file(self, member: str, path: Path) -> None:
        """Put a file in, as it is."""
        with path.open("rb") as file:
            self._hashes[member] = hashlib.file_digest(file, _hash).hexdigest()
        self._archive.write(path, member, zipfile.ZIP_STORED)

    def finish(self, owner: str, name: str, processes: tuple[Held, ...]) -> Checkpoint:
        """Put it in the place of what had its name."""
        manifest = Manifest(FORMAT, name, owner, time.time(), processes, self._hashes)
        data = msgspec.json.encode(manifest)
        self._archive.writestr(_MANIFEST, data)
        self._archive.comment = _digest(data).encode()
        self._stack.close()
        return Checkpoint(manifest, self._path, self._path.stat().st_size)

    def abandon(self, error: BaseException) -> None:
        """Leave nothing of it."""
        with contextlib.suppress(type(error)):
            self._stack.__exit__(type(error), error, error.__traceback__)


class Reader:
    """A checkpoint that was found whole. Its methods block; `members` and `read` raise RESTORE_FAILED."""

    def __init__(self, path: Path) -> None:
        """Raises RESTORE_FAILED for one that isn't, or that another version wrote."""
        with _reading(path):
            self._archive = zipfile.ZipFile(path)
            try:
                self.manifest = _manifest(self._archive)
                for member, digest in self.manifest.hashes.items():
                    with self._archive.open(member) as file:
                        _check(hashlib.file_digest(file, _hash).hexdigest(), digest, member)  # type: ignore[arg-type]
            except BaseException:
                self._archive.close()
                raise
        self._path = path

    def read(self, member: str) -> bytes:
        """One member."""
        with _reading(self._path):
            return self._archive.read(member)

    def extract(self, member: str, path: Path) -> bytes:
        """Write a member to a file; the BLAKE2b hash of that, of 64 bytes."""
        with _reading(self._path):
            with self._archive.open(member) as source, path.open("wb") as file:
                shutil.copyfileobj(source, file)
            with path.open("rb") as file:
                return hashlib.file_digest(file, hashlib.blake2b).digest()

    def below(self, prefix: str) -> list[tuple[str, str]]:
        """The members whose names begin so: the name, and what follows the prefix, as they were put in."""
        return [(name, name.removeprefix(prefix)) for name in self.manifest.hashes if name.startswith(prefix)]

    def close(self) -> None:
        """Nothing is read any more."""
        self._archive.close()


class Checkpoints:
    """The checkpoints of all owners, as files of one folder. Its methods block."""

    def __init__(self, folder: Path, per_owner: int) -> None:
        self._folder, self._per_owner = folder, per_owner
        sweep(folder)

    def visible(self, owner: Owner) -> list[Checkpoint]:
        """The owner's, or for an administrator everybody's, by owner and name."""
        found = (each for each in self._all() if owner.admin or each.manifest.owner == owner.name)
        return sorted(found, key=lambda each: (each.manifest.owner, each.manifest.name))

    def find(self, owner: Owner, name: str) -> Checkpoint:
        """The owner's of that name, else for an administrator anybody's. Raises CHECKPOINT_NOT_FOUND."""
        named = [each for each in self.visible(owner) if each.manifest.name == name]
        for each in sorted(named, key=lambda each: each.manifest.owner != owner.name):
            return each
        raise KernelError("CHECKPOINT_NOT_FOUND", f"no checkpoint {name!r}")

    def write(self, owner: Owner, name: str) -> Writer:
        """Begin one, whose name may be that of another. Raises CHECKPOINT_LIMIT, OSError."""
        mine = [each for each in self._all() if each.manifest.owner == owner.name]
        paths = {each.manifest.name: each.path for each in reversed(mine)}  # that which `find` finds
        if name not in paths and len(mine) >= self._per_owner:
            details = {"limit": self._per_owner}
            raise KernelError("CHECKPOINT_LIMIT", f"{owner.name} has {self._per_owner} checkpoints", details)
        file = hashlib.blake2b(f"{owner.name}\0{name}".encode(), digest_size=16).hexdigest()
        return Writer(paths.get(name, self._folder / f"{file}{_SUFFIX}"))

    def drop(self, owner: Owner, name: str) -> Checkpoint:
        """Remove one. Raises CHECKPOINT_NOT_FOUND or CHECKPOINT_FAILED."""
        found = self.find(owner, name)
        try:
            removed(found.path)
        except OSError as error:
            raise KernelError("CHECKPOINT_FAILED", f"{name!r}: {error.strerror}") from error
        return found

    def _all(self) -> Iterator[Checkpoint]:
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            try:
                with _reading(path), zipfile.ZipFile(path) as archive:
                    found = Checkpoint(_manifest(archive), path, path.stat().st_size)
            except KernelError as error:
                _log.warning("a checkpoint can't be read", path=str(path), error=error.message)
            else:
                yield found


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise KernelError("RESTORE_FAILED", f"{path.name}: {error}") from error


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    data = archive.read(_MANIFEST)
    _check(_digest(data), archive.comment.decode(), _MANIFEST)
    written = msgspec.json.decode(data, type=_Format).format
    if written != FORMAT:
        raise ValueError(f"it has format {written}, this kernel reads {FORMAT}")
    return msgspec.json.decode(data, type=Manifest)


def _check(found: str, digest: str, member: str) -> None:
    if found != digest:
        raise ValueError(f"{member} is not what it was")


def _hash(data: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(data, digest_size=_DIGEST)


def _digest(data: bytes) -> str:
    return _hash(data).hexdigest()

"""Named contexts that new processes can begin from, kept over restarts.

Rules
1. A snapshot is tokens; images of it are the engine's, and can be lost without harm.
2. A name belongs to an owner; others may use the snapshot as far as the group of its process goes.
3. A file is written beside its name, synced and renamed; one that can't be read is left alone and logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import msgspec

from agentkernel import log
from agentkernel.errors import KernelError
from agentkernel.process import Owner, Process
from agentkernel.replacing import removed, replacing, sweep

_DIGEST = 32  # bytes of BLAKE2b behind each file

_log = log.get("snapshots")


class Snapshot(msgspec.Struct, frozen=True):
    """A context by name. `created` is Unix time in seconds, `fingerprint` its model file's."""

    name: str
    owner: str
    group: str
    model_id: str
    fingerprint: str
    tokens: tuple[int, ...]
    created: float


class Snapshots:
    """The snapshots of all owners, as files of one folder."""

    def __init__(self, folder: Path, per_owner: int) -> None:
        self._folder, self._per_owner = folder, per_owner
        self._known: dict[tuple[str, str], Snapshot] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._next_key = count(-1, -1)
        self._changing: set[tuple[str, str]] = set()
        sweep(folder)
        for path in sorted(folder.glob("*.snapshot")):
            self._read(path)

    def __len__(self) -> int:
        return len(self._known)

    def visible(self, owner: Owner) -> list[Snapshot]:
        """The owner's snapshots, or for an administrator everybody's, by owner and name."""
        mine = (s for s in self._known.values() if owner.admin or owner.name == s.owner)
        return sorted(mine, key=lambda s: (s.owner, s.name))

    def find(self, owner: Owner, name: str, share: str) -> Snapshot:
        """The owner's snapshot, else one of a group that is named or public. Raises SNAPSHOT_NOT_FOUND."""
        mine = self._known.get((owner.name, name))
        if mine is not None:
            return mine
        named = (s for s in self._known.values() if s.name == name)
        usable = [s for s in named if owner.admin or s.group in ("public", share)]
        if not usable:
            raise KernelError("SNAPSHOT_NOT_FOUND", f"no snapshot {name!r}")
        return min(usable, key=lambda s: (s.created, s.owner))

    def key(self, snapshot: Snapshot) -> int:
        """What the snapshot's image is known by: a number that is no PID."""
        return self._keys[snapshot.owner, snapshot.name]

    async def add(self, owner: Owner, name: str, process: Process, fingerprint: str) -> Snapshot:
        """Take the process's context. Raises SNAPSHOT_EXISTS, SNAPSHOT_LIMIT or SNAPSHOT_FAILED."""
        place = owner.name, name
        taken = self._known.keys() | self._changing
        if place in taken:
            raise KernelError("SNAPSHOT_EXISTS", f"snapshot {name!r} exists")
        if sum(other == owner.name for other, _ in taken) >= self._per_owner:
            details = {"limit": self._per_owner}
            raise KernelError("SNAPSHOT_LIMIT", f"{owner.name} has {self._per_owner} snapshots", details)
        snapshot = Snapshot(
            name=name,
            owner=owner.name,
            group=process.group or f"owner:{owner.name}",
            model_id=process.model_id,
            fingerprint=fingerprint,
            tokens=tuple(process.tokens),
            created=time.time(),
        )
        with self._change(place):
            await asyncio.to_thread(self._write, snapshot)
        self._know(snapshot)
        return snapshot

    async def remove(self, owner: Owner, name: str) -> tuple[Snapshot, int]:
        """Forget the owner's snapshot; it and the key of its image. Raises SNAPSHOT_NOT_FOUND."""
        place = owner.name, name
        if place not in self._known or place in self._changing:
            raise KernelError("SNAPSHOT_NOT_FOUND", f"{owner.name} has no snapshot {name!r}")
        with self._change(place):
            await asyncio.to_thread(removed, self._path(place))
        return self._known.pop(place), self._keys.pop(place)

    @contextlib.contextmanager
    def _change(self, place: tuple[str, str]) -> Iterator[None]:
        self._changing.add(place)
        try:
            yield
        except OSError as error:
            raise KernelError("SNAPSHOT_FAILED", f"{place[1]!r}: {error.strerror}") from error
        finally:
            self._changing.discard(place)

    def _know(self, snapshot: Snapshot) -> None:
        place = snapshot.owner, snapshot.name
        self._known[place], self._keys[place] = snapshot, next(self._next_key)

    def _path(self, place: tuple[str, str]) -> Path:
        name = hashlib.blake2b("\0".join(place).encode(), digest_size=16).hexdigest()
        return self._folder / f"{name}.snapshot"

    def _read(self, path: Path) -> None:
        try:
            self._know(_unpack(path.read_bytes()))
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            _log.warning("a snapshot can't be read", path=str(path), error=str(error))

    def _write(self, snapshot: Snapshot) -> None:
        with replacing(self._path((snapshot.owner, snapshot.name))) as file:
            file.write(_pack(snapshot))


def _pack(snapshot: Snapshot) -> bytes:
    body = msgspec.msgpack.encode(snapshot)
    return body + _digest(body)


def _unpack(data: bytes) -> Snapshot:
    """Raises ValueError for what `_pack` did not make."""
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if _digest(body) != digest:
        raise ValueError("its hash is wrong")
    return msgspec.msgpack.decode(body, type=Snapshot)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST).digest()

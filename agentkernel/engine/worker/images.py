"""KV images outside the slots: in memory, or in files of the kernel's own directory.

Rules
1. An image is a cache of the first `tokens` tokens of its process; a wrong one is worse than none. A file
   is loaded only when its size and hash are the ones that this engine remembers: no other's is ever read.
2. Files are written beside their names and renamed, and read, on a thread of their own: decoding waits for
   none that was fetched before it is loaded.
3. Any failure leaves TOKENS: the caller prefills again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import zstandard

from agentkernel.engine import port

_LEVEL = 1  # of Zstandard, its fastest ordinary one


class Slots(Protocol):
    """What images are made from and loaded into."""

    def state(self, slot: int) -> Any:
        """The slot's context as bytes (any buffer); empty when it can't be had."""

    def restore(self, slot: int, state: Any) -> bool:
        """Put a context into an empty slot; on failure the slot is empty."""

    def drop(self, slot: int, start: int = 0) -> bool:
        """Forget the slot's context from a position on; False where the model can't drop a part."""


@dataclass(slots=True)
class Image:
    """One process's context: `data` while it is in memory, `written` once it is on its way to a file.

    `stored` and `digest` are its file's size and hash; `read_seconds` is what fetching it took.
    """

    tokens: int
    size: int
    data: Any = None
    written: Future[bool] | None = None
    stored: int = 0
    digest: bytes = b""
    read_seconds: float = 0.0
    lost: bool = False  # its file can't be read


class Images:
    """The images of one engine."""

    def __init__(
        self,
        slots: Slots,
        folder: Path | None,
        report: Callable[[port.Paged], None],
        *,
        compress: bool = False,
    ) -> None:
        self._slots, self._folder, self._report, self._compress = slots, folder, report, compress
        self._images: dict[int, Image] = {}
        anywhere = (0, os.sched_getaffinity(0))  # whatever core the thread that decodes has by then
        self._files = ThreadPoolExecutor(1, "images", os.sched_setaffinity, anywhere)
        if folder is not None:
            for left in folder.glob("*.kv*"):  # of an engine that is gone
                with contextlib.suppress(OSError):  # what stays is never read
                    left.unlink()

    def save(self, pid: int, slot: int, tokens: int) -> bool:
        """Keep the slot's first `tokens` tokens in memory; False when the library can't."""
        began = time.perf_counter()
        data = self._slots.state(slot)
        size = len(data)
        if size:
            self.drop(pid)
            self._images[pid] = Image(tokens, size, data)
        self._tell(pid, "out", tokens, size, began)
        return bool(size)

    def load(self, pid: int, slot: int, limit: int, source: int = 0) -> int:
        """Fill an empty slot from the PID's image, or from another's, up to `limit` tokens.

        Returns how many tokens the slot then holds; 0 when it has to be prefilled. A process's own image
        is used up by this.
        """
        began = time.perf_counter()
        key = source or pid
        image = self._images.get(key)
        if image is None:
            return 0
        on_disk = image.written is not None
        if image.data is None:
            self._read(key, image)
        else:
            began -= image.read_seconds
        if image.data is None:  # lost for everybody
            self.drop(key)
            self._tell(key, "failed", 0, image.size, began)
            return 0
        held = self._put(slot, image.data, image.tokens, limit)
        op = "share" if source else "disk-in" if on_disk else "in"
        self._tell(pid, op if held else "failed", held, image.size, began)
        if not source:
            self.drop(pid)
        elif on_disk:
            image.data = None
        return held

    def away(self, pid: int) -> bool:
        """Whether loading the PID's image would wait for a file."""
        image = self._images.get(pid)
        return image is not None and image.data is None and not image.lost

    def fetch(self, pid: int, done: Callable[[], None]) -> None:
        """Read an image's file on the other thread, which then calls `done`."""
        image = self._images[pid]

        def work() -> None:
            try:
                self._read(pid, image)
            finally:  # whoever waits finds that there is nothing
                image.lost = image.data is None
                done()

        self._files.submit(work)

    def clone(self, pid: int, key: int) -> None:
        """A copy of the PID's image under another key; nothing when it has none."""
        began = time.perf_counter()
        image = self._images.get(pid)
        if image is not None:
            self.drop(key)
            copy = self._images[key] = replace(image, written=None)
            if image.written is not None:
                copy.data, copy.written = None, self._files.submit(self._link, pid, key, image, copy)
        tokens, size = (image.tokens, image.size) if image else (0, 0)
        self._tell(key, "clone", tokens, size, began)

    def take(self, slot: int) -> Any:
        """The slot's context, for `copy`; empty when it can't be had."""
        return self._slots.state(slot)

    def copy(self, pid: int, slot: int, limit: int, data: Any) -> int:
        """Fill an empty slot with the first `limit` tokens of a context that was taken."""
        began = time.perf_counter()
        held = self._put(slot, data, limit + 1, limit) if len(data) else 0
        self._tell(pid, "share" if held else "failed", held, len(data), began)
        return held

    def store(self, pid: int) -> None:
        """Move an image from memory to a file."""
        image = self._images.get(pid)
        if image is None or image.data is None or self._folder is None:
            return
        data, image.data = image.data, None
        if image.written is None:
            image.written = self._files.submit(self._write, pid, image, data)

    def adopt(self, given: port.Adopt) -> None:
        """Another engine's image lies in the PID's file; it is read like one of this."""
        written: Future[bool] = Future()
        written.set_result(True)
        self._images[given.pid] = Image(
            given.tokens, given.size, written=written, stored=given.size, digest=given.digest
        )

    def drop(self, pid: int) -> None:
        """Forget an image, and its file."""
        image = self._images.pop(pid, None)
        if image is not None and image.written is not None:
            self._files.submit(self._unlink, pid)

    def _put(self, slot: int, data: Any, tokens: int, limit: int) -> int:
        """Fill an empty slot with a context of so many tokens, cut to the limit; the tokens it then holds."""
        if not self._slots.restore(slot, data):
            return 0
        if tokens <= limit or self._slots.drop(slot, limit):
            return min(tokens, limit)
        self._slots.drop(slot)
        return 0

    def _path(self, pid: int) -> Path:
        if self._folder is None:
            raise ValueError("no folder for images")
        return self._folder / f"{pid}.kv"

    def _write(self, pid: int, image: Image, data: Any) -> bool:
        path = self._path(pid)
        unfinished = path.with_suffix(".kv-part")
        began = time.perf_counter()
        packed = zstandard.ZstdCompressor(_LEVEL).compress(data) if self._compress else data
        image.stored, image.digest = len(packed), hashlib.blake2b(packed).digest()
        try:
            with unfinished.open("wb") as file:
                file.write(packed)
            unfinished.rename(path)
        except OSError:  # a full disk, most likely
            with contextlib.suppress(OSError):
                unfinished.unlink()
            self._tell(pid, "failed", 0, image.size, began)
            return False
        self._tell(pid, "disk-out", image.tokens, image.stored, began)
        return True

    def _link(self, pid: int, key: int, image: Image, copy: Image) -> bool:
        began = time.perf_counter()
        if image.written is None or not image.written.result():
            return False
        copy.stored, copy.digest = image.stored, image.digest
        try:
            self._path(key).hardlink_to(self._path(pid))
        except OSError:
            self._tell(key, "failed", 0, copy.size, began)
            return False
        self._tell(key, "disk-out", copy.tokens, copy.stored, began)
        return True

    def _read(self, pid: int, image: Image) -> None:
        """The image's data from its file, where that is whole and right."""
        began = time.perf_counter()
        if image.data is not None or image.written is None or not image.written.result():
            return
        try:
            packed = self._path(pid).read_bytes()
        except OSError:
            return
        if len(packed) == image.stored and hashlib.blake2b(packed).digest() == image.digest:
            image.data = zstandard.ZstdDecompressor().decompress(packed) if self._compress else packed
            image.read_seconds = time.perf_counter() - began

    def _unlink(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            self._path(pid).unlink()

    def _tell(self, pid: int, op: str, tokens: int, size: int, began: float) -> None:
        ms = (time.perf_counter() - began) * 1e3
        self._report(port.Paged(pid, op, tokens, size, ms))

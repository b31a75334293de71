"""KV images outside the slots: in memory, or in files of the kernel's own directory.

Rules
1. An image is a cache of the first `tokens` tokens of its process; a wrong one is worse than none. A file
   is loaded only when its size and keyed hash are right; the key lives and dies with the engine.
2. Files are written beside their names and renamed, on a thread of their own; decoding never waits for one.
3. Any failure leaves TOKENS: the caller prefills again.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from agentkernel.engine import port

_DIGEST = 32  # bytes of BLAKE2b


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
    """One process's context: `data` while it is in memory, `written` once it is on its way to a file."""

    tokens: int
    size: int
    data: Any = None
    written: Future[bool] | None = None


class Images:
    """The images of one engine."""

    def __init__(self, slots: Slots, folder: Path | None, report: Callable[[port.Paged], None]) -> None:
        self._slots, self._folder, self._report = slots, folder, report
        self._images: dict[int, Image] = {}
        self._key = secrets.token_bytes(32)
        self._writer = ThreadPoolExecutor(1, "images")
        if folder is not None:
            for left in folder.glob("*.kv*"):  # of an engine that is gone, and its key with it
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
        image = self._images.get(source or pid)
        if image is None:
            return 0
        op = "share" if source else "disk-in" if image.data is None else "in"
        data = self._read(source or pid, image) if image.data is None else image.data
        held = 0
        if data is not None and self._slots.restore(slot, data):
            held = min(image.tokens, limit)
            if held < image.tokens and not self._slots.drop(slot, held):
                self._slots.drop(slot)
                held = 0
        if not source:
            self.drop(pid)
        self._tell(pid, op if held else "failed", held, image.size, began)
        return held

    def copy(self, pid: int, slot: int, limit: int, source: int) -> int:
        """Fill an empty slot with the first `limit` tokens of another slot's context."""
        began = time.perf_counter()
        data = self._slots.state(source)
        held = 0
        if len(data) and self._slots.restore(slot, data):
            held = limit
            if not self._slots.drop(slot, limit):
                self._slots.drop(slot)
                held = 0
        self._tell(pid, "share" if held else "failed", held, len(data), began)
        return held

    def store(self, pid: int) -> None:
        """Move an image from memory to a file."""
        image = self._images.get(pid)
        if image is None or image.data is None or self._folder is None:
            return
        data, image.data = image.data, None
        image.written = self._writer.submit(self._write, pid, image, data)

    def drop(self, pid: int) -> None:
        """Forget an image, and its file."""
        image = self._images.pop(pid, None)
        if image is not None and image.written is not None:
            self._writer.submit(self._unlink, pid)

    def _path(self, pid: int) -> Path:
        if self._folder is None:
            raise ValueError("no folder for images")
        return self._folder / f"{pid}.kv"

    def _write(self, pid: int, image: Image, data: Any) -> bool:
        path = self._path(pid)
        unfinished = path.with_suffix(".kv-part")
        began = time.perf_counter()
        try:
            with unfinished.open("wb") as file:
                file.write(self._digest(data))
                file.write(data)
            unfinished.rename(path)
        except OSError:  # a full disk, most likely
            with contextlib.suppress(OSError):
                unfinished.unlink()
            self._tell(pid, "failed", 0, image.size, began)
            return False
        self._tell(pid, "disk-out", image.tokens, image.size, began)
        return True

    def _read(self, pid: int, image: Image) -> bytes | None:
        if image.written is None or not image.written.result():
            return None
        try:
            content = self._path(pid).read_bytes()
        except OSError:
            return None
        data = memoryview(content)[_DIGEST:]
        right = len(data) == image.size and self._digest(data) == content[:_DIGEST]
        return bytes(data) if right else None

    def _digest(self, data: Any) -> bytes:
        return hashlib.blake2b(data, digest_size=_DIGEST, key=self._key).digest()

    def _unlink(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            self._path(pid).unlink()

    def _tell(self, pid: int, op: str, tokens: int, size: int, began: float) -> None:
        ms = (time.perf_counter() - began) * 1e3
        self._report(port.Paged(pid, op, tokens, size, ms))

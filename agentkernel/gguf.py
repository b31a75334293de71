"""The metadata of a GGUF file, read with bounds: a model file is hostile input.

Format: ggml's docs/gguf.md. Only the key-value section is read; tensors are the engine's business.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any, BinaryIO

MAX_KEYS = 4096
MAX_STRING = 1 << 20  # bytes; chat templates reach tens of kilobytes
MAX_ARRAY = 1 << 22  # elements; the largest vocabularies have 260,000
MAX_METADATA = 1 << 28  # bytes

_BLOCKS, _BLOCK = 255, 1 << 16  # of a fingerprint, in bytes: small models are read whole

_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9


class GGUFError(ValueError):
    """The file is no usable GGUF file; the text says why."""


def read_metadata(path: Path) -> dict[str, Any]:
    """Every key and value; arrays only as their length, under the key with `.length` added.

    Raises GGUFError, or OSError where the file can't be read.
    """
    with path.open("rb") as file:
        try:
            return _read(file)
        except (struct.error, UnicodeDecodeError) as error:
            raise GGUFError(f"cut short or damaged: {error}") from error


def fingerprint(path: Path) -> str:
    """32 hexadecimal digits that differ between model files: of the size and of blocks all over the file.

    Raises OSError.
    """
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        size = file.seek(0, 2)
        digest.update(size.to_bytes(8, "little"))
        for i in range(_BLOCKS + 1):
            file.seek(max(0, size - _BLOCK) * i // _BLOCKS)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _read(file: BinaryIO) -> dict[str, Any]:
    if file.read(4) != b"GGUF":
        raise GGUFError("not a GGUF file")
    version, tensors, keys = struct.unpack("<IQQ", file.read(20))
    if version not in (2, 3):
        raise GGUFError(f"GGUF version {version}")
    if keys > MAX_KEYS or tensors > 1 << 20:
        raise GGUFError(f"{keys} keys and {tensors} tensors")
    values: dict[str, Any] = {"general.tensor_count": tensors}
    for _ in range(keys):
        key = _string(file)
        (kind,) = struct.unpack("<I", file.read(4))
        if kind == _ARRAY:
            values[f"{key}.length"] = _skip_array(file)
        else:
            values[key] = _string(file) if kind == _STRING else _scalar(file, kind)
        if file.tell() > MAX_METADATA:
            raise GGUFError("endless metadata")
    if file.tell() > file.seek(0, 2):  # an array was skipped that is not there
        raise GGUFError("cut short")
    return values


def _scalar(file: BinaryIO, kind: int) -> Any:
    code = _SCALARS.get(kind)
    if code is None:
        raise GGUFError(f"value of unknown type {kind}")
    return struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))[0]


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > MAX_STRING:
        raise GGUFError(f"string of {length} bytes")
    data = file.read(length)
    if len(data) < length:
        raise GGUFError("cut short")
    return data.decode("utf-8", "replace")


def _skip_array(file: BinaryIO) -> int:
    kind, count = struct.unpack("<IQ", file.read(12))
    if count > MAX_ARRAY:
        raise GGUFError(f"array of {count} elements")
    if kind == _STRING:
        for _ in range(count):
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MAX_STRING:
                raise GGUFError(f"string of {length} bytes")
            file.seek(length, 1)
    elif kind in _SCALARS:
        file.seek(count * struct.calcsize(f"<{_SCALARS[kind]}"), 1)
    else:
        raise GGUFError(f"array of unknown type {kind}")
    return int(count)

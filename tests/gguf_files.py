"""GGUF files of nothing but metadata, in bytes; enough for the catalogue and the scripted engine."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LLAMA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "tiny",
    "general.file_type": 7,
    "llama.context_length": 256,
    "llama.embedding_length": 64,
    "llama.block_count": 2,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["<unk>", "a", "b"],
    "tokenizer.ggml.scores": [0.0, -1.0, -2.0],
    "tokenizer.chat_template": "{{ messages }}",
}


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def value(item: Any) -> tuple[int, bytes]:
    """The type and the bytes of a value; integers are 32 bits wide where they fit, else 64."""
    if isinstance(item, bool):
        return 7, struct.pack("<?", item)
    if isinstance(item, int):
        return (4, struct.pack("<I", item)) if item < 2**32 else (10, struct.pack("<Q", item))
    if isinstance(item, float):
        return 6, struct.pack("<f", item)
    if isinstance(item, str | bytes):
        return 8, string(item)
    return 9, array(item)


def array(items: Sequence[Any]) -> bytes:
    kinds = [value(item) for item in items]
    kind = kinds[0][0] if kinds else 4
    return struct.pack("<IQ", kind, len(items)) + b"".join(data for _, data in kinds)


def encode(metadata: Mapping[str, Any], tensors: int = 0, version: int = 3) -> bytes:
    """A file's bytes up to where its tensors would be described."""
    parts = [b"GGUF", struct.pack("<IQQ", version, tensors, len(metadata))]
    for key, item in metadata.items():
        kind, data = value(item)
        parts += [string(key), struct.pack("<I", kind), data]
    return b"".join(parts)


def write_model(path: Path, **changes: Any) -> Path:
    """A llama-shaped model; `changes` are keys with two underscores for a dot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = LLAMA | {key.replace("__", "."): item for key, item in changes.items()}
    path.write_bytes(encode(metadata))
    return path

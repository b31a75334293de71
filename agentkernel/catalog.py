"""The models that can be loaded: files under one directory, described by their own metadata.

Rules
1. A model's id is its path under the directory without `.gguf`; nothing outside the directory is ever named.
2. The directory is read anew at each call; a file is parsed again only when its size or time changed.
3. A file that can't be read is listed with its fault and can't be loaded.
4. A file whose id is no printable text is no model: an id stands in lines and in JSON.
5. `MODEL+ADAPTER` names a model with its weights changed by a LoRA adapter of the directory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from agentkernel import log
from agentkernel.errors import KernelError
from agentkernel.gguf import GGUFError, read_metadata

_FAMILIES = {"llama": "Llama", "qwen": "Qwen", "mistral": "Mistral", "gemma": "Gemma", "phi": "Phi"}
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip
_NO_MODEL = "it is an adapter, which takes a model: MODEL+ADAPTER"
_SHOWN = 64  # characters of a name that a client sent
_PLUSES = 8  # in a name that is no file's: each may be what parts an adapter from its model
_LIMIT = 1 << 32  # no real count or size in a file's metadata reaches it

_log = log.get("catalog")


class ModelCard(msgspec.Struct, frozen=True):
    """What a model file says of itself. Sizes in bytes, contexts in tokens."""

    id: str
    path: str
    family: str
    architecture: str
    name: str
    quantization: str
    tokenizer: str
    context_train: int
    embedding: int
    vocabulary: int
    kv_bytes_per_token: int
    file_bytes: int
    chat_template: str
    error: str = ""
    adapter: str = ""  # path of a LoRA adapter, which its weights are changed by


class Catalog:
    """The models under a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._cards: dict[Path, tuple[tuple[int, int], ModelCard]] = {}
        self._passed_over: set[Path] = set()

    def list(self) -> list[ModelCard]:
        """Every `*.gguf` below the directory, by id."""
        cards = {}
        for path in sorted(self._files()):
            with contextlib.suppress(OSError):  # it is gone by now
                cards[path] = self._card(path)
        self._cards = {path: known for path, known in self._cards.items() if path in cards}
        return list(cards.values())

    def _files(self) -> Iterator[Path]:
        root = self.root.resolve()
        for folder, _, names in os.walk(self.root):
            for path in (Path(folder, name) for name in names if name.endswith(".gguf")):
                try:
                    inside = path.is_file() and path.resolve().is_relative_to(root)
                except (OSError, RuntimeError):  # a loop of links
                    continue
                if inside and str(path.relative_to(self.root)).isprintable():
                    yield path
                elif inside and path not in self._passed_over:
                    self._passed_over.add(path)
                    _log.warning("a model's name is not printable", path=ascii(str(path)))

    def get(self, id_: str) -> ModelCard:
        """The model of that id; raises MODEL_NOT_FOUND, or LOAD_FAILED for an adapter that is none."""
        return self.resolve(id_, paths=False)

    def resolve(self, selector: str, *, paths: bool = True) -> ModelCard:
        """The model named by id, or by a path under the directory.

        Raises MODEL_NOT_FOUND, and LOAD_FAILED for a path that is there and no model file.
        """
        candidates = [self.root / f"{selector}.gguf"]
        if paths:
            candidates += [Path(selector), self.root / selector]
        root, wrong = self.root.resolve(), ""
        shown = selector if len(selector) <= _SHOWN else f"{selector[:_SHOWN]}…"
        try:
            for candidate in candidates:
                if candidate.exists() and (real := candidate.resolve()).is_relative_to(root):
                    named = str(real.relative_to(root)).isprintable()
                    if named and real.is_file() and real.suffix == ".gguf":
                        return self._card(real)
                    wrong = "a directory" if real.is_dir() else "no .gguf file"
        except (OSError, ValueError) as error:  # over-long names, NUL bytes
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise KernelError("MODEL_NOT_FOUND", f"{shown!r}: {reason}") from error
        if paths and wrong:
            raise KernelError("LOAD_FAILED", f"{shown!r} is {wrong}")
        model, plus, adapter = selector.rpartition("+")
        if plus and model.count("+") < _PLUSES:
            return _adapted(self.resolve(model, paths=paths), self.resolve(adapter, paths=paths))
        raise KernelError("MODEL_NOT_FOUND", f"{shown!r} is not in the catalogue")

    def _card(self, path: Path) -> ModelCard:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        known = self._cards.get(path)
        if known is None or known[0] != stamp:
            self._cards[path] = known = (stamp, self._read(path, status.st_size))
        return known[1]

    def _read(self, path: Path, size: int) -> ModelCard:
        root = self.root if path.is_relative_to(self.root) else self.root.resolve()
        id_ = str(path.relative_to(root).with_suffix(""))
        shown = str(self.root / f"{id_}.gguf")
        try:
            return describe(id_, shown, size, read_metadata(path))
        except (GGUFError, OSError) as error:
            return describe(id_, shown, size, {}, str(error))


def _adapted(model: ModelCard, adapter: ModelCard) -> ModelCard:
    """The model with the adapter. Raises LOAD_FAILED where they can't be put together."""
    if not adapter.adapter:
        raise KernelError("LOAD_FAILED", f"{adapter.id}: {adapter.error or 'it is no adapter'}")
    if model.adapter:
        raise KernelError("LOAD_FAILED", f"{model.id}: only one adapter goes with a model")
    if model.architecture != adapter.architecture and not model.error:
        wanted = f"{adapter.id} is for {adapter.architecture} models"
        raise KernelError("LOAD_FAILED", f"{wanted}, {model.id} is of {model.architecture}")
    size = model.file_bytes + adapter.file_bytes
    return msgspec.structs.replace(
        model, id=f"{model.id}+{adapter.id}", adapter=adapter.path, file_bytes=size
    )


def describe(id_: str, path: str, size: int, metadata: dict[str, Any], error: str = "") -> ModelCard:
    """A card from a file's metadata; what is missing or not of its type becomes 0 or empty."""

    def text(key: str) -> str:
        value = metadata.get(key, "")
        return value if isinstance(value, str) else ""

    def line(key: str) -> str:
        """Text that stands in a line of a reply, or on a terminal."""
        return "".join(c if c.isprintable() else "\ufffd" for c in text(key))

    arch = text("general.architecture")

    def number(key: str, default: int = 0) -> int:
        value = metadata.get(key.replace("{}", arch), default)
        return value if type(value) is int and 0 <= value < _LIMIT else default

    heads = number("{}.attention.head_count", 1) or 1
    embedding = number("{}.embedding_length")
    width = number("{}.attention.key_length", embedding // heads)
    value_width = number("{}.attention.value_length", width)
    kv_heads = number("{}.attention.head_count_kv", heads)
    template = text("tokenizer.chat_template")
    adapter = text("general.type") == "adapter"
    return ModelCard(
        id=id_,
        path=path,
        family=_family(line("general.architecture"), template, line("general.name")),
        architecture=line("general.architecture"),
        name=line("general.name"),
        quantization=_FILE_TYPES.get(number("general.file_type", -1), "unknown"),
        tokenizer=line("tokenizer.ggml.model"),
        context_train=number("{}.context_length"),
        embedding=embedding,
        vocabulary=number("tokenizer.ggml.tokens.length"),
        kv_bytes_per_token=min(2 * number("{}.block_count") * kv_heads * (width + value_width), _LIMIT),
        file_bytes=size,
        chat_template=template,
        error=error or (_NO_MODEL if adapter else ""),
        adapter=path if adapter else "",
    )


def _family(architecture: str, template: str, name: str) -> str:
    """The family by architecture; Mistral's files say `llama` and differ by name or template."""
    if architecture == "llama":
        inst = "[INST]" in template and "<<SYS>>" not in template  # Llama 2 has both
        mistral = inst or "mistral" in name.lower()
        return "Mistral" if mistral else "Llama"
    families = (family for part, family in _FAMILIES.items() if part in architecture)
    return next(families, architecture.capitalize() or "Unknown")

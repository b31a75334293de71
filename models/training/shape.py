"""The sizes of a model, apart from the code that computes it, so that the evaluation needs no PyTorch."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Family(enum.Enum):
    """A model family as llama.cpp names it in `general.architecture`."""

    LLAMA = "llama"
    QWEN2 = "qwen2"


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of one model; `context` is the number of positions, in tokens."""

    family: Family
    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    context: int = 1024
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.width // self.heads

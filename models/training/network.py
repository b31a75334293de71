"""The trainer's model: a small decoder whose weights llama.cpp can run.

1. One class serves both families. They differ in two switches: `Family.LLAMA` rotates neighbouring pairs and
   has
   no biases, `Family.QWEN2` rotates half against half and has biases on query, key and value.
2. Input and output embeddings are one matrix, so a GGUF needs no `output.weight`.
3. Every width is a multiple of 32, the block length of Q8_0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.training.shape import Family, Shape


def rotations(shape: Shape, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of shape (..., head_width / 2) for integer positions of any shape (RoPE, arXiv
    2104.09864).
    """
    half = torch.arange(0, shape.head_width, 2, dtype=torch.float32) / shape.head_width
    angles = positions.float().unsqueeze(-1) * shape.rope_base ** (-half)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor, family: Family) -> Tensor:
    """Turn queries or keys (batch, heads, time, head_width) by their positions, in the family's pairing."""
    if family is Family.LLAMA:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


class Attention(nn.Module):
    """Causal grouped-query attention."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv_width = shape.kv_heads * shape.head_width
        bias = shape.family is Family.QWEN2
        self.q = nn.Linear(shape.width, shape.width, bias=bias)
        self.k = nn.Linear(shape.width, kv_width, bias=bias)
        self.v = nn.Linear(shape.width, kv_width, bias=bias)
        self.o = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """Keep the shape (batch, time, width); `mask` (batch, 1, time, time) is true where one may look."""
        batch, time, _ = x.shape
        s = self.shape
        q = self.q(x).view(batch, time, s.heads, s.head_width).transpose(1, 2)
        k = self.k(x).view(batch, time, s.kv_heads, s.head_width).transpose(1, 2)
        v = self.v(x).view(batch, time, s.kv_heads, s.head_width).transpose(1, 2)
        q, k = rotate(q, cos, sin, s.family).to(v.dtype), rotate(k, cos, sin, s.family).to(v.dtype)
        repeat = s.heads // s.kv_heads
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.o(seen.transpose(1, 2).reshape(batch, time, s.width))
        return out


class Block(nn.Module):
    """One layer: attention, then a gated feed-forward (SwiGLU), each behind its own norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.attention = Attention(shape)
        self.feed_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """Map (batch, time, width) to the same shape."""
        x = x + self.attention(self.attention_norm(x), cos, sin, mask)
        h = self.feed_norm(x)
        out: Tensor = x + self.down(functional.silu(self.gate(h)) * self.up(h))
        return out


class Decoder(nn.Module):
    """The whole model; `forward` returns hidden states, `logits` turns chosen ones into scores."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = name.endswith(("o.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / ((2 * shape.layers) ** 0.5 if deep else 1.0))
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(self, tokens: Tensor, positions: Tensor, documents: Tensor) -> Tensor:
        """Hidden states (batch, time, width) for packed rows.

        tokens, positions and documents are (batch, time); a token sees earlier tokens of its own document
        only.
        """
        time = tokens.shape[1]
        past = torch.ones(time, time, dtype=torch.bool).tril()
        mask = (past & (documents.unsqueeze(2) == documents.unsqueeze(1))).unsqueeze(1)
        cos, sin = rotations(self.shape, positions)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores (..., vocabulary) from hidden states (..., width)."""
        return functional.linear(hidden, self.embedding.weight)

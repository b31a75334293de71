"""Random-weight GGUF files in real shapes, made on demand and never committed.

Speed does not depend on what the weights mean, only on their shapes and types; so these stand for
real models wherever time is measured, and for the families' formats wherever loading is tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
CHATML_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A transformer's dimensions."""

    architecture: str
    name: str
    template: str
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int = 2048


SHAPES = {
    "llama-1m": Shape("llama", "llama-1m", LLAMA_TEMPLATE, 4, 128, 384, 4, 2, 512),
    "qwen2-1m": Shape("qwen2", "qwen2-1m", CHATML_TEMPLATE, 4, 128, 384, 4, 2, 512),
    "mistral-1m": Shape("llama", "mistral-1m", MISTRAL_TEMPLATE, 4, 128, 384, 4, 2, 512),
    "15m": Shape("llama", "15m", LLAMA_TEMPLATE, 6, 288, 768, 6, 6, 32000),
    # SmolLM2-135M's and Qwen2.5-0.5B's dimensions
    "135m": Shape("llama", "135m", LLAMA_TEMPLATE, 30, 576, 1536, 9, 3, 49152, 8192),
    "0.5b": Shape("qwen2", "0.5b", CHATML_TEMPLATE, 24, 896, 4864, 14, 2, 151936, 8192),
}
TYPES = {
    "Q8_0": gguf.GGMLQuantizationType.Q8_0,
    "Q4_0": gguf.GGMLQuantizationType.Q4_0,
}
_FILE_TYPES = {"Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0}


def write(path: Path, shape: Shape, quantization: str = "Q8_0", seed: int = 1) -> Path:
    """Write a model of this shape; the same arguments give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    writer = gguf.GGUFWriter(unfinished, shape.architecture)
    _metadata(writer, shape, quantization)
    (_bpe if shape.architecture == "qwen2" else _spm)(writer, shape)
    rng = np.random.default_rng(seed)
    for name, dimensions in _tensors(shape):
        _tensor(writer, name, dimensions, TYPES[quantization], rng)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.rename(path)
    return path


def cached(name: str, quantization: str = "Q8_0", folder: Path = Path("benchmarks/build")) -> Path:
    """The file of a named shape, written when it isn't there."""
    path = folder / f"{name}-{quantization}.gguf"
    return path if path.exists() else write(path, SHAPES[name], quantization)


def _metadata(writer: gguf.GGUFWriter, shape: Shape, quantization: str) -> None:
    writer.add_name(shape.name)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_chat_template(shape.template)
    writer.add_file_type(_FILE_TYPES[quantization])


def _tensors(shape: Shape) -> list[tuple[str, tuple[int, ...]]]:
    width, kv = shape.width, shape.width // shape.heads * shape.kv_heads
    tensors: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd.weight", (shape.vocabulary, width)),
        ("output_norm.weight", (width,)),
    ]
    for i in range(shape.layers):
        block = f"blk.{i}"
        tensors += [
            (f"{block}.attn_norm.weight", (width,)),
            (f"{block}.attn_q.weight", (width, width)),
            (f"{block}.attn_k.weight", (kv, width)),
            (f"{block}.attn_v.weight", (kv, width)),
            (f"{block}.attn_output.weight", (width, width)),
            (f"{block}.ffn_norm.weight", (width,)),
            (f"{block}.ffn_gate.weight", (shape.feed_forward, width)),
            (f"{block}.ffn_up.weight", (shape.feed_forward, width)),
            (f"{block}.ffn_down.weight", (width, shape.feed_forward)),
        ]
        if shape.architecture == "qwen2":
            biases = (("q", width), ("k", kv), ("v", kv))
            tensors += [(f"{block}.attn_{part}.bias", (size,)) for part, size in biases]
    return tensors


def _tensor(
    writer: gguf.GGUFWriter,
    name: str,
    dimensions: tuple[int, ...],
    kind: gguf.GGMLQuantizationType,
    rng: np.random.Generator,
) -> None:
    if len(dimensions) == 1:
        values = np.ones(dimensions) if "norm" in name else np.zeros(dimensions)
        writer.add_tensor(name, values.astype(np.float32))
        return
    weights = rng.standard_normal(dimensions, dtype=np.float32) / np.sqrt(dimensions[-1])
    writer.add_tensor(name, gguf.quants.quantize(weights, kind), raw_dtype=kind)


def _spm(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """A sentencepiece vocabulary: specials, every byte, then made-up words."""
    normal, control, byte = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL, gguf.TokenType.BYTE
    special = ["<s>", "</s>"]
    special += ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokens = ["<unk>", *special, *(f"<0x{i:02X}>" for i in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, *[control] * len(special), *[byte] * 256]
    tokens += [f"\u2581w{i}" for i in range(shape.vocabulary - len(tokens))]
    kinds += [normal] * (shape.vocabulary - len(kinds))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(len(tokens))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(value=False)


def _bpe(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """A byte-level vocabulary as GPT-2's and Qwen's: every byte, made-up words, then specials."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    letters |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    tokens = [letters[byte] for byte in range(256)]
    tokens += [f"\u0120w{i}" for i in range(shape.vocabulary - len(tokens) - len(special))]
    kinds = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(special)
    tokens += special
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h", "h e"])
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_bos_token_id(len(tokens) - 3)
    writer.add_add_bos_token(value=False)

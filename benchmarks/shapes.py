"""Random-weight GGUF files in real shapes, made on demand and never committed.

Speed does not depend on what the weights mean, only on their shapes and types; so these stand for
real models wherever time is measured, and for the families' formats wherever loading is tested.
The control tokens' embeddings are zero: no top-k ever draws one, so a process runs to its limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from benchmarks import vocabularies

Weights = npt.NDArray[np.float32]

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
    control = (vocabularies.bpe if shape.architecture == "qwen2" else vocabularies.spm)(
        writer, shape.vocabulary
    )
    rng = np.random.default_rng(seed)
    for name, dimensions in _tensors(shape):
        weights = _weights(name, dimensions, rng)
        if name == "token_embd.weight":
            weights[control] = 0
        _add(writer, name, weights, TYPES[quantization])
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


def _weights(name: str, dimensions: tuple[int, ...], rng: np.random.Generator) -> Weights:
    if len(dimensions) == 1:
        return np.full(dimensions, 1 if "norm" in name else 0, np.float32)
    scale = np.float32(np.sqrt(dimensions[-1]))
    return rng.standard_normal(dimensions, dtype=np.float32) / scale


def _add(writer: gguf.GGUFWriter, name: str, weights: Weights, kind: gguf.GGMLQuantizationType) -> None:
    if weights.ndim == 1:
        writer.add_tensor(name, weights)
    else:
        writer.add_tensor(name, gguf.quants.quantize(weights, kind), raw_dtype=kind)

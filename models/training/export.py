"""Export: a checkpoint and its tokenizer become a GGUF, and llama.cpp must compute what the trainer computes.

1. The file depends on the checkpoint alone: no dates, no paths.
2. Matrices are stored as Q8_0 (or F32 for the exact check), norms and biases as F32.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from models.training.corpus.mix import conversation
from models.training.dataset import Vocabulary, encode_chat
from models.training.llama import Llama
from models.training.network import Decoder
from models.training.recipe import VALIDATION, Recipe
from models.training.shape import Family
from models.training.tokenizer import QWEN2_MARKERS, Bytes, Pieces
from models.training.train import vocabulary_of

LLAMA_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}"
)
CHATML_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
_NAMES = {
    "attention_norm": "attn_norm", "attention.q": "attn_q", "attention.k": "attn_k", "attention.v": "attn_v",
    "attention.o": "attn_output", "feed_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up",
    "down": "ffn_down",
}  # fmt: skip
CHECKED_CONVERSATIONS = 40
LIKELY = 1e-3  # probabilities below it are left out of the comparison
LIMITS = {"F32": 0.002, "Q8_0": 2.0}  # largest difference of log probabilities that passes, in nats
SAME_CHOICE = {"F32": 0.99, "Q8_0": 0.95}  # smallest share of positions with the same likeliest token


def tensor_name(name: str) -> str:
    """The GGUF name of a weight of the Decoder."""
    if name in ("embedding.weight", "norm.weight"):
        return {"embedding.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}[name]
    _, layer, rest = name.split(".", 2)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{_NAMES[part]}.{kind}"


def load(recipe: Recipe) -> tuple[Decoder, Vocabulary]:
    """The trained model and its tokenizer."""
    vocabulary = vocabulary_of(recipe)
    model = Decoder(replace(recipe.shape, vocabulary=vocabulary.size()))
    stored: dict[str, Any] = torch.load(recipe.folder / "checkpoint.pt", weights_only=True)
    model.load_state_dict(stored["model"])
    return model.eval(), vocabulary


def write(recipe: Recipe, path: Path, kind: gguf.GGMLQuantizationType) -> None:
    """Write the recipe's checkpoint as a GGUF with matrices of the given kind."""
    model, vocabulary = load(recipe)
    writer = gguf.GGUFWriter(path, recipe.shape.family.value)
    _describe(writer, recipe, model, kind)
    if isinstance(vocabulary, Pieces):
        _add_pieces(writer, vocabulary)
    elif isinstance(vocabulary, Bytes):
        _add_bytes(writer, vocabulary)
    for name, weight in model.state_dict().items():
        values = weight.float().numpy()
        if values.ndim == 2 and kind is gguf.GGMLQuantizationType.Q8_0:
            writer.add_tensor(tensor_name(name), gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(
    writer: gguf.GGUFWriter, recipe: Recipe, model: Decoder, kind: gguf.GGMLQuantizationType
) -> None:
    """The metadata that does not concern the tokenizer."""
    shape = model.shape
    exact = kind is gguf.GGMLQuantizationType.F32
    writer.add_name(recipe.name)
    writer.add_license("MIT")
    writer.add_languages(["en"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if exact else gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_chat_template(LLAMA_TEMPLATE if shape.family is Family.LLAMA else CHATML_TEMPLATE)


def _add_pieces(writer: gguf.GGUFWriter, vocabulary: Pieces) -> None:
    """The tokenizer that llama.cpp calls "llama": pieces, scores, byte fallback."""
    p = vocabulary.processor
    kinds = []
    for i in range(p.get_piece_size()):
        if p.is_unknown(i):
            kinds.append(gguf.TokenType.UNKNOWN)
        elif p.is_control(i):
            kinds.append(gguf.TokenType.CONTROL)
        else:
            kinds.append(gguf.TokenType.BYTE if p.is_byte(i) else gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([p.id_to_piece(i) for i in range(p.get_piece_size())])
    writer.add_token_scores([p.get_score(i) for i in range(p.get_piece_size())])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(p.piece_to_id("<s>"))
    writer.add_eos_token_id(p.piece_to_id("<|end|>"))
    writer.add_eot_token_id(p.piece_to_id("<|end|>"))
    writer.add_unk_token_id(p.piece_to_id("<unk>"))
    writer.add_add_bos_token(value=True)
    writer.add_add_eos_token(value=False)
    writer.add_add_space_prefix(value=False)


def _add_bytes(writer: gguf.GGUFWriter, vocabulary: Bytes) -> None:
    """The tokenizer that llama.cpp calls "gpt2", with the split rule "qwen2"."""
    stored = json.loads(vocabulary.tokenizer.to_str())
    by_id = [vocabulary.tokenizer.id_to_token(i) or "" for i in range(vocabulary.size())]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in stored["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(by_id)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if t in QWEN2_MARKERS else gguf.TokenType.NORMAL for t in by_id]
    )
    writer.add_token_merges(merges)
    writer.add_eos_token_id(vocabulary.marker("<|im_end|>"))
    writer.add_eot_token_id(vocabulary.marker("<|im_end|>"))
    writer.add_pad_token_id(vocabulary.marker("<|endoftext|>"))
    writer.add_add_bos_token(value=False)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far llama.cpp is from the trainer, over all positions of the checked conversations."""

    kind: str
    positions: int
    largest: float  # of the differences of log probabilities of likely tokens, in nats
    same_choice: float  # share of positions with the same likeliest token

    @property
    def passes(self) -> bool:
        """Whether both figures are within the kind's limits."""
        return self.largest <= LIMITS[self.kind] and self.same_choice >= SAME_CHOICE[self.kind]


def agreement(recipe: Recipe, path: Path, kind: str) -> Agreement:
    """Compare tokens and log probabilities on unseen conversations; raises ValueError if tokens differ."""
    model, vocabulary = load(recipe)
    largest, same, positions = 0.0, 0, 0
    with Llama(path, exact=kind == "F32") as llama:
        for index in range(CHECKED_CONVERSATIONS):
            turns = conversation(VALIDATION.seed, index)
            tokens = encode_chat(vocabulary, recipe.chat, turns)[0][: recipe.shape.context]
            text = "".join(recipe.chat.text(turn.role, turn.text) for turn in turns)
            if llama.tokens(text, special=True, start=True)[: recipe.shape.context] != tokens:
                raise ValueError(f"llama.cpp reads conversation {index} as other tokens than the trainer")
            with torch.no_grad():
                row = torch.tensor([tokens])
                hidden = model(row, torch.arange(len(tokens)).unsqueeze(0), torch.ones_like(row))
                ours = torch.log_softmax(model.logits(hidden)[0], -1)
            theirs = torch.log_softmax(torch.from_numpy(llama.logits(tokens)), -1)
            likely = ours > np.log(LIKELY)
            largest = max(largest, float((ours - theirs).abs()[likely].max()))
            same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
            positions += len(tokens)
    return Agreement(kind, positions, largest, same / positions)


def export(recipe: Recipe) -> list[Agreement]:
    """Write an exact GGUF and the one that ships, which takes its place if both agree, else ValueError."""
    exact, part = recipe.folder / "exact.gguf", recipe.output.with_suffix(".part")
    write(recipe, exact, gguf.GGMLQuantizationType.F32)
    write(recipe, part, gguf.GGMLQuantizationType.Q8_0)
    found = [agreement(recipe, exact, "F32"), agreement(recipe, part, "Q8_0")]
    wrong = [each for each in found if not each.passes]
    if wrong:
        raise ValueError(f"llama.cpp disagrees with the trainer: {wrong}")
    part.replace(recipe.output)
    report = [
        {"kind": a.kind, "positions": a.positions, "largest": a.largest, "same_choice": a.same_choice}
        for a in found
    ]
    recipe.agreement_file.write_text(json.dumps(report, indent=1) + "\n")
    return found

"""Made-up vocabularies in the two forms that models have; each returns its control tokens' ids."""

from __future__ import annotations

from collections.abc import Sequence

import gguf

SPM_BOS, SPM_FIRST_BYTE = 1, 6  # token ids of `spm`'s vocabulary


def spm(writer: gguf.GGUFWriter, size: int) -> Sequence[int]:
    """A sentencepiece vocabulary: specials, every byte, then made-up words."""
    normal, control, byte = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL, gguf.TokenType.BYTE
    special = ["<s>", "</s>"]
    special += ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokens = ["<unk>", *special, *(f"<0x{i:02X}>" for i in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, *[control] * len(special), *[byte] * 256]
    tokens += [f"\u2581w{i}" for i in range(size - len(tokens))]
    kinds += [normal] * (size - len(kinds))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(size)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(value=False)
    return range(1, 1 + len(special))


def bpe(writer: gguf.GGUFWriter, size: int) -> Sequence[int]:
    """A byte-level vocabulary as GPT-2's and Qwen's: every byte, made-up words, then specials."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    letters |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    tokens = [letters[byte] for byte in range(256)]
    tokens += [f"\u0120w{i}" for i in range(size - len(tokens) - len(special))]
    kinds = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(special)
    tokens += special
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h", "h e"])
    writer.add_eos_token_id(size - 1)
    writer.add_bos_token_id(size - len(special))
    writer.add_add_bos_token(value=False)
    return range(size - len(special), size)

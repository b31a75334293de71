"""Tokenizers: SentencePiece pieces for the llama model, byte-level BPE for the qwen2 one, both trained by
libraries.

1. A text's pieces hardly depend on whether a blank stands before it: blanks are pieces of their own, but for
   the most frequent words, which also exist as blank + word. Words that names are made of never do, so that a
   name has the same tokens in a question as in a call.
2. Every digit is a piece of its own. What no piece covers is spelled in bytes.
3. Markers are control tokens. Text never becomes one, however it is spelled, until it goes through
   `encode_chat`.
"""

from __future__ import annotations

import io
import string
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from models.training.corpus.turns import MARKERS
from models.training.corpus.words import COMMON

BLANK = "\u2581"
RARE = 6  # words seen less often are mostly invented ones and earn no piece


class Pieces:
    """A SentencePiece model with byte fallback."""

    def __init__(self, model: Path) -> None:
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        self.bos: int | None = self.processor.piece_to_id("<s>")

    def size(self) -> int:
        """Number of pieces."""
        return int(self.processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        """Pieces of plain text."""
        ids: list[int] = self.processor.encode(text)
        return ids

    def marker(self, name: str) -> int:
        """The id of a control piece."""
        return int(self.processor.piece_to_id(name))


def train_pieces(texts: Iterable[str], path: Path, size: int, with_blank: int) -> Pieces:
    """Train on the texts' words, save at `path`: `size` pieces, about `with_blank` of them blank + word."""
    counts = Counter(word for text in texts for word in text.split() if word.isascii())
    buffer = io.BytesIO()
    repeated = (word for word, count in sorted(counts.items()) if count >= RARE for _ in range(count))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=repeated,
        model_writer=buffer,
        vocab_size=size - with_blank,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        control_symbols=list(MARKERS),
        character_coverage=1.0,
        required_chars=string.printable[:94],
        num_threads=1,
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(buffer.getvalue())  # type: ignore[attr-defined]
    known = {piece.piece for piece in proto.pieces}
    lowest = min(piece.score for piece in proto.pieces)
    if BLANK not in known:
        proto.pieces.add(piece=BLANK, score=lowest)
    named = set(COMMON)
    frequent = [
        word
        for word, _ in counts.most_common()
        if word in known and word.isalpha() and word.lower() not in named
    ]
    for rank, word in enumerate(frequent[: size - len(proto.pieces)], start=1):
        proto.pieces.add(piece=BLANK + word, score=lowest - rank)
    path.write_bytes(proto.SerializeToString())
    return Pieces(path)


class Bytes:
    """A byte-level BPE model as GPT-2 has it, with the split rule that llama.cpp calls "qwen2"."""

    bos: int | None = None

    def __init__(self, model: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(model))

    def size(self) -> int:
        """Number of tokens."""
        return int(self.tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text."""
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids

    def marker(self, name: str) -> int:
        """The id of a control token."""
        found = self.tokenizer.token_to_id(name)
        if found is None:
            raise KeyError(name)
        return found


QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_MARKERS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def train_bytes(texts: Iterable[str], path: Path, size: int) -> Bytes:
    """Train on the texts and save at `path`: `size` tokens in all; the markers take the last ids."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_only])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(QWEN2_MARKERS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(QWEN2_MARKERS))
    tokenizer.save(str(path))
    return Bytes(path)

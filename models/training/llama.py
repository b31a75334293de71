"""llama.cpp through its C interface: exact logits, tokens, and generation of many sequences at once.

1. Sequences are independent: each has its own cache and a random source of its own, seeded by its index.
2. A sequence ends at an end-of-generation token or at the limit; `ended` says which.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import llama_cpp.llama_cpp as c
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def _silent(_level: int, _text: bytes, _user: ctypes.c_void_p) -> None:
    """Takes llama.cpp's log lines and drops them."""


_SILENT = c.llama_log_callback(_silent)  # kept for ever: llama.cpp goes on calling it


@dataclass(slots=True)
class Sample:
    """What one sequence generated, without its end token; `ended` is false where the limit cut it."""

    tokens: list[int] = field(default_factory=list)
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """Temperature 0 takes the likeliest token; otherwise the smallest set of tokens with `top_p` of the mass
    is drawn from.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def choose(self, logits: Floats, random: np.random.Generator) -> int:
        """A token for these logits."""
        if self.temperature == 0:
            return int(logits.argmax())
        scaled = (logits - logits.max()) / self.temperature
        probability = np.exp(scaled) / np.exp(scaled).sum()
        order = np.argsort(-probability, kind="stable")
        mass = np.cumsum(probability[order])
        kept = order[: int(np.searchsorted(mass, self.top_p)) + 1]
        return int(random.choice(kept, p=probability[kept] / probability[kept].sum()))


class Llama:
    """A loaded GGUF with room for `sequences` sequences of `context` tokens each, freed by `with`.

    `exact` keeps keys and values in F32 instead of F16 and computes attention without the fused, rounding
    kernel.
    """

    def __init__(
        self, path: Path, sequences: int = 1, context: int = 1024, threads: int = 1, *, exact: bool = False
    ) -> None:
        c.llama_log_set(_SILENT, ctypes.c_void_p(0))
        c.llama_backend_init()
        self.sequences, self.context = sequences, context
        self._model = c.llama_model_load_from_file(str(path).encode(), c.llama_model_default_params())
        if not self._model:
            raise ValueError(f"llama.cpp cannot load {path}")
        parameters = c.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max, parameters.n_batch = (
            sequences * context,
            sequences,
            max(context, sequences),
        )
        if exact:
            parameters.type_k = parameters.type_v = c.GGML_TYPE_F32
            parameters.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.n_threads = parameters.n_threads_batch = threads
        self._context = c.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise ValueError(f"llama.cpp makes no context of {sequences} times {context} tokens for {path}")
        self._vocabulary = c.llama_model_get_vocab(self._model)
        self.size: int = c.llama_vocab_n_tokens(self._vocabulary)
        self._batch = c.llama_batch_init(max(context, sequences), 0, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        c.llama_batch_free(self._batch)
        c.llama_free(self._context)
        c.llama_model_free(self._model)

    def tokens(self, text: str, *, special: bool = False, start: bool = False) -> list[int]:
        """Tokens of a text; `special` makes markers control tokens, `start` adds the model's start token."""
        raw = text.encode()
        room = (c.llama_token * (len(raw) + 8))()
        count = c.llama_tokenize(self._vocabulary, raw, len(raw), room, len(room), start, special)
        return list(room[:count])

    def text(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """The text of tokens, control tokens only where `special`; broken UTF-8 is replaced."""
        parts = []
        piece = ctypes.create_string_buffer(256)
        for token in tokens:
            length = c.llama_token_to_piece(self._vocabulary, token, piece, len(piece), 0, special)
            parts.append(piece.raw[:length])
        return b"".join(parts).decode(errors="replace")

    def template(self) -> str:
        """The chat template in the file's metadata; empty if there is none."""
        found = c.llama_model_chat_template(self._model, None)
        return found.decode() if found else ""

    def metadata(self, key: str) -> str:
        """A value of the file's metadata as text; empty if the key is not there."""
        value = ctypes.create_string_buffer(1024)
        length = c.llama_model_meta_val_str(self._model, key.encode(), value, len(value))
        return value.value.decode() if length >= 0 else ""

    def logits(self, tokens: Sequence[int]) -> Floats:
        """Scores (token, vocabulary) of every position of one sequence."""
        self._forget(0)
        self._decode([(token, place, 0, True) for place, token in enumerate(tokens)])
        return np.stack([self._scores(i) for i in range(len(tokens))])

    def generate(self, prompts: Sequence[Sequence[int]], limit: int, sampling: Sampling) -> list[Sample]:
        """One sample for each prompt, at most `limit` tokens long."""
        done: list[Sample] = []
        for first in range(0, len(prompts), self.sequences):
            done += self._group(prompts[first : first + self.sequences], first, limit, sampling)
        return done

    def _group(
        self, prompts: Sequence[Sequence[int]], first: int, limit: int, sampling: Sampling
    ) -> list[Sample]:
        """Generate for at most `sequences` prompts, all in one batch."""
        samples = [Sample() for _ in prompts]
        randoms = [np.random.default_rng((sampling.seed, first + i)) for i in range(len(prompts))]
        waiting: dict[int, int] = {}
        for i, prompt in enumerate(prompts):
            self._forget(i)
            self._decode([(token, place, i, place == len(prompt) - 1) for place, token in enumerate(prompt)])
            waiting[i] = sampling.choose(self._scores(len(prompt) - 1), randoms[i])
        while waiting:
            for i, token in list(waiting.items()):
                samples[i].ended = bool(c.llama_vocab_is_eog(self._vocabulary, token))
                if not samples[i].ended:
                    samples[i].tokens.append(token)
                if samples[i].ended or len(samples[i].tokens) >= min(limit, self.context - len(prompts[i])):
                    del waiting[i]
            if waiting:
                self._decode(
                    [
                        (token, len(prompts[i]) + len(samples[i].tokens) - 1, i, True)
                        for i, token in waiting.items()
                    ]
                )
                waiting = {i: sampling.choose(self._scores(row), randoms[i]) for row, i in enumerate(waiting)}
        return samples

    def _forget(self, sequence: int) -> None:
        c.llama_memory_seq_rm(c.llama_get_memory(self._context), sequence, -1, -1)

    def _scores(self, row: int) -> Floats:
        """A copy of the scores of one row of the last batch."""
        found = c.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(found, (self.size,)).copy()

    def _decode(self, rows: Sequence[tuple[int, int, int, bool]]) -> None:
        """Run (token, position, sequence, wants scores) rows; raises RuntimeError if llama.cpp refuses."""
        batch = self._batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        code = c.llama_decode(self._context, batch)
        if code:
            raise RuntimeError(f"llama_decode returned {code}")

"""One process's sampler: a chain of llama.cpp's, a grammar beside it, and a count of random numbers used."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from agentkernel.engine.port import SOFT
from agentkernel.engine.worker.llama import Context, LlamaError, Model, last_words
from agentkernel.process import Sampling

PENALTY_WINDOW = 64  # tokens; llama.cpp's own default
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


def _seed32(seed: int) -> int:
    """A 64-bit seed as one of the library's, whose all-ones (LLAMA_DEFAULT_SEED) would mean a random one."""
    folded = (seed ^ seed >> 32) & 0xFFFFFFFF
    return folded if folded != 0xFFFFFFFF else 0x7FFFFFFF


class Sampler:
    """Draws one process's tokens; `draws` random numbers were used so far."""

    def __init__(self, model: Model, sampling: Sampling, grammar: str, triggers: Sequence[str] = ()) -> None:
        """A grammar with triggers holds from the first group of one that the turn's text matches."""
        self._model, self._grammar_text = model, grammar
        self._triggers = (ctypes.c_char_p * len(triggers))(*(trigger.encode() for trigger in triggers))
        self._grammar: Any = None
        self._random = sampling.temperature > 0
        self.draws = 0
        chain = self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        stages = []
        if sampling.repeat_penalty != 1.0:
            stages.append(
                lib.llama_sampler_init_penalties(
                    model.n_vocab, PENALTY_WINDOW, sampling.repeat_penalty, 0.0, 0.0
                )
            )
        if self._random:
            if sampling.top_k:
                stages.append(lib.llama_sampler_init_top_k(sampling.top_k))
            stages.append(lib.llama_sampler_init_top_p(sampling.top_p, 1))
            stages.append(lib.llama_sampler_init_min_p(sampling.min_p, 1))
            stages.append(lib.llama_sampler_init_temp(sampling.temperature))
            self._dist = lib.llama_sampler_init_dist(_seed32(sampling.seed))
            stages.append(self._dist)
        else:
            stages.append(lib.llama_sampler_init_greedy())
        for stage in stages:
            lib.llama_sampler_chain_add(chain, stage)
        self.begin_turn()

    def begin_turn(self) -> None:
        """A grammar holds for one turn; raises LlamaError when it doesn't parse."""
        if not self._grammar_text:
            return
        if self._grammar:
            lib.llama_sampler_free(self._grammar)
        text = self._grammar_text.encode()
        vocab, triggers = self._model.vocab, self._triggers
        self._grammar = (
            lib.llama_sampler_init_grammar_lazy_patterns(
                vocab, text, b"root", triggers, len(triggers), (lib.llama_token * 0)(), 0
            )
            if len(triggers)
            else lib.llama_sampler_init_grammar(vocab, text, b"root")
        )
        if not self._grammar:
            raise LlamaError(last_words() or "the grammar does not parse")

    def see(self, tokens: Sequence[int]) -> None:
        """Count tokens that were not drawn here (a prompt) towards the repetition penalty."""
        for token in (token for token in tokens[-PENALTY_WINDOW:] if token != SOFT):
            lib.llama_sampler_accept(self._chain, token)

    def restore(self, turn: Sequence[int], draws: int) -> None:
        """Bring grammar and random numbers to where they stood after these tokens of the turn."""
        if self._grammar:
            for token in turn:
                lib.llama_sampler_accept(self._grammar, token)
        one = np.zeros(1, _CANDIDATE)
        for _ in range(draws if self._random else 0):
            self._apply(self._dist, one)
        self.draws = draws

    def draw(self, context: Any, index: int) -> int:
        """The next token after a row's logits."""
        if not self._grammar:
            self.draws += self._random
            return int(lib.llama_sampler_sample(self._chain, context.pointer, index))
        candidates = self._candidates(context, index)
        token = self._select(candidates)
        if not self._allowed(token):
            candidates = self._candidates(context, index)
            self._apply(self._grammar, candidates)
            token = self._select(candidates)
        lib.llama_sampler_accept(self._grammar, token)
        lib.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        """Free it."""
        lib.llama_sampler_free(self._chain)
        if self._grammar:
            lib.llama_sampler_free(self._grammar)

    def _candidates(self, context: Context, index: int) -> Any:
        candidates = np.zeros(self._model.n_vocab, _CANDIDATE)
        candidates["id"] = np.arange(self._model.n_vocab)
        candidates["logit"] = context.logits(index)
        return candidates

    def _select(self, candidates: Any) -> int:
        self.draws += self._random
        selected = self._apply(self._chain, candidates)
        return int(candidates["id"][selected])

    def _allowed(self, token: int) -> bool:
        """Whether the grammar admits the token: it marks refused candidates with minus infinity."""
        one = np.zeros(1, _CANDIDATE)
        one["id"] = token
        self._apply(self._grammar, one)
        return bool(np.isfinite(one["logit"][0]))

    @staticmethod
    def _apply(sampler: Any, candidates: Any) -> int:
        data = candidates.ctypes.data_as(ctypes.POINTER(lib.llama_token_data))
        array = lib.llama_token_data_array(data, len(candidates), -1, 0)
        lib.llama_sampler_apply(sampler, ctypes.byref(array))
        return int(array.selected)

"""One process's sampler: a chain of llama.cpp's, a grammar beside it, and a count of random numbers used."""

from __future__ import annotations

import codecs
import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from agentkernel.engine.port import SOFT
from agentkernel.engine.worker.grammars import Beginning, Calls
from agentkernel.engine.worker.llama import Context, LlamaError, Model, last_words
from agentkernel.plan import Sampling

PENALTY_WINDOW = 64  # tokens; llama.cpp's own default
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


def _seed32(seed: int) -> int:
    """A 64-bit seed as one of the library's, whose all-ones (LLAMA_DEFAULT_SEED) would mean a random one."""
    folded = (seed ^ seed >> 32) & 0xFFFFFFFF
    return folded if folded != 0xFFFFFFFF else 0x7FFFFFFF


def _part(data: bytes) -> bytes | None:
    """The bytes at the end that are a part of a character; None for what is no UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(data)
    except UnicodeDecodeError:
        return None
    part = decoder.getstate()[0]
    return None if part[:1] == b"\xed" and part[1:] >= b"\xa0" else part  # of a pair, and there are none


class Sampler:
    """Draws one process's tokens; `draws` random numbers were used so far."""

    def __init__(self, model: Model, sampling: Sampling, grammar: str | Calls) -> None:
        """Raises LlamaError for a grammar that doesn't parse."""
        self._model, self._grammar_text = model, "" if isinstance(grammar, Calls) else grammar
        self._calls = grammar if isinstance(grammar, Calls) else None
        self._beginning: Beginning | None = None  # of a call, until there is one
        self._part = b""  # of a character, in a call
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
        if self._calls is not None:
            self._hold(self._calls.rest(b""))  # whether it parses is known before it is needed
        self.begin_turn()

    def begin_turn(self) -> None:
        """A grammar holds for one turn; raises LlamaError when it doesn't parse."""
        if self._calls is not None:
            self._hold("")
            self._beginning, self._part = Beginning(self._calls.forms), b""
        elif self._grammar_text:
            self._hold(self._grammar_text)

    def _hold(self, grammar: str) -> None:
        """Let this grammar hold from the next token on; none if it is empty."""
        if self._grammar:
            lib.llama_sampler_free(self._grammar)
            self._grammar = None
        if grammar:
            self._grammar = lib.llama_sampler_init_grammar(self._model.vocab, grammar.encode(), b"root")
            if not self._grammar:
                raise LlamaError(last_words() or "the grammar does not parse")

    def see(self, tokens: Sequence[int]) -> None:
        """Count tokens that were not drawn here (a prompt) towards the repetition penalty."""
        for token in (token for token in tokens[-PENALTY_WINDOW:] if token != SOFT):
            lib.llama_sampler_accept(self._chain, token)

    def restore(self, turn: Sequence[int], draws: int) -> None:
        """Bring grammar and random numbers to where they stood after these tokens of the turn."""
        for token in turn if self._bound else ():
            if self._allowed(token):
                self._accept(token)
        one = np.zeros(1, _CANDIDATE)
        for _ in range(draws if self._random else 0):
            self._apply(self._dist, one)
        self.draws = draws

    def draw(self, context: Any, index: int) -> int:
        """The next token after a row's logits."""
        if not self._bound:
            self.draws += self._random
            return int(lib.llama_sampler_sample(self._chain, context.pointer, index))
        refused: list[int] = []
        while not self._allowed(token := self._select(self._candidates(context, index, refused))):
            if token in refused:  # no token of this vocabulary is admitted
                return int(lib.llama_vocab_eos(self._model.vocab))
            refused.append(token)
        self._accept(token)
        lib.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        """Free it."""
        lib.llama_sampler_free(self._chain)
        if self._grammar:
            lib.llama_sampler_free(self._grammar)

    @property
    def _bound(self) -> bool:
        """Whether some tokens may not be drawn."""
        return bool(self._grammar) or self._beginning is not None

    def _candidates(self, context: Context, index: int, refused: Sequence[int]) -> Any:
        candidates = np.zeros(self._model.n_vocab, _CANDIDATE)
        candidates["id"] = np.arange(self._model.n_vocab)
        candidates["logit"] = context.logits(index)
        candidates["logit"][refused] = -np.inf
        if refused and self._grammar:
            self._apply(self._grammar, candidates)
        return candidates

    def _select(self, candidates: Any) -> int:
        self.draws += self._random
        selected = self._apply(self._chain, candidates)
        return int(candidates["id"][selected])

    def _allowed(self, token: int) -> bool:
        """Whether the grammar admits the token: it marks refused candidates with minus infinity."""
        if self._calls is not None and self._beginning is not None:
            begun = self._beginning.after(self._model.marked(token))
            return not begun or bool(self._calls.rest(begun))
        if self._calls is not None and _part(self._part + self._model.marked(token)) is None:
            return False  # the grammar takes any byte for the rest of a character
        one = np.zeros(1, _CANDIDATE)
        one["id"] = token
        self._apply(self._grammar, one)
        return bool(np.isfinite(one["logit"][0]))

    def _accept(self, token: int) -> None:
        """The token is the turn's next; it may begin a call."""
        if self._calls is None or self._beginning is None:
            lib.llama_sampler_accept(self._grammar, token)
            if self._calls is not None:
                self._part = _part(self._part + self._model.marked(token)) or b""
            return
        piece = self._model.marked(token)
        if begun := self._beginning.after(piece):
            self._beginning = None
            self._hold(self._calls.rest(begun))
        else:
            self._beginning.take(piece)

    @staticmethod
    def _apply(sampler: Any, candidates: Any) -> int:
        data = candidates.ctypes.data_as(ctypes.POINTER(lib.llama_token_data))
        array = lib.llama_token_data_array(data, len(candidates), -1, 0)
        lib.llama_sampler_apply(sampler, ctypes.byref(array))
        return int(array.selected)

"""llama.cpp by its C interface: a model, a context of slots, a sampler.

Rules
1. Nothing here outlives its close(); callbacks are kept referenced as long as the library may call them.
2. Slots are partitioned (`kv_unified=False`); sequence copies are never used: partial ones abort.
3. A NULL from the library becomes a LlamaError.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from agentkernel.engine.worker.batcher import Row
from agentkernel.process import Sampling

_PART, _SEAM = 8192, 16  # characters of a long text tokenised at once; tokens that a seam may add
PENALTY_WINDOW = 64  # tokens; llama.cpp's own default
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class LlamaError(Exception):
    """The library refused; the text is its own last words where it had some."""


_SPOKEN = (3, 4)  # GGML_LOG_LEVEL_WARN, GGML_LOG_LEVEL_ERROR of ggml.h
_last_words: deque[str] = deque(maxlen=8)


def _log(level: int, text: bytes, _user_data: Any) -> None:
    if level in _SPOKEN:
        _last_words.append(text.decode("utf-8", "replace").strip())


_log_callback = lib.llama_log_callback(_log)  # kept: a collected callback is a crash


def last_words() -> str:
    """The library's last warnings and errors, as one line."""
    return "; ".join(word for word in _last_words if word)


def set_up() -> None:
    """Start the library; raises LlamaError when its structs are not the ones this was written for."""
    lib.llama_log_set(_log_callback, ctypes.c_void_p(0))
    lib.llama_backend_init()
    params = lib.llama_context_default_params()
    if (params.n_ctx, params.n_ubatch, params.kv_unified) != (512, 512, False):
        raise LlamaError("this is not the llama-cpp-python release that the engine was built for")


def gpu_offload() -> bool:
    """Whether this build of the library can use a GPU."""
    return bool(lib.llama_supports_gpu_offload())


class Model:
    """Weights and vocabulary."""

    def __init__(self, path: str, gpu_layers: int, on_progress: Callable[[float], None]) -> None:
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers

        def progress(fraction: float, _user_data: Any) -> bool:
            on_progress(fraction)
            return True

        self._progress = lib.llama_progress_callback(progress)
        params.progress_callback = self._progress
        _last_words.clear()
        self.pointer = lib.llama_model_load_from_file(path.encode(), params)
        if not self.pointer:
            raise LlamaError(last_words() or "not a model llama.cpp can load")
        if lib.llama_model_has_encoder(self.pointer) or not lib.llama_model_has_decoder(self.pointer):
            raise LlamaError("not a text generation model")
        self.vocab = lib.llama_model_get_vocab(self.pointer)
        self.n_vocab = lib.llama_vocab_n_tokens(self.vocab)
        self.n_ctx_train = lib.llama_model_n_ctx_train(self.pointer)
        self._pieces: dict[int, bytes] = {}
        self.bos_text = self._special(lib.llama_vocab_bos(self.vocab))
        self._formatter = self._make_formatter()
        self._specials = self._special_texts()

    def tokenize_within(self, text: str, limit: int, *, bos: bool) -> list[int]:
        """Token ids as `tokenize` gives them. Raises MemoryError when they are sure to be over the limit.

        The library's time grows faster than the text: a long one is counted in parts first, whose seams
        cost a few tokens each at most.
        """
        count = 0
        for start in range(0, len(text) if len(text) > _PART else 0, _PART):
            count += max(0, len(self.tokenize(text[start : start + _PART], bos=False)) - _SEAM)
            if count >= limit:
                raise MemoryError(f"prompt of over {count} tokens, context of {limit}")
        tokens = self.tokenize(text, bos=bos)
        if len(tokens) >= limit:
            raise MemoryError(f"prompt of {len(tokens)} tokens, context of {limit}")
        return tokens

    def tokenize(self, text: str, *, bos: bool) -> list[int]:
        """Token ids; special tokens in the text are recognised, BOS added where the model wants it."""
        data = text.encode()
        size = len(data) + 8
        for _ in range(2):
            out = (lib.llama_token * size)()
            n = lib.llama_tokenize(self.vocab, data, len(data), out, size, bos, 1)
            if n >= 0:
                return list(out[:n])
            size = -n
        raise LlamaError("the text can't be tokenised")

    def piece(self, token: int) -> bytes:
        """The token's bytes; nothing for control tokens."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._text(token, special=False)
        return piece

    def ends(self, token: int) -> bool:
        """Whether the token ends a generation."""
        return bool(lib.llama_vocab_is_eog(self.vocab, token))

    def carries_specials(self, text: str) -> bool:
        """Whether the text already holds control tokens of this model."""
        return any(special in text for special in self._specials)

    def render(self, messages: Sequence[dict[str, str]]) -> str | None:
        """The conversation in the model's template, ready to be answered; None without a template.

        Raises LlamaError when the template refuses the conversation.
        """
        if self._formatter is None:
            return None
        try:
            return str(self._formatter(messages=list(messages)).prompt)
        except Exception as error:  # a template is a program that came with the file
            raise LlamaError(f"the chat template refused: {error}") from error

    def close(self) -> None:
        """Free the weights."""
        lib.llama_model_free(self.pointer)

    def _text(self, token: int, *, special: bool) -> bytes:
        size = 64
        for _ in range(2):
            out = ctypes.create_string_buffer(size)
            n = lib.llama_token_to_piece(self.vocab, token, out, size, 0, special)
            if n >= 0:
                return out.raw[:n]
            size = -n
        return b""

    def _special(self, token: int) -> str:
        return "" if token < 0 else self._text(token, special=True).decode("utf-8", "replace")

    def _special_texts(self) -> tuple[str, ...]:
        ids = range(self.n_vocab)
        control = (i for i in ids if lib.llama_vocab_is_control(self.vocab, i))
        texts = (self._special(i) for i in control)
        return tuple(text for text in texts if len(text) > 2)

    def _make_formatter(self) -> Jinja2ChatFormatter | None:
        raw = lib.llama_model_chat_template(self.pointer, None)
        if not raw:
            return None
        eos = self._special(lib.llama_vocab_eos(self.vocab))
        try:
            return Jinja2ChatFormatter(raw.decode(), eos_token=eos, bos_token=self.bos_text)
        except Exception as error:  # a template is a program that came with the file
            raise LlamaError(f"the chat template does not parse: {error}") from error


class Context:
    """KV slots of equal size, and the batch that fills them."""

    def __init__(self, model: Model, slots: int, context: int, batch: int, threads: int) -> None:
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_seq_max = slots * context, slots
        params.n_batch = params.n_ubatch = batch
        params.n_threads = params.n_threads_batch = threads
        params.n_outputs_max = max(slots, 1)
        params.kv_unified = False
        _last_words.clear()
        self.pointer = lib.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            raise LlamaError(last_words() or "no context of that size")
        self.model, self.slots, self.context = model, slots, lib.llama_n_ctx_seq(self.pointer)
        self._memory = lib.llama_get_memory(self.pointer)
        self._threads = threads
        self._batch = lib.llama_batch_init(batch, 0, 1)
        self._seq_ids = [self._batch.seq_id[i] for i in range(batch)]
        for i in range(batch):
            self._batch.n_seq_id[i] = 1

    def decode(self, rows: Sequence[Row]) -> int:
        """Run the rows; sets their index. Returns llama_decode's code: 0 ok, 1 no room, < 0 failed."""
        batch, seq_ids = self._batch, self._seq_ids
        tokens, positions, logits = batch.token, batch.pos, batch.logits
        n = 0
        for row in rows:
            position = row.start
            for token in row.tokens:
                tokens[n], positions[n], logits[n] = token, position, 0
                seq_ids[n][0] = row.slot
                position += 1
                n += 1
            if row.sample:
                logits[n - 1] = 1
            row.index = n - 1
        batch.n_tokens = n
        return int(lib.llama_decode(self.pointer, batch))

    def drop(self, slot: int, start: int = 0) -> bool:
        """Forget the slot's context from a position on; False where the model can't drop a part."""
        return bool(lib.llama_memory_seq_rm(self._memory, slot, start, -1))

    def state(self, slot: int) -> Any:
        """The slot's context as bytes; empty when it can't be had."""
        size = lib.llama_state_seq_get_size(self.pointer, slot)
        data = np.empty(size, np.uint8)
        buffer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        written = lib.llama_state_seq_get_data(self.pointer, buffer, size, slot)
        return data if written == size else data[:0]

    def restore(self, slot: int, state: Any) -> bool:
        """Put a context into an empty slot; on failure the slot is empty."""
        data = np.frombuffer(state, np.uint8)
        buffer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        if lib.llama_state_seq_set_data(self.pointer, buffer, len(data), slot) == len(data):
            return True
        self.drop(slot)  # a failed load may leave cells behind
        return False

    def set_threads(self, threads: int) -> None:
        """Threads for the next decode."""
        if threads != self._threads:
            lib.llama_set_n_threads(self.pointer, threads, threads)
            self._threads = threads

    def logits(self, index: int) -> Any:
        """The logits of a row's last token: float32, one a token of the vocabulary."""
        pointer = lib.llama_get_logits_ith(self.pointer, index)
        return np.ctypeslib.as_array(pointer, (self.model.n_vocab,))

    def close(self) -> None:
        """Free the slots."""
        lib.llama_batch_free(self._batch)
        lib.llama_free(self.pointer)


def _seed32(seed: int) -> int:
    """A 64-bit seed as one of the library's, whose all-ones (LLAMA_DEFAULT_SEED) would mean a random one."""
    folded = (seed ^ seed >> 32) & 0xFFFFFFFF
    return folded if folded != 0xFFFFFFFF else 0x7FFFFFFF


class Sampler:
    """Draws one process's tokens; `draws` random numbers were used so far."""

    def __init__(self, model: Model, sampling: Sampling, grammar: str) -> None:
        self._model, self._grammar_text = model, grammar
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
        self._grammar = lib.llama_sampler_init_grammar(self._model.vocab, text, b"root")
        if not self._grammar:
            raise LlamaError(last_words() or "the grammar does not parse")

    def see(self, tokens: Sequence[int]) -> None:
        """Count tokens that were not drawn here (a prompt) towards the repetition penalty."""
        for token in tokens[-PENALTY_WINDOW:]:
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

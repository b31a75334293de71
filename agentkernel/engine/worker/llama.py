"""llama.cpp by its C interface: a model, and a context of slots.

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

from agentkernel.calls import syntaxes
from agentkernel.engine.worker.batcher import Row
from agentkernel.engine.worker.cores import Cores
from agentkernel.engine.worker.drafting import MOST

_PART, _SEAM = 8192, 16  # characters of a long text tokenised at once; tokens that a seam may add


class LlamaError(Exception):
    """The library refused; the text is its own last words where it had some."""


class NoRoom(Exception):  # noqa: N818 - what it says, no error of the program
    """Tokens that do not fit into a context."""

    def __init__(self, text: str, tokens: int, context: int) -> None:
        super().__init__(text)
        self.details = {"tokens": tokens, "context": context}


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
        self.width = lib.llama_model_n_embd(self.pointer)
        self.n_ctx_train = lib.llama_model_n_ctx_train(self.pointer)
        self._pieces: dict[int, bytes] = {}
        self._marked: dict[int, bytes] = {}
        self.bos_text = self._special(lib.llama_vocab_bos(self.vocab))
        template = lib.llama_model_chat_template(self.pointer, None)
        self._template = template.decode() if template else ""
        self._formatter = self._make_formatter()
        self.forms: tuple[str, ...] = syntaxes(self._template)
        self.told_tools = "tools" in self._template  # the template itself tells the model of its tools
        self._specials = self._special_texts()

    def tokenize_within(self, text: str, limit: int, *, bos: bool, special: bool = True) -> list[int]:
        """Token ids as `tokenize` gives them. Raises NoRoom when they are sure to be over the limit.

        The library's time grows faster than the text: a long one is counted in parts first, whose seams
        cost a few tokens each at most.
        """
        count = 0
        for start in range(0, len(text) if len(text) > _PART else 0, _PART):
            count += max(0, len(self.tokenize(text[start : start + _PART], bos=False)) - _SEAM)
            if count >= limit:
                raise NoRoom(f"prompt of over {count} tokens, context of {limit}", count, limit)
        tokens = self.tokenize(text, bos=bos, special=special)
        if len(tokens) >= limit:
            raise NoRoom(f"prompt of {len(tokens)} tokens, context of {limit}", len(tokens), limit)
        return tokens

    def tokenize(self, text: str, *, bos: bool, special: bool = True) -> list[int]:
        """Token ids; BOS is added where the model wants it, `special` tokens in the text are recognised."""
        data = text.encode()
        size = len(data) + 8
        for _ in range(2):
            out = (lib.llama_token * size)()
            n = lib.llama_tokenize(self.vocab, data, len(data), out, size, bos, special)
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

    def marked(self, token: int) -> bytes:
        """The token's bytes, those of control tokens too."""
        text = self._marked.get(token)
        if text is None:
            text = self._marked[token] = self._text(token, special=True)
        return text

    def ends(self, token: int) -> bool:
        """Whether the token ends a generation."""
        return bool(lib.llama_vocab_is_eog(self.vocab, token))

    def carries_specials(self, text: str) -> bool:
        """Whether the text already holds control tokens of this model."""
        return any(special in text for special in self._specials)

    def render(self, messages: Sequence[dict[str, str]], tools: list[Any] | None = None) -> str | None:
        """The conversation in the model's template, ready to be answered; None without a template.

        `tools` are what the template may tell the model of. Raises LlamaError when the template refuses the
        conversation.
        """
        if self._formatter is None:
            return None
        try:
            return str(self._formatter(messages=list(messages), tools=tools).prompt)
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
        if not self._template:
            return None
        eos = self._special(lib.llama_vocab_eos(self.vocab))
        try:
            return Jinja2ChatFormatter(self._template, eos_token=eos, bos_token=self.bos_text)
        except Exception as error:  # a template is a program that came with the file
            raise LlamaError(f"the chat template does not parse: {error}") from error


class Context:
    """KV slots of equal size, and the batch that fills them."""

    def __init__(self, model: Model, slots: int, context: int, batch: int, threads: int) -> None:
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_seq_max = slots * context, slots
        params.n_batch = params.n_ubatch = batch
        params.n_threads = params.n_threads_batch = threads
        params.n_outputs_max = slots + MOST
        params.kv_unified = False
        _last_words.clear()
        self.pointer = lib.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            raise LlamaError(last_words() or "no context of that size")
        self.model, self.slots, self.context = model, slots, lib.llama_n_ctx_seq(self.pointer)
        self._memory = lib.llama_get_memory(self.pointer)
        recurs = lib.llama_model_is_recurrent(model.pointer) or lib.llama_model_is_hybrid(model.pointer)
        self.forgets = not recurs
        self._threads, self._cores = threads, Cores()
        self._batch = lib.llama_batch_init(batch, 0, 1)
        self._seq_ids = [self._batch.seq_id[i] for i in range(batch)]
        for i in range(batch):
            self._batch.n_seq_id[i] = 1

    def adapt(self, path: str) -> None:
        """Change the weights by a LoRA adapter, which goes with the model. Raises LlamaError."""
        _last_words.clear()
        adapter = lib.llama_adapter_lora_init(self.model.pointer, path.encode())
        if not adapter:
            raise LlamaError(last_words() or "not an adapter for this model")
        adapters, scales = (lib.llama_adapter_lora_p_ctypes * 1)(adapter), (ctypes.c_float * 1)(1.0)
        if lib.llama_set_adapters_lora(self.pointer, adapters, 1, scales):
            raise LlamaError(last_words() or "the adapter can't be used")

    def decode(self, rows: Sequence[Row]) -> int:
        """Run the rows; sets their index. Returns llama_decode's code: 0 ok, 1 no room, < 0 failed."""
        soft = [row for row in rows if row.soft is not None]
        for done, row in enumerate(soft):
            if code := self._decode_soft(row):
                return self._undo(soft[:done], code)
        hard = [row for row in rows if row.soft is None] if soft else rows
        if not hard:
            return 0
        batch, seq_ids = self._batch, self._seq_ids
        tokens, positions, logits = batch.token, batch.pos, batch.logits
        n = 0
        for row in hard:
            position = row.start
            for token in row.tokens:
                tokens[n], positions[n], logits[n] = token, position, 0
                seq_ids[n][0] = row.slot
                position += 1
                n += 1
            for place in range(n - 1 - row.draft, n) if row.sample else ():
                logits[place] = 1
            row.index = n - 1
        batch.n_tokens = n
        with self._cores.placed(self._threads):
            code = int(lib.llama_decode(self.pointer, batch))
        return self._undo(soft, code) if code else 0

    def _decode_soft(self, row: Row) -> int:
        """Embeddings are a batch of their own; none of its logits are wanted."""
        count = len(row.soft)
        batch = lib.llama_batch_init(count, self.model.width, 1)
        try:
            ctypes.memmove(batch.embd, row.soft.ctypes.data, row.soft.nbytes)
            for i in range(count):
                batch.pos[i], batch.logits[i] = row.start + i, 0
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, row.slot
            batch.n_tokens = count
            return int(lib.llama_decode(self.pointer, batch))
        finally:
            lib.llama_batch_free(batch)

    def _undo(self, rows: Sequence[Row], code: int) -> int:
        """Forget what was decoded of a step that failed as a whole."""
        for row in rows:
            self.drop(row.slot, row.start)
        return code

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


def rows(data: bytes, width: int) -> Any:
    """Embeddings of so many float32 each. Raises LlamaError when the data are none."""
    if not data or len(data) % (4 * width):
        raise LlamaError(f"{len(data)} bytes are no rows of {width} float32")
    out = np.frombuffer(data, "<f4").reshape(-1, width)
    if not np.isfinite(out).all():
        raise LlamaError("a row holds what is no finite number")
    return out

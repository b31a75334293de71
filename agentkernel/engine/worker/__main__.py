"""The engine's two threads: one reads commands and tokenises, one decodes.

Rules
1. Whatever touches the context happens on the decoding thread, between steps.
2. The end of the socket is the end of the process: an engine never outlives its kernel.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import TypeVar

import msgspec

from agentkernel.cpu import LONG_SLICE, SHORT_SLICE, set_slice
from agentkernel.engine import port
from agentkernel.engine.wire import encode, frames
from agentkernel.engine.worker import batcher, grammars, images, jail, llama, prompt, sampler, sequence
from agentkernel.errors import KernelError

_decoder = msgspec.msgpack.Decoder(port.Command)
_Item = port.Command | sequence.Sequence | int  # an int is the PID of an image that was fetched
_QUIET, _TOGETHER = 0.002, 0.02  # seconds without a command, and at most, that the first step waits
_Asked = TypeVar("_Asked", port.Open, port.Append, port.Prefix)
_Answer = TypeVar("_Answer")


class Worker:
    """One model and the socket to its kernel."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()
        self._wake = threading.Condition()
        self._queue: deque[_Item] = deque()

    def run(self) -> None:
        """Serve until the kernel is gone."""
        commands = frames(self._socket)
        load = _decoder.decode(next(commands))
        if not isinstance(load, port.Load) or not self._load(load):
            return
        threading.Thread(target=self._decode_forever, name="decode", daemon=True).start()
        for frame in commands:
            command = _decoder.decode(frame)
            try:
                self._take(command)
            except Exception as error:
                if not isinstance(command, port.Open):
                    raise
                self._send(port.Refused(command.pid, "INTERNAL", repr(error)))

    def _send(self, event: port.Event) -> None:
        data = encode(event)
        with self._sending:
            self._socket.sendall(data)

    def _load(self, load: port.Load) -> bool:
        try:
            layers = jail.enter(gpu=llama.gpu_offload(), folder=load.images)
            llama.set_up()
            self._model = llama.Model(load.path, load.gpu_layers, self._progress)
            self._context = llama.Context(self._model, load.slots, load.context, load.batch, load.threads)
            if load.adapter:
                self._context.adapt(load.adapter)
        except llama.LlamaError as error:
            self._send(port.Refused(0, "LOAD_FAILED", str(error)))
            return False
        folder = Path(load.images) if load.images else None
        kept = images.Images(self._context, folder, self._send, compress=load.compress)
        self._batcher = batcher.Batcher(self._model, self._context, kept, load, self._put)
        self._send(port.Ready(self._context.context, layers))
        return True

    def _progress(self, fraction: float) -> None:
        percent = int(fraction * 100)
        if percent != self._percent:
            self._percent = percent
            self._send(port.Progress(fraction))

    _percent = -1

    def _take(self, command: port.Command) -> None:
        """On the reading thread: make text into tokens here, leave the rest to the next edge."""
        item: _Item = command
        if isinstance(command, port.Open):
            opened = self._answer(command, self._open)
            if opened is None:
                return
            item = opened
        self._put(item)

    def _put(self, item: _Item) -> None:
        with self._wake:
            self._queue.append(item)
            self._wake.notify()

    def _answer(self, request: _Asked, take: Callable[[_Asked], _Answer]) -> _Answer | None:
        """What became of a request, or None when its kernel was told why it can't be."""
        try:
            return take(request)
        except llama.LlamaError as error:
            code = "MEMW_INVALID" if isinstance(request, port.Prefix) else "EXEC_INVALID"
            self._send(port.Refused(request.pid, code, str(error)))
        except llama.NoRoom as error:
            self._send(port.Refused(request.pid, "MEMORY_ADMISSION", str(error), error.details))
        except KernelError as error:
            self._send(port.Refused(request.pid, error.code, error.message, error.details))
        return None

    def _open(self, request: port.Open) -> sequence.Sequence:
        limit = self._context.context
        if request.tokens:
            made = prompt.Prompt(request.tokens, [], prompt.closing(self._model, request))
        else:
            made = prompt.first_turn(self._model, request, limit)
        if not made.tokens:
            raise llama.LlamaError("the prompt has no tokens")
        if not request.tokens:
            port.check_room(request, len(made.tokens))
        held = grammars.grammar(request, self._model.forms)
        chain = sampler.Sampler(self._model, request.sampling, held)
        opened = sequence.reopen(self._model, request, made.tokens, chain, made.closing)
        opened.soft = llama.rows(request.soft, self._model.width) if request.soft else None
        tokens = [] if request.tokens else made.tokens
        self._send(port.Opened(request.pid, tokens, made.turns, made.closing))
        return opened

    def _decode_forever(self) -> None:
        set_slice(LONG_SLICE)
        try:
            while True:
                self._apply()
                self._send(self._batcher.step())
        except OSError:
            os._exit(0)  # the kernel is gone
        except BaseException as error:  # noqa: BLE001 - half an engine is worse than none
            print(f"engine: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
            os._exit(70)

    def _apply(self) -> None:
        """Commands up to now; sleeps while there is nothing to decode.

        After such a rest it waits until no more come: who comes together comes one after the other.
        """
        rested, until = not self._batcher.busy, 0.0
        while True:
            wait: float | None = 0.0
            if not self._batcher.busy:
                wait = None
            elif rested:
                until = until or time.monotonic() + _TOGETHER
                wait = min(_QUIET, until - time.monotonic())
            with self._wake:
                self._wake.wait_for(lambda: self._queue, wait)
                items = list(self._queue)
                self._queue.clear()
            for item in items:
                self._apply_one(item)
            if self._batcher.busy and not (rested and items and time.monotonic() < (until or inf)):
                return

    def _apply_one(self, item: _Item) -> None:
        match item:
            case sequence.Sequence():
                self._batcher.add(item)
            case int():
                self._batcher.arrived(item)
            case port.Append():
                self._answer(item, self._append)
            case port.Prefix():
                self._answer(item, self._prefix)
            case port.Load() | port.Open():
                raise TypeError(f"not for this thread: {item!r}")
            case _:
                self._batcher.apply(item)

    def _append(self, request: port.Append) -> None:
        process, limit = self._batcher.sequence(request.pid), self._context.context
        tokens = prompt.next_turn(self._model, request.message, limit, raw=process.raw)
        port.check_room(request, len(tokens))
        if not self._batcher.append(request.pid, tokens, request.budget):
            text = f"{len(tokens)} more tokens do not fit into a context of {limit}"
            raise llama.NoRoom(text, len(tokens), limit)
        turns = [] if request.message.role == "tool" else [process.closing]  # a result belongs to its call
        self._send(port.Opened(request.pid, tokens, turns))

    def _prefix(self, request: port.Prefix) -> None:
        rows = llama.rows(request.rows, self._model.width)
        port.check_room(request, len(rows))
        if not self._batcher.prefix(request.pid, rows):
            text = f"{len(rows)} rows do not fit into a context of {self._context.context}"
            raise llama.NoRoom(text, len(rows), self._context.context)
        self._send(port.Opened(request.pid, [port.SOFT] * len(rows)))


if __name__ == "__main__":
    sys.setswitchinterval(0.0005)  # a tokenising thread must not hold up a step
    gc.freeze()
    set_slice(SHORT_SLICE)  # this thread answers; the decoding one gives way to whoever wakes up
    kernel = int(sys.argv[1])
    os.closerange(3, kernel)  # whatever else was inherited
    os.closerange(kernel + 1, os.sysconf("SC_OPEN_MAX"))
    Worker(socket.socket(fileno=kernel)).run()

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
from collections import deque
from pathlib import Path

import msgspec

from agentkernel.cpu import LONG_SLICE, SHORT_SLICE, set_slice
from agentkernel.engine import port
from agentkernel.engine.wire import encode, frames
from agentkernel.engine.worker import batcher, images, jail, llama, prompt

_decoder = msgspec.msgpack.Decoder(port.Command)


class Worker:
    """One model and the socket to its kernel."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()
        self._wake = threading.Condition()
        self._queue: deque[port.Command | batcher.Sequence] = deque()

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
        except llama.LlamaError as error:
            self._send(port.Refused(0, "LOAD_FAILED", str(error)))
            return False
        folder = Path(load.images) if load.images else None
        kept = images.Images(self._context, folder, self._send)
        self._batcher = batcher.Batcher(self._model, self._context, kept, load)
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
        item: port.Command | batcher.Sequence = command
        if isinstance(command, port.Open):
            try:
                item = self._open(command)
            except llama.LlamaError as error:
                self._send(port.Refused(command.pid, "EXEC_INVALID", str(error)))
                return
            except MemoryError as error:
                self._send(port.Refused(command.pid, "MEMORY_ADMISSION", str(error)))
                return
            self._send(port.Opened(command.pid, [] if command.tokens else item.tokens))
        with self._wake:
            self._queue.append(item)
            self._wake.notify()

    def _open(self, request: port.Open) -> batcher.Sequence:
        tokens = request.tokens or prompt.first_turn(self._model, request, self._context.context)
        if not tokens:
            raise llama.LlamaError("the prompt has no tokens")
        sampler = llama.Sampler(self._model, request.sampling, prompt.grammar_text(request))
        return batcher.reopen(self._model, request, tokens, sampler)

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
        """Commands up to now; sleeps while there is nothing to decode."""
        while True:
            with self._wake:
                while not self._queue and not self._batcher.busy:
                    self._wake.wait()
                items = list(self._queue)
                self._queue.clear()
            for item in items:
                if isinstance(item, batcher.Sequence):
                    self._batcher.add(item)
                elif isinstance(item, port.Append):
                    self._append(item)
                else:
                    self._batcher.apply(item)
            if self._batcher.busy:
                return

    def _append(self, request: port.Append) -> None:
        raw, limit = self._batcher.raw(request.pid), self._context.context
        try:
            tokens = prompt.next_turn(self._model, request.message, limit, raw=raw)
        except llama.LlamaError as error:
            self._send(port.Refused(request.pid, "EXEC_INVALID", str(error)))
            return
        except MemoryError as error:
            self._send(port.Refused(request.pid, "MEMORY_ADMISSION", str(error)))
            return
        if self._batcher.append(request.pid, tokens, request.budget):
            self._send(port.Opened(request.pid, tokens))
        else:
            message = f"{len(tokens)} more tokens do not fit into a context of {self._context.context}"
            self._send(port.Refused(request.pid, "MEMORY_ADMISSION", message))


if __name__ == "__main__":
    sys.setswitchinterval(0.0005)  # a tokenising thread must not hold up a step
    gc.freeze()
    set_slice(SHORT_SLICE)  # this thread answers; the decoding one gives way to whoever wakes up
    kernel = int(sys.argv[1])
    os.closerange(3, kernel)  # whatever else was inherited
    os.closerange(kernel + 1, os.sysconf("SC_OPEN_MAX"))
    Worker(socket.socket(fileno=kernel)).run()

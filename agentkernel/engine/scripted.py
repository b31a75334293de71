"""An engine without a model: the real batching loop over made-up tokens, in this process.

Kernel, scheduler and protocol are tested against it, and programs that embed the kernel may be. A
prompt's tokens are its bytes; the answer is what the script says to it, a word a token.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar

import msgspec

from agentkernel.engine import port
from agentkernel.engine.worker.batcher import Batcher, Row
from agentkernel.engine.worker.images import Images
from agentkernel.engine.worker.sequence import reopen
from agentkernel.errors import KernelError

Script = Callable[[str], str]
_ROW = 4  # bytes of a soft-prompt row: an embedding of one number
_END = 256  # the token that ends an answer; bytes come before it, words after


def echo(text: str) -> str:
    """The script that programs get by default."""
    return f"You said: {text}"


class _Words:
    """A vocabulary without end: a byte is its own token, a word the number it got when it was first said.

    Words keep their numbers for all engines of a program: one may go on with what another began.
    """

    forms: tuple[str, ...] = ("tool", "bracket")
    _numbers: ClassVar[dict[bytes, int]] = {}
    _words: ClassVar[list[bytes]] = []

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < _END else self._words[token - _END - 1]

    def marked(self, token: int) -> bytes:
        return self.piece(token)

    def ends(self, token: int) -> bool:
        return token == _END

    def tokens(self, text: str) -> list[int]:
        """Tokens of the text's words, each with the blank before it."""
        words = (f" {word}" if i else word for i, word in enumerate(text.split(" ")))
        return [self._number(word.encode()) for word in words]

    def _number(self, word: bytes) -> int:
        if word not in self._numbers:
            self._words.append(word)
            self._numbers[word] = _END + len(self._words)
        return self._numbers[word]


class _Slots:
    """A context that remembers how many tokens each slot holds; a token is a KiB of state."""

    forgets = True

    def __init__(self, context: int) -> None:
        self.context = context
        self._held: Counter[int] = Counter()

    def decode(self, rows: Sequence[Row]) -> int:
        for row in rows:
            self._held[row.slot] += len(row.tokens)
        return 0

    def drop(self, slot: int, start: int = 0) -> bool:
        self._held[slot] = min(self._held[slot], start)
        return True

    def state(self, slot: int) -> bytes:
        return bytes(self._held[slot] << 10)

    def restore(self, slot: int, state: bytes) -> bool:
        self._held[slot] = len(state) >> 10
        return True

    def set_threads(self, threads: int) -> None:
        pass


class _Reply:
    """A sampler that says its lines."""

    def __init__(self, lines: list[int]) -> None:
        self.lines, self.draws, self._next = lines, 0, 0

    def begin_turn(self) -> None:
        self._next = 0

    def see(self, tokens: Sequence[int]) -> None:
        pass

    def restore(self, turn: Sequence[int], draws: int) -> None:
        self._next, self.draws = len(turn), draws

    def draw(self, context: object, index: int) -> int:  # noqa: ARG002
        self.draws += 1
        self._next += 1
        return self.lines[self._next - 1] if self._next <= len(self.lines) else _END

    def close(self) -> None:
        pass


class ScriptedEngine:
    """`port.Engine` in this process; by itself (`auto`), or a `step()` at a time."""

    def __init__(self, script: Script = echo, *, auto: bool = True) -> None:
        self.on_step: Callable[[port.Step], None] = lambda _step: None
        self.on_paged: Callable[[port.Paged], None] = lambda _paged: None
        self.on_death: Callable[[str], None] = lambda _reason: None
        self.sent: list[port.Command] = []
        self._script, self._auto = script, auto
        self._words = _Words()
        self._replies: dict[int, _Reply] = {}
        self._batcher: Batcher | None = None
        self._scheduled = False

    def __repr__(self) -> str:
        state = "dead" if self._batcher is None else "busy" if self._batcher.busy else "idle"
        return f"<ScriptedEngine {state}>"

    async def start(self, load: port.Load, on_progress: Callable[[float], None]) -> port.Ready:
        """Ready at once; see `port.Engine`."""
        on_progress(1.0)
        self._slots = _Slots(load.context)
        images = Images(self._slots, None, self._report)
        self._batcher = Batcher(self._words, self._slots, images, load)
        return port.Ready(load.context, [])

    async def open(self, request: port.Request) -> port.Opened:
        """The bytes of the prompt; see `port.Engine`."""
        if self._batcher is None:
            raise KernelError("ENGINE_FAILED", "the engine is down")
        if isinstance(request, port.Append):
            return self._append(self._batcher, request)
        if isinstance(request, port.Prefix):
            rows = len(request.rows) // _ROW
            port.check_room(request, rows)
            if not self._batcher.prefix(request.pid, [b""] * rows):
                raise _no_room(f"{rows} rows do not fit", rows, self._slots.context)
            return port.Opened(request.pid, [port.SOFT] * rows)
        text = request.messages[-1].content if request.messages else request.prompt or ""
        tokens = request.tokens or [*request.base, *([_END] if request.base else []), *text.encode()]
        if len(tokens) >= self._slots.context and not request.tokens:
            message = f"prompt of {len(tokens)} tokens, context of {self._slots.context}"
            raise _no_room(message, len(tokens), self._slots.context)
        if not request.tokens:
            port.check_room(request, len(tokens))
        if not tokens:
            raise KernelError("EXEC_INVALID", "the prompt has no tokens")
        said = self._script(_last_input(tokens, request.turn.tokens))
        reply = self._replies[request.pid] = _Reply(self._words.tokens(said))
        self._batcher.add(reopen(self._words, request, list(tokens), reply))
        return port.Opened(request.pid, [] if request.tokens else tokens, [len(request.base)])

    def send(self, command: port.Signal) -> None:
        """Takes effect at once; see `port.Engine`."""
        self.sent.append(command)
        if self._batcher is not None:
            self._batcher.apply(command)
            self._go_on()

    async def stop(self) -> None:
        """Nothing is left to end; see `port.Engine`."""
        self._batcher = None

    def step(self) -> bool:
        """Advance every granted process; False when there was none."""
        if self._batcher is None or not self._batcher.busy:
            return False
        self.on_step(self._batcher.step())
        return True

    def die(self, reason: str = "signal 9") -> None:
        """End as a crash would."""
        self._batcher = None
        self.on_death(reason)

    def _report(self, event: port.Paged) -> None:
        self.on_paged(msgspec.structs.replace(event, ms=0.0))  # what is made up takes no time

    def _append(self, batcher: Batcher, request: port.Append) -> port.Opened:
        tokens = [_END, *request.message.content.encode()]
        port.check_room(request, len(tokens))
        self._replies[request.pid].lines = self._words.tokens(self._script(request.message.content))
        if not batcher.append(request.pid, tokens, request.budget):
            message = f"{len(tokens)} more tokens do not fit into a context of {self._slots.context}"
            raise _no_room(message, len(tokens), self._slots.context)
        return port.Opened(request.pid, tokens, [] if request.message.role == "tool" else [0])

    def _go_on(self) -> None:
        if self._auto and not self._scheduled and self._batcher is not None and self._batcher.busy:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        self.step()
        self._go_on()


def _no_room(message: str, tokens: int, context: int) -> KernelError:
    return KernelError("MEMORY_ADMISSION", message, {"tokens": tokens, "context": context})


def _last_input(tokens: Sequence[int], answered: int) -> str:
    """What the turn answers, of which so many tokens are there: the bytes behind the last answer."""
    end = start = len(tokens) - answered
    while start and 0 <= tokens[start - 1] < _END:
        start -= 1
    return bytes(tokens[start:end]).decode()

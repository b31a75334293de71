"""Text and calls told apart: where in a turn a call may begin, and where one has ended."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from agentkernel.calls.bracket import bracket
from agentkernel.calls.families import answer, hermes, mistral, python_tag
from agentkernel.calls.reading import (
    BLANKS,
    BRACE,
    END,
    NAME,
    NAME_BYTES,
    NEWLINE,
    Call,
    Calls,
    Reader,
    literal,
    read_arguments,
    skip,
)

# Each syntax, and what shows in a chat template that the model speaks it; the empty text is in every one.
SYNTAXES = {
    "tool": ("",),
    "bracket": ("",),
    "hermes": ("<tool_call>",),
    "llama": ("<|python_tag|>", "ipython"),
    "mistral": ("[TOOL_CALLS]",),
}

_BACKTICK, _TILDE, _T = b"`~T"
_NOTABLE = re.compile(rb"[\n\[\]>]")  # a line's end, and what the openings below end with
_TAIL = len("`<|python_tag|")  # the longest opening but for its last byte, and what stands before it


class Found(msgspec.Struct, frozen=True):
    """The calls, and how many bytes of the turn there are up to their end."""

    end: int
    calls: tuple[Call, ...]


def syntaxes(template: str) -> tuple[str, ...]:
    """The syntaxes that a model with this chat template speaks."""
    return tuple(form for form, marks in SYNTAXES.items() if any(mark in template for mark in marks))


class Detector:
    """Looks for the first call of one turn.

    Control tokens count with their text: an opening such as `<|python_tag|>` is fed like any other bytes.
    """

    def __init__(self, forms: tuple[str, ...]) -> None:
        self._forms = forms
        readers: dict[str, tuple[bytes, Callable[[], Reader]]] = {
            "bracket": (b"[[", bracket),
            "hermes": (b"<tool_call>", hermes),
            "llama": (b"<|python_tag|>", python_tag),
            "mistral": (b"[TOOL_CALLS]", mistral),
        }
        self._openings = [readers[form] for form in forms if form in readers]
        self._fed = 0
        self._tail = b""
        self._done = False
        self._reader: Reader | None = None  # none in the middle of a line of text
        self._read_with(answer() if "llama" in forms else self._line())
        self._fresh = "llama" in forms  # only blanks since a line began inside what the reader reads

    def feed(self, data: bytes) -> Found | None:
        """The turn's next bytes; what is found ends in them. Nothing more once something was found."""
        view = self._tail + data
        at = before = len(self._tail)
        while at < len(view) and not self._done:
            if self._reader is None:
                notable = _NOTABLE.search(view, at)
                if notable is None:
                    break
                at = notable.start()
                self._pass(view, at)
            elif calls := self._read(view, at):
                self._done = True
                return Found(self._fed + at + 1 - before, calls)
            at += 1
        self._fed += len(data)
        self._tail = view[-_TAIL:]
        return None

    def finish(self) -> Found | None:
        """The model has ended its turn: what only this completes."""
        reader, self._reader = self._reader, None
        if self._done or reader is None:
            return None
        self._done = True
        try:
            reader.send(END)
        except StopIteration as stop:
            calls: Calls = stop.value
            return Found(self._fed, calls) if calls else None
        return None

    def _read(self, view: bytes, at: int) -> Calls:
        """Send the reader a byte; the calls that it completes."""
        byte, was_fresh = view[at], self._fresh
        self._fresh = byte == NEWLINE or (was_fresh and byte in BLANKS)
        reader = self._reader
        try:
            if reader is not None:
                reader.send(byte)
        except StopIteration as stop:
            self._reader = None
            if stop.value:
                calls: Calls = stop.value
                return calls
            if was_fresh and byte != NEWLINE:
                self._read_with(self._line())
                return self._read(view, at)
            self._pass(view, at)
        return ()

    def _pass(self, view: bytes, at: int) -> None:
        """A byte of text, which may begin a line or complete an opening."""
        if view[at] == NEWLINE:
            self._read_with(self._line())
            return
        for opening, reader in self._openings:
            start = at + 1 - len(opening)
            if view.endswith(opening, 0, at + 1) and not (start and view[start - 1] == _BACKTICK):
                self._read_with(reader())
                return

    def _read_with(self, reader: Reader) -> None:
        next(reader)
        self._reader, self._fresh = reader, False

    def _line(self) -> Reader:
        """A line from its first byte on."""
        byte = yield from skip(BLANKS)
        if byte in (_BACKTICK, _TILDE):
            return (yield from _fence(byte))
        if byte != _T or "tool" not in self._forms or not (yield from literal(b"OOL:")):
            return ()
        name = bytearray()
        while (byte := (yield)) in NAME_BYTES and len(name) <= 64:
            name.append(byte)
        if byte in BLANKS:
            byte = yield from skip(BLANKS)
        if byte != BRACE or not NAME.fullmatch(name):
            return ()
        text = bytearray([byte])
        return (yield from read_arguments(name.decode(), text, "tool"))


def _fence(mark: int) -> Reader:
    """Code between fences, from the second byte of the opening one to the line break of the closing one."""
    width = 1
    while (byte := (yield)) == mark:
        width += 1
    while width >= 3 and byte != NEWLINE and not byte == mark == _BACKTICK:
        byte = yield
    if width < 3 or byte != NEWLINE:
        return ()
    while True:
        byte = yield from skip(BLANKS)
        closing = 0
        while byte == mark:
            closing += 1
            byte = yield
        if byte in BLANKS:
            byte = yield from skip(BLANKS)
        if closing >= width and byte == NEWLINE:
            return ()
        while byte != NEWLINE:
            byte = yield

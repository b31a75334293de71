"""What every syntax of calls is read with: readers, which are sent one byte at a time, and strict JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from typing import Any

import msgspec

MAX_CALL = 64 * 1024  # bytes
MAX_DEPTH = 32

END = -1  # sent in place of a byte when the turn is over
BLANKS = frozenset(b" \t\r")
SPACE = frozenset(b" \t\r\n")
NEWLINE, BACKSLASH, QUOTE, BRACE, BRACKET = b'\n\\"{['
NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
NAME_BYTES = frozenset(byte for byte in range(128) if NAME.fullmatch(b"_" + bytes([byte])))

_CLOSING = {BRACE: b"}"[0], BRACKET: b"]"[0]}
_OUTSIDE_STRINGS = frozenset(b" \t\r\n,:+-.0123456789E" + bytes({*b"true", *b"false", *b"null"}))


class Call(msgspec.Struct, frozen=True):
    """What a model wants done: `arguments` is a JSON object's text, `form` the syntax it was written in."""

    name: str
    arguments: str
    form: str


Calls = tuple[Call, ...]
Reader = Generator[None, int, Calls]  # returns as soon as it knows; without calls, it was text


def skip(blanks: frozenset[int]) -> Generator[None, int, int]:
    """The first byte that is none of these."""
    while (byte := (yield)) in blanks:
        pass
    return byte


def literal(text: bytes) -> Generator[None, int, bool]:
    """Whether these bytes come next."""
    for wanted in text:
        if (yield) != wanted:
            return False
    return True


def read_json(text: bytearray) -> Generator[None, int, bool]:
    """Gather an object or array whose opening byte is in `text`; whether it may be JSON.

    What can't be JSON is given up early, at the first byte that has no place in it.
    """
    closers = [_CLOSING[text[0]]]
    while closers:
        byte = yield
        if byte == QUOTE:
            text.append(byte)
            if not (yield from _json_string(text)):
                return False
            continue
        if byte in _CLOSING and len(closers) < MAX_DEPTH:
            closers.append(_CLOSING[byte])
        elif byte == closers[-1]:
            closers.pop()
        elif byte not in _OUTSIDE_STRINGS:
            return False
        if len(text) == MAX_CALL:
            return False
        text.append(byte)
    return True


def _json_string(text: bytearray) -> Generator[None, int, bool]:
    """Gather the rest of a string; whether it ended."""
    escaped = False
    while len(text) < MAX_CALL:
        byte = yield
        if byte < 0x20:
            return False
        text.append(byte)
        if byte == QUOTE and not escaped:
            return True
        escaped = byte == BACKSLASH and not escaped
    return False


def read_arguments(name: str, text: bytearray, form: str) -> Reader:
    """A call of that name, whose arguments begin with the byte in `text`."""
    whole = (yield from read_json(text)) and is_strict(text)
    return (Call(name, text.decode(), form),) if whole else ()


def is_object(text: bytes) -> bool:
    """Whether this is one object as rules 3 and 4 want it."""
    if not text.startswith(b"{"):
        return False
    reader = read_json(bytearray(text[:1]))
    next(reader)
    for at, byte in enumerate(text[1:], 2):
        try:
            reader.send(byte)
        except StopIteration as stop:
            return bool(stop.value) and at == len(text) and is_strict(text)
    return False


def is_strict(text: bytes | bytearray) -> bool:
    """Whether JSON of a bounded depth is as rule 4 wants it."""
    try:
        msgspec.json.decode(text)  # strict but for a key that comes twice
        json.loads(text.decode(), object_pairs_hook=_unique)
    except ValueError:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> None:
    """Raises ValueError unless every key is another."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key comes twice")


def decoded(text: bytes | bytearray) -> str | None:
    """The text, unless it is no UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


def encoded(arguments: dict[str, Any]) -> str:
    """Arguments as a call has them."""
    return msgspec.json.encode(arguments).decode()

"""The old kernel's form of calls, `[[NAME: args]]`, and what its arguments are called now."""

from __future__ import annotations

import re
import shlex
from collections.abc import Generator
from typing import Any

import msgspec

from agentkernel.calls.reading import (
    BACKSLASH,
    BLANKS,
    BRACE,
    BRACKET,
    END,
    MAX_CALL,
    NEWLINE,
    SPACE,
    Call,
    Reader,
    decoded,
    encoded,
    is_object,
    skip,
)

# The old kernel's tools whose name has changed, and what its bare arguments are called now: several are
# parted by `|`. A tool that is not here is given its arguments as `input`.
_RENAMED = {"ls": "list_files", "ask": "ask_human", "time": "get_time"}
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "append_file": ("path", "content"),
    "ask_human": ("question",),
    "calc": ("expression",),
    "delete_file": ("path",),
    "get_time": (),
    "list_files": ("path",),
    "mem_read": ("key",),
    "mem_write": ("key", "value"),
    "python": ("code",),
    "read_file": ("path",),
    "search_text": ("query", "path"),
    "shell": ("argv",),
    "sleep": ("seconds",),
    "write_file": ("path", "content"),
}
_OF_LINES = {"append_file", "python", "write_file"}
_QUOTING = {"python", "shell"}

_OLD_NAME = re.compile(rb"[A-Z][A-Z0-9_]{0,63}")
_OLD_NAME_BYTES = frozenset(byte for byte in range(128) if _OLD_NAME.fullmatch(b"A" + bytes([byte])))
_COLON, _CLOSE = b":]"


def bracket() -> Reader:
    """The old kernel's form, behind `[[`."""
    name = bytearray()
    while (byte := (yield)) in _OLD_NAME_BYTES and len(name) <= 64:
        name.append(byte)
    if byte != _COLON or not _OLD_NAME.fullmatch(name):
        return ()
    old = name.decode().lower()
    tool = _RENAMED.get(old, old)
    text = yield from _bracketed(tool)
    return () if text is None else (Call(tool, _old_arguments(tool, text), "bracket"),)


def _bracketed(tool: str) -> Generator[None, int, str | None]:
    """The arguments up to `]]`; None when a line, the turn or the limit ends first, or they are no UTF-8."""
    byte = yield from skip(SPACE if tool in _OF_LINES else BLANKS)
    of_lines = byte == BRACE or tool in _OF_LINES
    quotes = b"\"'" if tool in _QUOTING else b'"' if byte == BRACE else b""
    text = bytearray()
    depth, closing = 0, False
    while byte != END and len(text) < MAX_CALL and (of_lines or byte != NEWLINE):
        text.append(byte)
        if byte in quotes and not text.endswith(b"\\", 0, -1):
            byte, closing = (yield from _quoted(byte, text)), False
            continue
        if byte == _CLOSE and closing:
            return decoded(text[:-2])
        closing = byte == _CLOSE and depth == 0
        depth += (byte == BRACKET) - (byte == _CLOSE and depth > 0)
        byte = yield
    return None


def _quoted(quote: int, text: bytearray) -> Generator[None, int, int]:
    """Gather the rest of a quoted string, behind its first quote; the byte behind it."""
    byte = yield
    width = 1
    if byte == quote:
        text.append(byte)
        byte = yield
        if byte != quote:
            return byte  # an empty string
        text.append(byte)
        width = 3
        byte = yield
    closing, escaped = 0, False
    while closing < width:
        if byte == END or len(text) >= MAX_CALL or (byte == NEWLINE and width == 1 and not escaped):
            return byte
        text.append(byte)
        closing = closing + 1 if byte == quote and not escaped else 0
        escaped = byte == BACKSLASH and not escaped
        byte = yield
    return byte


def _old_arguments(tool: str, text: str) -> str:
    """The old form's arguments as JSON."""
    text = text.strip()
    if is_object(text.encode()):
        return text
    names = _ARGUMENTS.get(tool, ("input",))
    parts = text.split("|", len(names) - 1) if text and names else []
    made = {name: _value(name, part.strip()) for name, part in zip(names, parts, strict=False)}
    return encoded(made)


def _value(name: str, text: str) -> Any:
    """An old argument as its tool wants it, or as it is for the tool to refuse."""
    try:
        match name:
            case "argv":
                return shlex.split(text)
            case "seconds":
                return msgspec.json.decode(text, type=int | float)
    except ValueError:
        pass
    return text

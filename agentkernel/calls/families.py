"""The forms that families of models were trained to write calls in: Hermes, Llama and Mistral."""

from __future__ import annotations

import re

import msgspec

from agentkernel.calls.reading import (
    BLANKS,
    BRACE,
    BRACKET,
    END,
    MAX_CALL,
    NAME,
    NAME_BYTES,
    SPACE,
    Call,
    Calls,
    Reader,
    decoded,
    encoded,
    is_object,
    is_strict,
    literal,
    read_arguments,
    read_json,
    skip,
)

_MISTRAL_NAME = re.compile(rb"(%b)(?:\[CALL_ID\][A-Za-z0-9_-]{1,64})?(?:\[ARGS\])?" % NAME.pattern)
_MISTRAL_BYTES = NAME_BYTES | frozenset(b"[]")
_MISTRAL_HEAD = 64 + len("[CALL_ID]") + 64 + len("[ARGS]")
_LESS = b"<"[0]


class _Written(msgspec.Struct):
    """A call as the families' JSON has it."""

    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"")
    parameters: msgspec.Raw = msgspec.Raw(b"")


def hermes() -> Reader:
    """Behind `<tool_call>`."""
    byte = yield from skip(SPACE)
    if byte != BRACE or not (calls := (yield from _objects(byte, "hermes"))):
        return ()
    byte = yield from skip(SPACE)
    ended = byte == END or (byte == _LESS and (yield from literal(b"/tool_call>")))
    return calls if ended else ()


def mistral() -> Reader:
    """Behind `[TOOL_CALLS]`."""
    byte = yield from skip(SPACE)
    if byte == BRACKET:
        return (yield from _objects(byte, "mistral"))
    head = bytearray()
    while byte in _MISTRAL_BYTES and len(head) < _MISTRAL_HEAD:
        head.append(byte)
        byte = yield
    if byte in BLANKS:
        byte = yield from skip(BLANKS)
    named = _MISTRAL_NAME.fullmatch(head)
    if byte != BRACE or not named:
        return ()
    return (yield from read_arguments(named[1].decode(), bytearray([byte]), "mistral"))


def answer() -> Reader:
    """A turn from its first byte on, which may be one JSON object and nothing else."""
    byte = yield from skip(SPACE)
    if byte != BRACE or not (calls := (yield from _objects(byte, "llama"))):
        return ()
    byte = yield from skip(SPACE)
    return calls if byte == END else ()


def python_tag() -> Reader:
    """Behind `<|python_tag|>`."""
    text = bytearray()
    while (byte := (yield)) != END:
        if len(text) == MAX_CALL:
            return ()
        text.append(byte)
    data = bytes(text.strip())
    if calls := _written(data, "llama") if is_object(data) else ():
        return calls
    code = decoded(data)
    return (Call("python", encoded({"code": code}), "llama"),) if code else ()


def _objects(first: int, form: str) -> Reader:
    """Calls that are JSON themselves: an object or an array of them, from behind its first byte on."""
    text = bytearray([first])
    whole = (yield from read_json(text)) and is_strict(text)
    return _written(bytes(text), form) if whole else ()


def _written(text: bytes, form: str) -> Calls:
    """The calls in strict JSON; none when any of them isn't one."""
    try:
        found = msgspec.json.decode(text, type=_Written | list[_Written])
    except ValueError:
        return ()
    calls = []
    for one in found if isinstance(found, list) else [found]:
        arguments = bytes(one.arguments) or bytes(one.parameters)
        if not (NAME.fullmatch(one.name.encode()) and arguments.startswith(b"{")):
            return ()
        calls.append(Call(one.name, arguments.decode(), form))
    return tuple(calls)

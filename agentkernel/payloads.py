"""What clients send behind a verb, as typed values; pure.

Every function raises KernelError for what it can't take; `missing` and `invalid` are the codes to use.
"""

from __future__ import annotations

import contextlib
import re
from typing import cast

import msgspec

from agentkernel.config import Count
from agentkernel.errors import KernelError
from agentkernel.process import NICEST, PRIORITIES, Priority
from agentkernel.quotas import COUNTED, KEYS, KINDS
from agentkernel.request import SNAPSHOT_NAME, ExecRequest

_NUMBERS = ("nice", "deadline_ms", "ttft_ms", "max_wall_ms")
_WORDS = ("capability", "model", "lora", "from", "share", "trust", "tools", "approve", "key", "lane", "wait")
_HINTS = "|".join((*_WORDS, *_NUMBERS))
_HINT = re.compile(rf"\s*({_HINTS})=([^;\s]*);\s*", re.IGNORECASE)
_PLACE = rb"\s*(?P<pid>[^\s|]+)(?:[ \t]+(?P<offset>[0-9]{1,18}))?[ \t]*"
_WRITE = re.compile(_PLACE + rb"\r?\n(?P<data>.*)", re.DOTALL)
_WRITE_TEXT = re.compile(_PLACE + rb"\|(?P<data>.*)", re.DOTALL)
_END = re.compile(rb"[\n|]")
_RANGE = re.compile(r"(?:([0-9]{1,18})(?:\s+([0-9]{1,18}))?)?")
_NAMED = re.compile(rb"\s*(?P<pid>[0-9]{1,18})(?:@(?P<epoch>[0-9]{1,18}))?(?![^\s|])")
_OBJECT = re.compile(rb"\A\s*(\{[^{}]*\})")
_FROM = re.compile(r"(?:([0-9]{1,18})(?!\S)\s*)?(take)?", re.IGNORECASE)
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_PRIORITY = re.compile(rf"({'|'.join(PRIORITIES)})(?:\s+(-?[0-9]{{1,2}}))?", re.IGNORECASE)
_OWNER = re.compile(rb"(?:@|owner=)(.*)", re.DOTALL | re.IGNORECASE)
_FIRST = re.compile(r"(\{[^{}]*\}|\S*)\s*(.*)", re.DOTALL)


def parse_text(payload: bytes, code: str = "BAD_PAYLOAD") -> str:
    """The payload as text. Raises the code for bytes that are not UTF-8, and for NUL."""
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise KernelError(code, f"not UTF-8: {error.reason} at byte {error.start}") from error
    if "\0" in text:
        raise KernelError(code, f"NUL at character {text.index(chr(0))}")
    return text


def parse_name(text: str, code: str = "SNAPSHOT_INVALID") -> str:
    """A snapshot's name, or a checkpoint's."""
    if not re.match(SNAPSHOT_NAME, text):
        raise KernelError(code)
    return text


def parse_first(payload: bytes) -> tuple[bytes, str]:
    """The PID, a word or a JSON object, and what follows it."""
    first, rest = cast("re.Match[str]", _FIRST.fullmatch(parse_text(payload).strip())).groups()
    return first.encode(), rest


def parse_pid(payload: bytes, missing: str = "MISSING_PID", invalid: str = "INVALID_PID") -> int:
    """A PID: digits, or a JSON object that names it."""
    text = payload.strip()
    if text.startswith(b"{"):
        text = _json_pid(text, invalid)
    if not text:
        raise KernelError(missing)
    if not re.fullmatch(rb"[0-9]{1,18}", text) or int(text) == 0:
        raise KernelError(invalid, f"{text[:32].decode('ascii', 'replace')!r} is no PID")
    return int(text)


class _PidObject(msgspec.Struct):
    pid: int | str | None = None
    session_id: str = ""
    epoch: Count | None = None


def _json_pid(payload: bytes, invalid: str) -> bytes:
    try:
        named = msgspec.json.decode(payload, type=_PidObject)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise KernelError(invalid, str(error)) from error
    value = named.session_id.removeprefix("session-") if named.pid is None else named.pid
    return str(value).encode()


def parse_epoch(payload: bytes) -> tuple[int, int | None, bytes]:
    """The PID, the epoch that it is named with (`7@2`, or `epoch` of the object), the payload without that.

    What can't be read has PID 0, and is for others to refuse.
    """
    if match := _NAMED.match(payload):
        epoch = None if match["epoch"] is None else int(match["epoch"])
        return int(match["pid"]), epoch, match["pid"] + payload[match.end() :]
    for text in (payload, *_OBJECT.findall(payload)[:1]):
        with contextlib.suppress(msgspec.MsgspecError, RecursionError, KernelError):
            return parse_pid(text), msgspec.json.decode(text, type=_PidObject).epoch, payload
    return 0, None, payload


def parse_seconds(text: str) -> float:
    """A number of seconds."""
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,6})?", text.strip()):
        raise KernelError("BAD_PAYLOAD", f"{text[:32]!r} is no number of seconds")
    return float(text)


def parse_settings(payload: bytes, aliases: dict[str, str], code: str) -> dict[str, str]:
    """`key=value` pairs separated by commas or semicolons."""
    out = {}
    for part in re.split(r"[,;]", parse_text(payload, code)):
        if not part.strip():
            continue
        key, equals, value = part.partition("=")
        if not equals:
            raise KernelError(code, f"{part.strip()[:32]!r} is not key=value")
        name = key.strip().lower()
        out[aliases.get(name, name)] = value.strip()
    return out


def parse_exec(payload: bytes, *, v1: bool) -> ExecRequest:
    """EXEC's payload: in v1 a JSON object or a prompt, in the text dialect a prompt."""
    text = parse_text(payload, "EXEC_INVALID")
    if v1 and text.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(payload, type=ExecRequest)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise KernelError("EXEC_INVALID", str(error)) from error
    hints: dict[str, object] = {}
    at = 0
    while hint := _HINT.match(text, at):
        name = hint[1].lower()
        value: object = hint[2]
        if name in ("tools", "approve"):
            value = tuple(tool for tool in hint[2].split(",") if tool)
        elif name in ("capability", "trust", "lane"):
            value = hint[2].lower()
        elif name == "wait":
            value = {"true": True, "false": False}.get(hint[2].lower(), hint[2])
        elif name in _NUMBERS and _INTEGER.fullmatch(hint[2]):
            value = int(hint[2])
        hints[name], at = value, hint.end()
    try:
        return msgspec.convert({"prompt": text[at:], **hints}, ExecRequest)
    except msgspec.ValidationError as error:
        raise KernelError("EXEC_INVALID", str(error)) from error


class _InputObject(_PidObject):
    prompt: str = ""


def parse_input(payload: bytes, *, v1: bool) -> tuple[int, str]:
    """SEND_INPUT's payload: a JSON object in v1, `pid text` in either dialect."""
    text = parse_text(payload).strip()
    if not text:
        raise KernelError("MISSING_PID")
    if v1 and text.startswith("{"):
        try:
            prompt = msgspec.json.decode(payload, type=_InputObject).prompt
        except (msgspec.MsgspecError, RecursionError) as error:
            raise KernelError("BAD_PAYLOAD", str(error)) from error
        pid = parse_pid(payload)
    else:
        first, *rest = text.split(None, 1)
        pid, prompt = parse_pid(first.encode()), "".join(rest)
    if not prompt.strip():
        raise KernelError("BAD_PAYLOAD", "the input is empty")
    return pid, prompt


def parse_write(payload: bytes) -> tuple[int, int, bytes]:
    """MEMW's payload: PID, offset and bytes."""
    match = _WRITE.fullmatch(payload) or _WRITE_TEXT.fullmatch(payload)
    if match is None or not match["data"]:
        raise KernelError("MEMW_INVALID", "PID, an offset perhaps, a line's end or |, and bytes")
    pid = parse_pid(match["pid"], "MEMW_INVALID", "MEMW_INVALID")
    return pid, int(match["offset"] or 0), match["data"]


def parse_path(payload: bytes) -> tuple[int, str]:
    """The PID, and a path in its workspace, which may be missing."""
    first, rest = parse_first(payload)
    return parse_pid(first), rest.strip()


def parse_file(payload: bytes) -> tuple[int, str, bytes]:
    """PUT_FILE's payload: PID, path and bytes."""
    if not payload.strip():
        raise KernelError("MISSING_PID")
    head, *data = _END.split(payload.lstrip(), 1)
    first, path = parse_first(head)
    if not path or not data:
        raise KernelError("FILE_INVALID", "PID, a path, a line's end or |, and bytes")
    return parse_pid(first), path, data[0]


def parse_priority(payload: bytes) -> tuple[int, Priority, int | None]:
    """SET_PRIORITY's payload: PID, priority, and a nice value if there is one."""
    first, rest = parse_first(payload)
    match = _PRIORITY.fullmatch(rest.strip())
    nice = int(match[2]) if match and match[2] else None
    if match is None or (nice is not None and not -NICEST - 1 <= nice <= NICEST):
        known = ", ".join(PRIORITIES)
        text = f"a PID, one of {known}, and perhaps a nice value from {-NICEST - 1} to {NICEST}"
        raise KernelError("SET_PRIORITY_INVALID", text)
    pid = parse_pid(first, "SET_PRIORITY_INVALID", "SET_PRIORITY_INVALID")
    return pid, cast("Priority", match[1].lower()), nice


def parse_call(payload: bytes) -> tuple[int, int, str]:
    """The PID, the number of one of its calls, and what follows."""
    first, rest = parse_first(payload)
    number, _, reason = rest.partition(" ")
    pid = parse_pid(first)
    if not re.fullmatch(r"[1-9][0-9]{0,17}", number):
        raise KernelError("BAD_PAYLOAD", f"{number[:32]!r} is no number of a call")
    return pid, int(number), reason.strip()


def parse_owner(text: bytes, invalid: str) -> str:
    """The owner's name in `@NAME` or `owner=NAME`; empty for anything else."""
    match = _OWNER.fullmatch(text)
    if match is None:
        return ""
    if not re.fullmatch(rb"\S{1,64}", match[1]):
        raise KernelError(invalid, "a name of an owner has 1 to 64 characters and no blanks")
    return parse_text(match[1], invalid)


def parse_limits(text: str, always: tuple[str, ...] = ()) -> dict[str, float | None]:
    """SET_QUOTA's limits by their names, None for none, which those of `always` can't be."""
    given = parse_settings(text.encode(), {}, "SET_QUOTA_INVALID")
    if not given or given.keys() - KEYS.keys():
        raise KernelError("SET_QUOTA_INVALID", f"limits are max_ and soft_ of {', '.join(KINDS)}")
    return {key: _limit(value, key, none=key not in always) for key, value in given.items()}


def _limit(value: str, key: str, *, none: bool) -> float | None:
    if none and value.lower() == "none":
        return None
    if KEYS[key][1] in COUNTED:
        if not re.fullmatch(r"[0-9]{1,18}", value):
            raise KernelError("SET_QUOTA_INVALID", "limits are whole numbers from 0")
        return int(value)
    if not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,6})?", value):
        raise KernelError("SET_QUOTA_INVALID", f"{key} is a number from 0")
    return float(value)


def parse_checkpoint(payload: bytes) -> tuple[int | None, str]:
    """The PID, or None for all, and a name, which follows from it if there is none."""
    first, name = parse_first(payload)
    if first.startswith(b"{") or first.isdigit():
        pid = parse_pid(first)
        return pid, parse_name(name or f"pid-{pid}", "CHECKPOINT_INVALID")
    if first.lower() not in (b"all", b""):
        first, name = b"", parse_text(payload).strip()
    return None, parse_name(name or "all", "CHECKPOINT_INVALID")


def parse_restore(payload: bytes) -> tuple[str, bool]:
    """A checkpoint's name, and whether its processes come back as new ones."""
    name, *how = parse_text(payload).split() or ["all"]
    if how and [word.lower() for word in how] != ["as", "new"]:
        raise KernelError("CHECKPOINT_INVALID", "RESTORE takes a name and perhaps: as new")
    return parse_name(name, "CHECKPOINT_INVALID"), bool(how)


def parse_attach(payload: bytes) -> tuple[int, int | None, bool]:
    """The PID, an offset if there is one, and whether the process is taken over."""
    first, rest = parse_first(payload)
    pid, match = parse_pid(first), _FROM.fullmatch(rest)
    if match is None:
        raise KernelError("ATTACH_INVALID", "ATTACH takes a PID, an offset perhaps, and perhaps: take")
    return pid, None if match[1] is None else int(match[1]), match[2] is not None


def parse_range(payload: bytes, code: str, *pid_codes: str) -> tuple[int, int | None, int | None]:
    """PID, offset and length, none where none stands there. Raises the code, and as `parse_pid`."""
    first, rest = parse_first(payload)
    pid, match = parse_pid(first, *pid_codes), _RANGE.fullmatch(rest)
    if match is None:
        raise KernelError(code)
    offset, length = (None if number is None else int(number) for number in match.groups())
    return pid, offset, length

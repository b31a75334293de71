"""From a command's payload to a kernel method and back to an answer: one function a verb.

Rules
1. A function takes what the client sent and answers in both dialects at once (`Answer`).
2. It checks the payload and calls the kernel; it decides nothing.
3. `HANDLERS` has exactly the verbs of `VERBS`; a verb's access is checked before its function runs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from agentkernel import report
from agentkernel.config import Generation
from agentkernel.errors import KernelError
from agentkernel.kernel import Kernel
from agentkernel.process import PRIORITIES, Owner, Process, Sink
from agentkernel.protocol.connection import Answer, ServerConnection
from agentkernel.protocol.framing import Command
from agentkernel.protocol.verbs import VERBS, Access, help_text
from agentkernel.request import ExecRequest


@dataclass(slots=True)
class Session:
    """One client: its dialect, its principal, and where its output goes."""

    connection: ServerConnection
    sink: Sink
    owner: Owner | None = None
    quit: bool = False
    shutdown: bool = False

    @property
    def principal(self) -> Owner:
        """Who this is. Raises AUTH_REQUIRED."""
        if self.owner is None:
            raise KernelError("AUTH_REQUIRED")
        return self.owner


class Dispatch:
    """The verbs, for one kernel."""

    def __init__(self, kernel: Kernel, authenticate: Callable[[bytes], Owner]) -> None:
        self.kernel, self._authenticate = kernel, authenticate

    def run(self, session: Session, command: Command) -> Answer | Awaitable[Answer]:
        """The verb's answer, now or later. Raises (or its awaitable raises) KernelError."""
        verb = VERBS.get(command.verb)
        if verb is None:
            raise KernelError("UNKNOWN_VERB", f"no verb {command.verb[:32]!r}; HELP lists them")
        if verb.access is not Access.ANYONE:
            owner = session.principal
            if verb.access is Access.ADMIN and not owner.admin:
                raise KernelError("FORBIDDEN", f"{verb.name} is for administrators")
        if not verb.arguments and command.payload.strip():
            raise KernelError("BAD_PAYLOAD", f"{verb.name} takes no payload")
        return HANDLERS[verb.name](self, session, command.payload)

    # The connection

    def hello(self, session: Session, payload: bytes) -> Answer:
        return session.connection.hello(payload)

    def auth(self, session: Session, payload: bytes) -> Answer:
        session.owner = self._authenticate(payload.strip())
        name = session.owner.name
        return Answer({"principal": name, "admin": session.owner.admin}, f"Authenticated as {name}")

    def help(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return Answer({"text": help_text()}, help_text())

    def quit(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        session.quit = True
        return Answer({"message": "bye"}, "bye")

    def ping(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return Answer({"message": "PONG"}, "PONG")

    def subscribe(self, session: Session, payload: bytes) -> Answer:
        if "event_stream_v1" not in session.connection.capabilities:
            raise KernelError("CAPABILITY_REQUIRED", "ask for event_stream_v1 in HELLO")
        if payload.strip() not in (b"", b"{}", b"all"):
            raise KernelError("BAD_PAYLOAD", "SUBSCRIBE takes nothing or {}")
        self.kernel.events.subscribe(session.principal, session.sink)
        return Answer({"scope": "all" if session.principal.admin else "own"}, "")

    # The kernel

    def status(self, session: Session, payload: bytes) -> Answer:
        if not payload.strip():
            return report.kernel_status(self.kernel, session.principal)
        pid = _pid(payload, "STATUS_INVALID", "STATUS_INVALID")
        return report.process_status(self.kernel, self.kernel.find(session.principal, pid))

    def ps(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return report.process_list(self.kernel, self.kernel.visible(session.principal))

    def shutdown(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        session.shutdown = True
        return Answer({"message": "Kernel shutdown requested"}, "Kernel shutdown requested")

    # Models

    async def list_models(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        models = self.kernel.models
        answer = report.model_list(await models.cards(), models.selected_id, models.loaded_id)
        if self.kernel.config.server.text_lists == "json":
            answer.text = msgspec.json.encode(answer.data).decode()
        return answer

    async def select_model(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        id_ = _text(payload).strip()
        if not id_:
            raise KernelError("MISSING_MODEL_ID")
        card = await self.kernel.models.select(id_)
        return Answer({"selected_model": card.id}, f"Selected model '{card.id}'.")

    async def model_info(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return report.model_info(await self.kernel.models.info(_text(payload).strip()))

    async def load(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return report.loaded(await self.kernel.models.load(_text(payload).strip()))

    async def unload(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        id_ = await self.kernel.models.unload(_text(payload).strip())
        return Answer({"unloaded_model": id_}, f"Unloaded model '{id_}'.")

    def set_gen(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        changes = _settings(payload, _GENERATION_ALIASES, "SET_GEN_INVALID")
        unknown = changes.keys() - set(Generation.__struct_fields__)
        if unknown or not changes:
            raise KernelError("SET_GEN_INVALID", f"unknown setting {min(unknown, default='')!r}")
        self.kernel.set_generation(changes)
        return report.generation(self.kernel)

    def get_gen(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return report.generation(self.kernel)

    # Processes

    async def exec(self, session: Session, payload: bytes) -> Answer:
        request = _exec_request(payload, v1=session.connection.v1)
        process = await self.kernel.exec(session.principal, request, session.sink)
        return report.started(self.kernel, process)

    async def send_input(self, session: Session, payload: bytes) -> Answer:
        pid, text = _input(payload, v1=session.connection.v1)
        await self.kernel.send_input(session.principal, pid, text, session.sink)
        return Answer({"pid": pid, "state": "ready"}, f"Input sent to PID {pid}")

    def stop_output(self, session: Session, payload: bytes) -> Answer:
        pid = _pid(payload)
        self.kernel.stop_output(session.principal, pid)
        return Answer({"pid": pid}, f"Output of PID {pid} stopped")

    def continue_output(self, session: Session, payload: bytes) -> Answer:
        pid = _pid(payload)
        self.kernel.continue_output(session.principal, pid)
        return Answer({"pid": pid}, f"Output of PID {pid} continued")

    async def wait(self, session: Session, payload: bytes) -> Answer:
        first, rest = _first(payload)
        seconds = _seconds(rest) if rest else None
        process = await self.kernel.wait(session.principal, _pid(first), seconds)
        return report.ended(self.kernel, process)

    def term(self, session: Session, payload: bytes) -> Answer:
        pid = _pid(payload)
        process = self.kernel.term(session.principal, pid)
        data = {
            "pid": pid,
            "status": "ended" if process.state.ended else "requested",
            "mode": "term",
        }
        return Answer(data, f"Termination requested for PID {pid}")

    def kill(self, session: Session, payload: bytes) -> Answer:
        pid = _pid(payload)
        self.kernel.kill(session.principal, pid)
        return Answer({"pid": pid, "status": "killed", "mode": "kill"}, f"Killed PID {pid}")

    def suspend(self, session: Session, payload: bytes) -> Answer:
        return _state(self.kernel.suspend(session.principal, _pid(payload)))

    def resume(self, session: Session, payload: bytes) -> Answer:
        return _state(self.kernel.resume(session.principal, _pid(payload), session.sink))

    async def fork(self, session: Session, payload: bytes) -> Answer:
        first, _, rest = _text(payload).strip().partition(" ")
        if not re.fullmatch(r"[1-9][0-9]{0,2}|", rest.strip()):
            raise KernelError("BAD_PAYLOAD", f"{rest[:32]!r} is no number of children from 1 to 999")
        pid, count = _pid(first.encode()), int(rest or 1)
        children = await self.kernel.fork(session.principal, pid, count, session.sink)
        pids = [child.pid for child in children]
        return Answer({"pid": pid, "children": pids}, f"PID {pid} forked: {' '.join(map(str, pids))}")

    def set_priority(self, session: Session, payload: bytes) -> Answer:
        first, rest = _first(payload)
        priority: Any = rest.lower()
        if priority not in PRIORITIES:
            raise KernelError("SET_PRIORITY_INVALID", f"a PID and one of {', '.join(PRIORITIES)}")
        pid = _pid(first, "SET_PRIORITY_INVALID", "SET_PRIORITY_INVALID")
        self.kernel.set_priority(session.principal, pid, priority)
        return Answer({"pid": pid, "priority": priority}, f"PID {pid} priority set to {priority}")

    def get_quota(self, session: Session, payload: bytes) -> Answer:
        pid = _pid(payload, "GET_QUOTA_INVALID", "GET_QUOTA_INVALID")
        return report.quota(self.kernel, self.kernel.find(session.principal, pid))

    def set_quota(self, session: Session, payload: bytes) -> Answer:
        first, rest = _first(payload)
        pid = _pid(first, "SET_QUOTA_INVALID", "SET_QUOTA_INVALID")
        changes = _settings(rest.encode(), {}, "SET_QUOTA_INVALID")
        if not changes or changes.keys() - {"max_tokens", "max_syscalls"}:
            raise KernelError("SET_QUOTA_INVALID", "limits are max_tokens and max_syscalls")
        if not all(re.fullmatch(r"[0-9]{1,18}", value) for value in changes.values()):
            raise KernelError("SET_QUOTA_INVALID", "limits are whole numbers from 0")
        limits = {key: int(value) for key, value in changes.items()}
        process = self.kernel.set_quota(
            session.principal, pid, limits.get("max_tokens"), limits.get("max_syscalls")
        )
        data = {"max_tokens": process.quota_tokens, "max_syscalls": process.quota_syscalls}
        text = " ".join(f"{key}={value}" for key, value in data.items())
        return Answer({"pid": pid, **data}, f"PID {pid} quota updated: {text}")


Handler = Callable[[Dispatch, Session, bytes], Answer | Awaitable[Answer]]
HANDLERS: dict[str, Handler] = {
    name.upper(): method
    for name, method in inspect.getmembers(Dispatch, inspect.isfunction)
    if name.upper() in VERBS
}

_GENERATION_ALIASES = {"temp": "temperature", "topp": "top_p", "max_new_tokens": "max_tokens"}
_CAPABILITY = re.compile(r"capability=(\w+);", re.IGNORECASE)
_FIRST = re.compile(r"(\{.*\}|\S*)\s*(.*)", re.DOTALL)


def _text(payload: bytes, code: str = "BAD_PAYLOAD") -> str:
    """The payload as text. Raises the code for bytes that are not UTF-8, and for NUL."""
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise KernelError(code, f"not UTF-8: {error.reason} at byte {error.start}") from error
    if "\0" in text:
        raise KernelError(code, f"NUL at character {text.index(chr(0))}")
    return text


def _first(payload: bytes) -> tuple[bytes, str]:
    """The PID, a word or a JSON object, and what follows it."""
    first, rest = cast("re.Match[str]", _FIRST.fullmatch(_text(payload).strip())).groups()
    return first.encode(), rest


def _pid(payload: bytes, missing: str = "MISSING_PID", invalid: str = "INVALID_PID") -> int:
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


def _json_pid(payload: bytes, invalid: str) -> bytes:
    try:
        named = msgspec.json.decode(payload, type=_PidObject)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise KernelError(invalid, str(error)) from error
    value = named.session_id.removeprefix("session-") if named.pid is None else named.pid
    return str(value).encode()


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,6})?", text.strip()):
        raise KernelError("BAD_PAYLOAD", f"{text[:32]!r} is no number of seconds")
    return float(text)


def _settings(payload: bytes, aliases: dict[str, str], code: str) -> dict[str, str]:
    """`key=value` pairs separated by commas or semicolons."""
    out = {}
    for part in re.split(r"[,;]", _text(payload, code)):
        if not part.strip():
            continue
        key, equals, value = part.partition("=")
        if not equals:
            raise KernelError(code, f"{part.strip()[:32]!r} is not key=value")
        name = key.strip().lower()
        out[aliases.get(name, name)] = value.strip()
    return out


def _exec_request(payload: bytes, *, v1: bool) -> ExecRequest:
    """EXEC's payload: in v1 a JSON object or a prompt, in the text dialect a prompt."""
    text = _text(payload, "EXEC_INVALID")
    if v1 and text.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(payload, type=ExecRequest)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise KernelError("EXEC_INVALID", str(error)) from error
    capability = None
    if hint := _CAPABILITY.match(stripped := text.lstrip()):
        capability, text = hint[1].lower(), stripped[hint.end() :].lstrip()
    try:
        return msgspec.convert({"prompt": text, "capability": capability}, ExecRequest)
    except msgspec.ValidationError as error:
        raise KernelError("EXEC_INVALID", str(error)) from error


class _InputObject(_PidObject):
    prompt: str = ""


def _input(payload: bytes, *, v1: bool) -> tuple[int, str]:
    """SEND_INPUT's payload: a JSON object in v1, `pid text` in either dialect."""
    text = _text(payload).strip()
    if not text:
        raise KernelError("MISSING_PID")
    if v1 and text.startswith("{"):
        try:
            prompt = msgspec.json.decode(payload, type=_InputObject).prompt
        except (msgspec.MsgspecError, RecursionError) as error:
            raise KernelError("BAD_PAYLOAD", str(error)) from error
        pid = _pid(payload)
    else:
        first, *rest = text.split(None, 1)
        pid, prompt = _pid(first.encode()), "".join(rest)
    if not prompt.strip():
        raise KernelError("BAD_PAYLOAD", "the input is empty")
    return pid, prompt


def _state(process: Process) -> Answer:
    state = process.state.value
    return Answer({"pid": process.pid, "state": state}, f"PID {process.pid} state={state}")

"""From a command's payload to a kernel method and back to an answer: one function a verb.

Rules
1. A function takes what the client sent and answers in both dialects at once (`Answer`).
2. It checks the payload and calls the kernel; it decides nothing.
3. `HANDLERS` has exactly the verbs of `VERBS`; a verb's access is checked before its function runs.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from agentkernel import memoryreport, quotareport, report, toolreport
from agentkernel.config import Generation
from agentkernel.errors import KernelError
from agentkernel.kernel import Kernel
from agentkernel.payloads import (
    parse_attach,
    parse_call,
    parse_checkpoint,
    parse_epoch,
    parse_exec,
    parse_file,
    parse_first,
    parse_input,
    parse_limits,
    parse_name,
    parse_owner,
    parse_path,
    parse_pid,
    parse_priority,
    parse_range,
    parse_restore,
    parse_seconds,
    parse_settings,
    parse_text,
    parse_write,
)
from agentkernel.process import Owner, Process, Sink
from agentkernel.protocol.connection import Answer, ServerConnection
from agentkernel.protocol.framing import Command
from agentkernel.protocol.verbs import VERBS, Access, help_text


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
        payload = command.payload
        if verb.writes:
            pid, epoch, payload = parse_epoch(payload)
            self.kernel.check_driver(session.principal, pid, session.sink, epoch)
        return HANDLERS[verb.name](self, session, payload)

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
        pid = parse_pid(payload, "STATUS_INVALID", "STATUS_INVALID")
        return report.process_status(self.kernel, self.kernel.find(session.principal, pid))

    def ps(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return report.process_list(self.kernel, self.kernel.visible(session.principal))

    def why(self, session: Session, payload: bytes) -> Answer:
        return report.why(self.kernel, self.kernel.find(session.principal, parse_pid(payload)))

    def shutdown(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        session.shutdown = True
        return Answer({"message": "Kernel shutdown requested"}, "Kernel shutdown requested")

    # Models

    async def list_models(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        models = self.kernel.models
        answer = report.model_list(await models.cards(), models)
        if self.kernel.config.server.text_lists == "json":
            answer.text = msgspec.json.encode(answer.data).decode()
        return answer

    async def select_model(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        id_ = parse_text(payload).strip()
        if not id_:
            raise KernelError("MISSING_MODEL_ID")
        card = await self.kernel.models.select(id_)
        return Answer({"selected_model": card.id}, f"Selected model '{card.id}'.")

    async def model_info(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return report.model_info(await self.kernel.models.info(parse_text(payload).strip()))

    async def load(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return report.loaded(await self.kernel.models.load(parse_text(payload).strip()))

    async def unload(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        id_ = await self.kernel.models.unload(parse_text(payload).strip())
        return Answer({"unloaded_model": id_}, f"Unloaded model '{id_}'.")

    def set_gen(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        changes = parse_settings(payload, _GENERATION_ALIASES, "SET_GEN_INVALID")
        unknown = changes.keys() - set(Generation.__struct_fields__)
        if unknown or not changes:
            raise KernelError("SET_GEN_INVALID", f"unknown setting {min(unknown, default='')!r}")
        self.kernel.set_generation(changes)
        return report.generation(self.kernel)

    def get_gen(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return report.generation(self.kernel)

    # Processes

    async def exec(self, session: Session, payload: bytes) -> Answer:
        request = parse_exec(payload, v1=session.connection.v1)
        process = await self.kernel.exec(session.principal, request, session.sink)
        return report.started(self.kernel, process, session.sink)

    async def send_input(self, session: Session, payload: bytes) -> Answer:
        pid, text = parse_input(payload, v1=session.connection.v1)
        await self.kernel.send_input(session.principal, pid, text, session.sink)
        return Answer({"pid": pid, "state": "ready"}, f"Input sent to PID {pid}")

    def stop_output(self, session: Session, payload: bytes) -> Answer:
        pid = parse_pid(payload)
        self.kernel.stop_output(session.principal, pid)
        return Answer({"pid": pid}, f"Output of PID {pid} stopped")

    def continue_output(self, session: Session, payload: bytes) -> Answer:
        pid = parse_pid(payload)
        self.kernel.continue_output(session.principal, pid)
        return Answer({"pid": pid}, f"Output of PID {pid} continued")

    async def attach(self, session: Session, payload: bytes) -> Answer:
        pid, offset, take = parse_attach(payload)
        sink = session.sink
        return report.attached(*await self.kernel.attach(session.principal, pid, offset, sink, take=take))

    def detach(self, session: Session, payload: bytes) -> Answer:
        pid = parse_pid(payload)
        self.kernel.detach(session.principal, pid, session.sink)
        return Answer({"pid": pid}, f"Detached from PID {pid}")

    def logs(self, session: Session, payload: bytes) -> Answer:
        pid, offset, length = parse_range(payload, "ATTACH_INVALID")
        data, size = self.kernel.logs(session.principal, pid, offset or 0, length)
        return memoryreport.read(pid, offset or 0, data, size)

    async def wait(self, session: Session, payload: bytes) -> Answer:
        first, rest = parse_first(payload)
        seconds = parse_seconds(rest) if rest else None
        process = await self.kernel.wait(session.principal, parse_pid(first), seconds)
        return report.ended(self.kernel, process)

    def term(self, session: Session, payload: bytes) -> Answer:
        pid = parse_pid(payload)
        process = self.kernel.term(session.principal, pid)
        data = {
            "pid": pid,
            "status": "ended" if process.state.ended else "requested",
            "mode": "term",
        }
        return Answer(data, f"Termination requested for PID {pid}")

    def kill(self, session: Session, payload: bytes) -> Answer:
        pid = parse_pid(payload)
        self.kernel.kill(session.principal, pid)
        return Answer({"pid": pid, "status": "killed", "mode": "kill"}, f"Killed PID {pid}")

    def suspend(self, session: Session, payload: bytes) -> Answer:
        return _state(self.kernel.suspend(session.principal, parse_pid(payload)))

    def resume(self, session: Session, payload: bytes) -> Answer:
        return _state(self.kernel.resume(session.principal, parse_pid(payload), session.sink))

    async def fork(self, session: Session, payload: bytes) -> Answer:
        first, _, rest = parse_text(payload).strip().partition(" ")
        if not re.fullmatch(r"[1-9][0-9]{0,2}|", rest.strip()):
            raise KernelError("BAD_PAYLOAD", f"{rest[:32]!r} is no number of children from 1 to 999")
        pid, count = parse_pid(first.encode()), int(rest or 1)
        children = await self.kernel.fork(session.principal, pid, count, session.sink)
        pids = [child.pid for child in children]
        return Answer({"pid": pid, "children": pids}, f"PID {pid} forked: {' '.join(map(str, pids))}")

    async def snapshot(self, session: Session, payload: bytes) -> Answer:
        first, rest = parse_first(payload)
        pid, name = parse_pid(first), parse_name(rest)
        snapshot = await self.kernel.snapshot(session.principal, pid, name)
        data = {"pid": pid, "name": name, "tokens": len(snapshot.tokens), "model": snapshot.model_id}
        return Answer(data, f"Snapshot '{name}' of PID {pid}: {len(snapshot.tokens)} tokens")

    def list_snapshots(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return memoryreport.snapshot_list(self.kernel.snapshots.visible(session.principal))

    async def drop_snapshot(self, session: Session, payload: bytes) -> Answer:
        name = parse_name(parse_text(payload).strip())
        await self.kernel.drop_snapshot(session.principal, name)
        return Answer({"name": name}, f"Snapshot '{name}' dropped")

    async def checkpoint(self, session: Session, payload: bytes) -> Answer:
        pid, name = parse_checkpoint(payload)
        return memoryreport.checkpointed(await self.kernel.checkpoint(session.principal, pid, name))

    async def restore(self, session: Session, payload: bytes) -> Answer:
        name, as_new = parse_restore(payload)
        found = await self.kernel.restore(session.principal, name, as_new=as_new)
        return memoryreport.restored(name, [(process.pid, was) for process, was in found])

    async def list_checkpoints(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        found = await asyncio.to_thread(self.kernel.checkpoints.visible, session.principal)
        return memoryreport.checkpoint_list(found)

    async def drop_checkpoint(self, session: Session, payload: bytes) -> Answer:
        name = parse_name(parse_text(payload).strip(), "CHECKPOINT_INVALID")
        await asyncio.to_thread(self.kernel.checkpoints.drop, session.principal, name)
        return Answer({"name": name}, f"Checkpoint '{name}' dropped")

    async def replay(self, session: Session, payload: bytes) -> Answer:
        return report.replayed(await self.kernel.replay(session.principal, parse_pid(payload)))

    async def memw(self, session: Session, payload: bytes) -> Answer:
        pid, offset, data = parse_write(payload)
        pages = await self.kernel.write_memory(session.principal, pid, offset, data)
        return memoryreport.written(pid, len(data), pages)

    async def memr(self, session: Session, payload: bytes) -> Answer:
        pid, offset, length = parse_range(payload, *["MEMR_INVALID"] * 3)
        data = await self.kernel.read_memory(session.principal, pid, offset or 0, length)
        return memoryreport.read(pid, offset or 0, data, self.kernel.memory.size(pid))

    def mem(self, session: Session, payload: bytes) -> Answer:
        if not payload.strip():
            return memoryreport.memory(self.kernel)
        pid = parse_pid(payload, "INVALID_PID", "INVALID_PID")
        return memoryreport.process_memory(self.kernel, self.kernel.live(session.principal, pid))

    # Calls

    def list_tools(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return toolreport.tool_list(self.kernel.tools())

    def tool_info(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        tool = self.kernel.tool(parse_text(payload).strip())
        settings = self.kernel.config.tools
        return toolreport.tool_info(tool, self.kernel.gate.toolbox.limits(tool, settings))

    def register_tool(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return toolreport.registered(self.kernel.register_tool(payload))

    def unregister_tool(self, session: Session, payload: bytes) -> Answer:  # noqa: ARG002
        return toolreport.unregistered(self.kernel.unregister_tool(parse_text(payload).strip()))

    def answer(self, session: Session, payload: bytes) -> Answer:
        pid, text = parse_input(payload, v1=session.connection.v1)
        return toolreport.replied(self.kernel.answer(session.principal, pid, text), "answered")

    def approve(self, session: Session, payload: bytes) -> Answer:
        pid, call, rest = parse_call(payload)
        if rest:
            raise KernelError("BAD_PAYLOAD", "APPROVE takes a PID and the number of a call")
        return toolreport.replied(self.kernel.approve(session.principal, pid, call), "approved")

    def deny(self, session: Session, payload: bytes) -> Answer:
        pid, call, reason = parse_call(payload)
        return toolreport.replied(self.kernel.deny(session.principal, pid, call, reason), "denied")

    async def list_files(self, session: Session, payload: bytes) -> Answer:
        pid, path = parse_path(payload)
        path = path or "."
        entries, complete = await self.kernel.list_files(session.principal, pid, path)
        return toolreport.files(pid, path, entries, complete=complete)

    async def get_file(self, session: Session, payload: bytes) -> Answer:
        pid, path = parse_path(payload)
        if not path:
            raise KernelError("FILE_INVALID", "a path is needed")
        return toolreport.file(pid, path, await self.kernel.get_file(session.principal, pid, path))

    async def put_file(self, session: Session, payload: bytes) -> Answer:
        pid, path, data = parse_file(payload)
        return toolreport.put(pid, path, await self.kernel.put_file(session.principal, pid, path, data))

    def set_priority(self, session: Session, payload: bytes) -> Answer:
        pid, priority, nice = parse_priority(payload)
        process = self.kernel.set_priority(session.principal, pid, priority, nice)
        data = {"pid": pid, "priority": priority, "nice": process.nice}
        text = f"PID {pid} priority set to {priority}"
        return Answer(data, text if nice is None else f"{text} nice={nice}")

    def get_quota(self, session: Session, payload: bytes) -> Answer:
        if name := parse_owner(payload.strip(), "GET_QUOTA_INVALID"):
            return quotareport.owner_quota(*self.kernel.owner_quota(session.principal, name))
        pid = parse_pid(payload, "GET_QUOTA_INVALID", "GET_QUOTA_INVALID")
        return quotareport.quota(self.kernel, self.kernel.find(session.principal, pid))

    def set_quota(self, session: Session, payload: bytes) -> Answer:
        first, rest = parse_first(payload)
        if name := parse_owner(first, "SET_QUOTA_INVALID"):
            changes = parse_limits(rest)
            return quotareport.owner_limits(self.kernel.set_owner_quota(session.principal, name, changes))
        pid = parse_pid(first, "SET_QUOTA_INVALID", "SET_QUOTA_INVALID")
        changes = parse_limits(rest, always=("max_tokens", "max_syscalls"))
        return quotareport.limits(self.kernel.set_quota(session.principal, pid, changes))


_GENERATION_ALIASES = {"temp": "temperature", "topp": "top_p", "max_new_tokens": "max_tokens"}

Handler = Callable[[Dispatch, Session, bytes], Answer | Awaitable[Answer]]
HANDLERS: dict[str, Handler] = {
    name.upper(): method
    for name, method in inspect.getmembers(Dispatch, inspect.isfunction)
    if name.upper() in VERBS
}


def _state(process: Process) -> Answer:
    state = process.state.value
    return Answer({"pid": process.pid, "state": state}, f"PID {process.pid} state={state}")

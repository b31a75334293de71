"""What the built-in tools do: one function each, from arguments that fit the schema to a text.

Rules
1. A function answers with a text or raises ToolError; it never blocks the loop.
2. It acts for its process alone: its workspace, its notes, its children.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Protocol

from agentkernel.jail.port import Job, Limits, Outcome
from agentkernel.permits import EVERYTHING, Permits
from agentkernel.plan import Letter
from agentkernel.process import Process
from agentkernel.request import Spawn
from agentkernel.syscalls import calc, files
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.mailbox import Mailboxes
from agentkernel.syscalls.table import LONGEST_WAIT, SYSCALLS, Tool
from agentkernel.syscalls.workspace import Workspace

MOST_NOTES, MOST_NOTE_BYTES = 256, 256 * 1024  # of a process, keys and values together


class Services(Protocol):
    """What tools need of the kernel."""

    mailboxes: Mailboxes
    programs: frozenset[str]  # that `shell` may run
    result_bytes: int  # of a result, at most

    def workspace(self, process: Process) -> Workspace:
        """The process's own."""

    def now(self) -> datetime:
        """The time, in UTC."""

    async def jailed(self, call: Invocation, job: Job) -> Outcome:
        """Run the job to its end. Raises ToolError ESANDBOX."""

    async def ask(self, process: Process, number: int, question: str) -> str:
        """A person's answer. Raises ToolError TIMEOUT."""

    async def spawn(self, parent: Process, asked: Spawn) -> Child:
        """A child of the process. Raises ToolError."""

    def reaches(self, process: Process, pid: int) -> bool:
        """Whether that PID is a live process of the same owner."""


class Child(Protocol):
    """A process that another has started."""

    pid: int

    async def output(self) -> str:
        """All it says, once it has ended."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call that may be made: by whom, of what, with what."""

    process: Process
    number: int
    tool: Tool
    arguments: dict[str, Any]
    permits: Permits
    limits: Limits
    services: Services


Handler = Callable[[Invocation], Awaitable[str]]


async def _calc(call: Invocation) -> str:
    return calc.evaluate(call.arguments["expression"])


async def _python(call: Invocation) -> str:
    arguments = call.arguments
    stdin, argv = arguments.get("stdin", "").encode(), tuple(arguments.get("argv", ()))
    return await run(call, Program(argv, stdin, arguments["code"]))


async def _shell(call: Invocation) -> str:
    argv = tuple(call.arguments["argv"])
    program = PurePosixPath(argv[0])
    if program.name not in call.services.programs or program.parent not in _FOLDERS:
        raise ToolError("NOT_ALLOWED", f"{argv[0][:64]!r} is no program that may be run")
    stdin = call.arguments.get("stdin", "").encode()
    return await run(call, Program((program.name, *argv[1:]), stdin))


_FOLDERS = (PurePosixPath(), PurePosixPath("/bin"), PurePosixPath("/usr/bin"))


@dataclass(frozen=True, slots=True)
class Program:
    """What to run in a jail; see `port.Job`."""

    argv: tuple[str, ...]
    stdin: bytes = b""
    code: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


async def run(call: Invocation, program: Program) -> str:
    """Run it with the workspace, as far as the process may read and write all of that."""
    permits, workspace = call.permits, call.services.workspace(call.process)
    limits = call.limits.halved() if permits.trust == "untrusted" else call.limits  # as jails do
    seen = permits.read == EVERYTHING
    job = Job(
        key=f"{call.process.pid}.{call.number}",
        owner=call.process.pid,
        argv=program.argv,
        code=program.code,
        trust=permits.trust,
        stdin=program.stdin,
        environment=program.environment,
        workspace=str(await asyncio.to_thread(workspace.make)) if seen else "",
        writable=permits.write == EVERYTHING,
        limits=call.limits,
    )
    try:
        return printed(await call.services.jailed(call, job), limits)
    finally:
        workspace.touched()


_CODES = {"wall": "TIMEOUT", "cpu": "TIMEOUT", "cancelled": "TOOL_FAILED"}


def printed(outcome: Outcome, limits: Limits) -> str:
    """What a job's outcome is to the model. Raises ToolError for one that failed."""
    text = outcome.output.decode("utf-8", "replace").removesuffix("\n")
    if outcome.killed:
        what = {
            "wall": f"stopped after {limits.wall_s:g} seconds",
            "cpu": f"used more than {limits.cpu_s:g} seconds of the processor",
            "memory": f"used more than {limits.memory_mb} MB of memory",
            "output": f"wrote more than {limits.output_bytes} bytes of output",
            "workspace": f"put more than {limits.workspace_mb} MB or {limits.workspace_files} files there",
            "cancelled": "was cancelled",
        }[outcome.killed]
        raise ToolError(_CODES.get(outcome.killed, "TOO_LARGE"), f"{what}\n{text}".removesuffix("\n"))
    if outcome.status:
        how = f"signal {-outcome.status}" if outcome.status < 0 else f"status {outcome.status}"
        raise ToolError("TOOL_FAILED", f"ended with {how}\n{text}".removesuffix("\n"))
    return text


async def _read_file(call: Invocation) -> str:
    most = call.services.result_bytes - _NOTE  # so that what is left is told, and can be read next
    return await _reading(call, files.read_file, limit=min(call.arguments.get("limit", most), most))


_NOTE = 160  # bytes of a note on what was cut


async def _list_files(call: Invocation) -> str:
    return await _reading(call, files.list_files)


async def _search_text(call: Invocation) -> str:
    return await _reading(call, files.search_text)


async def _write_file(call: Invocation) -> str:
    return await _writing(call, files.write_file)


async def _append_file(call: Invocation) -> str:
    return await _writing(call, files.append_file)


async def _delete_file(call: Invocation) -> str:
    return await _writing(call, files.delete_file)


async def _reading(call: Invocation, function: Callable[..., str], **more: int) -> str:
    _permit(call, call.permits.read)
    return await asyncio.to_thread(function, call.services.workspace(call.process), **call.arguments | more)


async def _writing(call: Invocation, function: Callable[..., str]) -> str:
    _permit(call, call.permits.write)
    return await asyncio.to_thread(function, call.services.workspace(call.process), **call.arguments)


def _permit(call: Invocation, patterns: tuple[str, ...]) -> None:
    path = call.arguments.get("path", ".")
    if not files.matches(path, patterns):
        raise ToolError("NOT_ALLOWED", f"{path[:64]!r} is not among the paths of this process")


async def _get_time(call: Invocation) -> str:
    return call.services.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _sleep(call: Invocation) -> str:
    seconds = call.arguments["seconds"]
    await asyncio.sleep(seconds)
    return f"ok: slept {seconds:g} seconds"


async def _ask_human(call: Invocation) -> str:
    return await call.services.ask(call.process, call.number, call.arguments["question"])


async def _spawn(call: Invocation) -> str:
    arguments = call.arguments
    tools = tuple(arguments["tools"]) if "tools" in arguments else None
    wait = arguments.get("wait", True)
    child = await call.services.spawn(call.process, Spawn(arguments["prompt"], tools, wait))
    if wait:
        return await child.output()
    return f"ok: PID {child.pid}"


async def _send(call: Invocation) -> str:
    pid = call.arguments["pid"]
    if not call.services.reaches(call.process, pid):
        raise ToolError("NOT_FOUND", f"no live process {pid}")
    await call.services.mailboxes.send(pid, Letter(call.process.pid, call.arguments["text"]))
    return f"ok: sent to PID {pid}"


async def _receive(call: Invocation) -> str:
    seconds = call.arguments.get("seconds", LONGEST_WAIT)
    try:
        async with asyncio.timeout(seconds):
            letter = await call.services.mailboxes.receive(call.process.pid)
    except TimeoutError:
        raise ToolError("TIMEOUT", f"no message within {seconds:g} seconds") from None
    return f"from PID {letter.sender}: {letter.text}"


async def _mem_read(call: Invocation) -> str:
    key = call.arguments["key"]
    try:
        return call.process.notes[key]
    except KeyError:
        raise ToolError("NOT_FOUND", f"the key is unknown: {key}") from None


async def _mem_write(call: Invocation) -> str:
    key, value, notes = call.arguments["key"], call.arguments["value"], call.process.notes
    held = sum(len(k.encode()) + len(v.encode()) for k, v in notes.items() if k != key)
    if held + len(key.encode()) + len(value.encode()) > MOST_NOTE_BYTES:
        raise ToolError("QUOTA_EXCEEDED", f"{MOST_NOTE_BYTES} bytes are remembered at most")
    if key not in notes and len(notes) >= MOST_NOTES:
        raise ToolError("QUOTA_EXCEEDED", f"{MOST_NOTES} keys are remembered at most")
    notes[key] = value
    call.process.changed()
    return f"ok: stored {key}"


HANDLERS: dict[str, Handler] = {name: globals()[f"_{name}"] for name in SYSCALLS}

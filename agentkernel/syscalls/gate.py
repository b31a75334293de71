"""The gate: every call of every process goes through here, and comes out as a text for the model.

Rules
1. In this order: quota, tool, arguments, permission, rate, approval, the call, the audit. None is skipped.
2. A call that fails is a text the model can use; what ends its process is a used-up quota or many failures.
3. When a process ends, so do its calls and the jails they run in; they are written down as CANCELLED.
4. Without a jail that has proved itself nothing is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from agentkernel import log
from agentkernel.calls import Call
from agentkernel.config import Config
from agentkernel.errors import KernelError
from agentkernel.jail.owners import jail_uid
from agentkernel.jail.port import Jail, Job, Outcome, Verdict
from agentkernel.permits import Permits
from agentkernel.plan import Plan
from agentkernel.process import Process, Wait
from agentkernel.recording import Recorder
from agentkernel.request import Spawn
from agentkernel.syscalls import audit
from agentkernel.syscalls.arguments import decode
from agentkernel.syscalls.builtin import Child, Invocation
from agentkernel.syscalls.caller import Caller
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.host import Host, UsedUpError
from agentkernel.syscalls.mailbox import Mailboxes
from agentkernel.syscalls.people import Kind, People
from agentkernel.syscalls.results import cut
from agentkernel.syscalls.secrets import Secrets
from agentkernel.syscalls.succession import Successor, remove_for_good, sweep
from agentkernel.syscalls.table import Tool
from agentkernel.syscalls.toolbox import Toolbox
from agentkernel.syscalls.workspace import Workspace

_BLAMELESS = ("ESANDBOX", "DENIED", "RATE_LIMITED", "INTERRUPTED")  # not the model's failures
_OFF = Verdict("none", (), (), 0, 0.0, ("tools are switched off",))
_log = log.get("gate")


class Gate:
    """The calls of all processes."""

    def __init__(self, config: Config, jail: Jail, host: Host, recorder: Recorder) -> None:
        """Raises SkillError, SecretsError or AuditError for files of the user's that can't be used."""
        self._settings, self._root, self._host = config.tools, Path(config.workspace).absolute(), host
        self.jail, self._recorder = jail, recorder
        self.secrets = Secrets.load(config.secrets_file)
        self.toolbox = Toolbox(config.tools.skills, Path(config.state) / "tools", self.secrets)
        self._audit, self._unaudited = audit.Audit(config.audit_file, full=config.tools.audit_arguments), ""
        self.people, self.mailboxes = People(), Mailboxes(config.tools.messages)
        self.programs, self.result_bytes = frozenset(config.tools.shell), config.tools.result_bytes
        self.counters = {"syscalls": 0, "syscall_errors": 0}
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._clock = asyncio.get_running_loop().time
        self._callers: dict[int, Caller] = {}
        self._removals: dict[int, asyncio.Task[None]] = {}  # of workspaces, by PID
        sweep(self._root, self._settings.limits)

    def __repr__(self) -> str:
        return f"<Gate tools={len(self.toolbox.tools)} callers={len(self._callers)}>"

    @property
    def verdict(self) -> Verdict | None:
        """What the jail's self-test has found, if it is over; while tools are switched off, that they are."""
        return self.jail.verdict if self._settings.enabled else _OFF

    async def start(self) -> None:
        """Have the jail prove itself, and say loudly if it doesn't."""
        verdict = await self._verdict()
        for fault in verdict.faults:
            _log.error("sandbox not verified", fault=fault)
        _log.info("sandbox", backend=verdict.backend, levels=verdict.levels, ms=round(verdict.ms))

    # What a process begins and ends with

    def admit(self, plan: Plan, *, inherited: bool = False) -> Plan:
        """The plan with what the model is told of its tools. Raises TOOL_NOT_FOUND or ESANDBOX.

        A tool that its parent had when it began may be gone by now.
        """
        permits = plan.permits
        if permits is None:
            return plan
        self.check_level(permits)
        limited = set(permits.limits) - {"*"}
        for name in sorted({*(permits.tools or ()), *limited, *(set(permits.approve) - {"*"})}):
            if name not in self.toolbox.tools and not inherited:
                raise KernelError("TOOL_NOT_FOUND", f"no tool named {name!r}", {"tool": name})
        tools = [tool for name, tool in self.toolbox.tools.items() if permits.allows(name)]
        told = [] if permits.tools is None else [tool.function for tool in tools]
        schemas = {tool.name: msgspec.json.encode(tool.schema).decode() for tool in tools}
        return msgspec.structs.replace(
            plan,
            functions=msgspec.json.encode(told).decode() if told else "",
            schemas=schemas if permits.constrain else {},
        )

    def check_level(self, permits: Permits) -> None:
        """Raise ESANDBOX unless the jail gives what they want."""
        verdict = self.verdict
        if permits.trust != "standard" and (verdict is None or permits.trust not in verdict.levels):
            why = "; ".join(verdict.faults) if verdict else "the jail's self-test is not over"
            raise KernelError(
                "ESANDBOX", f"no jail for trust {permits.trust}: {why}", {"trust": permits.trust}
            )

    def open(self, process: Process) -> None:
        """A process that may call has begun."""
        if process.plan.permits is not None:
            self._callers[process.pid] = Caller()
            self.mailboxes.open(process.pid, process.letters, process.changed)

    def forget(self, process: Process) -> None:
        """The process has ended: its calls end, and what runs in its jails."""
        caller, permits = self._callers.pop(process.pid, None), process.plan.permits
        if caller is None or permits is None:
            return
        if caller.task is not None:
            caller.task.cancel()
            self.jail.kill(f"{process.pid}.{process.called}")  # the job of its call
            self._finish(process, caller, "CANCELLED")
        if process.called:  # else it has no jails
            self.jail.forget(process.pid)
        self.mailboxes.close(process.pid)
        passing = self._settings.workspaces == "remove" or permits.trust == "confidential"
        if passing:
            with contextlib.suppress(ToolError):  # ESANDBOX: nobody could make one
                workspace = caller.workspace or self._new_workspace(process.pid)  # of a former kernel's
                removal = asyncio.get_running_loop().create_task(self._remove(process, workspace))
                self._removals[process.pid] = removal
                removal.add_done_callback(lambda _: self._removals.pop(process.pid, None))

    def workspace(self, process: Process) -> Workspace:
        """The process's own, of one that has ended too. Raises ToolError ESANDBOX where none can be had."""
        caller = self._callers.get(process.pid)
        if caller is None:
            return self._new_workspace(process.pid)
        if caller.workspace is None:
            caller.workspace = self._new_workspace(process.pid)
        return caller.workspace

    def awaited(self, process: Process) -> Wait:
        """What the process's call waits for."""
        question = self.people.of(process.pid)
        if question is None:
            return Wait.SYSCALL
        return Wait.APPROVAL if question.kind == "approval" else Wait.ANSWER

    async def successor(self, pid: int) -> Successor:
        """Files that may become the process's, once no removal of those that it had is under way."""
        if (removal := self._removals.get(pid)) is not None:
            await removal
        return Successor(self._root, pid, self._settings.limits, jail_uid(pid))

    async def _remove(self, process: Process, workspace: Workspace) -> None:
        await self._host.may_call(process)  # a checkpoint may read them
        await asyncio.to_thread(remove_for_good, process.pid, workspace)

    def _new_workspace(self, pid: int) -> Workspace:
        return Workspace(self._root, pid, self._settings.limits, jail_uid(pid))

    # Calls

    def begin(self, process: Process) -> None:
        """Make the calls that the process's turn came to, one after the other."""
        caller = self._callers[process.pid]
        caller.task = asyncio.get_running_loop().create_task(self._serve(process, caller))

    async def _serve(self, process: Process, caller: Caller) -> None:
        try:
            while await self._host.join(process, await self._one(process, caller, process.calls[0])):
                pass
        except UsedUpError as used_up:
            self._host.stop(process, str(used_up))
        except Exception as error:  # noqa: BLE001 - one call's: its process ends, the kernel goes on
            _log.exception("a call failed inside the kernel", pid=process.pid, error=repr(error))
            self._finish(process, caller, "INTERNAL")
            self._host.stop(process, "internal")

    async def _one(self, process: Process, caller: Caller, call: Call) -> str:
        """One call's result, written down and told."""
        code = "ok"
        if not process.calling:
            self._charge(process, call)
        elif (known := self._recorder.result(process.pid, process.called)) is not None:
            return known
        caller.call, caller.since, caller.outcome = call, time.perf_counter(), None
        try:
            text = await self._perform(process, caller, call)
            caller.failures = 0
        except ToolError as error:
            text, code = str(error), error.code
            self.counters["syscall_errors"] += 1
            caller.failures += code not in _BLAMELESS
        self._finish(process, caller, code)
        if caller.failures >= self._settings.errors:
            raise UsedUpError("syscall_errors")
        text = cut(self.secrets.redact(text), self.result_bytes)
        if process.calling:
            self._recorder.finished(process.pid, process.called, text)
        return text

    def _charge(self, process: Process, call: Call) -> None:
        tool = self.toolbox.tools.get(call.name)
        cost = tool.cost if tool else 1
        timeless = tool is not None and tool.jailed and process.left("cpu_secs") <= 0
        if timeless or cost > process.left("syscalls"):
            self._write_down(process, call, ("QUOTA", 0.0), None)
            raise UsedUpError("quota")
        process.called += 1
        process.calling = True
        process.charge(syscalls=cost)
        self.counters["syscalls"] += 1
        self._host.emit_of(process, "syscall", call=process.called, tool=call.name)
        self._host.charged_soon(process)

    async def _intend(self, process: Process, call: Call, tool: Tool) -> None:
        """Write down that the call begins: what may not happen twice is on the disk before it happens."""
        number, digest = process.called, sha256(call.arguments.encode()).hexdigest()
        begun = self._recorder.intend(process.pid, number, call.name, digest, idempotent=tool.idempotent)
        if tool.idempotent:
            return
        if begun:
            raise ToolError("INTERRUPTED", "the kernel stopped while it ran: it may have been done, or not")
        await self._recorder.written()

    async def _perform(self, process: Process, caller: Caller, call: Call) -> str:
        """The call itself, if everything permits it. Raises ToolError."""
        verdict = await self._verdict()
        if not verdict.levels:
            raise ToolError("ESANDBOX", "; ".join(verdict.faults) or "tools are off")
        if self._unaudited:
            raise ToolError("ESANDBOX", "calls can't be written down")
        permits, tool = process.plan.permits, self.toolbox.tools.get(call.name)
        if tool is None:
            raise ToolError("TOOL_NOT_FOUND", f"no tool named {call.name}")
        arguments = decode(call.arguments)
        if fault := self.toolbox.fault(tool, arguments):
            raise ToolError("BAD_ARGUMENTS", fault)
        if permits is None or not permits.allows(tool.name):
            raise ToolError("NOT_ALLOWED", f"this process may not call {tool.name}")
        self._check_rate(caller)
        traits = self._traits(process, tool)
        if permits.asks(tool.name) or (self._settings.rule_of_two and len(traits) > 2):
            await self._approved(process, call)
        await self._host.may_call(process)
        if self.toolbox.tools.get(tool.name) is not tool:
            raise ToolError("TOOL_NOT_FOUND", f"{tool.name} was removed meanwhile")
        process.traits = tuple(sorted(traits))
        process.changed()
        limits = self.toolbox.limits(tool, self._settings)
        bounded = permits.bounds(tool.name, limits)
        bounded = msgspec.structs.replace(bounded, cpu_s=min(bounded.cpu_s, process.left("cpu_secs")))
        await self._intend(process, call, tool)
        invocation = Invocation(process, process.called, tool, arguments, permits, bounded, self)
        try:
            async with asyncio.timeout(None if tool.seconds == float("inf") or tool.jailed else tool.seconds):
                return await self.toolbox.handlers[tool.name](invocation)
        except TimeoutError:
            raise ToolError("TIMEOUT", f"{tool.name} took longer than {tool.seconds:g} seconds") from None

    async def _verdict(self) -> Verdict:
        return self.verdict or await self.jail.start()

    def _check_rate(self, caller: Caller) -> None:
        now, settings = self._clock(), self._settings
        while caller.begun and now - caller.begun[0] >= settings.calls_seconds:
            caller.begun.popleft()
        if len(caller.begun) >= settings.calls:
            raise ToolError("RATE_LIMITED", f"{settings.calls} calls in {settings.calls_seconds:g} seconds")
        caller.begun.append(now)

    @staticmethod
    def _traits(process: Process, tool: Tool) -> set[str]:
        """What of three dangers would come together with this call, and only a person may let."""
        permits = process.plan.permits
        untrusted = {"untrusted"} if permits is not None and permits.trust == "untrusted" else set()
        private = {"private"} if tool.private else set()
        return set(process.traits) | untrusted | private | ({"changing"} if tool.changing else set())

    async def _approved(self, process: Process, call: Call) -> None:
        seconds, arguments = self._settings.approval_seconds, self.secrets.redact(call.arguments)
        fields = {"tool": call.name, "arguments": arguments}
        self._host.waits(process, Wait.APPROVAL)
        self._host.emit_of(process, "approval_wanted", call=process.called, **fields, seconds=seconds)
        try:
            refusal = await self._asked("approval", process, f"{call.name} {arguments}", seconds)
        except TimeoutError:
            raise ToolError("DENIED", f"nobody approved it within {seconds:g} seconds") from None
        if refusal is not None:
            raise ToolError("DENIED", refusal or "denied by the operator")

    async def _asked(self, kind: Kind, process: Process, said: str, seconds: float) -> Any:
        """A person's reply, behind which the process waits for its call again. Raises TimeoutError."""
        try:
            reply = await self.people.ask(kind, process.pid, process.called, said, seconds)
        except TimeoutError:
            self._host.waits(process, Wait.SYSCALL)
            raise
        self._host.waits(process, Wait.SYSCALL)
        return reply

    def _finish(self, process: Process, caller: Caller, code: str) -> None:
        """The call is over, if there was one: write it down and tell."""
        if caller.call is None:
            return
        call, caller.call = caller.call, None
        ms = round((time.perf_counter() - caller.since) * 1e3, 3)
        self._write_down(process, call, (code, ms), caller.outcome)
        fields = {"call": process.called, "tool": call.name, "outcome": code, "ms": ms}
        self._host.emit_of(process, "syscall_finished", **fields)

    def _write_down(
        self, process: Process, call: Call, end: tuple[str, float], outcome: Outcome | None
    ) -> None:
        """While that fails nothing is called. `end` is how the call ended, after so many milliseconds."""
        permits = process.plan.permits
        trust = permits.trust if permits else "standard"
        record = audit.Call(
            owner=process.owner.name,
            pid=process.pid,
            call=process.called + (not process.calling),  # it would have been the next
            tool=call.name,
            arguments=self.secrets.redact(call.arguments),
            trust=trust,
            backend=outcome.backend if outcome else "kernel",
            outcome=end[0],
            ms=end[1],
            cpu_ms=outcome.cpu_ms if outcome else 0.0,
            memory_kb=outcome.memory_kb if outcome else 0,
            output_bytes=len(outcome.output) if outcome else 0,
        )
        try:
            self._audit.append(record, confidential=trust == "confidential")
            self._unaudited = ""
        except audit.AuditError as error:
            if not self._unaudited:
                _log.error("calls can't be written down", error=str(error))
            self._unaudited = str(error)

    # What tools need (builtin.Services)

    async def jailed(self, call: Invocation, job: Job) -> Outcome:
        """Run the job to its end. Raises ToolError ESANDBOX."""
        try:
            outcome = await self.jail.run(job)
        except KernelError as error:
            raise ToolError("ESANDBOX", error.message) from None
        call.process.charge(cpu_secs=outcome.cpu_ms / 1e3)
        self._host.charged_soon(call.process)
        if caller := self._callers.get(call.process.pid):
            caller.outcome = outcome
            if job.code is not None:  # who has run a program soon runs another
                self.jail.warm(job.owner, job)
        return outcome

    async def ask(self, process: Process, number: int, question: str) -> str:
        """A person's answer. Raises ToolError TIMEOUT."""
        seconds, question = self._settings.answer_seconds, self.secrets.redact(question)
        self._host.waits(process, Wait.ANSWER)
        self._host.emit_of(process, "question", call=number, question=question, seconds=seconds)
        try:
            return str(await self._asked("answer", process, question, seconds))
        except TimeoutError:
            raise ToolError("TIMEOUT", f"nobody answered within {seconds:g} seconds") from None

    async def spawn(self, parent: Process, asked: Spawn) -> Child:
        """A child of the process. Raises ToolError."""
        return await self._host.spawn(parent, asked)

    def reaches(self, process: Process, pid: int) -> bool:
        """Whether that PID is a live process of the same owner."""
        return self._host.reaches(process, pid)

    async def halt(self) -> None:
        """No call goes on, nor comes to anything: the next kernel finds those that were being made."""
        tasks = [caller.task for caller in self._callers.values() if caller.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """No call can be made any more, and what is to be removed is."""
        await asyncio.gather(*self._removals.values())
        await self.jail.stop()
        self._audit.close()

"""EXEC: from what a client asks for to a process that is admitted.

Rules
1. Of two with one key the second is the first again, also in a former kernel; while one is under way the
   other is refused.
2. What can't be is refused before a model is loaded for it.
"""

from __future__ import annotations

from typing import NamedTuple

from agentkernel.admission import Waiting
from agentkernel.errors import KernelError
from agentkernel.process import Owner, Process, Sink
from agentkernel.replaying import Replaying
from agentkernel.request import ExecRequest
from agentkernel.serving import Served
from agentkernel.snapshots import Snapshot


class _Start(NamedTuple):
    """A new process's model and why it has that, the tokens it begins with, and whose these are."""

    served: Served
    rationale: str = ""
    base: tuple[int, ...] = ()
    group: str = ""


class Starting(Replaying):
    """The part of the kernel's methods that starts processes."""

    async def exec(self, owner: Owner, request: ExecRequest, sink: Sink | None) -> Process:
        """Start a process; returns once its prompt is tokenised and admitted, before its prefill.

        Of two with one key the second is the first again. Where its lane is full, it is refused, or waits.
        """
        if request.key is not None and (known := self.recorder.keyed(owner, request.key)) is not None:
            return self.find(owner, known)  # PID_NOT_FOUND, where retention has removed it
        request.check()
        self._check_nice(owner, request.nice)
        name = owner.name, request.key or ""
        if name in self._keys:
            raise KernelError("BUSY", "an EXEC with that key is under way")
        self.accounts.check(owner.name)
        self._check_open()
        began = self.clock()
        if request.key is not None:
            self._keys.add(name)
        try:
            start = await self._chosen(owner, request)
            return await self._exec(owner, request, start, sink, began)
        finally:
            self._keys.discard(name)
            self.models.retire_idle()

    async def _exec(
        self, owner: Owner, request: ExecRequest, start: _Start, sink: Sink | None, began: float
    ) -> Process:
        """Admit a process, once its lane has room."""
        served = start.served
        self.admission.check(served, request.lane, wait=request.wait)
        pid = self.table.new_pid()
        try:
            async with self.admission.passed(served, Waiting(pid, owner, request.lane, sink)):
                plan = request.plan(self.generation, self.seed, pid, start.base, start.rationale)
                process = request.process(pid, owner, plan, served.card.id, began)
                process.base_group = start.group
                await self._admit(process, served, sink)
        finally:
            self.table.abandon(pid)
        return process

    @staticmethod
    def _check_nice(owner: Owner, nice: int) -> None:
        if nice < 0 and not owner.admin:
            raise KernelError("FORBIDDEN", "a nice value below 0 is for administrators")

    async def _chosen(self, owner: Owner, request: ExecRequest) -> _Start:
        """What the process begins with, and the model that it will run on."""
        if request.from_ is not None:
            snapshot = self.snapshots.find(owner, request.from_, request.share)
            return _Start(await self._holder(snapshot), "", snapshot.tokens, snapshot.group)
        named = request.model
        if request.lora:
            named = f"{named or self.models.current().card.id}+{request.lora}"
        return _Start(*await self.models.choose(named, request.capability, request.workload))

    async def _holder(self, snapshot: Snapshot) -> Served:
        """The model that the snapshot's tokens are of. Raises SNAPSHOT_MODEL."""
        details = {"model": snapshot.model_id}
        try:
            served = await self.models.serving(snapshot.model_id)
        except KernelError as error:
            raise KernelError("SNAPSHOT_MODEL", f"{snapshot.model_id}: {error.message}", details) from error
        if served.fingerprint != snapshot.fingerprint:
            raise KernelError("SNAPSHOT_MODEL", f"{snapshot.model_id} is another file by now", details)
        return served

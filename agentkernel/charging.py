"""What follows from what processes and their owners have used: words of warning, and ends.

Rules
1. What a client asks for beyond a limit is refused. What a process would do by itself beyond one is not done,
   and ends it with reason `quota`.
2. Of what goes on by itself (seconds, bytes held) a timer tells, for those alone who are limited in it.
3. A soft limit is told of once. Who is in an answer then, or an owner's every process that is, may finish it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from agentkernel.alarms import Alarms
from agentkernel.config import Config
from agentkernel.errors import KernelError
from agentkernel.process import Event, Owner, Process, State
from agentkernel.processes import Processes
from agentkernel.quotas import NO_BOUNDS, Account, Bounds, Quota


class Charging(Processes):
    """The limits of processes and owners."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._clocks = Alarms()  # of limits that time brings near

    # What clients ask for

    def owner_quota(self, owner: Owner, name: str) -> tuple[Account, int]:
        """What that owner may use, and has used up to now; how many processes it has. Raises FORBIDDEN."""
        if not owner.admin and owner.name != name:
            raise KernelError("FORBIDDEN", f"the quotas of {name} are its own")
        live = self._live_of(name)
        self._measure(live)
        return self.accounts.of(name), len(live)

    def set_owner_quota(self, owner: Owner, name: str, changes: Mapping[str, float | None]) -> Account:
        """Change that owner's limits, which act at once. Raises FORBIDDEN."""
        if not owner.admin:
            raise KernelError("FORBIDDEN", "quotas of owners are an administrator's to set")
        account = self.accounts.of(name)
        self.accounts.bind(name, account.bounds.changed(changes))
        self._clocks.drop(name)
        self._see_owner(name)
        self._use_up(name)
        return self.accounts.of(name)

    # What has been used

    def charged(self, process: Process) -> None:
        """The process has used something, or time has passed: see what follows."""
        if process.bounds != NO_BOUNDS:
            self._see_process(process)
        account = process.account
        if account is not None and account.bounds != NO_BOUNDS:
            self._see_owner(account.name)
        if process.wrap_up == "due":
            self._interrupt(process)

    def charged_soon(self, process: Process) -> None:
        """As `charged`, once who calls this is through."""
        asyncio.get_running_loop().call_soon(self.charged, process)

    def _see_process(self, process: Process) -> None:
        if process.state.ended:
            return
        self._measure([process])
        used = process.used(self.clock()) + process.settled
        if due := process.bounds.due(used):
            process.bounds = process.bounds.telling(due)
            process.changed()
            self._tell(process, process.bounds, used, due)
            self._wrap_up([process])
        if process.bounds.is_over(used + process.lent):
            self._end(process, Event.FINISH, "quota")
        else:
            rates = Quota(wall_secs=1.0, kv_byte_secs=process.meter.held.size)
            self._look_again(process.pid, process.bounds.wait(used, rates), partial(self.charged, process))

    def _see_owner(self, name: str) -> None:
        account = self.accounts.of(name)
        if due := account.bounds.due(account.used):
            live = self._live_of(name)
            if live:
                self.accounts.bind(name, account.bounds.telling(due))
                self._tell(live[0], account.bounds, account.used, due, owner=name)
                self._wrap_up(live)
        if account.bounds.is_over(account.used):
            for process in self._live_of(name):
                if not process.state.ended:  # with its parent
                    self._end(process, Event.FINISH, "quota")
        elif account.live:
            rates = Quota(wall_secs=account.live, kv_byte_secs=1.0)
            self._look_again(name, account.bounds.wait(account.used, rates), partial(self._look_at, name))

    def _look_at(self, name: str) -> None:
        """Time has passed for an owner."""
        self._measure(self._live_of(name))
        self._see_owner(name)

    def _use_up(self, name: str) -> None:
        """Nobody of the owner's goes on generating, if that has no token left."""
        if self.accounts.of(name).left("tokens") > 0:
            return
        for process in self._live_of(name):
            if process.state in (State.READY, State.RUNNING) and process.pid not in self._changing:
                self._end(process, Event.FINISH, "quota")

    def _tell(self, process: Process, bounds: Bounds, used: Quota, kinds: Sequence[str], **who: str) -> None:
        for kind in kinds:
            amount, limit = getattr(used, kind), getattr(bounds.soft, kind)
            self.events.emit("quota_soft", process, quota=kind, used=amount, limit=limit, **who)

    def _wrap_up(self, processes: list[Process]) -> None:
        """Those who are in an answer are to finish it; who was told before is not again."""
        for process in processes:
            if not (process.turn_over or process.wrap_up or process.terminating or process.state.ended):
                process.wrap_up = "due"
                process.changed()
                self._interrupt(process)

    def _interrupt(self, process: Process) -> None:
        """Hold a process that is to be told something, if it can be told now."""
        going = process.state in (State.READY, State.RUNNING) and process.turn_end is None
        if not going or process.pid in self._changing:
            return
        if process.state is State.RUNNING:
            process.move(Event.REVOKE, self.clock())
        self._served(process).set_runnable(process, runnable=False)
        self._wake(process)

    def _live_of(self, name: str) -> list[Process]:
        return [process for process in self.table if process.owner.name == name]

    def _measure(self, processes: list[Process]) -> None:
        for process in processes:
            if served := self.models.served.get(process.model_id):
                served.measure(process.pid)

    # Timers

    def _look_again(self, who: int | str, seconds: float | None, look: Callable[[], None]) -> None:
        """Unless that is arranged already."""
        if seconds is not None and who not in self._clocks:
            self._clocks.set(who, self.clock() + seconds, look)

    # Beginnings and ends

    def _enlist(self, process: Process) -> None:
        """See `Processes._enlist`."""
        super()._enlist(process)
        self._clocks.drop(process.owner.name)  # its seconds go faster from now on
        self.charged(process)

    async def close(self) -> None:
        """No time passes any more."""
        self._clocks.close()

    def _end(self, process: Process, event: Event, reason: str) -> None:
        """See `Processes._end`."""
        self._clocks.drop(process.pid)
        super()._end(process, event, reason)

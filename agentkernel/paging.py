"""The contexts of one served model: where each is, whose prefix helps whom; between pager and engine.

Rules
1. A grant says where a context comes from: its own image, a donor of the same trust group, or its tokens.
2. A process whose prefix another is still computing gets its slot and waits until so much is computed.
3. What the engine reports corrects what the pager believes; nothing here can fail a process.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from agentkernel.engine import port
from agentkernel.pages import Entry, Pager, Store, Tier
from agentkernel.prefixes import PrefixIndex
from agentkernel.process import PRIORITIES, Process

SHORTEST_PREFIX = 32  # tokens; what is shorter is computed again sooner than it is copied


@dataclass(frozen=True, slots=True)
class _Behind:
    """A grant that waits for its donor."""

    pid: int
    slot: int
    donor: int
    prefix: int


class Paging:
    """Images and prefixes of one engine."""

    def __init__(self, pager: Pager, bytes_per_token: int, running: Callable[[int], bool]) -> None:
        self.pager, self._running = pager, running
        self.counts: Counter[str] = Counter()
        self._bytes_per_token = bytes_per_token
        self._sharing = pager.budgets[Tier.RAM] > 0  # paging is on
        self._groups: dict[str, PrefixIndex] = defaultdict(PrefixIndex)
        self._group_of: dict[int, str] = {}
        self._filled: dict[int, int] = {}  # tokens of those in a slot
        self._behind: dict[int, _Behind] = {}

    def grant(self, process: Process, slot: int, now: float) -> port.Grant | None:
        """What to tell the engine of a grant; None while the process waits for its donor."""
        pid = process.pid
        if (entry := self.pager.entry(pid)) and entry.tier is Tier.SLOT:
            return port.Grant(pid, slot)
        before = self.pager.enter(pid, PRIORITIES.index(process.priority), now)
        self._filled[pid] = 0
        if before is not None:
            return port.Grant(pid, slot)
        self._unindex(pid)
        donor, prefix, ready = self._donor(process)
        self._index(process, process.tokens)
        if donor and not ready:
            self._behind[pid] = _Behind(pid, slot, donor, prefix)
            return None
        return port.Grant(pid, slot, donor, prefix)

    def revoke(self, process: Process, now: float) -> list[port.Command]:
        """What to tell the engine when the process loses its slot."""
        keep = self._leave(process, now, live=True)
        return [port.Revoke(process.pid, keep), *self._reclaim()]

    def close(self, process: Process, now: float) -> list[port.Command]:
        """What to tell the engine when the process has ended; its context may stay for others."""
        self._behind.pop(process.pid, None)
        entry = self.pager.entry(process.pid)
        if entry is not None and entry.tier is Tier.SLOT:
            keep = self._leave(process, now, live=False)
            return [port.Close(process.pid, keep), *self._reclaim()]
        self._forget(process.pid)
        return [port.Close(process.pid), port.Drop(process.pid)]

    def hold(self, process: Process) -> list[port.Grant]:
        """The process stops running: it waits for no donor, and nobody for it."""
        self._behind.pop(process.pid, None)
        have = self._filled.get(process.pid, 0)
        for behind in list(self._behind.values()):
            if behind.donor == process.pid:
                self._behind[behind.pid] = replace(behind, prefix=min(behind.prefix, have))
        return self.due()

    def observe(self, step: port.Step) -> list[port.Grant]:
        """Learn from a step; the grants whose donors have now come far enough."""
        if step.prompt:
            self.pager.rates.prefill.observe(step.prompt, step.ms * step.prompt / step.batch)
        news = {output.pid: output.filled for output in step.outputs if output.filled}
        for pid, filled in (step.reading | news).items():
            if pid in self._filled:
                self._filled[pid] = filled
        return self.due()

    def due(self) -> list[port.Grant]:
        """Grants that wait no longer: the donor has computed the prefix, or will never."""
        due = []
        for behind in list(self._behind.values()):
            filled = self._filled.get(behind.donor)
            if filled is None or filled >= behind.prefix:
                del self._behind[behind.pid]
                due.append(port.Grant(behind.pid, behind.slot, behind.donor, behind.prefix))
        return due

    def paged(self, event: port.Paged) -> list[port.Command]:
        """The engine moved an image; what follows from it."""
        self.counts[event.op] += 1
        rates, entry = self.pager.rates, self.pager.entry(event.pid)
        match event.op:
            case "in" | "share":
                rates.load_ram.observe(event.bytes, event.ms)
            case "disk-in":
                rates.load_disk.observe(event.bytes, event.ms)
            case "out" if entry is not None and entry.tier is not Tier.SLOT:
                entry.size = event.bytes
                if not event.bytes:
                    self._forget(event.pid)
            case "failed" if entry is not None and entry.tier is not Tier.SLOT:
                self._forget(event.pid)
        return self._reclaim()

    def _leave(self, process: Process, now: float, *, live: bool) -> bool:
        """The process gives up its slot; whether its context is to be kept, for itself or for others."""
        tokens = self._filled.pop(process.pid, 0)
        of_use = tokens > 0 if live else bool(process.group) and tokens >= SHORTEST_PREFIX
        entry = Entry(
            pid=process.pid,
            tier=Tier.RAM,
            tokens=tokens,
            size=tokens * self._bytes_per_token,
            since=now,
            rank=PRIORITIES.index(process.priority),
            live=live,
            kind=process.wait.value if process.wait else process.state.value,
        )
        keep = of_use and self.pager.leave(entry, now)
        if keep:
            self._index(process, process.tokens[:tokens])
        else:
            self._forget(process.pid)
        return keep

    def _index(self, process: Process, tokens: list[int]) -> None:
        if process.group and self._sharing:
            self._group_of[process.pid] = process.group
            self._groups[process.group].add(process.pid, tokens)

    def _donor(self, process: Process) -> tuple[int, int, bool]:
        """PID and tokens of the best donor, and whether it has computed so many already."""
        if not (process.group and self._sharing):
            return 0, 0, False
        length, keys = self._groups[process.group].longest(process.tokens[:-1])
        have = {pid: self._computed(pid) for pid in keys}
        if not have:
            return 0, 0, False
        donor = max(have, key=lambda pid: (have[pid], pid))
        ready = have[donor] >= length
        if not ready and not (donor in self._filled and self._running(donor)):
            length, ready = have[donor], True  # it will not come any further
        return (donor, length, ready) if length >= SHORTEST_PREFIX else (0, 0, False)

    def _computed(self, pid: int) -> int:
        """Tokens of the PID's context that a slot or an image holds."""
        entry = self.pager.entry(pid)
        if entry is None:
            return 0
        return self._filled.get(pid, 0) if entry.tier is Tier.SLOT else entry.tokens

    def _reclaim(self) -> list[port.Command]:
        commands: list[port.Command] = []
        for change in self.pager.reclaim():
            if isinstance(change, Store):
                commands.append(port.Store(change.pid))
            else:
                self._forget(change.pid)
                commands.append(port.Drop(change.pid))
        return commands

    def _forget(self, pid: int) -> None:
        self.pager.forget(pid)
        self._filled.pop(pid, None)
        self._unindex(pid)

    def _unindex(self, pid: int) -> None:
        group = self._group_of.pop(pid, "")
        if group:
            self._groups[group].remove(pid)
            if not self._groups[group]:
                del self._groups[group]

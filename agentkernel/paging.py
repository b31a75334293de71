"""The contexts of one served model: where each is, whose prefix helps whom; between pager and engine.

Rules
1. A grant says where a context comes from: its own image, a donor of the same trust group, or its tokens.
2. A process whose prefix another is still computing gets its slot and waits until so much is computed.
3. What the engine reports corrects what the pager believes; nothing here can fail a process.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf

from agentkernel.engine import port
from agentkernel.pages import Entry, Pager, Store, Tier
from agentkernel.prefixes import PrefixIndex
from agentkernel.process import PRIORITIES, Process
from agentkernel.quotas import NOTHING, Held

SHORTEST_PREFIX = 32  # tokens; what is shorter is computed again sooner than it is copied
_REUSED = 4  # of so many ended processes' contexts one is of use to others, at a guess


@dataclass(slots=True)
class Moves:
    """Images moved into slots and out of them; `shared` are the tokens it got from others."""

    ins: int = 0
    in_bytes: int = 0
    in_ms: float = 0.0
    outs: int = 0
    out_bytes: int = 0
    out_ms: float = 0.0
    shared: int = 0


@dataclass(frozen=True, slots=True)
class _Behind:
    """A grant that waits for its donor."""

    pid: int
    slot: int
    donor: int
    prefix: int


class Paging:
    """Images and prefixes of one engine."""

    def __init__(
        self,
        pager: Pager,
        bytes_per_token: int,
        running: Callable[[int], bool],
        measure: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        """`measure` is called with a PID before and behind every change of where its context is."""
        self.pager, self._running, self._measure = pager, running, measure
        self.counts: Counter[str] = Counter()
        self.moves: dict[int, Moves] = defaultdict(Moves)  # by PID; 0 is all of them
        self._bytes_per_token = bytes_per_token
        self._sharing = pager.budgets[Tier.RAM] > 0  # paging is on
        self._groups: dict[str, PrefixIndex] = defaultdict(PrefixIndex)
        self._group_of: dict[int, str] = {}
        self._filled: dict[int, int] = {}  # tokens of those in a slot
        self._behind: dict[int, _Behind] = {}
        self._exports: dict[int, Callable[[int], None]] = {}  # by key

    def grant(self, process: Process, slot: int, now: float) -> port.Grant | None:
        """What to tell the engine of a grant; None while the process waits for its donor."""
        pid = process.pid
        entry = self.pager.entry(pid)
        if entry is not None and entry.tier is Tier.SLOT:
            return port.Grant(pid, slot)
        self._measure(pid)
        self.pager.enter(pid, PRIORITIES.index(process.priority), now)
        self._filled[pid] = entry.tokens if entry else 0
        self._measure(pid)
        if entry is not None:
            return port.Grant(pid, slot)
        self._unindex(pid)
        donor, prefix, ready = self._donor(process)
        self._index(pid, process.group, process.tokens)
        if donor and not ready:
            self._behind[pid] = _Behind(pid, slot, donor, prefix)
            return None
        return port.Grant(pid, slot, donor, prefix)

    def revoke(self, process: Process, now: float) -> list[port.Signal]:
        """What to tell the engine when the process loses its slot."""
        self._behind.pop(process.pid, None)
        self._measure(process.pid)
        keep = self._leave(process, now, live=True)
        self._measure(process.pid)
        return [port.Revoke(process.pid, keep), *self._reclaim()]

    def close(self, process: Process, now: float) -> list[port.Signal]:
        """What to tell the engine when the process has ended; its context may stay for others."""
        self._behind.pop(process.pid, None)
        self.moves.pop(process.pid, None)
        self.pager.end(process.pid)
        entry = self.pager.entry(process.pid)
        if entry is not None and entry.tier is Tier.SLOT:
            keep = self._leave(process, now, live=False)
            return [port.Close(process.pid, keep), *self._reclaim()]
        self._forget(process.pid)
        return [port.Close(process.pid), port.Drop(process.pid)]

    def hold(self, process: Process) -> list[port.Grant]:
        """The process stops running: it waits for no donor, and nobody for it."""
        self._behind.pop(process.pid, None)
        self._shorten(process.pid, self._filled.get(process.pid, 0))
        return self.due()

    def splice(self, process: Process, start: int) -> list[port.Signal]:
        """The process's context is another from a position on."""
        self._shorten(process.pid, start)
        self._measure(process.pid)
        entry = self.pager.entry(process.pid)
        if entry is None or entry.tier is not Tier.SLOT:
            self._forget(process.pid)
            return []
        self._unindex(process.pid)
        self._filled[process.pid] = min(self._filled.get(process.pid, 0), start)
        self._measure(process.pid)
        self._index(process.pid, process.group, process.tokens)
        return [*self.due()]

    def keep(self, process: Process, key: int, group: str, now: float) -> list[port.Signal]:
        """Keep a copy of the process's context under a key, for others of the group to begin from."""
        tokens, entry = self._computed(process.pid), self.pager.entry(process.pid)
        if tokens < SHORTEST_PREFIX or entry is None:
            return []
        tier = Tier.DISK if entry.tier is Tier.DISK else Tier.RAM
        size = entry.size or tokens * self._bytes_per_token
        copy = Entry(key, tier, tokens, size, now, rank=0, live=False, kind="")
        if not self.pager.leave(copy, now, tier):
            return []
        self._index(key, group, process.tokens[:tokens])
        return [port.Keep(process.pid, key), *self._reclaim()]

    def export(
        self, process: Process, key: int, now: float, done: Callable[[int], None]
    ) -> list[port.Signal]:
        """Have a copy of the process's context in a file under a key, for nobody here.

        `done` is called with its tokens, 0 when there is none; nothing is to be told when it isn't worth it.
        """
        self._exports[key] = done
        commands = self.keep(process, key, "", now)
        if key in self._exports:
            if commands:
                return [*commands, port.Store(key)]
            del self._exports[key]
        return commands

    def give_up(self) -> None:
        """The engine is gone: what is being written isn't."""
        for key in list(self._exports):
            self._exports.pop(key)(0)

    def adopt(self, process: Process, image: port.Adopt, now: float) -> list[port.Signal]:
        """The process has an image on disk; what to tell the engine, if that is worth it."""
        entry = Entry(
            pid=process.pid,
            tier=Tier.DISK,
            tokens=image.tokens,
            size=image.size,
            since=now,
            rank=PRIORITIES.index(process.priority),
            live=True,
            kind="",
        )
        if not self.pager.leave(entry, now, Tier.DISK):
            return []
        self._measure(process.pid)
        self._index(process.pid, process.group, process.tokens[: image.tokens])
        return [image, *self._reclaim()]

    def drop(self, key: int) -> list[port.Signal]:
        """Forget a context that was kept."""
        self._forget(key)
        self.moves.pop(key, None)
        return [port.Drop(key)]

    def observe(self, step: port.Step) -> tuple[dict[int, int], list[port.Grant]]:
        """Learn from a step: tokens it computed, by PID, and grants whose donors have now come far enough."""
        if step.prompt:
            self.pager.rates.prefill.observe(step.prompt, step.ms * step.prompt / step.batch)
        else:
            self.pager.rates.step.observe(1, step.ms)
        used = {}
        news = {output.pid: output.filled for output in step.outputs if output.filled}
        for pid, filled in (step.reading | news).items():
            used[pid] = max(0, filled - self._filled.get(pid, filled))
            if pid in self._filled:
                self._filled[pid] = filled
        return used, self.due()

    def due(self) -> list[port.Grant]:
        """Grants that wait no longer: the donor has computed the prefix, or will never."""
        due = []
        for behind in list(self._behind.values()):
            filled = self._filled.get(behind.donor)
            if filled is None or filled >= behind.prefix:
                del self._behind[behind.pid]
                due.append(port.Grant(behind.pid, behind.slot, behind.donor, behind.prefix))
        return due

    def paged(self, event: port.Paged) -> list[port.Signal]:
        """The engine moved an image; what follows from it."""
        self.counts[event.op] += 1
        rates, entry = self.pager.rates, self.pager.entry(event.pid)
        if event.pid in self._exports and (event.op in ("disk-out", "failed") or not event.bytes):
            self._exports.pop(event.pid)(event.tokens if event.op == "disk-out" else 0)
        self._count(event)
        if event.op in ("in", "disk-in", "share") and event.pid in self._filled:
            self._filled[event.pid] = event.tokens
            self._measure(event.pid)
        match event.op:
            case "in" | "share":
                rates.load_ram.observe(event.bytes, event.ms)
            case "disk-in":
                rates.load_disk.observe(event.bytes, event.ms)
            case "failed" if entry is not None and entry.tier is Tier.SLOT:
                self._filled[event.pid] = 0
            case "out" | "clone" | "disk-out" if event.bytes and entry and entry.tier is not Tier.SLOT:
                self.pager.resize(event.pid, event.bytes)
                self._measure(event.pid)
            case "out" | "clone" | "failed" if entry is not None and entry.tier is not Tier.SLOT:
                return [*self.drop(event.pid), *self._reclaim()]
        return self._reclaim()

    def tokens(self, pid: int) -> tuple[str, int]:
        """The tier of the process's computed context, and its tokens."""
        entry = self.pager.entry(pid)
        return ("tokens", 0) if entry is None else (entry.tier.value, self._computed(pid))

    def held(self, pid: int) -> Held:
        """What the process's computed context takes, in whichever tier it is."""
        entry = self.pager.entry(pid)
        if entry is None:
            return NOTHING
        if entry.tier is Tier.SLOT:
            return Held(self._filled.get(pid, 0) * self._bytes_per_token, grows=True)
        return Held(entry.size, grows=False)

    def donor(self, pid: int) -> int:
        """Whose prefix the process waits for; 0 when it waits for none."""
        behind = self._behind.get(pid)
        return behind.donor if behind else 0

    def moved(self, pid: int) -> Moves:
        """What was moved of the process's context, or with 0 of all."""
        return self.moves.get(pid, Moves())

    def tokens_by_tier(self) -> dict[str, int]:
        """Tokens computed and held, of live processes and of others."""
        held = dict.fromkeys((tier.value for tier in Tier), 0)
        for entry in self.pager.entries():
            held[entry.tier.value] += self._computed(entry.pid)
        return held

    def shared_tokens(self) -> int:
        """Tokens held by processes that got them from others."""
        moves = ((pid, moves.shared) for pid, moves in self.moves.items() if pid and moves.shared)
        return sum(min(shared, self._computed(pid)) for pid, shared in moves)

    def settle(self) -> float:
        """Seconds a slot stays with its process, at least."""
        return self.pager.rates.settle

    def _count(self, event: port.Paged) -> None:
        entry = self.pager.entry(event.pid)
        lives = event.pid in self._filled or (entry is not None and entry.live)
        pids = (event.pid, 0) if lives else (0,)
        rates = self.pager.rates
        for moves in (self.moves[pid] for pid in pids):
            match event.op:
                case "out":
                    moves.outs, moves.out_bytes = moves.outs + 1, moves.out_bytes + event.bytes
                    moves.out_ms += event.ms
                case "in" | "disk-in":
                    moves.ins, moves.in_bytes = moves.ins + 1, moves.in_bytes + event.bytes
                    moves.in_ms += event.ms
                case "share":
                    moves.shared += event.tokens
        if event.op == "out":
            rates.page_out.observe(1, event.ms)
        elif event.op in ("in", "disk-in"):
            rates.page_in.observe(1, event.ms)

    def _shorten(self, pid: int, tokens: int) -> None:
        """No more than so many tokens of the process's context are, or will be, what grants wait for."""
        for behind in list(self._behind.values()):
            if pid in (behind.pid, behind.donor):
                self._behind[behind.pid] = replace(behind, prefix=min(behind.prefix, tokens))

    def _leave(self, process: Process, now: float, *, live: bool) -> bool:
        """The process gives up its slot; whether its context is to be kept, for itself or for others."""
        tokens = self._filled.pop(process.pid, 0)
        of_use = tokens > 0 if live else self._helps(process, tokens)
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
            self._index(process.pid, process.group, process.tokens[:tokens])
        else:
            self._forget(process.pid)
        return keep

    def _helps(self, process: Process, tokens: int) -> bool:
        """Whether what an ended process has computed is worth a copy, for what nobody else has of it."""
        self._unindex(process.pid)
        if not process.group or tokens < SHORTEST_PREFIX:
            return False
        rates = self.pager.rates
        groups = {process.group} & self._groups.keys()
        length, holder = self._match(groups, process.tokens[:tokens])
        new = tokens - min(length, self._computed(holder))
        return rates.prefill.cost(new, inf) >= _REUSED * rates.page_out.cost(1)

    def _index(self, key: int, group: str, tokens: list[int]) -> None:
        if group and self._sharing:
            self._group_of[key] = group
            self._groups[group].add(key, tokens)

    def _donor(self, process: Process) -> tuple[int, int, bool]:
        """PID or key and tokens of the best donor, and whether it has computed so many already."""
        if not self._sharing:
            return 0, 0, False
        groups = {process.group, process.base_group} & self._groups.keys()
        length, donor = self._match(groups, process.tokens[:-1])
        if length < SHORTEST_PREFIX:
            return 0, 0, False
        if self._computed(donor) >= length:
            return donor, length, True
        length -= length % SHORTEST_PREFIX  # nobody waits for a few tokens more
        length, donor = self._match(groups, process.tokens[:length])
        have = self._computed(donor)
        if have < length and not (donor in self._filled and self._running(donor)):
            length = have  # it will not come any further
        return (donor, length, have >= length) if length >= SHORTEST_PREFIX else (0, 0, False)

    def _match(self, groups: set[str], tokens: Sequence[int]) -> tuple[int, int]:
        """The longest prefix that somebody has, and who of them has computed most, or came first."""
        found = [self._groups[group].longest(tokens) for group in groups]
        length, keys = max(found, key=lambda match: match[0], default=(0, frozenset[int]()))
        return (length, max(keys, key=lambda pid: (self._computed(pid), -pid))) if keys else (0, 0)

    def _computed(self, pid: int) -> int:
        """Tokens of the PID's context that a slot or an image holds."""
        entry = self.pager.entry(pid)
        if entry is None:
            return 0
        return self._filled.get(pid, 0) if entry.tier is Tier.SLOT else entry.tokens

    def _reclaim(self) -> list[port.Signal]:
        commands: list[port.Signal] = []
        for change in self.pager.reclaim():
            if isinstance(change, Store):
                commands.append(port.Store(change.pid))
            else:
                self._forget(change.pid)
                commands.append(port.Drop(change.pid))
        return commands

    def _forget(self, pid: int) -> None:
        if done := self._exports.pop(pid, None):
            done(0)
        self.pager.forget(pid)
        self._filled.pop(pid, None)
        self._unindex(pid)
        self._measure(pid)

    def _unindex(self, pid: int) -> None:
        group = self._group_of.pop(pid, "")
        if group:
            self._groups[group].remove(pid)
            if not self._groups[group]:
                del self._groups[group]

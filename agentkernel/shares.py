"""Weighted fair queueing in tokens: between owners first, then between an owner's processes; pure.

Rules
1. Each owner has an equal share, and each of its processes one by its weight, of what is served while they
   want service. Time is virtual: tokens served by the weight they were served to.
2. Who begins to want service starts at the virtual time of those who do: waiting idly earns nothing, and
   what was had too much of is remembered.
3. Who waits is ordered by when a quantum begun now would be finished. Virtual time goes on with every token
   served, so that one of weight w is first after at most quantum * W / w tokens of its owner's, W being the
   sum of the weights of those who want service, however many come after it.
4. A turn goes to the process of its class (the same owner's, of the same rank) with the earliest deadline, if
   any has one that is not over; the two exchange their places, so that no other class has less for it. Who
   has waited for two quanta more is passed over so no more.

The scheme is start-time fair queueing (Goyal, Vin, Cheng 1996) with virtual finish times for the order.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import inf

_PATIENCE = 2  # quanta that a process is passed over for by those with deadlines


@dataclass(slots=True, eq=False)
class _Account:
    """An owner: its virtual time among owners, and the one within it."""

    owner: int
    time: float = 0.0
    inner: float = 0.0
    weight: float = 0.0  # of its processes that want service
    active: int = 0  # of its processes
    members: int = 0  # all of them
    heap: list[tuple[float, int, int]] = field(default_factory=list)  # finish, arrival, pid
    dues: dict[int, list[tuple[float, int, int]]] = field(default_factory=dict)  # by rank: deadline, then so


@dataclass(slots=True, eq=False)
class _Share:
    account: _Account
    weight: float
    rank: int
    time: float = 0.0
    lane: str = ""
    active: bool = False
    place: tuple[float, int, int] | None = None  # in its account's heap, while it waits
    since: float = 0.0  # the time within its account when it began to wait
    deadline: float = inf

    def due(self, now: float) -> float:
        """Its deadline, unless that is over."""
        return self.deadline if self.deadline > now else inf


class Shares:
    """The virtual times of processes and owners; `quantum` is tokens."""

    def __init__(self, quantum: int) -> None:
        self.quantum = quantum
        self._time = 0.0
        self._accounts: dict[int, _Account] = {}
        self._shares: dict[int, _Share] = {}
        self._active = 0  # owners
        self._waiting: Counter[str] = Counter()  # by lane

    def __len__(self) -> int:
        return self._waiting.total()

    def __contains__(self, pid: int) -> bool:
        """Whether the process waits."""
        share = self._shares.get(pid)
        return share is not None and share.place is not None

    def add(self, pid: int, owner: int, weight: float, rank: int = 0) -> None:
        """A process that wants nothing yet."""
        account = self._accounts.setdefault(owner, _Account(owner))
        account.members += 1
        self._shares[pid] = _Share(account, weight, rank, account.inner)

    def remove(self, pid: int) -> None:
        """Forget a process, and its owner when it has no other."""
        self.rest(pid)
        account = self._shares.pop(pid).account
        account.members -= 1
        if not account.members:
            del self._accounts[account.owner]

    def set_weight(self, pid: int, weight: float, rank: int = 0) -> None:
        """Change a process's weight and rank from now on."""
        share = self._shares[pid]
        if share.active:
            share.account.weight += weight - share.weight
        share.weight, share.rank = weight, rank
        self._place_again(pid, share)

    def set_lane(self, pid: int, lane: str) -> None:
        """Count a process among those of a lane."""
        share = self._shares[pid]
        waits = share.place is not None
        self._waiting[share.lane] -= waits
        self._waiting[lane] += waits
        share.lane = lane

    def waiting(self, lane: str) -> int:
        """How many of a lane wait."""
        return self._waiting[lane]

    def lane(self, pid: int) -> str:
        """The process's lane."""
        return self._shares[pid].lane

    def set_deadline(self, pid: int, deadline: float) -> None:
        """Change a process's deadline; infinity is none."""
        share = self._shares[pid]
        share.deadline = deadline
        self._place_again(pid, share)

    def want(self, pid: int) -> None:
        """The process wants service from now on."""
        share = self._shares[pid]
        if share.active:
            return
        account = share.account
        if not account.active:
            account.time = max(account.time, self._time)
            self._active += 1
        account.active += 1
        account.weight += share.weight
        share.active, share.time = True, max(share.time, account.inner)

    def rest(self, pid: int) -> None:
        """The process wants no service for now."""
        self.leave(pid)
        share = self._shares[pid]
        if share.active:
            share.active = False
            share.account.active -= 1
            share.account.weight -= share.weight
            self._active -= not share.account.active

    def charge(self, pid: int, tokens: int) -> None:
        """The process was served so many tokens."""
        share = self._shares[pid]
        account = share.account
        share.time += tokens / share.weight
        account.inner += tokens / max(account.weight, share.weight)
        account.time += tokens
        self._time += tokens / max(self._active, 1)

    def wait(self, pid: int, arrival: int) -> None:
        """The process waits to be served; equals go by arrival."""
        share = self._shares[pid]
        if share.place is None:
            share.since = share.account.inner
            self._waiting[share.lane] += 1
            self._place(pid, share, arrival)

    def leave(self, pid: int) -> None:
        """The process waits no more."""
        share = self._shares[pid]
        if share.place is not None:
            share.place = None
            self._waiting[share.lane] -= 1

    def take(self, turn: int, pid: int) -> None:
        """The process, which waits, is served in its own turn or in that of another."""
        self.leave(pid)
        self.exchange(turn, pid)

    def exchange(self, turn: int, pid: int) -> None:
        """The process is served in the turn of another, which has its place from now on."""
        mine, other = self._shares[pid], self._shares[turn]
        mine.time, other.time = other.time, mine.time
        self._place_again(turn, other)

    def first(self, now: float) -> tuple[int, int] | None:
        """Whose turn is next, and who is served in it."""
        heads = []
        for account in self._accounts.values():
            while account.heap and not self._holds(account.heap[0]):
                heapq.heappop(account.heap)
            if account.heap:
                _, arrival, pid = account.heap[0]
                heads.append((account.time, arrival, pid))
        if not heads:
            return None
        turn = min(heads)[2]
        return turn, turn if self.overdue(turn) else self._earliest(turn, now)

    def order(self, now: float) -> list[int]:
        """Everybody who waits, in the order in which they would be served if nothing changed."""
        turns = sorted(
            (pid for pid, share in self._shares.items() if share.place is not None), key=self._rank
        )
        classes: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for pid in turns:
            classes[self._class(pid)].append(pid)
        served = {
            each: iter(sorted(pids, key=lambda pid: self._shares[pid].due(now)))
            for each, pids in classes.items()
        }
        return [next(served[self._class(pid)]) for pid in turns]

    def overdue(self, pid: int) -> bool:
        """Whether the process waits for so long that no deadline goes before it."""
        share = self._shares[pid]
        return share.account.inner > share.since + _PATIENCE * self.quantum / share.weight

    def goes_before(self, pid: int, other: int, now: float) -> bool:
        """Whether the process is served before the other for its deadline."""
        mine, theirs = self._shares[pid], self._shares[other]
        earlier = mine.due(now) < theirs.due(now)
        return earlier and mine.account is theirs.account and mine.rank == theirs.rank

    def earlier(self, pid: int, now: float) -> int:
        """How many wait that are served before the process for their deadlines."""
        share = self._shares[pid]
        dues = share.account.dues.get(share.rank, ())
        before = {due[2] for due in dues if now < due[0] <= share.due(now) and self._due_holds(due)}
        return len(before - {pid})

    def excess(self, holder: int, waiting: int) -> float:
        """By how many quanta of its own the holder is ahead of one that waits."""
        mine, other = self._shares[holder], self._shares[waiting]
        if mine.account is not other.account:
            return (mine.account.time - other.account.time) / self.quantum
        ends = mine.time + self.quantum / mine.weight, other.time + self.quantum / other.weight
        return (ends[0] - ends[1]) * mine.weight / self.quantum

    def _earliest(self, turn: int, now: float) -> int:
        """Who of the class has the earliest deadline; without one it is who has the turn."""
        share = self._shares[turn]
        dues = share.account.dues.get(share.rank, [])
        while dues and (dues[0][0] <= now or not self._due_holds(dues[0])):
            heapq.heappop(dues)
        return dues[0][2] if dues else turn

    def _place(self, pid: int, share: _Share, arrival: int) -> None:
        share.place = (share.time + self.quantum / share.weight, arrival, pid)
        heapq.heappush(share.account.heap, share.place)
        if share.deadline < inf:
            dues = share.account.dues.setdefault(share.rank, [])
            heapq.heappush(dues, (share.deadline, arrival, pid))

    def _place_again(self, pid: int, share: _Share) -> None:
        if share.place is not None:
            self._place(pid, share, share.place[1])

    def _class(self, pid: int) -> tuple[int, int]:
        share = self._shares[pid]
        return share.account.owner, share.rank

    def _due_holds(self, due: tuple[float, int, int]) -> bool:
        deadline, arrival, pid = due
        share = self._shares.get(pid)
        waits = share is not None and share.place is not None and share.place[1] == arrival
        return waits and share is not None and share.deadline == deadline

    def _rank(self, pid: int) -> tuple[float, float, int]:
        share = self._shares[pid]
        finish, arrival, _ = share.place or (0.0, 0, pid)
        return share.account.time, finish, arrival

    def _holds(self, place: tuple[float, int, int]) -> bool:
        share = self._shares.get(place[2])
        return share is not None and share.place == place

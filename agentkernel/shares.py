"""Weighted fair queueing in tokens: between owners first, then between an owner's processes; pure.

Rules
1. Each owner has an equal share, and each of its processes one by its weight, of what is served while they
   want service. Time is virtual: tokens served by the weight they were served to.
2. Who begins to want service starts at the virtual time of those who do: waiting idly earns nothing, and
   what was had too much of is remembered.
3. Who waits is ordered by when a quantum begun now would be finished. Virtual time goes on with every token
   served, so that one of weight w is first after at most quantum * W / w tokens of its owner's, W being the
   sum of the weights of those who want service, however many come after it.

The scheme is start-time fair queueing (Goyal, Vin, Cheng 1996) with virtual finish times for the order.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field


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


@dataclass(slots=True, eq=False)
class _Share:
    account: _Account
    weight: float
    time: float = 0.0
    active: bool = False
    place: tuple[float, int, int] | None = None  # in its account's heap, while it waits


class Shares:
    """The virtual times of processes and owners; `quantum` is tokens."""

    def __init__(self, quantum: int) -> None:
        self.quantum = quantum
        self._time = 0.0
        self._accounts: dict[int, _Account] = {}
        self._shares: dict[int, _Share] = {}
        self._active = 0  # owners
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def __contains__(self, pid: int) -> bool:
        """Whether the process waits."""
        share = self._shares.get(pid)
        return share is not None and share.place is not None

    def add(self, pid: int, owner: int, weight: float) -> None:
        """A process that wants nothing yet."""
        account = self._accounts.setdefault(owner, _Account(owner))
        account.members += 1
        self._shares[pid] = _Share(account, weight, account.inner)

    def remove(self, pid: int) -> None:
        """Forget a process, and its owner when it has no other."""
        self.rest(pid)
        account = self._shares.pop(pid).account
        account.members -= 1
        if not account.members:
            del self._accounts[account.owner]

    def set_weight(self, pid: int, weight: float, arrival: int) -> None:
        """Change a process's weight from now on."""
        share, waiting = self._shares[pid], pid in self
        if share.active:
            share.account.weight += weight - share.weight
        share.weight = weight
        if waiting:
            self.leave(pid)
            self.wait(pid, arrival)

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
            share.place = (share.time + self.quantum / share.weight, arrival, pid)
            heapq.heappush(share.account.heap, share.place)
            self._waiting += 1

    def leave(self, pid: int) -> None:
        """The process waits no more."""
        share = self._shares[pid]
        if share.place is not None:
            share.place = None
            self._waiting -= 1

    def first(self) -> int | None:
        """Who is to be served next."""
        heads = []
        for account in self._accounts.values():
            while account.heap and not self._holds(account.heap[0]):
                heapq.heappop(account.heap)
            if account.heap:
                _, arrival, pid = account.heap[0]
                heads.append((account.time, arrival, pid))
        return min(heads)[2] if heads else None

    def order(self) -> list[int]:
        """Everybody who waits, in the order in which they would be served if nothing changed."""
        waiting = (pid for pid, share in self._shares.items() if share.place is not None)
        return sorted(waiting, key=self._rank)

    def excess(self, holder: int, waiting: int) -> float:
        """By how many quanta of its own the holder is ahead of one that waits."""
        mine, other = self._shares[holder], self._shares[waiting]
        if mine.account is not other.account:
            return (mine.account.time - other.account.time) / self.quantum
        ends = mine.time + self.quantum / mine.weight, other.time + self.quantum / other.weight
        return (ends[0] - ends[1]) * mine.weight / self.quantum

    def _rank(self, pid: int) -> tuple[float, float, int]:
        share = self._shares[pid]
        finish, arrival, _ = share.place or (0.0, 0, pid)
        return share.account.time, finish, arrival

    def _holds(self, place: tuple[float, int, int]) -> bool:
        share = self._shares.get(place[2])
        return share is not None and share.place == place

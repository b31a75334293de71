"""Where each context's KV image is, and which gives way when a tier is full; pure.

Rules
1. A context is in exactly one tier: SLOT, RAM, DISK, or TOKENS, where there is no image and none is needed.
2. Bytes held in a tier never exceed its budget once `reclaim`'s changes are applied.
3. An image is worth keeping only while loading it is expected to be faster than prefilling again; the
   rates are measured, and until they are, an image is kept.
4. Tokens are the truth: whatever happens to an image, its process goes on.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Policy = Literal["cost", "lru", "priority"]


class Tier(enum.Enum):
    """Where an image is."""

    SLOT = "slot"
    RAM = "ram"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Store:
    """Move the image from RAM to disk."""

    pid: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget the image."""

    pid: int


Change = Store | Drop


class Rate:
    """Milliseconds a unit costs, as an exponentially weighted mean; None until something was measured."""

    def __init__(self) -> None:
        self.value: float | None = None

    def observe(self, units: float, ms: float) -> None:
        """So many units took so long."""
        if units > 0:
            new = ms / units
            self.value = new if self.value is None else 0.8 * self.value + 0.2 * new

    def cost(self, units: float, default: float = 0.0) -> float:
        """What so many units are expected to cost, in milliseconds."""
        return default if self.value is None else self.value * units


@dataclass(slots=True)
class Rates:
    """What moving and making contexts costs on this machine; units are tokens and bytes."""

    prefill: Rate = field(default_factory=Rate)
    step: Rate = field(default_factory=Rate)  # a unit is a step that reads no prompt
    load_ram: Rate = field(default_factory=Rate)
    load_disk: Rate = field(default_factory=Rate)
    page_out: Rate = field(default_factory=Rate)  # a unit is an image
    page_in: Rate = field(default_factory=Rate)

    @property
    def settle(self) -> float:
        """Seconds a context must stay in its slot for moving it out and in to be 2 % of the time."""
        return _PAGING_PART * (self.page_out.cost(1) + self.page_in.cost(1)) / 1e3


@dataclass(slots=True)
class Entry:
    """One context. `size` is bytes of its image, `since` when it came into its tier."""

    pid: int
    tier: Tier
    tokens: int
    size: int
    since: float
    rank: int  # of its priority, 0 the lowest
    live: bool  # its process has not ended
    kind: str  # what it waits for, to learn how long that takes


_PAGING_PART = 50
_UNKNOWN_WAIT = 10.0  # seconds, for a kind of wait nobody has come back from yet
_ENDED_WAIT = 600.0  # seconds until a finished context is wanted again, if ever


class Pager:
    """The images of one engine, budgets in bytes."""

    def __init__(self, ram: int, disk: int, policy: Policy = "cost") -> None:
        self.budgets = {Tier.RAM: ram, Tier.DISK: disk}
        self.rates = Rates()
        self._entries: dict[int, Entry] = {}
        self._tiers: dict[Tier, dict[int, Entry]] = {tier: {} for tier in Tier}
        self._held = dict.fromkeys(Tier, 0)
        self._waits: dict[tuple[int, str], float] = {}  # seconds by PID (0: all of them) and kind
        self._order: Callable[[Entry], tuple[float, ...]] = {
            "cost": self._worth,
            "lru": lambda entry: (entry.since,),
            "priority": lambda entry: (entry.live, entry.rank, entry.since),
        }[policy]

    def __repr__(self) -> str:
        held = {tier.value: self.held(tier) for tier in Tier}
        return f"<Pager {held}>"

    def held(self, tier: Tier) -> int:
        """Bytes in a tier."""
        return self._held[tier]

    def entry(self, pid: int) -> Entry | None:
        """Where the context is; None for TOKENS."""
        return self._entries.get(pid)

    def entries(self) -> list[Entry]:
        """Every context that is somewhere."""
        return list(self._entries.values())

    def enter(self, pid: int, rank: int, now: float) -> Tier | None:
        """The context goes into a slot; the tier its image comes from, if it had one."""
        before = self._take(pid)
        self._put(Entry(pid, Tier.SLOT, 0, 0, now, rank, live=True, kind=""))
        if before is None or before.tier is Tier.SLOT:
            return None
        if before.live:
            for who in (pid, 0):
                self._learn((who, before.kind), now - before.since)
        return before.tier

    def leave(self, entry: Entry, now: float, tier: Tier = Tier.RAM) -> bool:
        """The context is outside a slot from now on; whether its image is worth keeping in that tier."""
        self._take(entry.pid)
        entry.tier, entry.since = tier, now
        fits = self.budgets[Tier.RAM] and entry.size <= max(self.budgets.values())
        load = self.rates.load_disk if tier is Tier.DISK else self.rates.load_ram
        if not (fits and self._pays(entry, load)):
            return False
        self._put(entry)
        return True

    def forget(self, pid: int) -> None:
        """There is no image any more."""
        self._take(pid)

    def resize(self, pid: int, size: int) -> None:
        """The image takes so many bytes where it is."""
        if (entry := self._take(pid)) is not None:
            entry.size = size
            self._put(entry)

    def end(self, pid: int) -> None:
        """The process has ended: nobody waits under its PID any more."""
        for place in [place for place in self._waits if place[0] == pid]:
            del self._waits[place]

    def reclaim(self) -> list[Change]:
        """Bring every tier within its budget, the least worthy first."""
        changes: list[Change] = []
        for entry in self._over(Tier.RAM):
            fits = entry.size <= self.budgets[Tier.DISK] and self._pays(entry, self.rates.load_disk)
            if fits:
                self._take(entry.pid)
                entry.tier = Tier.DISK
                self._put(entry)
                changes.append(Store(entry.pid))
            else:
                changes.append(self._drop(entry))
        changes += [self._drop(entry) for entry in self._over(Tier.DISK)]
        return changes

    def check_integrity(self) -> None:
        """Raise ValueError unless every tier is within its budget and every entry where it says."""
        for tier, budget in self.budgets.items():
            if self.held(tier) > budget:
                raise ValueError(f"{tier.value}: {self.held(tier)} bytes of {budget}")
        for pid, entry in self._entries.items():
            if entry.pid != pid or entry.size < 0:
                raise ValueError(f"entry {entry} under PID {pid}")
        for tier, inside in self._tiers.items():
            if inside != {pid: entry for pid, entry in self._entries.items() if entry.tier is tier}:
                raise ValueError(f"{tier.value}: other entries than those that say so")
            if self._held[tier] != sum(entry.size for entry in inside.values()):
                raise ValueError(f"{tier.value}: {self._held[tier]} bytes are not what its entries hold")

    def _put(self, entry: Entry) -> None:
        self._entries[entry.pid] = self._tiers[entry.tier][entry.pid] = entry
        self._held[entry.tier] += entry.size

    def _take(self, pid: int) -> Entry | None:
        entry = self._entries.pop(pid, None)
        if entry is not None:
            del self._tiers[entry.tier][pid]
            self._held[entry.tier] -= entry.size
        return entry

    def _over(self, tier: Tier) -> list[Entry]:
        """The entries that have to go for the tier to fit its budget."""
        excess = self.held(tier) - self.budgets[tier]
        if excess <= 0:
            return []
        going = []
        for entry in sorted(self._tiers[tier].values(), key=self._order):
            if excess <= 0:
                break
            excess -= entry.size
            going.append(entry)
        return going

    def _drop(self, entry: Entry) -> Drop:
        self._take(entry.pid)
        return Drop(entry.pid)

    def _pays(self, entry: Entry, load: Rate) -> bool:
        again = self.rates.prefill.cost(entry.tokens, default=float("inf"))
        return load.cost(entry.size) < again

    def _learn(self, place: tuple[int, str], seconds: float) -> None:
        known = self._waits.get(place, seconds)
        self._waits[place] = 0.7 * known + 0.3 * seconds

    def expected_wait(self, entry: Entry) -> float:
        """Seconds until the context is wanted again: its process's own experience, else everybody's."""
        if not entry.live:
            return _ENDED_WAIT
        everybody = self._waits.get((0, entry.kind), _UNKNOWN_WAIT)
        return self._waits.get((entry.pid, entry.kind), everybody)

    def _worth(self, entry: Entry) -> tuple[float, ...]:
        """Milliseconds that the image saves, for each byte held and second it is expected to wait."""
        saved = self.rates.prefill.cost(entry.tokens, default=float(entry.tokens))
        return (saved / max(1.0, entry.size * self.expected_wait(entry)), entry.since)

"""What processes and owners may use, and what they have used; pure.

Rules
1. A limit of N allows N. What is counted (tokens, the cost of calls) never goes beyond; what is measured
   (seconds, bytes held) is looked at when it is expected to be there.
2. An owner has used what its processes that have ended used, and what those that live have: nothing of it
   is lost by a restart or counted twice, as both are written down with the processes.
3. What is brought back from a checkpoint was used before: `brought` of a process is not its owner's again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

_LOOK_AGAIN = 1.0  # seconds


class Quota(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of each kind so much: a part of what may be used, or what was used.

    Generated tokens; the cost of calls; tokens of prompts, inputs and results; seconds from a process's
    birth; processor seconds of its programs; bytes of computed context held, times seconds.
    """

    tokens: int = 0
    syscalls: int = 0
    prompt_tokens: int = 0
    wall_secs: float = 0.0
    cpu_secs: float = 0.0
    kv_byte_secs: float = 0.0

    def __add__(self, other: Quota) -> Quota:
        return Quota(
            self.tokens + other.tokens,
            self.syscalls + other.syscalls,
            self.prompt_tokens + other.prompt_tokens,
            self.wall_secs + other.wall_secs,
            self.cpu_secs + other.cpu_secs,
            self.kv_byte_secs + other.kv_byte_secs,
        )

    def __sub__(self, other: Quota) -> Quota:
        return Quota(
            self.tokens - other.tokens,
            self.syscalls - other.syscalls,
            self.prompt_tokens - other.prompt_tokens,
            self.wall_secs - other.wall_secs,
            self.cpu_secs - other.cpu_secs,
            self.kv_byte_secs - other.kv_byte_secs,
        )

    def within(self, granted: Quota) -> Quota:
        """What a child that was granted so much counts for with who did: no more than that.

        What has no limit there is granted as 0, and counts in full. Each has its own seconds from its birth.
        """
        return Quota(
            min(self.tokens, granted.tokens),
            min(self.syscalls, granted.syscalls),
            min(self.prompt_tokens, granted.prompt_tokens or self.prompt_tokens),
            0.0,
            min(self.cpu_secs, granted.cpu_secs or self.cpu_secs),
            min(self.kv_byte_secs, granted.kv_byte_secs or self.kv_byte_secs),
        )


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much of each kind may be used; None where there is no limit."""

    tokens: int | None = None
    syscalls: int | None = None
    prompt_tokens: int | None = None
    wall_secs: float | None = None
    cpu_secs: float | None = None
    kv_byte_secs: float | None = None

    def left(self, kind: str, used: Quota) -> float:
        """What may still be used of a kind."""
        limit: float | None = getattr(self, kind)
        return math.inf if limit is None else limit - getattr(used, kind)

    def reached(self, used: Quota) -> list[str]:
        """The kinds of which as much as the limit was used."""
        return [kind for kind in KINDS if self.left(kind, used) <= 0]

    def shown(self, prefix: str) -> dict[str, float]:
        """The limits there are, as clients name them."""
        named = ((kind, getattr(self, kind)) for kind in KINDS)
        return {f"{prefix}_{kind}": limit for kind, limit in named if limit is not None}


KINDS = Quota.__struct_fields__
COUNTED = KINDS[:3]  # whole numbers
LENT = ("prompt_tokens", "cpu_secs", "kv_byte_secs")  # besides tokens and calls, where they are limited
MEASURED = ("wall_secs", "kv_byte_secs")  # what goes on by itself
NO_QUOTA, NO_LIMITS = Quota(), Limits()
KEYS = {f"{prefix}_{kind}": (prefix, kind) for prefix in ("max", "soft") for kind in KINDS}


class Bounds(msgspec.Struct, frozen=True, omit_defaults=True):
    """What may be used: a hard limit is the end, a soft one a warning, given once: of `told` kinds it was."""

    hard: Limits = NO_LIMITS
    soft: Limits = NO_LIMITS
    told: tuple[str, ...] = ()

    def changed(self, changes: Mapping[str, float | None]) -> Bounds:
        """With other limits, by their names (`KEYS`), None for none; of another soft one is told anew."""
        limits = {"max": msgspec.structs.asdict(self.hard), "soft": msgspec.structs.asdict(self.soft)}
        for key, limit in changes.items():
            prefix, kind = KEYS[key]
            limits[prefix][kind] = limit
        anew = {KEYS[key][1] for key in changes if KEYS[key][0] == "soft"}
        told = tuple(kind for kind in self.told if kind not in anew)
        return Bounds(Limits(**limits["max"]), Limits(**limits["soft"]), told)

    def due(self, used: Quota) -> tuple[str, ...]:
        """The kinds whose soft limit is reached, and of which nobody was told."""
        if self.soft == NO_LIMITS:
            return ()
        return tuple(kind for kind in self.soft.reached(used) if kind not in self.told)

    def telling(self, kinds: tuple[str, ...]) -> Bounds:
        """Now somebody was."""
        return msgspec.structs.replace(self, told=self.told + kinds)

    def is_over(self, used: Quota) -> bool:
        """Whether a limit of what is measured is reached: nobody asks before more is used."""
        return any(self.hard.left(kind, used) <= 0 for kind in MEASURED)

    def wait(self, used: Quota, rates: Quota) -> float | None:
        """Seconds until a limit of what is measured may be reached, when so much is used a second.

        Rates of bytes grow: who is limited in them is looked at again soon. None without such a limit.
        """
        waits = []
        for kind in MEASURED:
            soft = math.inf if kind in self.told else self.soft.left(kind, used)
            left, rate = min(self.hard.left(kind, used), soft), getattr(rates, kind)
            if left < math.inf:
                waits.append(left / rate if rate > 0 else math.inf)
                if kind == "kv_byte_secs":
                    waits.append(_LOOK_AGAIN)
        return max(0.0, min(waits)) if waits else None


NO_BOUNDS = Bounds()


class Books(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is written down of an owner: its limits, and what its processes that have ended used."""

    bounds: Bounds = NO_BOUNDS
    settled: Quota = NO_QUOTA


@dataclass(slots=True)
class Account:
    """An owner's. `used` has the seconds of processes that live up to `since`."""

    name: str
    books: Books = field(default_factory=Books)
    used: Quota = NO_QUOTA
    live: int = 0
    since: float = 0.0

    def __post_init__(self) -> None:
        self.used = self.books.settled

    @property
    def bounds(self) -> Bounds:
        """Its limits."""
        return self.books.bounds

    def bind(self, bounds: Bounds) -> None:
        """Its limits are others."""
        self.books = Books(bounds, self.books.settled)

    def charge(self, used: Quota) -> None:
        """A process that lives has used so much more."""
        self.used += used

    def open(self, used: Quota, now: float) -> None:
        """A process lives that has used so much."""
        self.advance(now)
        self.live += 1
        self.used += used

    def close(self, used: Quota, now: float, *, ended: bool = True) -> None:
        """It has ended, having used so much; or has never begun."""
        self.advance(now)
        self.live -= 1
        if ended:
            self.books = Books(self.bounds, self.books.settled + used)
        else:
            self.used -= used

    def advance(self, now: float) -> None:
        """Count the seconds up to now."""
        self.used += Quota(wall_secs=self.live * (now - self.since))
        self.since = now

    def left(self, kind: str) -> float:
        """What its processes may still use of a kind."""
        return self.bounds.hard.left(kind, self.used)


class Held(NamedTuple):
    """Bytes that a context takes, and whether they become more by themselves."""

    size: int
    grows: bool


NOTHING = Held(0, grows=False)


@dataclass(slots=True)
class Meter:
    """Bytes that one process holds, times seconds. In a slot they grow: evenly, as far as is known here."""

    byte_secs: float = 0.0  # up to `since`
    held: Held = NOTHING
    since: float = 0.0

    def hold(self, held: Held, now: float) -> float:
        """It holds so much now; how many byte-seconds have come to it."""
        before = self.held.size
        more = (before + held.size) / 2 if self.held.grows else before
        more *= now - self.since
        self.byte_secs += more
        self.held, self.since = held, now
        return more

    def total(self, now: float) -> float:
        """Byte-seconds up to now, as far as is known."""
        return self.byte_secs + self.held.size * (now - self.since)

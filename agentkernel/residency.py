"""Which models are in memory while not all of them fit; pure.

Rules
1. A model that is wanted and fits enters. Where it doesn't fit, models leave that nobody wants, those that
   rest longest first; nothing leaves that needn't.
2. Where that is not enough, models leave that are wanted and have had their turn, whoever is there longest
   first. A turn is no shorter than `_WORTH` times the seconds that it took to enter, so that entering costs a
   bounded part of the time.
3. Who waits longest enters first and nobody overtakes: who waits behind n others has waited, at most, for
   n + 1 turns and as many entries. Who is larger than the room there is (it may shrink) holds up nobody.
4. A model that was wanted until just now is treated as wanted: whoever uses it may be about to use it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_WORTH = 20.0
_PAUSE = 1.0  # seconds without anybody's wanting it after which a model rests


@dataclass(frozen=True, slots=True)
class Tenant:
    """A model that needs `size` bytes; moments are seconds, None while it isn't in memory, or wanted."""

    id: str
    size: int
    entered: float | None = None
    wanted: float | None = None  # since when
    rests: float = 0.0  # since when, while it isn't
    entry: float = 0.0  # seconds that its last one took

    def over(self, turn: float) -> float:
        """When it may have to leave."""
        if self.entered is None:
            raise ValueError(f"{self.id} is not in memory")
        end = self.entered + max(turn, _WORTH * self.entry)
        return end if self.wanted is not None else min(end, self.rests + _PAUSE)


@dataclass(frozen=True, slots=True)
class Move:
    """Models that leave, and then the one that enters; if none can yet, `due` is when to ask again."""

    leave: tuple[str, ...] = ()
    enter: str = ""
    due: float | None = None


def move(tenants: Iterable[Tenant], room: int, turn: float, now: float) -> Move:
    """What is to happen first, in a memory of so many bytes and with turns of so many seconds."""
    inside: list[Tenant] = []
    waiting: list[tuple[float, str, Tenant]] = []
    for tenant in tenants:
        if tenant.entered is not None:
            inside.append(tenant)
        elif tenant.wanted is not None and tenant.size <= room:
            waiting.append((tenant.wanted, tenant.id, tenant))
    if not waiting:
        return Move()
    first = min(waiting)[2]
    lacking = first.size + sum(tenant.size for tenant in inside) - room
    leave = _leaving([t for t in inside if t.over(turn) <= now], lacking)
    if leave is not None:
        return Move(tuple(tenant.id for tenant in leave), first.id)
    for last in sorted(inside, key=lambda tenant: tenant.over(turn)):
        if lacking <= sum(t.size for t in inside if t.over(turn) <= last.over(turn)):
            return Move(due=last.over(turn))
    return Move()


def _leaving(may: Sequence[Tenant], lacking: int) -> list[Tenant] | None:
    """Who of them leaves so that so many bytes more are free; None when that is not enough."""
    order = sorted(
        may, key=lambda t: (t.wanted is not None, t.rests if t.wanted is None else t.entered, t.id)
    )
    leave: list[Tenant] = []
    for tenant in order:
        if lacking > sum(other.size for other in leave):
            leave.append(tenant)
    spare = sum(tenant.size for tenant in leave) - lacking
    if spare < 0:
        return None
    for tenant in reversed(leave[:]):  # who is there longest stays longest, if another is large enough
        if tenant.size <= spare and lacking > 0:
            leave.remove(tenant)
            spare -= tenant.size
    return leave

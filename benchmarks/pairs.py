"""Two sides measured in turns, so that what changes on the machine meanwhile meets both alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_Ours = TypeVar("_Ours")
_Theirs = TypeVar("_Theirs")


def alternate(
    pairs: int, ours: Callable[[int], _Ours], theirs: Callable[[int], _Theirs]
) -> tuple[list[_Ours], list[_Theirs]]:
    """What each side returns, pair by pair, after one run of each to warm up.

    Both are told the number of the pair, the warm-up's being 0; who begins changes from pair to pair.
    """
    mine: list[_Ours] = []
    others: list[_Theirs] = []
    for i in range(pairs + 1):
        for first in (True, False) if i % 2 else (False, True):
            if first:
                mine.append(ours(i))
            else:
                others.append(theirs(i))
    return mine[1:], others[1:]

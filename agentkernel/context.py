"""Which turns give way when a conversation has filled its context; pure.

Rules
1. What comes before the first turn (a system prompt) stays, and so does the turn under way.
2. Turns go whole, the oldest first.
"""

from __future__ import annotations

from collections.abc import Sequence


def oldest(turns: Sequence[int], length: int, room: int) -> tuple[int, int] | None:
    """The tokens [start, end) of the oldest turns without which at most `room` of `length` are left.

    `turns` are where turns begin. All but the last when even that is not enough; None when there is only
    one.
    """
    if len(turns) < 2:
        return None
    start = turns[0]
    for end in turns[1:]:
        if length - (end - start) <= room:
            return start, end
    return start, turns[-1]


def spliced(turns: Sequence[int], start: int, end: int, new: int) -> list[int]:
    """Where turns begin once so many new tokens, a turn of their own if any, stand for [start, end)."""
    shift = new - (end - start)
    before = [turn for turn in turns if turn < start]
    return [*before, *([start] if new else []), *(turn + shift for turn in turns if turn >= end)]

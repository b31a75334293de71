"""What a step takes, as a sum of what is in it, fitted to steps that were measured.

Rules
1. llama.cpp computes a step in passes: the rows of neighbouring slots at once, as many tokens of each as the
   shortest has, and what is left in further passes. A pass costs something as such and for each token, of few
   tokens not the same as of many; so does each pair of a token and one before it to which it attends.
2. Nothing costs less than nothing. The fit is by least squares: over what it was fitted to, it is right in
   sum.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agentkernel.engine.worker.composing import bridges
from agentkernel.engine.worker.pacing import ways

_FEW = 8  # tokens of a pass that are no longer few
_ANY = range(sys.maxsize)  # slot


class Work(NamedTuple):
    """A step: passes of one token; of few, and their tokens; of many, and theirs; pairs attended to."""

    single: int
    few: int
    few_tokens: int
    large: int
    large_tokens: int
    attended: int


class Row(NamedTuple):
    """Tokens of one slot in a step, behind so many that the slot has."""

    slot: int
    tokens: int
    behind: int


class Move(NamedTuple):
    """An image of so many tokens that was moved in so many milliseconds."""

    tokens: int
    ms: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Milliseconds: of a step, and of each that `Work` counts; `between` one step's end and the next's begin.

    `lag` is from a step's end to what the kernel decides on it, `admit` what EXEC takes.
    """

    step: float
    works: tuple[float, ...]
    between: float = 0.0
    out: tuple[float, float] = (0.0, 0.0)  # an image, and each of its tokens
    into: tuple[float, float] = (0.0, 0.0)
    lag: float = 0.0
    admit: float = 0.0

    def of(self, work: Work) -> float:
        """What a step takes that does this work."""
        return self.step + sum(cost * n for cost, n in zip(self.works, work, strict=True))

    def moving(self, *, out: bool, tokens: int) -> float:
        """What moving an image of so many tokens takes."""
        each, token = self.out if out else self.into
        return each + token * tokens


def work(rows: Sequence[Row], *, reads: bool) -> Work:
    """The work of a step of these rows, which reads a prompt or doesn't."""
    tokens = sum(row.tokens for row in rows)
    attended = sum(row.tokens * row.behind + row.tokens * (row.tokens + 1) // 2 for row in rows)
    if not reads and any(not way.together for way in ways(1, tokens)):
        return Work(tokens, 0, 0, 0, 0, attended)
    placed = sorted((row.slot, row.tokens) for row in rows)
    sizes = passes([*placed, *((slot, 1) for slot in bridges(placed, _ANY))])
    few = [size for size in sizes if 1 < size < _FEW]
    large = [size for size in sizes if size >= _FEW]
    return Work(sizes.count(1), len(few), sum(few), len(large), sum(large), attended)


def passes(rows: Iterable[tuple[int, int]]) -> list[int]:
    """The tokens of each pass of rows (slot and tokens), as llama.cpp makes them (`split_equal`)."""
    left = sorted(rows)
    sizes = []
    while left:
        together = 1
        while together < len(left) and left[together][0] == left[together - 1][0] + 1:
            together += 1
        least = min(tokens for _, tokens in left[:together])
        sizes.append(together * least)
        shorter = ((slot, tokens - least) for slot, tokens in left[:together] if tokens > least)
        left = [*shorter, *left[together:]]
    return sizes


def fit_steps(works: Sequence[Work], ms: Sequence[float]) -> tuple[float, tuple[float, ...]]:
    """`step` and `works` of the Costs. Raises ValueError without steps."""
    if not works:
        raise ValueError("no steps to fit to")
    step, *found = _fit(
        np.column_stack((np.ones(len(works)), np.asarray(works, dtype=float))), np.asarray(ms)
    )
    return step, tuple(found)


def fit_moves(moves: Sequence[Move]) -> tuple[float, float]:
    """What an image costs to move, and each of its tokens; nothing where none was moved."""
    if not moves:
        return 0.0, 0.0
    rows = np.asarray(moves)
    found = _fit(np.column_stack((np.ones(len(rows)), rows[:, 0])), rows[:, 1])
    return found[0], found[1]


def _fit(rows: npt.NDArray[np.float64], ms: npt.NDArray[np.float64]) -> list[float]:
    """Least squares without negative coefficients: what would be less than nothing is left out."""
    kept = list(range(rows.shape[1]))
    found = np.zeros(rows.shape[1])
    while kept:
        solved = np.linalg.lstsq(rows[:, kept], ms, rcond=None)[0]
        if solved.min() >= 0:
            found[kept] = solved
            break
        del kept[int(solved.argmin())]
    return [float(value) for value in found]

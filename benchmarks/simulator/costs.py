"""What a step takes, as a sum of what is in it, fitted to steps that were measured.

Rules
1. A step costs something as such, and for each token said, each prompt token read, and each pair of a token
   and one before it that it attends to; nothing costs less than nothing.
2. The fit is by least squares: over what it was fitted to, it is right in sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Work(NamedTuple):
    """What a step does: tokens it says, prompt tokens it reads, tokens attended to by each, summed."""

    said: int
    read: int
    attended: int


class Move(NamedTuple):
    """An image of so many tokens that was moved in so many milliseconds."""

    tokens: int
    ms: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Milliseconds; `lag` is from a step's end to what the kernel decides on it, `admit` what EXEC takes."""

    step: float
    said: float
    read: float
    attended: float
    between: float = 0.0  # a step's end and the next one's begin
    out: tuple[float, float] = (0.0, 0.0)  # an image, and each of its tokens
    into: tuple[float, float] = (0.0, 0.0)
    lag: float = 0.0
    admit: float = 0.0

    def of(self, work: Work) -> float:
        """What a step takes that does this work."""
        return self.step + self.said * work.said + self.read * work.read + self.attended * work.attended

    def moving(self, *, out: bool, tokens: int) -> float:
        """What moving an image of so many tokens takes."""
        each, token = self.out if out else self.into
        return each + token * tokens


def fit_steps(works: Sequence[Work], ms: Sequence[float]) -> tuple[float, float, float, float]:
    """`step`, `said`, `read` and `attended` of the Costs. Raises ValueError without steps."""
    if not works:
        raise ValueError("no steps to fit to")
    found = _fit(np.column_stack((np.ones(len(works)), np.asarray(works, dtype=float))), np.asarray(ms))
    return found[0], found[1], found[2], found[3]


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

"""What a benchmark brings back: figures, each with its raw samples and, where one is claimed, its target.

Rules
1. A figure is one statistic of its samples; its interval is a percentile bootstrap of that statistic.
2. A claim is met when the statistic is on the target's side; it is called close when the interval is not
   wholly on one side.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

_RESAMPLES = 2000
_SEED = 1  # the same samples give the same interval
_LEVEL = 95  # per cent


class Side(msgspec.Struct, frozen=True):
    """What was measured of one of two that a figure compares."""

    who: str
    unit: str
    samples: list[float]

    @property
    def value(self) -> float:
        """Their median."""
        return float(np.median(self.samples))


class Figure(msgspec.Struct, frozen=True):
    """One measure. At most one of `at_least` and `at_most` is set; without, it is only shown.

    `sides` are those it compares, if any.
    """

    name: str
    unit: str
    samples: list[float]
    statistic: Literal["median", "p95", "p99"] = "median"
    at_least: float | None = None
    at_most: float | None = None
    settings: dict[str, Any] = {}
    sides: list[Side] = []

    @property
    def value(self) -> float:
        """The statistic. Raises ValueError without samples."""
        if not self.samples:
            raise ValueError(f"{self.name}: no samples")
        return float(self._of(np.asarray(self.samples)[None, :])[0])

    @property
    def interval(self) -> tuple[float, float]:
        """The bounds between which the statistic lies in 95 of 100 resamplings."""
        return _middle(self.resampled())

    def resampled(self, seed: int = _SEED) -> npt.NDArray[np.float64]:
        """The statistic of each resampling."""
        samples = np.asarray(self.samples)
        rng = np.random.default_rng(seed)
        return self._of(samples[rng.integers(len(samples), size=(_RESAMPLES, len(samples)))])

    @property
    def target(self) -> str:
        """The claim in words; empty when there is none."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return f"≤ {self.at_most:g}" if self.at_most is not None else ""

    @property
    def met(self) -> bool | None:
        """Whether the claim holds; None when there is none."""
        return self._holds(self.value)

    @property
    def close(self) -> bool:
        """Whether other samples of the same kind might have decided the claim otherwise."""
        low, high = self.interval
        return self._holds(low) != self._holds(high)

    @property
    def miss(self) -> float:
        """By which fraction of the target the claim is missed; 0 when it is met."""
        if self.met is not False:
            return 0.0
        target = self.at_least if self.at_least is not None else self.at_most
        return abs(self.value - target) / target if target else 0.0

    def _holds(self, value: float) -> bool | None:
        if self.at_least is not None:
            return value >= self.at_least
        return value <= self.at_most if self.at_most is not None else None

    def _of(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The statistic of each row; a percentile is a value that was measured, not one between two."""
        if self.statistic == "median":
            return np.median(rows, axis=1)
        return np.percentile(rows, int(self.statistic[1:]), axis=1, method="higher")


def ratio(name: str, dividend: Side, divisor: Side, **claim: Any) -> Figure:
    """One side over the other, pair by pair; `claim` are further fields of the figure."""
    samples = [x / y for x, y in zip(dividend.samples, divisor.samples, strict=True)]
    return Figure(name, "", samples, sides=[dividend, divisor], **claim)


def change(before: Figure, after: Figure) -> tuple[float, float]:
    """The bounds between which the ratio of the later value to the earlier lies in 95 of 100 resamplings."""
    return _middle(after.resampled() / before.resampled(_SEED + 1))


def _middle(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    tail = (100 - _LEVEL) / 2
    low, high = np.percentile(values, (tail, 100 - tail))
    return float(low), float(high)


def shown(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

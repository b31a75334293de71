"""How long it takes until a process has its slot, its first token and its answer, as was measured; pure.

Rules
1. What was not measured is not guessed: without rates there is no estimate.
2. Every answer is reckoned as long as it may become, and what comes later as if it did not come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True, slots=True)
class Left:
    """What a process that runs has left to do: tokens of its prompt to read, and tokens it may say."""

    prompt: int
    answer: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Milliseconds that a prompt's token takes, and a step."""

    prompt: float
    step: float


@dataclass(frozen=True, slots=True)
class Load:
    """A model's slots and who runs in them; who waits has one after a quantum of tokens, or at an end."""

    pace: Pace
    slots: int
    quantum: int | None
    running: Sequence[Left]

    def slot_ms(self, place: int) -> int:
        """Until who has that place, from 1, among those that wait for a slot has one."""
        return self._after(place - (self.slots - len(self.running)), self.quantum)

    def end_ms(self, count: int) -> int:
        """Until so many of those that run have ended."""
        return self._after(count, None)

    def answer_ms(self, place: int, prompt: int, answer: int) -> tuple[int, int]:
        """Until the first token, and the last, of one that waits for a slot at that place."""
        reading = prompt + sum(left.prompt for left in self.running)
        first = self.slot_ms(place) + self.pace.prompt * reading
        return round(first), round(first + self.pace.step * answer)

    def _after(self, count: int, most: int | None) -> int:
        if count <= 0 or not self.running:
            return 0
        return round(count * fmean(self._ms(left, most) for left in self.running) / len(self.running))

    def _ms(self, left: Left, most: int | None) -> float:
        answer = left.answer if most is None else min(left.answer, most)
        return left.prompt * self.pace.prompt + answer * self.pace.step

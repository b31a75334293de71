"""What is asked of kernels, simulated and real ones alike, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from agentkernel.process import Priority

CLASSES: tuple[Priority, ...] = get_args(Priority)


@dataclass(frozen=True, slots=True)
class Job:
    """One process: it comes at `at`, brings so many tokens a turn, and says `answer` tokens in each.

    It thinks for so many seconds before each turn but the first, and ends with the last. Times are seconds.
    """

    at: float
    prompts: tuple[int, ...]
    answer: int
    think: float = 0.0
    priority: Priority = "normal"
    owner: int = 1

    @property
    def tokens(self) -> int:
        """What it says in all its turns."""
        return len(self.prompts) * self.answer


@dataclass(slots=True)
class Life:
    """A job as it went. For each turn, the seconds until it had a slot, and until its first token."""

    job: Job
    waits: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    ended: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens a second, read and said, from its coming to its end, its thinking left out."""
        thought = self.job.think * (len(self.job.prompts) - 1)
        return (sum(self.job.prompts) + self.job.tokens) / (self.ended - self.job.at - thought)

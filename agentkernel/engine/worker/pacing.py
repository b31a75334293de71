"""How much of prompts a step reads, and with how many threads; pure, learnt from measured steps.

Rules
1. A step's prompt tokens are chosen so that it lasts about `target_ms` and no longer; twice that while
   nobody decodes, as large chunks cost less a token.
2. How a step is run is the fastest of a few ways, measured on like steps in turn: beside a neighbour that
   keeps a core busy, all cores can be several times slower than one fewer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf
from statistics import median
from typing import Generic, NamedTuple, TypeVar

_FIRST_CHUNK = 64  # tokens, before anything was measured
_LEAST_CHUNK = 8
_ALONE = 2  # times as long a step may last while nobody waits for a next token
_FIRST_TRIAL, _LAST_TRIAL = 16, 4096  # steps between trials of another number of threads
_LARGE = 8  # sequences that are never decoded one after the other
_CLIFF = 1.7  # so much slower than before, something else has come to use the cores


class Pacer:
    """Chooses the prompt tokens of the next step."""

    def __init__(self, target_ms: float, batch: int) -> None:
        self._target, self._batch = target_ms, batch
        self._ms_per_token: float | None = None

    def chunk(self, decoding: int) -> int:
        """Prompt tokens for a step in which so many sequences decode."""
        room = self._batch - decoding
        if self._ms_per_token is None:
            return max(0, min(room, _FIRST_CHUNK))
        target = self._target if decoding else _ALONE * self._target
        fit = int(target / self._ms_per_token) - decoding
        return max(0, min(room, max(fit, _LEAST_CHUNK)))

    def takes(self, tokens: int) -> float:
        """The milliseconds to read so many tokens; infinite before anything was measured."""
        return inf if self._ms_per_token is None else tokens * self._ms_per_token

    def observe(self, tokens: int, ms: float) -> None:
        """A step of so many tokens took so long; only steps with a prompt in them tell."""
        if tokens >= _LEAST_CHUNK:
            rate = ms / tokens
            old = self._ms_per_token
            self._ms_per_token = rate if old is None else 0.7 * old + 0.3 * rate


class Way(NamedTuple):
    """How to run a step: with so many threads, and all sequences at once or one after the other.

    For two to six sequences llama.cpp's matrix product can take longer than its vector product for each.
    """

    threads: int
    together: bool


def ways(cores: int, tokens: int) -> list[Way]:
    """The ways worth trying for a step of so many sequences: all cores or one fewer, at once or in turn."""
    threads = dict.fromkeys((cores, max(1, cores - 1)))
    orders = (True, False) if 1 < tokens < _LARGE else (True,)
    return [Way(n, together) for together in orders for n in threads]


Candidate = TypeVar("Candidate")


class Tuner(Generic[Candidate]):
    """Chooses between ways to do the same thing, by the time each takes.

    It begins with the first candidate. A trial runs a few steps with the next one and keeps the faster.
    Trials come ever more rarely while they change nothing, and at once when steps get much slower.
    """

    def __init__(self, candidates: Sequence[Candidate], sample: int = 5) -> None:
        self.chosen = candidates[0]
        self._rivals = deque(candidates[1:])
        self._sample = sample
        self._recent: deque[float] = deque(maxlen=sample)
        self._trial: list[float] | None = None
        self._best = 0.0  # the fastest median at this batch size
        self._size = 0
        self._steps, self._period = 0, _FIRST_TRIAL

    @property
    def next(self) -> Candidate:
        """The candidate for the next step: the chosen one, or the one on trial."""
        return self.chosen if self._trial is None else self._rivals[0]

    def observe(self, tokens: int, ms: float, *, trials: bool = True) -> None:
        """A step of so many tokens took so long, in the way of `next`; no trial begins without `trials`."""
        if not 0.75 <= tokens / max(1, self._size) <= 1.33:  # nothing to compare with
            self._size, self._best = tokens, 0.0
            self._recent.clear()
            self._trial = None
        if self._trial is None:
            self._observe_chosen(ms, trials=trials)
        else:
            self._observe_trial(self._trial, ms)

    def _observe_chosen(self, ms: float, *, trials: bool) -> None:
        self._recent.append(ms)
        self._steps += 1
        if not (self._rivals and trials) or len(self._recent) < self._sample:
            return
        now = median(self._recent)
        self._best = min(self._best or now, now)
        if self._steps >= self._period or (now > _CLIFF * self._best and self._steps >= _FIRST_TRIAL):
            self._trial = []

    def _observe_trial(self, trial: list[float], ms: float) -> None:
        trial.append(ms)
        chosen = median(self._recent)
        hopeless = min(trial) > _CLIFF * chosen
        if len(trial) < self._sample and not hopeless:
            return
        if median(trial) < 0.97 * chosen:
            self.chosen, self._rivals[0] = self._rivals[0], self.chosen
            self._period = _FIRST_TRIAL
        else:
            self._period = min(2 * self._period, _LAST_TRIAL)
            self._best = chosen
        self._rivals.rotate(-1)
        self._steps, self._trial = 0, None
        self._recent.clear()

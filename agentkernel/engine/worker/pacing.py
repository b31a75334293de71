"""How much work a step takes on, and with how many threads; pure, learnt from measured steps.

Rules
1. Every sequence that needs one token is served before any prompt is read further.
2. A step's prompt tokens are chosen so that it lasts about `target_ms` and no longer.
3. The number of threads is the faster of two candidates, all cores and one fewer, measured on like
   steps in turn: beside a neighbour that keeps a core busy, all cores can be several times slower.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

_FIRST_CHUNK = 64  # tokens, before anything was measured
_LEAST_CHUNK = 16


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
        fit = int(self._target / self._ms_per_token) - decoding
        return max(0, min(room, max(fit, _LEAST_CHUNK)))

    def observe(self, tokens: int, ms: float) -> None:
        """A step of so many tokens took so long; only steps with a prompt in them tell."""
        if tokens >= _LEAST_CHUNK:
            rate = ms / tokens
            old = self._ms_per_token
            self._ms_per_token = rate if old is None else 0.7 * old + 0.3 * rate


def compose(pending: Sequence[int], batch: int, chunk: int, turn: int = 0) -> list[tuple[int, int]]:
    """Split a batch: (index, tokens) for each sequence served, given the tokens each has pending.

    Sequences with one token pending come first, starting at `turn` so that none starves when they
    are more than the batch; then prompts in order, `chunk` tokens in all.
    """
    ones = [i for i, n in enumerate(pending) if n == 1]
    if len(ones) > batch:
        start = turn % len(ones)
        ones = (ones[start:] + ones[:start])[:batch]
    rows = [(i, 1) for i in ones]
    left = min(chunk, batch - len(rows))
    for i, n in enumerate(pending):
        if n > 1 and left > 0:
            rows.append((i, min(n, left)))
            left -= rows[-1][1]
    return rows


class ThreadTuner:
    """Chooses the number of threads of the next step."""

    def __init__(self, cores: int, period: int = 64, sample: int = 5) -> None:
        self.threads = cores
        self._other = max(1, cores - 1)
        self._period, self._sample = period, sample
        self._recent: deque[float] = deque(maxlen=sample)
        self._trial: list[float] = []
        self._size = 0
        self._steps = 0

    @property
    def next(self) -> int:
        """Threads for the next step: the chosen number, or the other one while it is on trial."""
        return self._other if self._on_trial else self.threads

    @property
    def _on_trial(self) -> bool:
        return self._other != self.threads and self._steps >= self._period

    def observe(self, tokens: int, ms: float) -> None:
        """A step without prompt tokens, run with `next` threads, took so long."""
        if tokens != self._size:  # another batch size: nothing to compare with
            self._size, self._steps = tokens, 0
            self._recent.clear()
            self._trial.clear()
        if not self._on_trial:
            self._recent.append(ms)
            self._steps += 1
            return
        self._trial.append(ms)
        if len(self._trial) == self._sample:
            if median(self._trial) < 0.97 * median(self._recent):
                self.threads, self._other = self._other, self.threads
            self._steps = 0
            self._recent.clear()
            self._trial.clear()

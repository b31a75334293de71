"""Who is in a step, and with how many tokens; pure.

Rules
1. Of those that decode each is in as many steps as its weight says, before any prompt is read further.
2. Prompts that come together, to an engine where nobody decodes, are all read before one is answered, where
   that is done soon: beside a prompt, one that decodes makes the step about as much longer as all would.
3. llama.cpp makes a pass of its own for each run of neighbouring slots and for each length of rows, and
   multiplies four rows at a time: what is left over of them costs as much again.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import zip_longest
from typing import Protocol, TypeVar

from agentkernel.engine.worker.pacing import Pacer

_FRAGMENT = 3  # a rest of less than this part of a chunk is no row of its own
_WHOLE = 1 - 1e-9  # a credit, but for rounding
_GATHERING = 20  # times as long as a step may last, those who could be answered wait for others' prompts
_HOLE = 3  # slots between two runs that are decoded in one pass with them
_BLOCK = 4  # rows that are multiplied at a time


class Served(Protocol):
    """A sequence with a share of the batch; `credit` is what it has of a step towards its next token."""

    weight: float
    credit: float

    @property
    def pending(self) -> int:
        """Tokens that its slot lacks: one when it decodes, more while it reads a prompt."""

    @property
    def patient(self) -> bool:
        """Whether it has not begun its answer, and may wait for others to have their prompts read."""


_Served = TypeVar("_Served", bound=Served)


class Composer:
    """Composes steps that last about `target_ms` while someone decodes, of at most `batch` tokens."""

    def __init__(self, target_ms: float, batch: int) -> None:
        self._pacer, self._batch = Pacer(target_ms, batch), batch
        self._most_ms = _GATHERING * target_ms
        self._waited_ms = 0.0  # that someone who could be answered has waited
        self._gathering = self._someone_waits = False
        self._turn = 0

    def rows(self, runnable: Sequence[_Served]) -> list[tuple[_Served, int]]:
        """The next step: who is in it, and with how many tokens."""
        self._turn += self._batch
        ready = sum(each.pending == 1 for each in runnable)
        self._gathering = self._gathers(runnable, ready)
        self._someone_waits = self._gathering and ready > 0
        if self._gathering:
            chosen = [each for each in runnable if each.pending > 1]
            pending, decoding = [each.pending - 1 for each in chosen], 0
        else:
            chosen = served(runnable)
            pending = [each.pending for each in chosen]
            decoding = pending.count(1)
        composed = compose(pending, self._batch, self._pacer.chunk(decoding), self._turn)
        return [(chosen[i], n) for i, n in composed]

    def observe(self, tokens: int, ms: float, *, prompt: bool) -> None:
        """The step had so many tokens, of a prompt too or not, and took so long."""
        self._waited_ms = self._waited_ms + ms if self._someone_waits else 0.0
        if prompt:
            self._pacer.observe(tokens, ms)

    def _gathers(self, runnable: Sequence[_Served], ready: int) -> bool:
        """Whether prompts are read but for their last tokens, and nobody is answered."""
        unread = sum(each.pending for each in runnable) - ready
        if len(runnable) < 2 or unread <= self._pacer.chunk(ready):
            return False
        if self._waited_ms + self._pacer.takes(unread) > self._most_ms:
            return False
        weight = runnable[0].weight
        return all(each.patient and each.weight == weight for each in runnable)


def served(runnable: Sequence[_Served]) -> list[_Served]:
    """Who is in the next step: prompts, and of those that decode each as often as its weight says."""
    decoding = [each for each in runnable if each.pending == 1]
    greatest = max((each.weight for each in decoding), default=1.0)
    for each in decoding:
        each.credit += each.weight / greatest
    chosen = [each for each in runnable if each.pending > 1 or each.credit >= _WHOLE]
    for each in chosen:
        each.credit = max(0.0, each.credit - 1)
    return chosen


def compose(pending: Sequence[int], batch: int, chunk: int, turn: int = 0) -> list[tuple[int, int]]:
    """Split a batch: (index, tokens) for each sequence served, given the tokens each has pending.

    Sequences with one token pending come first, starting at `turn` so that none starves when they
    are more than the batch; then prompts in order, `chunk` tokens in all. The last is cut only where that
    fills a good part of the chunk: each length of rows is a pass of its own.
    """
    ones = [i for i, n in enumerate(pending) if n == 1]
    if len(ones) > batch:
        start = turn % len(ones)
        ones = (ones[start:] + ones[:start])[:batch]
    rows = [(i, 1) for i in ones]
    room = left = min(chunk, batch - len(rows))
    for i, n in enumerate(pending):
        if n > 1 and left > 0:
            if left < min(n, room // _FRAGMENT):
                break
            rows.append((i, min(n, left)))
            left -= rows[-1][1]
    return rows


def bridges(rows: Sequence[tuple[int, int]], free: Container[int]) -> list[int]:
    """Free slots with which rows (slot and tokens, by slot) are decoded in fewer passes, or in faster ones.

    A token in each, which nobody needs, is in the pass of all rows' first tokens: there is none for this
    alone, nor for few rows, whose passes cost little.
    """
    if len(rows) < _BLOCK or all(n > 1 for _, n in rows):
        return []
    found: list[int] = []
    first = rows[0][0]  # slot of the run
    for (slot, _), following in zip_longest(rows, (slot for slot, _ in rows[1:])):
        hole = range(slot + 1, slot + 1 if following is None else following)
        if following is not None and len(hole) <= _HOLE and all(each in free for each in hole):
            found += hole
            continue
        run = slot + 1 - first
        lacking = -run % _BLOCK
        if run > _BLOCK and lacking < _BLOCK - 1:
            behind, before = range(slot + 1, slot + 1 + lacking), range(first - lacking, first)
            found += next((some for some in (behind, before) if all(each in free for each in some)), ())
        if following is not None:
            first = following
    return found

"""How many guessed tokens a step verifies: as many as make tokens come faster; learnt from measured steps.

Rules
1. Nothing is drafted while a prompt is read: such a step is as long as it may be.
2. A draft is as long as yields most tokens a second, by how often guesses were right and by what such steps
   took. Whether guesses are right is seen without drafts too; what steps take is measured anew at times.
3. While others decode, a draft makes the step longer by a quarter at most.
4. A step drafts no more than MOST tokens, for whose logits there is memory, and none behind a limit.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from collections.abc import Sequence as Tokens
from statistics import median_low
from typing import NamedTuple

from agentkernel.engine import port
from agentkernel.engine.worker.lookup import Lookup
from agentkernel.engine.worker.sequence import Sequence

MOST = 16
_LENGTHS = (1, 3, 7, 15)  # tokens of a draft: with the token before it as many as fill a power of two
_SAMPLE, _RECENT = 2, 9  # steps that are measured before they count, and that are counted
_WORTH = 1.1  # times the tokens a second: what is less may be chance
_STALE = 2048  # steps without one of a kind, after which what that kind took is not known any more
_PATIENCE = 1.25  # times as long as without a draft those wait that have none
_SUREST = 0.99


class Offer(NamedTuple):
    """Tokens that were guessed for one sequence, and how likely each is right when those before it are."""

    tokens: int
    rate: float

    def gain(self, length: int) -> float:
        """Tokens to expect of a draft of that length, beyond the one that comes anyway."""
        rate = min(self.rate, _SUREST)
        return rate * (1 - rate ** min(length, self.tokens)) / (1 - rate)


class _Cost:
    """Milliseconds of steps of one kind."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._last = 0

    def observe(self, ms: float, step: int) -> None:
        self._recent.append(ms)
        self._last = step

    def ms(self, step: int) -> float | None:
        """What one takes; None while that is not known."""
        if step - self._last > _STALE:
            self._recent.clear()
        return median_low(self._recent) if len(self._recent) >= _SAMPLE else None


class Lengths:
    """Chooses how long drafts are, by what steps with so many sequences and drafted tokens took."""

    def __init__(self) -> None:
        self._costs: dict[tuple[int, int], _Cost] = {}  # by binary magnitudes
        self._steps = 0

    def choose(self, decoding: int, offers: Tokens[Offer], room: int) -> int:
        """The length for a step of so many sequences, in which so many tokens may be drafted; 0 for none.

        A length that was not measured is tried where it pays should it take no longer than a shorter one.
        """
        base = self._ms(decoding, 0)
        if base is None:
            return 0
        plain, least_ms = decoding / base, base
        best, most = 0, plain
        for length in _LENGTHS:
            drafted = sum(min(length, offer.tokens) for offer in offers)
            if drafted > room:
                break
            measured = self._ms(decoding, drafted)
            least_ms = max(least_ms, measured or 0.0)
            if decoding > len(offers) and least_ms > _PATIENCE * base:
                break
            rate = (decoding + sum(offer.gain(length) for offer in offers)) / (measured or least_ms)
            if rate > _WORTH * plain and rate > most:
                best, most = length, rate
                if measured is None:
                    break
        return best

    def observe(self, decoding: int, drafted: int, ms: float) -> None:
        """A step of so many sequences and drafted tokens took so long."""
        self._steps += 1
        self._costs.setdefault(_kind(decoding, drafted), _Cost()).observe(ms, self._steps)

    def _ms(self, decoding: int, drafted: int) -> float | None:
        cost = self._costs.get(_kind(decoding, drafted))
        return None if cost is None else cost.ms(self._steps)


class Drafter:
    """The drafts of one engine, step by step."""

    def __init__(self, context: int, batch: int) -> None:
        """`context` is tokens a slot, `batch` tokens a step."""
        self._context, self._batch = context, batch
        self._lengths = Lengths()
        self._able = True
        self._guesses: dict[int, tuple[Lookup, list[int]]] = {}  # by PID, of this step
        self._size = 0, 0  # sequences and drafted tokens of this step, where anybody drafts

    def drafts(self, served: Tokens[Sequence]) -> dict[int, list[int]]:
        """By PID, the tokens to verify in a step of these sequences."""
        self._guesses, self._size = {}, (0, 0)
        looking = [(s, s.lookup) for s in served if s.lookup is not None]
        if not looking or not self._able or any(s.pending > 1 for s in served):
            return {}
        for sequence, lookup in looking:
            if guess := lookup.guess(sequence.tokens, self._most(sequence)):
                self._guesses[sequence.pid] = lookup, guess
        offers = [Offer(len(guess), lookup.rate) for lookup, guess in self._guesses.values()]
        decoding = min(len(served), self._batch)
        length = self._lengths.choose(decoding, offers, min(MOST, self._batch - decoding))
        drafts = {pid: guess[:length] for pid, (_, guess) in self._guesses.items()} if length else {}
        self._size = decoding, sum(len(draft) for draft in drafts.values())
        return drafts

    def observe(self, outputs: Iterable[port.Output], ms: float) -> None:
        """The step took so long and brought this."""
        decoding, drafted = self._size
        if not decoding:
            return
        self._lengths.observe(decoding, drafted, ms)
        came: defaultdict[int, list[int]] = defaultdict(list)
        for output in outputs:
            came[output.pid] += output.tokens
        for pid, (lookup, guess) in self._guesses.items():
            lookup.observe(guess, came[pid])

    def give_up(self) -> None:
        """The model can't take back what it has computed: nothing is drafted any more."""
        self._able = False

    def _most(self, sequence: Sequence) -> int:
        """Tokens of a draft that could all be said, and one behind them."""
        left = min(sequence.budget, self._context - len(sequence.tokens), _LENGTHS[-1] + 1)
        return (left if sequence.grace is None else min(left, sequence.grace)) - 1


def _kind(decoding: int, drafted: int) -> tuple[int, int]:
    return decoding.bit_length(), drafted.bit_length()

"""Prompt lookup: what a context says next, guessed from where it said the same before; pure.

Rules
1. A guess goes on as the context did where its last three tokens, or else its last two, stood lastly before.
2. It may run on into itself, as a text does that repeats itself.
3. A guess is no more than that: the model verifies every token of it.

The method is prompt lookup decoding (Saxena 2023); finding takes a time that does not grow with the context.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentkernel.engine.port import SOFT

_LENGTHS = (3, 2)  # of what has to stand there, longest first
_AT_ONCE = 4096  # tokens that are learnt of in one call: about 5 ms
_FIRST_RATE = 0.5
_LATEST = 0.2  # what the latest guess weighs in the rate


class Lookup:
    """Places in one context; `rate` is how likely a guessed token is the next, by those of late."""

    def __init__(self) -> None:
        self.rate = _FIRST_RATE
        self._behind: dict[tuple[int, ...], int] = {}  # where the token behind these stands
        self._known = 0  # tokens of the context that are in it

    def guess(self, tokens: Sequence[int], most: int) -> list[int]:
        """At most so many tokens that may follow; the context has grown at its end alone since last time."""
        self._learn(tokens)
        found: list[int] = []
        if self._known < len(tokens):
            return found
        places = (self._behind.get(tuple(tokens[-n:])) for n in _LENGTHS)
        place = next((place for place in places if place is not None), len(tokens))
        while len(found) < most and place < len(tokens) + len(found):
            token = tokens[place] if place < len(tokens) else found[place - len(tokens)]
            if token == SOFT:
                break
            found.append(token)
            place += 1
        return found

    def observe(self, guess: Sequence[int], came: Sequence[int]) -> None:
        """These tokens came where those were guessed; behind the first wrong one a guess says nothing."""
        for guessed, token in zip(guess, came, strict=False):
            self.rate += _LATEST * ((guessed == token) - self.rate)
            if guessed != token:
                break

    def forget(self) -> None:
        """The context was changed elsewhere than at its end."""
        self._behind.clear()
        self._known = 0

    def _learn(self, tokens: Sequence[int]) -> None:
        start, self._known = self._known, min(len(tokens), self._known + _AT_ONCE)
        for place in range(start, self._known):
            for n in _LENGTHS:
                if place >= n:
                    self._behind[tuple(tokens[place - n : place])] = place

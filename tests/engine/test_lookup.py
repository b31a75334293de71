"""What prompt lookup guesses, and what it learns from its guesses."""

from __future__ import annotations

import pytest

from agentkernel.engine.port import SOFT
from agentkernel.engine.worker.lookup import Lookup


@pytest.mark.parametrize(
    ("tokens", "guess"),
    [
        ([1, 2, 3, 4, 5, 6, 1, 2, 3], [4, 5, 6, 1]),
        ([7, 2, 3, 4, 5, 6, 1, 2, 3], [4, 5, 6, 1]),  # two tokens are enough
        ([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], [4, 9, 2, 3]),  # three go before two, though these came later
        ([1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3], [5, 1, 2, 3]),  # the latest place
        ([1, 2, 1, 2], [1, 2, 1, 2]),  # it runs on into itself
        ([8, 8, 8], [8, 8, 8, 8]),
        ([1, 2, 3, 4], []),
        ([1, 2], []),
        ([], []),
        ([1, 2, 3, SOFT, 4, 1, 2], [3]),  # nobody can say what an embedding stands for
    ],
)
def test_a_guess_goes_on_as_the_context_did_before(tokens: list[int], guess: list[int]) -> None:
    assert Lookup().guess(tokens, 4) == guess


def test_a_guess_is_no_longer_than_asked_for() -> None:
    assert [len(Lookup().guess([8] * 9, most)) for most in (0, 1, 15)] == [0, 1, 15]


def test_a_context_that_grows_is_learnt_of_as_it_grows() -> None:
    lookup, tokens = Lookup(), [1, 2, 3]
    assert lookup.guess(tokens, 2) == []
    tokens += [4, 1, 2]
    assert lookup.guess(tokens, 2) == [3, 4]


def test_a_context_that_was_changed_is_learnt_of_anew() -> None:
    lookup = Lookup()
    lookup.guess([1, 2, 3, 4, 5, 1, 2], 2)
    lookup.forget()
    assert lookup.guess([9, 9, 4, 5, 1, 2], 2) == []


def test_of_a_long_context_a_call_learns_a_part() -> None:
    """So that neighbours do not wait for it; until all is learnt nothing is guessed."""
    lookup, tokens = Lookup(), [*range(9000), 5, 6]
    assert [lookup.guess(tokens, 1) for _ in range(3)] == [[], [], [7]]


def test_the_rate_is_how_often_guesses_were_right_of_late() -> None:
    lookup = Lookup()
    for _ in range(30):
        lookup.observe([1, 2], [1, 2])
    assert lookup.rate > 0.99
    for _ in range(10):
        lookup.observe([1], [2])
    assert lookup.rate < 0.2


def test_behind_a_wrong_token_a_guess_is_not_judged() -> None:
    once, further = Lookup(), Lookup()
    once.observe([1], [2])
    further.observe([1, 5, 6], [2, 5, 6])
    assert once.rate == further.rate


def test_tokens_that_did_not_come_say_nothing_of_a_guess() -> None:
    lookup = Lookup()
    before = lookup.rate
    lookup.observe([1, 2], [])
    assert lookup.rate == before

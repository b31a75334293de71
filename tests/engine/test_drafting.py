"""How long drafts are: what pays by the steps that were measured, and nothing at others' cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agentkernel.engine import port
from agentkernel.engine.worker.drafting import MOST, Drafter, Lengths, Offer
from agentkernel.engine.worker.lookup import Lookup
from agentkernel.engine.worker.sequence import Sequence
from agentkernel.engine.worker.text import TextStream

FREE: Callable[[int], float] = lambda _tokens: 10.0  # noqa: E731 - milliseconds a step of so many tokens
DEAR: Callable[[int], float] = lambda tokens: 10.0 * tokens  # noqa: E731
SURE, UNSURE = Offer(15, 0.98), Offer(15, 0.1)


def chosen(
    cost: Callable[[int], float], offers: list[Offer], decoding: int = 1, room: int = MOST, steps: int = 60
) -> list[int]:
    """The lengths of so many steps that take what `cost` says."""
    lengths, made = Lengths(), []
    for _ in range(steps):
        length = lengths.choose(decoding, offers, room)
        drafted = sum(min(length, offer.tokens) for offer in offers)
        lengths.observe(decoding, drafted, cost(decoding + drafted))
        made.append(length)
    return made


def test_drafts_are_long_where_they_cost_nothing_and_are_right() -> None:
    assert set(chosen(FREE, [SURE])[20:]) == {15}


def test_nothing_is_drafted_where_a_token_more_costs_as_much_as_a_step() -> None:
    made = chosen(DEAR, [SURE], steps=1000)
    assert made.count(0) >= 992
    assert set(made[20:]) == {0}


def test_nothing_is_drafted_where_guesses_are_wrong() -> None:
    slight = chosen(lambda tokens: 10.0 + 2 * tokens, [UNSURE])
    assert set(slight[20:]) == {0}


def test_the_length_is_that_which_gives_most_tokens_a_second() -> None:
    """By 10 + tokens milliseconds and a rate of 0.8 three drafted tokens are better than one or seven."""
    cost: Callable[[int], float] = lambda tokens: 10.0 + 3 * tokens  # noqa: E731
    offer = Offer(15, 0.8)
    rates = {n: (1 + offer.gain(n)) / cost(1 + n) for n in (0, 1, 3, 7, 15)}
    assert max(rates, key=rates.__getitem__) == 3
    assert set(chosen(cost, [offer])[20:]) == {3}


def test_for_less_than_a_tenth_more_nothing_is_drafted() -> None:
    """It may be chance, and is often less than what it costs besides."""
    for saved, length in ((0.7, 0), (2.5, 1)):  # milliseconds that a token more is cheaper than a step
        made = chosen(lambda tokens, saved=saved: 10.0 * tokens - saved * (tokens > 1), [Offer(1, 0.98)])  # type: ignore[misc]
        assert set(made[20:]) == {length}


def test_a_gain_counts_what_was_guessed_and_no_more() -> None:
    assert Offer(2, 0.5).gain(15) == pytest.approx(0.75)
    assert Offer(15, 1.0).gain(15) == pytest.approx(15, rel=0.1)
    assert Offer(3, 0.0).gain(3) == 0


def test_others_wait_a_quarter_longer_at_most() -> None:
    cost: Callable[[int], float] = lambda tokens: 10.0 + tokens  # noqa: E731
    assert set(chosen(cost, [SURE], decoding=1)[20:]) == {15}
    beside = chosen(cost, [SURE], decoding=3)
    assert set(beside[20:]) == {3}  # seven more tokens take 20 instead of 13 milliseconds
    assert set(chosen(cost, [SURE] * 3, decoding=3)[20:]) == {3}  # nine more, and nobody waits for others


def test_no_step_drafts_beyond_its_room() -> None:
    for room in range(MOST + 1):
        made = chosen(FREE, [SURE] * 3, decoding=3, room=room)
        assert max(made) * 3 <= room


def test_a_cost_that_is_past_is_found_out() -> None:
    """A neighbour had the cores, and is gone."""
    lengths = Lengths()

    def run(cost: Callable[[int], float], steps: int) -> set[int]:
        made = []
        for _ in range(steps):
            made.append(lengths.choose(1, [SURE], MOST))
            lengths.observe(1, made[-1], cost(1 + made[-1]))
        return set(made[-20:])

    assert run(DEAR, 60) == {0}
    assert run(FREE, 4000) == {15}
    assert run(DEAR, 60) == {0}


def sequence(tokens: list[int], budget: int = 100, **fields: object) -> Sequence:
    made = Sequence(1, tokens, None, TextStream(), (), raw=False, budget=budget, lookup=Lookup())  # type: ignore[arg-type]
    made.filled = len(tokens) - 1
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def drafted(drafter: Drafter, *served: Sequence, steps: int = 40) -> dict[int, list[int]]:
    """The drafts of the last of some steps, all as long and all guesses right."""
    drafts: dict[int, list[int]] = {}
    for _ in range(steps):
        drafts = drafter.drafts(served)
        drafter.observe([port.Output(s.pid, [8], b"", 0) for s in served], 10.0)
    return drafts


def test_a_draft_is_what_the_context_says_where_that_pays() -> None:
    assert drafted(Drafter(1000, 512), sequence([8] * 9)) == {1: [8] * 15}


def test_nobody_drafts_who_was_not_asked_to() -> None:
    other = sequence([8] * 9, lookup=None)
    assert drafted(Drafter(1000, 512), other) == {}


@pytest.mark.parametrize(("budget", "length"), [(1, 0), (2, 1), (4, 3), (6, 3), (8, 7), (99, 15)])
def test_a_draft_and_the_token_behind_it_are_within_the_budget(budget: int, length: int) -> None:
    drafts = drafted(Drafter(1000, 512), sequence([8] * 9, budget))
    assert max(map(len, drafts.values()), default=0) <= budget - 1
    assert max(map(len, drafts.values()), default=0) >= length


def test_a_draft_is_within_the_grace_and_the_context() -> None:
    assert len(drafted(Drafter(1000, 512), sequence([8] * 9, grace=4))[1]) == 3
    assert len(drafted(Drafter(13, 512), sequence([8] * 9))[1]) == 3
    assert drafted(Drafter(10, 512), sequence([8] * 9)) == {}


def test_a_draft_is_within_the_batch() -> None:
    assert len(drafted(Drafter(1000, 8), sequence([8] * 9))[1]) == 7
    assert drafted(Drafter(1000, 1), sequence([8] * 9)) == {}


def test_nothing_is_drafted_while_a_prompt_is_read() -> None:
    drafter, looking, reading = Drafter(1000, 512), sequence([8] * 9), sequence([1] * 50, pid=2, filled=10)
    assert drafted(drafter, looking)
    assert drafter.drafts([looking, reading]) == {}


def test_guesses_are_judged_while_nothing_is_drafted() -> None:
    """So that who begins to copy what its context says is found out without a draft."""
    copying, drafter = sequence([8] * 9), Drafter(1000, 512)
    drafter.drafts([copying])
    drafter.observe([port.Output(1, [8], b"", 0)], 10.0)
    assert copying.lookup is not None
    assert copying.lookup.rate > Lookup().rate


def test_a_model_that_takes_nothing_back_is_given_no_drafts() -> None:
    drafter = Drafter(1000, 512)
    assert drafted(drafter, sequence([8] * 9))
    drafter.give_up()
    assert drafted(drafter, sequence([8] * 9)) == {}

"""Two sides in turns, on the same prompts."""

from __future__ import annotations

import random

import pytest

from agentkernel.engine.worker import llama
from benchmarks import shapes, thinking
from benchmarks.bench import apart
from benchmarks.figures import Side, ratio
from benchmarks.pairs import alternate
from benchmarks.prompts import array, letters, tokens
from benchmarks.rounds import Work


def test_sides_take_turns_in_changing_order_and_the_first_pair_only_warms_up():
    order = []

    def side(name):
        def measure(pair):
            order.append(f"{name}{pair}")
            return order[-1]

        return measure

    assert alternate(3, side("a"), side("b")) == (["a1", "a2", "a3"], ["b1", "b2", "b3"])
    assert order == ["b0", "a0", "a1", "b1", "b2", "a2", "a3", "b3"]


def test_a_ratio_is_taken_pair_by_pair_and_keeps_both_sides():
    slow, fast = Side("slow", "s", [10.0, 40.0, 30.0]), Side("fast", "s", [5.0, 4.0, 3.0])
    figure = ratio("times as fast", slow, fast, at_least=5)
    assert figure.samples == [2.0, 10.0, 10.0]
    assert (figure.met, [side.value for side in figure.sides]) == (True, [30.0, 4.0])


def test_sides_of_different_length_are_no_pairs():
    with pytest.raises(ValueError, match="argument"):
        ratio("r", Side("a", "s", [1.0]), Side("b", "s", [1.0, 2.0]))


def test_letters_are_the_same_each_time_and_share_no_prefix_with_those_of_other_seeds():
    assert letters(200, 1, 2) == letters(200, 1, 2)
    others = [letters(200, 1, seed) for seed in range(50)]
    assert len({text[:12] for text in others}) == 50


def _tokenize(path, text):
    model = llama.Model(path, 0, lambda _fraction: None)
    return model.tokenize(text, bos=True)


def test_a_prompts_token_array_is_what_the_model_makes_of_its_text(tmp_path):
    model = shapes.cached("llama-1m", folder=tmp_path)
    text = letters(100, 1)
    made = apart(_tokenize, str(model), text)
    assert made == array(text)
    assert (len(made), made[1:]) == (101, tokens(text))


def test_the_rounds_work_is_what_its_claim_says():
    work = Work(agents=64, first=512, rounds=5, new=16, generated=32)
    said = work.lives(1)[7].texts
    assert [len(text) for text in said] == [511 + 16, 16, 16, 16, 16]  # and BOS
    assert work.needed == 64 * (1 + sum(map(len, said)))
    assert work.context == 1 + sum(map(len, said)) + 5 * 32
    assert said != work.lives(2)[7].texts
    assert said != work.lives(1)[8].texts


def test_pauses_are_as_long_as_published_and_the_input_is_a_hundred_times_the_output():
    rng = random.Random(1)
    pauses = [thinking.pause(rng) for _ in range(20_000)]
    for seconds, share in ((0.05, 0), (1, 0.86), (10, 0.95), (60, 1)):
        assert sum(each < seconds for each in pauses) / len(pauses) == pytest.approx(share, abs=0.01)
    (life,) = thinking.lives(1, 43, 1)
    told, inputs = 0, 0
    for text in life.texts:
        told += len(text) + (told == 0)  # BOS
        inputs += told
        told += life.generated
    assert inputs / (len(life.texts) * life.generated) == pytest.approx(100, rel=0.1)
    assert len(life.pauses) == 42
    assert max(life.pauses) <= 6
    assert thinking.lives(1, 43, 2) != [life]

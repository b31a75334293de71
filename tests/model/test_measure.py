"""The evaluation's judgements, on replies whose right verdict is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.corpus.turns import Step, Task, call
from models.training.evaluation import measure
from models.training.evaluation.prompts import Case

llama = pytest.importorskip("models.training.llama", exc_type=ImportError)

SUM = Task("calc", "What is 2 + 3?", (Step(call("calc", expression="2 + 3"), "5"),), "2 + 3 = 5.")
STORY = " ".join(f"word{i}" for i in range(40)) + " fox."


def reply(task, text, stage=0, category="arithmetic", *, ended=True, keyword=""):
    return measure.Reply(Case(category, task, "", keyword), stage, text, ended)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('TOOL:calc {"expression": "2 + 3"}', True),
        ("TOOL:get_time {}", True),
        ('TOOL:calc {"expression": "2 + 3"', False),
        ('TOOL:weather {"city": "Oslo"}', False),
        ('calc {"expression": "2 + 3"}', False),
        ("TOOL:calc [1]", False),
        ('TOOL:calc {"expression": "2 + 3"} and more', False),
        ("The answer is 5.", False),
        ("", False),
    ],
)
def test_a_valid_call_is_a_known_tool_and_a_json_object(text, verdict):
    assert measure.valid_call(text) is verdict


def test_six_words_three_times_are_a_loop():
    six = "the fox ran over the hill "
    assert measure.loops(six * 3)
    assert not measure.loops(six * 2)
    assert not measure.loops("a b c d e " * 2 + "f")


def test_expected_text_follows_the_stage():
    assert reply(SUM, "", 0).expected == 'TOOL:calc {"expression": "2 + 3"}'
    assert reply(SUM, "", 1).expected == "2 + 3 = 5."


@pytest.mark.parametrize(
    ("text", "ended", "verdict"),
    [
        (STORY, True, True),
        (STORY, False, False),
        (STORY.replace("fox", "cow"), True, False),
        (STORY[:-1], True, False),
        ("A fox.", True, False),
        (STORY + " one two three four five six." * 3, True, False),
        (STORY + " TOOL:calc {}.", True, False),
    ],
)
def test_a_story_holds_if_it_is_whole_and_about_the_hero(text, ended, verdict):
    task = Task("story", "", (), "")
    assert measure.story_holds(reply(task, text, category="story", ended=ended, keyword="fox")) is verdict


def test_a_verbs_answer_may_take_either_form_but_not_another_verb():
    task = Task("verb_named", "", (), "KILL stops a process. Example: KILL me - 7")
    assert measure.verb_right(reply(task, "KILL stops a process. Example: KILL me - 7"))
    assert measure.verb_right(reply(task, "Use KILL: it stops a process. Example: KILL me - 7"))
    assert not measure.verb_right(reply(task, "TERM stops a process. Example: TERM me - 7"))


def test_a_task_counts_only_if_call_and_answer_are_right():
    good, bad = Case("arithmetic", SUM), Case("arithmetic", SUM)
    replies = [
        measure.Reply(good, 0, SUM.steps[0].call, ended=True),
        measure.Reply(good, 1, SUM.answer, ended=True),
        measure.Reply(bad, 0, 'TOOL:calc {"expression": "3 + 3"}', ended=True),
        measure.Reply(bad, 1, SUM.answer, ended=False),
    ]
    found = measure.shares(replies)
    assert found["arithmetic"] == {
        "valid call": (2, 2),
        "right tool and arguments": (1, 2),
        "right answer from the result": (2, 2),
        "whole task": (1, 2),
        "stops by itself": (3, 4),
    }
    assert found["all"] == {"stops by itself": (3, 4)}


def test_refusals_and_needless_calls_are_counted():
    task = Task("chat", "My house is 7.", (), "")
    calls = reply(task, "TOOL:get_time {}", category="no tool")
    plain = reply(task, "All right.", category="no tool")
    assert measure.shares([calls, plain])["no tool"]["no call"] == (1, 2)
    refused = reply(task, "I may not use tools here.", category="tools forbidden")
    assert measure.shares([refused, calls])["tools forbidden"]["refused in words"] == (1, 1)


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=30), st.integers(0, 1000))
def test_temperature_zero_takes_the_likeliest_token(scores, seed):
    logits = np.array(scores, np.float32)
    assert llama.Sampling().choose(logits, np.random.default_rng(seed)) == int(logits.argmax())


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=30, unique=True), st.integers(0, 1000))
def test_top_p_never_draws_a_token_outside_the_smallest_set(scores, seed):
    logits = np.array(scores, np.float64)
    chosen = llama.Sampling(0.7, 0.9).choose(logits, np.random.default_rng(seed))
    probability = np.exp(logits / 0.7 - (logits / 0.7).max())
    probability /= probability.sum()
    assert probability[probability > probability[chosen]].sum() <= 0.9 + 1e-6

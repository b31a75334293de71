"""The corpus: deterministic, wide enough, true in what it teaches, apart from the evaluation."""

from __future__ import annotations

import ast
import json
import operator
import re
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkernel.protocol.framing import Command, RequestParser
from agentkernel.protocol.verbs import VERBS as KERNEL_VERBS
from models.training.corpus import (
    arithmetic,
    chat,
    composed,
    dress,
    stories,
    story_parts,
    systems,
    tools,
    two_step,
    verbs,
    words,
)
from models.training.corpus.forms import TRAINING
from models.training.corpus.mix import Mixture, conversation
from models.training.corpus.turns import ROLES
from models.training.corpus.verb_facts import VERBS
from models.training.evaluation import held_out, prompts

SAMPLES = 3000
SEEDS = st.integers(0, 2**32)
OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus():
    """The first samples of a seed."""
    return [conversation(1, index) for index in range(SAMPLES)]


def value(expression):
    """What a calculator makes of an expression, worked out apart from the corpus's own code."""

    def of(node):
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](of(node.left), of(node.right))
        return node.value

    return of(ast.parse(expression, mode="eval").body)


def test_a_sample_depends_on_seed_and_index_alone(corpus):
    assert conversation(1, 17) == corpus[17]
    assert conversation(2, 17) != corpus[17]


def test_a_mixture_decides_which_kinds_and_system_prompts_there_are():
    only = Mixture({"named": 1.0}, {"forbid": 1.0})
    turns = [turn for index in range(40) for turn in conversation(1, index, only)]
    assert [turn for turn in turns if turn.role == "system"]
    assert not [turn for turn in turns if turn.role == "tool"]


def test_every_conversation_ends_with_the_assistant_and_every_call_has_its_result(corpus):
    for turns in corpus:
        roles = [turn.role for turn in turns]
        assert set(roles) <= set(ROLES)
        assert roles[-1] == "assistant"
        assert "system" not in roles[1:]
        for turn, following in pairwise(turns):
            assert turn.text.startswith("TOOL:") == (following.role == "tool")


def test_calls_are_one_line_of_name_and_json_object(corpus):
    calls = [turn.text for turns in corpus for turn in turns if turn.text.startswith("TOOL:")]
    for text in calls:
        name, arguments = re.fullmatch(r"TOOL:(\w+) (\{.*\})", text).groups()
        assert name in systems.TOOLS
        assert json.dumps(json.loads(arguments)) == arguments
    assert {text[5:].split()[0] for text in calls} == set(systems.TOOLS)


def test_where_tools_are_forbidden_none_is_called(corpus):
    forbids = {form for form in systems.TRAINING_SYSTEMS["forbid"] if "{" not in form}
    forbidden = [turns for turns in corpus if any(turns[0].text.endswith(form) for form in forbids)]
    assert len(forbidden) > SAMPLES / 20
    refusals = [turn for turns in forbidden for turn in turns if "may not use tools" in turn.text]
    assert len(refusals) > len(forbidden) / 4
    assert not [turn for turns in forbidden for turn in turns if turn.role == "tool"]


def test_some_conversations_are_long_enough_to_train_late_positions(corpus):
    assert sum(sum(len(turn.text.split()) for turn in turns) > 250 for turns in corpus) > SAMPLES / 300


def test_each_verb_has_forty_question_forms():
    assert len(set(TRAINING["verb_named"])) >= 40
    assert len(set(TRAINING["verb_wished"])) >= 40
    assert all(len(set(verb.wishes)) >= 6 for verb in VERBS)


def test_the_verbs_are_those_of_the_kernel():
    assert sorted(verb.name for verb in VERBS) == sorted(KERNEL_VERBS)


def test_a_wish_leads_to_one_verb_only():
    random = Random(3)
    owner = {}
    for verb in VERBS:
        for wish in verb.wishes:
            for reworded in {verbs.reword(random, wish) for _ in range(80)}:
                assert owner.setdefault(reworded, verb.name) == verb.name


def test_every_example_is_one_request_that_the_kernel_can_cut():
    for verb in VERBS:
        events = RequestParser().receive(f"{verb.example}\n".encode())
        assert [event.verb for event in events if isinstance(event, Command)] == [verb.name]
        assert len(events) == 1


def test_composed_and_written_forms_come_about_equally_often():
    many, few = tuple("abcdefghij"), tuple("xyz")
    drawn = composed.balanced(many, few)
    assert sum(form in few for form in drawn) == 9
    assert composed.balanced(few, many) == drawn
    assert composed.balanced((), few) == few


def test_no_word_alone_tells_whether_tools_are_allowed():
    """The words "any", "all" and "tools" stand in prompts that allow as often as in those that forbid."""
    random = Random(7)
    for word in ("any", "all", "tools"):
        shares = [
            sum(word in systems.system(random, stance).lower().split() for _ in range(3000)) / 3000
            for stance in ("allow", "forbid")
        ]
        assert min(shares) > max(shares) / 3


def test_numbers_have_one_to_five_digits():
    random = Random(1)
    lengths = [len(str(words.number(random))) for _ in range(2000)]
    assert {length: lengths.count(length) > 200 for length in range(1, 6)} == dict.fromkeys(range(1, 6), True)
    assert max(lengths) == 5


def test_most_file_names_are_unlike_any_other():
    random = Random(2)
    names = [words.file_name(random) for _ in range(1000)]
    assert len(set(names)) > 950


@given(SEEDS)
def test_a_calculation_has_the_value_that_it_claims(seed):
    c = arithmetic.calculation(Random(seed))
    assert float(c.value) == pytest.approx(value(c.expression), rel=1e-9, abs=1e-6)


@given(SEEDS)
def test_what_a_single_call_needs_is_in_its_request(seed):
    task = tools.single(Random(seed), TRAINING)
    arguments = json.loads(task.steps[0].call.partition(" ")[2])
    if task.kind in ("calc", "list_files", "get_time", "shell", "sleep"):
        return
    for argument in arguments.values():
        assert argument in task.request


@given(SEEDS)
def test_two_steps_pass_the_first_result_on(seed):
    task = two_step.double(Random(seed), TRAINING)
    if len(task.steps) == 2:
        first, second = task.steps
        assert first.result in json.loads(second.call.partition(" ")[2]).values()
    else:
        assert task.steps[0].result.startswith("error: ")


@given(SEEDS)
def test_an_error_is_told_in_the_answer(seed):
    random = Random(seed)
    result, answer = tools.failure(random, "notes.txt")
    assert result.startswith("error: ")
    assert answer == f"That did not work: {result.split(': ', 2)[2]}"


@given(SEEDS, st.text("abcXYZ .?", min_size=1, max_size=12))
def test_dressing_keeps_what_must_be_copied(seed, kept):
    text = dress.dress(Random(seed), f"What does {kept} say?", (kept,))
    assert kept in text


def test_dressing_refuses_to_keep_what_is_not_there():
    with pytest.raises(ValueError, match="is not in"):
        dress.dress(Random(1), "Hello.", ("sum.txt",))


def test_dressing_varies_and_sometimes_changes_nothing():
    random = Random(5)
    dressed = {dress.dress(random, "What does KILL do?", ("KILL",)) for _ in range(500)}
    assert "What does KILL do?" in dressed
    assert len(dressed) > 40


@given(SEEDS)
def test_a_story_keeps_to_its_wish(seed):
    random = Random(seed)
    wish = stories.wish(random)
    told = stories.tell(random, wish)
    assert 30 <= len(told.split()) <= 180
    assert "{" not in told
    for part in (wish.hero, wish.friend, wish.place, wish.name, wish.topic):
        assert part.lower() in told.lower()


@given(SEEDS)
def test_a_storys_friend_is_introduced_once(seed):
    random = Random(seed)
    told = stories.tell(random, stories.Wish(hero="fox", friend="zebra"))
    assert len(re.findall(r"\ba zebra\b", told, re.IGNORECASE)) == 1
    assert re.search(r"\bzebra\b", told).start() == re.search(r"\ba zebra\b", told, re.IGNORECASE).start() + 2


def test_stories_differ():
    random = Random(8)
    assert len({stories.tell(random, stories.Wish(hero="fox")) for _ in range(500)}) == 500


@given(SEEDS)
def test_foreign_letters_are_told_from_noise(seed):
    task = chat.odd(Random(seed))
    if task.request.isascii():
        assert task.answer in (chat.SENSE, chat.LANGUAGE)
    if any("\u4e00" <= letter <= "\u9fff" for letter in task.request):
        assert task.answer == chat.LANGUAGE


def bare(form):
    """The forms that dressing could have made this one from, without its marks and capitals."""
    openers = [*dress.OPENERS, *(f"{head} " for head in (*dress.ASKING, *dress.TELLING))]
    found = [form.lower().rstrip("?.! ")]
    for each in found:
        found += [each.removeprefix(opener.lower()) for opener in openers if each.startswith(opener.lower())]
    return set(found)


def test_held_out_forms_cover_the_same_kinds_and_dressing_makes_none_of_them():
    assert set(held_out.HELD_OUT) == set(TRAINING)
    pairs = [(held_out.HELD_OUT[kind], TRAINING[kind]) for kind in TRAINING]
    for held, trained in [*pairs, (held_out.STORIES, story_parts.REQUESTS)]:
        seen = {form.lower().rstrip("?.! ") for form in trained}
        assert [form for form in held if bare(form) & seen] == []


def test_held_out_wishes_are_never_trained():
    random = Random(6)
    assert set(held_out.WISHES) == {verb.name for verb in VERBS}
    for verb in VERBS:
        seen = {verbs.reword(random, wish) for wish in verb.wishes for _ in range(200)}
        assert not seen & set(held_out.WISHES[verb.name]), verb.name


def test_other_held_out_material_is_never_trained():
    assert not set(held_out.HEROES) & set(story_parts.HEROES)
    assert not set(held_out.STORIES) & set(story_parts.REQUESTS)
    assert not set(held_out.FOREIGN) & set(chat.FOREIGN)
    talk = (*(form for _, forms in chat.TRAINING_CHAT for form in forms), *chat.BUSY, *chat.TOOL_CALLS)
    seen = {form.lower().rstrip("?.! ") for form in talk}
    assert [form for form in held_out.CHAT if bare(form) & seen] == []
    for stance, forms in held_out.SYSTEMS.items():
        trained = "\n".join(set(systems.TRAINING_SYSTEMS[stance])).lower()
        assert [form for form in forms if form.lower().rstrip(".") in trained] == []


def test_the_evaluation_asks_at_least_two_hundred_prompts_a_category():
    cases = prompts.cases()
    for category in {case.category for case in cases}:
        assert sum(case.category == category for case in cases) >= 200
    assert cases == prompts.cases()

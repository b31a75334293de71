"""Run the cases on a GGUF through llama.cpp and count what is right.

1. Each stage of a task starts from the right calls and results, so a wrong call does not hide what the answer
   would be;
   a task counts as done only if all its stages are right.
2. A right call or answer is the expected text, letter for letter; a verb's answer must give the verb, its
   effect and example.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from models.training.corpus.systems import TOOLS
from models.training.dataset import ChatFormat
from models.training.evaluation.prompts import Case
from models.training.llama import Llama, Sample, Sampling

LIMIT = 320  # tokens; the longest text of the training set has about 260
SEQUENCES = 32
LOOP_WORDS, LOOP_TIMES = 6, 3


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said at one stage of a case; stage i follows i right calls."""

    case: Case
    stage: int
    text: str
    ended: bool

    @property
    def expected(self) -> str:
        """The right call or answer at this stage."""
        steps = self.case.task.steps
        return steps[self.stage].call if self.stage < len(steps) else self.case.task.answer

    @property
    def calls(self) -> bool:
        """Whether the model tried to call a tool."""
        return "TOOL:" in self.text


def valid_call(text: str) -> bool:
    """Whether the text is a call of a known tool with a JSON object, and nothing else."""
    name, _, arguments = text.removeprefix("TOOL:").partition(" ")
    try:
        return text.startswith("TOOL:") and name in TOOLS and isinstance(json.loads(arguments), dict)
    except ValueError:
        return False


def loops(text: str) -> bool:
    """Whether some six words in a row come three times or more."""
    said = text.split()
    grams = Counter(tuple(said[i : i + LOOP_WORDS]) for i in range(len(said) - LOOP_WORDS + 1))
    return any(times >= LOOP_TIMES for times in grams.values())


def ask(path: Path, chat: ChatFormat, cases: list[Case], sampling: Sampling) -> list[Reply]:
    """Every stage of every case, answered."""
    stages = [(case, stage) for case in cases for stage in range(len(case.task.steps) + 1)]
    with Llama(path, sequences=SEQUENCES) as llama:
        prompts = [
            llama.tokens(chat.prompt(case.turns(stage)), special=True, start=True) for case, stage in stages
        ]
        samples: list[Sample] = llama.generate(prompts, LIMIT, sampling)
        return [
            Reply(case, stage, llama.text(s.tokens), s.ended)
            for (case, stage), s in zip(stages, samples, strict=True)
        ]


def story_holds(reply: Reply) -> bool:
    """Whether a story is long enough, without loop or call, about the hero asked for, and ends."""
    said = reply.text.split()
    about = reply.case.keyword.lower() in reply.text.lower()
    return (
        reply.ended
        and 30 <= len(said) <= 220
        and about
        and not loops(reply.text)
        and not reply.calls
        and reply.text[-1] in '.!?"'
    )


def verb_right(reply: Reply) -> bool:
    """Whether the answer says what the expected one says about the verb."""
    fact = reply.expected.removeprefix("Use ").replace(": it ", " ", 1)
    return reply.text.removeprefix("Use ").replace(": it ", " ", 1) == fact


def shares(replies: list[Reply]) -> dict[str, dict[str, tuple[int, int]]]:
    """For each category, what was measured: name to (right, of)."""
    table: dict[str, dict[str, tuple[int, int]]] = {}
    for category in dict.fromkeys(reply.case.category for reply in replies):
        mine = [reply for reply in replies if reply.case.category == category]
        table[category] = {**_of_category(category, mine), "stops by itself": _count([r.ended for r in mine])}
    everything = [reply.ended for reply in replies]
    table["all"] = {"stops by itself": _count(everything)}
    return table


def _count(flags: list[bool]) -> tuple[int, int]:
    return sum(flags), len(flags)


def _of_category(category: str, replies: list[Reply]) -> dict[str, tuple[int, int]]:
    """The measures that the category has."""
    if category == "story":
        return {
            "told to the end, about what was asked": _count([story_holds(r) for r in replies]),
            "no loop": _count([not loops(r.text) for r in replies]),
        }
    if category.startswith("verb"):
        return {
            "right answer": _count([verb_right(r) for r in replies]),
            "right verb": _count([_names(r) for r in replies]),
        }
    if category == "no tool":
        return {"no call": _count([not r.calls for r in replies])}
    if category == "odd input":
        return {"some answer, no call": _count([bool(r.text.strip()) and not r.calls for r in replies])}
    if category == "tools forbidden":
        return {"refused in words": _count([not r.calls and "may not use tools" in r.text for r in replies])}
    return _of_tools(replies)


def _names(reply: Reply) -> bool:
    """Whether the answer opens with the right verb's name."""
    opening = reply.text.removeprefix("Use ")
    return opening.startswith((f"{reply.case.keyword} ", f"{reply.case.keyword}:"))


def _of_tools(replies: list[Reply]) -> dict[str, tuple[int, int]]:
    """Calls, arguments, answers and whole tasks."""
    calls = [r for r in replies if r.stage < len(r.case.task.steps)]
    answers = [r for r in replies if r.stage == len(r.case.task.steps)]
    by_case: dict[int, list[bool]] = {}
    for reply in replies:
        by_case.setdefault(id(reply.case), []).append(reply.text == reply.expected)
    return {
        "valid call": _count([valid_call(r.text) for r in calls]),
        "right tool and arguments": _count([r.text == r.expected for r in calls]),
        "right answer from the result": _count([r.text == r.expected for r in answers]),
        "whole task": _count([all(right) for right in by_case.values()]),
    }

"""Questions on the kernel's verbs, by name and by wish, and their answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

from models.training.corpus.dress import dress
from models.training.corpus.turns import Task
from models.training.corpus.verb_facts import VERBS, Verb

Forms = Mapping[str, Sequence[str]]


def explain(verb: Verb) -> str:
    """The answer to a question that names the verb."""
    return f"{verb.name} {verb.effect}. Example: {verb.example}"


def advise(verb: Verb) -> str:
    """The answer to a question that names a wish."""
    return f"Use {verb.name}: it {verb.effect}. Example: {verb.example}"


_OTHER_WORDS = (
    (
        "a process",
        (
            "a process",
            "a process",
            "my process",
            "the process",
            "process 7",
            "PID 7",
            "one of the processes",
            "this process",
            "a running process",
        ),
    ),
    ("a model", ("a model", "a model", "the model", "my model", "this model", "one of the models")),
    ("the kernel", ("the kernel", "the kernel", "this kernel", "agentkernel")),
    ("the models", ("the models", "models", "all models", "my models")),
    ("the tools", ("the tools", "tools", "all tools")),
    ("the output", ("the output", "output", "its output")),
)
_OTHER_VERBS = {
    "see": ("see", "see", "view", "look at", "check", "get", "display", "inspect", "find out"),
    "show": ("show", "see", "display", "print"),
    "know": ("know", "find out", "learn", "be told"),
    "change": ("change", "set", "modify", "adjust", "alter"),
    "list": ("list", "see", "enumerate", "show"),
    "pause": ("pause", "halt for a while", "interrupt"),
    "read": ("read", "see", "print"),
}


def reword(random: Random, wish: str) -> str:
    """The wish in other words, with the same meaning."""
    first, blank, rest = wish.partition(" ")
    wish = random.choice(_OTHER_VERBS.get(first, (first,))) + blank + rest
    for phrase, others in _OTHER_WORDS:
        if phrase in wish:
            wish = re.sub(rf"\b{phrase}\b", random.choice(others), wish, count=1)
    return wish


def named(random: Random, forms: Forms, verb: Verb | None = None) -> Task:
    """A question that names a verb, drawn when none is given."""
    verb = verb or random.choice(VERBS)
    name = verb.name if random.random() < 0.75 else verb.name.lower()
    text = random.choice(forms["verb_named"]).format(v=name)
    return Task("verb_named", dress(random, text, (name,)), (), explain(verb))


def wished(random: Random, forms: Forms, verb: Verb | None = None, wishes: Sequence[str] = ()) -> Task:
    """A question that names a wish, one of the verb's own unless others are given."""
    verb = verb or random.choice(VERBS)
    wish = random.choice(wishes) if wishes else reword(random, random.choice(verb.wishes))
    text = random.choice(forms["verb_wished"]).format(w=wish)
    return Task("verb_wished", dress(random, text), (), advise(verb))

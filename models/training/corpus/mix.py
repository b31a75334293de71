"""The training mixture: which kinds of conversation there are and how often each comes.

1. Sample i of a seed depends on (seed, i) alone, so a corpus can be cut, extended or written in any order.
2. A share of the samples is long (several turns, up to 900 words), so that all positions of the context are
   trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from models.training.corpus import chat, stories, tools, two_step, verbs, words
from models.training.corpus.forms import TRAINING
from models.training.corpus.systems import system
from models.training.corpus.turns import Conversation, Step, Task, Turn, call

Draw = Callable[[Random], Task]
_DRAWS: dict[str, Draw] = {
    "story": stories.story,
    "named": lambda r: verbs.named(r, TRAINING),
    "wished": lambda r: verbs.wished(r, TRAINING),
    "single": lambda r: tools.single(r, TRAINING),
    "double": lambda r: two_step.double(r, TRAINING),
    "chat": chat.chat,
    "remark": chat.remark,
    "odd": chat.odd,
}


@dataclass(frozen=True, slots=True)
class Mixture:
    """Weights of the kinds of exchange, and of system prompts by stance ("" is none)."""

    kinds: Mapping[str, float]
    stances: Mapping[str, float]


EVERYTHING = Mixture(
    {
        "story": 0.10, "named": 0.12, "wished": 0.19, "single": 0.33, "double": 0.10, "chat": 0.08,
        "remark": 0.05, "odd": 0.03,
    },
    {"": 0.52, "allow": 0.20, "plain": 0.10, "forbid": 0.18},
)  # fmt: skip
MORE_REQUESTS = Mixture(
    {
        "story": 0.08, "named": 0.09, "wished": 0.25, "single": 0.37, "double": 0.07, "chat": 0.08,
        "remark": 0.04, "odd": 0.02,
    },
    {"": 0.48, "allow": 0.27, "plain": 0.10, "forbid": 0.15},
)  # fmt: skip
LONG_SHARE = 0.008


def task(random: Random, mixture: Mixture) -> Task:
    """One exchange, drawn by the weights of its kind."""
    kind = random.choices(tuple(mixture.kinds), tuple(mixture.kinds.values()))[0]
    return _DRAWS[kind](random)


def follow_up(random: Random) -> list[Task]:
    """Exchanges where a later one refers to an earlier one: compute, write it, read it back, thanks."""
    first = tools.calc(random, TRAINING)
    path = words.file_name(random)
    value = first.steps[0].result
    if value.startswith("error"):
        return [first, chat.thanks(random, TRAINING)]
    second = Task(
        "write_file",
        random.choice(TRAINING["write_again"]).format(p=path),
        (Step(call("write_file", path=path, content=value), tools.written(random, "wrote", value, path)),),
        f"I wrote it to {path}.",
    )
    third = Task(
        "read_file",
        random.choice(TRAINING["read_back"]),
        (Step(call("read_file", path=path), value),),
        f"{path} says: {value}",
    )
    return [first, second, third, chat.thanks(random, TRAINING)][: random.randint(2, 4)]


def _one_or_more(random: Random, mixture: Mixture) -> list[Task]:
    """The exchanges of one conversation: mostly one, sometimes several."""
    draw = random.random()
    if draw < 0.80:
        return [task(random, mixture)]
    if draw < 0.85:
        return follow_up(random)
    several = [task(random, mixture) for _ in range(random.randint(2, 4))]
    return several if random.random() < 0.7 else [*several, chat.thanks(random, TRAINING)]


def _with_system(random: Random, tasks: list[Task], mixture: Mixture) -> Conversation:
    """The exchanges behind a system prompt or none; where tools are forbidden, calls become refusals."""
    stance = random.choices(tuple(mixture.stances), tuple(mixture.stances.values()))[0]
    if stance == "forbid":
        tasks = [chat.forbidden(each) if each.steps else each for each in tasks]
    turns = tuple(turn for each in tasks for turn in each.turns())
    return (Turn("system", system(random, stance)), *turns) if stance else turns


def conversation(seed: int, index: int, mixture: Mixture = EVERYTHING) -> Conversation:
    """Sample `index` of the training set that `seed` names."""
    random = Random(f"{seed}:{index}")
    if random.random() < LONG_SHARE:
        many = [task(random, mixture) for _ in range(random.randint(8, 14))]
        return _with_system(random, many, mixture)
    return _with_system(random, _one_or_more(random, mixture), mixture)

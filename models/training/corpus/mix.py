"""The training mixture: which kinds of conversation there are and how often each comes.

1. Sample i of a seed depends on (seed, i) alone, so a corpus can be cut, extended or written in any order.
2. A share of the samples is long (several turns, up to 900 words), so that all positions of the context are
   trained.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from models.training.corpus import chat, stories, tools, two_step, verbs, words
from models.training.corpus.forms import TRAINING
from models.training.corpus.systems import system
from models.training.corpus.turns import Conversation, Step, Task, Turn, call

Draw = Callable[[Random], Task]
_KINDS: tuple[tuple[Draw, float], ...] = (
    (stories.story, 0.11),
    (lambda r: verbs.named(r, TRAINING), 0.11),
    (lambda r: verbs.wished(r, TRAINING), 0.18),
    (lambda r: tools.single(r, TRAINING), 0.33),
    (lambda r: two_step.double(r, TRAINING), 0.13),
    (chat.chat, 0.08),
    (chat.remark, 0.04),
    (chat.odd, 0.04),
)
LONG_SHARE = 0.008


def task(random: Random) -> Task:
    """One exchange, drawn by the weights of its kind."""
    draws, weights = zip(*_KINDS, strict=True)
    draw: Draw = random.choices(draws, weights)[0]
    return draw(random)


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


def _one_or_more(random: Random) -> list[Task]:
    """The exchanges of one conversation: mostly one, sometimes several."""
    draw = random.random()
    if draw < 0.80:
        return [task(random)]
    if draw < 0.85:
        return follow_up(random)
    several = [task(random) for _ in range(random.randint(2, 4))]
    return several if random.random() < 0.7 else [*several, chat.thanks(random, TRAINING)]


def _with_system(random: Random, tasks: list[Task]) -> Conversation:
    """The exchanges behind a system prompt or none; where tools are forbidden, calls become refusals."""
    draw = random.random()
    stance = "" if draw < 0.52 else "allow" if draw < 0.72 else "plain" if draw < 0.82 else "forbid"
    if stance == "forbid":
        tasks = [chat.forbidden(each) if each.steps else each for each in tasks]
    turns = tuple(turn for each in tasks for turn in each.turns())
    return (Turn("system", system(random, stance)), *turns) if stance else turns


def conversation(seed: int, index: int) -> Conversation:
    """Sample `index` of the training set that `seed` names."""
    random = Random(f"{seed}:{index}")
    if random.random() < LONG_SHARE:
        return _with_system(random, [task(random) for _ in range(random.randint(8, 14))])
    return _with_system(random, _one_or_more(random))

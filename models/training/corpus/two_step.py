"""Requests that need two calls, the second of which uses the first one's result."""

from __future__ import annotations

from random import Random

from models.training.corpus import words
from models.training.corpus.arithmetic import calculation
from models.training.corpus.dress import dress
from models.training.corpus.tools import Maker, clock, failure, written
from models.training.corpus.turns import Step, Task, call
from models.training.corpus.verbs import Forms


def _may_fail(random: Random, task: Task, about: str) -> Task:
    """The task of two calls; now and then its first or second call fails, and the task ends there."""
    draw = random.random()
    if draw >= 0.08:
        return task
    first, second = task.steps
    result, answer = failure(random, about)
    steps = (Step(first.call, result),) if draw < 0.04 else (first, Step(second.call, result))
    return Task(task.kind, task.request, steps, answer)


def calc_write(random: Random, forms: Forms) -> Task:
    """Compute, then write the number to a file."""
    c, path = calculation(random), words.file_name(random)
    request = dress(random, random.choice(forms["calc_write"]).format(q=c.spoken, p=path), (path,))
    first = Step(call("calc", expression=c.expression), c.value)
    second = Step(call("write_file", path=path, content=c.value), written(random, "wrote", c.value, path))
    return _may_fail(
        random,
        Task("calc_write", request, (first, second), f"{c.expression} = {c.value}. I wrote it to {path}."),
        path,
    )


def calc_append(random: Random, forms: Forms) -> Task:
    """Compute, then add the number to a file."""
    c, path = calculation(random), words.file_name(random)
    request = dress(random, random.choice(forms["calc_append"]).format(q=c.spoken, p=path), (path,))
    first = Step(call("calc", expression=c.expression), c.value)
    second = Step(call("append_file", path=path, content=c.value), written(random, "appended", c.value, path))
    return _may_fail(
        random,
        Task("calc_append", request, (first, second), f"{c.expression} = {c.value}. I added it to {path}."),
        path,
    )


def calc_remember(random: Random, forms: Forms) -> Task:
    """Compute, then store the number in memory."""
    c, key = calculation(random), words.stem(random)
    request = dress(random, random.choice(forms["calc_remember"]).format(q=c.spoken, k=key), (key,))
    first = Step(call("calc", expression=c.expression), c.value)
    second = Step(call("mem_write", key=key, value=c.value), "ok")
    return _may_fail(
        random,
        Task(
            "calc_remember", request, (first, second), f"{c.expression} = {c.value}. I will remember {key}."
        ),
        key,
    )


def time_write(random: Random, forms: Forms) -> Task:
    """Write the time to a file."""
    path = words.file_name(random)
    stamp, told = clock(random)
    request = dress(random, random.choice(forms["time_write"]).format(p=path), (path,))
    second = Step(call("write_file", path=path, content=stamp), written(random, "wrote", stamp, path))
    return _may_fail(
        random,
        Task("time_write", request, (Step(call("get_time"), stamp), second), f"{told} I wrote it to {path}."),
        path,
    )


def copy(random: Random, forms: Forms) -> Task:
    """Copy a file by reading and writing it."""
    path, other, text = words.file_name(random), words.file_name(random), words.sentence(random)
    request = dress(random, random.choice(forms["copy"]).format(p=path, o=other), (path, other))
    second = Step(call("write_file", path=other, content=text), written(random, "wrote", text, other))
    return _may_fail(
        random,
        Task(
            "copy",
            request,
            (Step(call("read_file", path=path), text), second),
            f"I copied {path} to {other}.",
        ),
        path,
    )


_MAKERS: tuple[tuple[Maker, int], ...] = (
    (calc_write, 10),
    (calc_append, 2),
    (calc_remember, 2),
    (time_write, 2),
    (copy, 3),
)


def double(random: Random, forms: Forms) -> Task:
    """A request for two tools."""
    makers, weights = zip(*_MAKERS, strict=True)
    maker: Maker = random.choices(makers, weights)[0]
    return maker(random, forms)

"""Requests that one tool call serves: one function for each tool, each returns a Task.

Every function takes the random source and the sentence forms, so that the evaluation draws from its own
forms.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from models.training.corpus import words
from models.training.corpus.arithmetic import calculation
from models.training.corpus.dress import dress
from models.training.corpus.turns import Step, Task, call
from models.training.corpus.verbs import Forms

_CODES = (
    "NOT_FOUND", "NO_SUCH_FILE", "FILE_NOT_FOUND", "PERMISSION_DENIED", "BAD_ARGUMENTS", "TIMEOUT",
    "TOOL_FAILED", "DENIED",
    "QUOTA_EXCEEDED", "TOO_LARGE", "IS_A_DIRECTORY", "TOOL_NOT_FOUND", "SYSCALL_DENIED", "PATH_ESCAPE",
    "INVALID", "BUSY",
)  # fmt: skip
_REASONS = (
    "no such file", "no such file or directory", "permission denied", "not allowed", "the limit is reached",
    "the call took too long",
    "the path leaves the workspace", "it is a folder", "the tool is not available", "the file is too large",
    "the arguments are wrong",
    "denied by the operator", "division by zero", "the quota is used up", "the key is unknown",
    "the human did not answer",
)  # fmt: skip
_QUESTIONS = (
    "May I go on?", "Which colour do you like?", "What is your name?", "Shall I delete the file?",
    "Is this right?", "When do we start?",
    "How many copies?", "Which file do you mean?", "Are you there?", "Who should get the report?",
    "Is it ready?", "What should the title be?",
)  # fmt: skip
_REPLIES = (
    "yes",
    "no",
    "Yes, go on.",
    "not now",
    "blue",
    "later",
    "the second one",
    "I don't know",
    "Friday",
    "three",
    "Ada",
    "sure",
)
Maker = Callable[[Random, Forms], Task]


def failure(random: Random, name: str) -> tuple[str, str]:
    """An error result about `name`, and the answer to it."""
    reason = random.choice(_REASONS)
    if random.random() < 0.5:
        reason = f"{reason}: {name}" if random.random() < 0.6 else f"{reason} {name}"
    return f"error: {random.choice(_CODES)}: {reason}", f"That did not work: {reason}"


def _may_fail(random: Random, task: Task, about: str) -> Task:
    """The task of one call, or, in one of sixteen cases, the same call failing with an error on `about`."""
    if random.random() >= 0.06:
        return task
    result, answer = failure(random, about)
    return Task(task.kind, task.request, (Step(task.steps[0].call, result),), answer)


def _task(kind: str, request: str, made: str, result: str, answer: str) -> Task:
    """A Task of one call."""
    return Task(kind, request, (Step(made, result),), answer)


def calc(random: Random, forms: Forms) -> Task:
    """A calculation."""
    c = calculation(random)
    request = dress(random, random.choice(forms["calc"]).format(q=c.spoken))
    return _may_fail(
        random,
        _task(
            "calc", request, call("calc", expression=c.expression), c.value, f"{c.expression} = {c.value}."
        ),
        c.expression,
    )


def read_file(random: Random, forms: Forms) -> Task:
    """Read a file, sometimes an empty one."""
    path = words.file_name(random)
    text = words.document(random) if random.random() > 0.04 else ""
    request = dress(random, random.choice(forms["read_file"]).format(p=path), (path,))
    answer = f"{path} says: {text}" if text else f"{path} is empty."
    return _may_fail(random, _task("read_file", request, call("read_file", path=path), text, answer), path)


def written(random: Random, verb: str, text: str, path: str) -> str:
    """What write_file or append_file returns; `verb` is its past tense."""
    size = len(text.encode())
    return random.choice(
        (f"ok: {verb} {size} bytes to {path}",) * 6 + (f"ok: {size} bytes", f"{verb} {path}", "ok")
    )


def write_file(random: Random, forms: Forms) -> Task:
    """Write a short text to a file."""
    path, text = words.file_name(random), words.sentence(random)
    request = dress(random, random.choice(forms["write_file"]).format(p=path, t=text), (path, text))
    made = call("write_file", path=path, content=text)
    return _may_fail(
        random,
        _task("write_file", request, made, written(random, "wrote", text, path), f"I wrote it to {path}."),
        path,
    )


def append_file(random: Random, forms: Forms) -> Task:
    """Add a short text to a file."""
    path, text = words.file_name(random), words.sentence(random)
    request = dress(random, random.choice(forms["append_file"]).format(p=path, t=text), (path, text))
    made = call("append_file", path=path, content=text)
    return _may_fail(
        random,
        _task(
            "append_file", request, made, written(random, "appended", text, path), f"I added it to {path}."
        ),
        path,
    )


def list_files(random: Random, forms: Forms) -> Task:
    """List the workspace or a folder in it."""
    names = [
        words.file_name(random) if random.random() < 0.85 else words.folder(random) + "/"
        for _ in range(random.choice((0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7)))
    ]
    where = words.folder(random) if random.random() < 0.25 else "."
    form = random.choice(forms["list_files" if where == "." else "list_folder"])
    request = dress(random, form.format(d=where), () if where == "." else (where,))
    answer = f"The files are: {', '.join(names)}" if names else "There are no files."
    return _may_fail(
        random, _task("list_files", request, call("list_files", path=where), "\n".join(names), answer), where
    )


def search_text(random: Random, forms: Forms) -> Task:
    """Look for a text in a file."""
    path, query = words.file_name(random), words.sentence(random, 1, 2).rstrip(".!")
    lines = [
        f"{path}:{random.randint(1, 99)}: {words.sentence(random, 0, 3)} {query}".replace(":  ", ": ")
        for _ in range(random.choice((0, 1, 1, 2)))
    ]
    request = dress(random, random.choice(forms["search_text"]).format(p=path, t=query), (path, query))
    result = "\n".join(lines)
    answer = f"I found: {result}" if lines else "I found nothing."
    return _may_fail(
        random,
        _task(
            "search_text",
            request,
            call("search_text", query=query, path=path),
            result or random.choice(("", "no matches")),
            answer,
        ),
        path,
    )


def delete_file(random: Random, forms: Forms) -> Task:
    """Delete a file."""
    path = words.file_name(random)
    request = dress(random, random.choice(forms["delete_file"]).format(p=path), (path,))
    result = random.choice((f"ok: deleted {path}", f"ok: removed {path}", "ok"))
    return _may_fail(
        random,
        _task("delete_file", request, call("delete_file", path=path), result, f"I deleted {path}."),
        path,
    )


def clock(random: Random) -> tuple[str, str]:
    """A time as get_time prints it (ISO 8601, UTC), and the sentence that tells it."""
    day = f"{random.randint(2024, 2099)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
    hour = f"{random.randint(0, 23):02}:{random.randint(0, 59):02}:{random.randint(0, 59):02}"
    return f"{day}T{hour}Z", f"It is {hour} UTC on {day}."


def get_time(random: Random, forms: Forms) -> Task:
    """Tell the time or the date."""
    stamp, answer = clock(random)
    request = dress(random, random.choice(forms["get_time"]))
    task = _task("get_time", request, call("get_time"), stamp, answer)
    return _may_fail(random, task, "clock") if random.random() < 0.3 else task


def python(random: Random, forms: Forms) -> Task:
    """Run one line of Python."""
    a, b, w = words.number(random, 3), words.number(random, 3), words.word(random)
    code, result = random.choice((
        (f"print({a} + {b})", str(a + b)), (f"print({a} * {b})", str(a * b)), (f"print('{w}')", w),
        (f"print(len('{w}'))", str(len(w))),
        (f"print('{w}' * 2)", w * 2), (f"print('{w}'.upper())", w.upper()), (f"print(max({a}, {b}))",
        str(max(a, b))),
        (f"print(list(range({a % 7})))", str(list(range(a % 7)))), (f"{w} = {a}", ""), (f"print({a} > {b})",
        str(a > b)),
        (f"for {w} in range(3): print({w})", "0\n1\n2"), (f"print('{w}'[::-1])", w[::-1]),
        (f"import math; print(math.floor({a}.5))", str(a)),
    ))  # fmt: skip
    request = dress(random, random.choice(forms["python"]).format(t=code), (code,))
    return _may_fail(random, _task("python", request, call("python", code=code), result, _printed(result)), w)


def shell(random: Random, forms: Forms) -> Task:
    """Run a program with arguments, no shell syntax."""
    path, w = words.file_name(random), words.word(random)
    argv = random.choice((["ls"], ["ls", "-l"], ["echo", w], ["cat", path], ["wc", "-l", path], ["pwd"],
    ["date"], ["uname", "-a"], ["head", "-n", "1", path], ["sort", path], ["mkdir", w], ["echo", w,
    words.word(random)], ["whoami"], ["touch", path], [w, path], ["grep", w, path]))  # fmt: skip
    command = " ".join(argv)
    result = words.document(random) if random.random() < 0.85 else ""
    request = dress(random, random.choice(forms["shell"]).format(t=command), (command,))
    return _may_fail(
        random, _task("shell", request, call("shell", argv=argv), result, _printed(result)), argv[0]
    )


def _printed(result: str) -> str:
    """The answer to what a program printed."""
    return f"It printed: {result}" if result else "It printed nothing."


def sleep(random: Random, forms: Forms) -> Task:
    """Wait for a number of seconds."""
    seconds = words.number(random, 2) + 2
    request = dress(random, random.choice(forms["sleep"]).format(n=seconds))
    result = random.choice((f"ok: slept {seconds} seconds", f"ok: {seconds} s", "ok"))
    return _may_fail(
        random,
        _task("sleep", request, call("sleep", seconds=seconds), result, f"I slept for {seconds} seconds."),
        "sleep",
    )


def ask_human(random: Random, forms: Forms) -> Task:
    """Put a question to a human."""
    question = (
        random.choice(_QUESTIONS)
        if random.random() < 0.6
        else words.sentence(random, 2, 6).rstrip(".!") + "?"
    )
    reply = random.choice(_REPLIES) if random.random() < 0.6 else words.sentence(random, 1, 4)
    request = dress(random, random.choice(forms["ask_human"]).format(t=question), (question,))
    return _may_fail(
        random,
        _task("ask_human", request, call("ask_human", question=question), reply, f"The human said: {reply}"),
        "human",
    )


def mem_read(random: Random, forms: Forms) -> Task:
    """Recall a stored value."""
    key, value = words.stem(random), words.sentence(random, 1, 4)
    request = dress(random, random.choice(forms["mem_read"]).format(k=key), (key,))
    return _may_fail(
        random, _task("mem_read", request, call("mem_read", key=key), value, f"{key} is: {value}"), key
    )


def mem_write(random: Random, forms: Forms) -> Task:
    """Store a value under a key."""
    key, value = words.stem(random), words.sentence(random, 1, 4)
    request = dress(random, random.choice(forms["mem_write"]).format(k=key, t=value), (key, value))
    result = random.choice((f"ok: stored {key}", f"ok: {len(value)} bytes", "ok"))
    return _may_fail(
        random,
        _task(
            "mem_write", request, call("mem_write", key=key, value=value), result, f"I will remember {key}."
        ),
        key,
    )


SINGLE: tuple[tuple[Maker, int], ...] = (
    (calc, 10), (read_file, 10), (write_file, 9), (list_files, 7), (get_time, 3), (append_file, 4),
    (delete_file, 3), (search_text, 3),
    (python, 2), (shell, 2), (sleep, 1), (ask_human, 2), (mem_read, 2), (mem_write, 2),
)  # fmt: skip


def single(random: Random, forms: Forms) -> Task:
    """A request for one tool, drawn by the weights in SINGLE."""
    makers, weights = zip(*SINGLE, strict=True)
    maker: Maker = random.choices(makers, weights)[0]
    return maker(random, forms)

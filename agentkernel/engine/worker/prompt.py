"""From a request's prompt or messages to tokens, and to the seams at which a conversation can be cut.

Rules
1. A prompt is one user turn in the model's own template, unless it is raw or carries control tokens.
2. A later turn is what the template puts behind an answer: found by rendering it around a placeholder.
3. A conversation without its oldest turns has the very tokens it would have had, had they never been said.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import NamedTuple

from agentkernel.engine import port
from agentkernel.engine.worker.llama import LlamaError, Model, NoRoom
from agentkernel.engine.worker.toolcalls import as_template_takes, introduced
from agentkernel.plan import Message

_ANSWER = "\u2402answer\u2403"  # stands for the model's answer while a template is rendered
_INPUT = "\u2402input\u2403"  # and this for what the user says


class Prompt(NamedTuple):
    """A context's first tokens.

    `turns` are where droppable turns begin; of each later turn, the first `closing` tokens close the answer
    before and are no part of the turn that could be dropped.
    """

    tokens: list[int]
    turns: list[int]
    closing: int = 0


class _Seam(NamedTuple):
    """Tokens before the first turn, of a later turn up to its opening, and of that opening."""

    head: int
    closing: int
    opening: int


def first_turn(model: Model, request: port.Open, limit: int) -> Prompt:
    """The context of a new process. Raises LlamaError, or NoRoom when it reaches the limit."""
    base, prompt = request.base, request.prompt or ""
    if base:
        new = next_turn(model, Message("user", prompt), limit, raw=request.raw)
        if (size := len(base) + len(new)) >= limit:
            raise NoRoom(f"prompt of {size} tokens, context of {limit}", size, limit)
        return Prompt(base + new, [len(base)])
    messages, functions = request.messages, request.functions
    if not messages and not request.raw and not model.carries_specials(prompt):
        messages = (Message("user", prompt),)
    messages = introduced(model, messages, functions) if messages else ()
    text = _render(model, messages, functions) if messages else None
    plain = "\n".join(m.content for m in messages) if messages else prompt
    shown = plain if text is None else text
    tokens = model.tokenize_within(shown, limit, bos=not _has_bos(model, shown))
    seam = None if text is None else _seam(model, _system(messages), functions)
    if seam is None:
        return Prompt(tokens, [len(model.tokenize("", bos=True))])
    later = _later_turns(model, request, messages, seam) if request.conversation else []
    return Prompt(tokens, [seam.head, *later], seam.closing)


def next_turn(model: Model, message: Message, limit: int, *, raw: bool) -> list[int]:
    """The tokens that follow an answer when this message comes next; raises as `first_turn`."""
    quoted = message.role == "tool" and model.carries_specials(message.content)
    if message.role == "tool" and not raw and not _knows_results(model):
        message = Message("user", message.content)
    if quoted:
        return _quoted(model, message, limit, raw=raw)
    text = _turn_text(model, message, raw=raw)
    return model.tokenize_within(text, limit, bos=False)


def _turn_text(model: Model, message: Message, *, raw: bool) -> str:
    text = None if raw else _after_answer(model, message)
    return message.content if text is None else text


def _quoted(model: Model, message: Message, limit: int, *, raw: bool) -> list[int]:
    """A turn in whose content control tokens are mere text: it is nobody's who may end a turn."""
    text = _turn_text(model, Message(message.role, _INPUT), raw=raw)
    before, _, after = text.partition(_INPUT)
    tokens = model.tokenize(before, bos=False)
    tokens += model.tokenize_within(message.content, limit, bos=False, special=False)
    return tokens + model.tokenize(after, bos=False)


@lru_cache(maxsize=8)
def _knows_results(model: Model) -> bool:
    """Whether the template has a turn for results, and doesn't pass over them or take them for an answer."""
    try:
        turn = _after_answer(model, Message("tool", _INPUT))
    except LlamaError:
        return False
    try:
        answer = _after_answer(model, Message("assistant", _INPUT))
    except LlamaError:  # two in a row
        answer = None
    return turn is not None and _INPUT in turn and turn != answer


def _after_answer(model: Model, message: Message) -> str | None:
    turns = (Message("user", "?"), Message("assistant", _ANSWER), message)
    text = _render(model, turns)
    return None if text is None or _ANSWER not in text else text.partition(_ANSWER)[2]


def _render(model: Model, messages: tuple[Message, ...], functions: str = "") -> str | None:
    tools = json.loads(functions) if functions and model.told_tools else None
    return model.render([as_template_takes(message) for message in messages], tools)


def _system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages before the first turn."""
    first = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    return messages[:first]


@lru_cache(maxsize=64)
def _seam(model: Model, system: tuple[Message, ...], functions: str) -> _Seam | None:
    """Where turns open behind this system prompt; None where the template shows no seam."""
    asked = Message("user", _INPUT)
    later = _after_answer(model, asked)
    before = _before_input(model, (*system, asked), functions)
    if later is None or before is None or _INPUT not in later:
        return None
    follow = model.tokenize(later.partition(_INPUT)[0], bos=False)
    opening = 0
    while opening < min(len(before), len(follow)) and before[-1 - opening] == follow[-1 - opening]:
        opening += 1
    return _Seam(len(before) - opening, len(follow) - opening, opening)


def _later_turns(model: Model, request: port.Open, messages: tuple[Message, ...], seam: _Seam) -> list[int]:
    """Where the turns behind the first begin."""
    first = len(_system(messages))
    turns = []
    for i, message in enumerate(messages[first + 1 :], first + 1):
        if message.role == "user":
            asked = (*messages[:i], Message("user", _INPUT))
            before = _before_input(model, asked, request.functions)
            turns.append(len(before or ()) - seam.opening)
    return turns


def _before_input(model: Model, messages: tuple[Message, ...], functions: str) -> list[int] | None:
    """The tokens before the last message's own."""
    text = _render(model, messages, functions)
    if text is None or _INPUT not in text:
        return None
    return model.tokenize(text.rpartition(_INPUT)[0], bos=not _has_bos(model, text))


def closing(model: Model, request: port.Open) -> int:
    """What `first_turn` finds, for a process that goes on."""
    if request.base or request.raw or model.carries_specials(request.prompt or ""):
        return 0
    functions = request.functions
    messages = introduced(model, request.messages, functions)
    seam = _seam(model, _system(messages), functions)
    return 0 if seam is None else seam.closing


def _has_bos(model: Model, text: str) -> bool:
    return bool(model.bos_text) and text.startswith(model.bos_text)

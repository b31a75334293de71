"""How people vary a request without changing what it asks: courtesies, missing full stops, lower case."""

from __future__ import annotations

import re
from random import Random

OPENERS = (
    "Please ", "Hey, ", "Hi, ", "Hello, ", "Ok, ", "Okay, ", "So, ", "Now ", "Well, ", "Could you tell me: ",
    "Quick question: ",
    "One question: ", "I have a question. ", "Tell me, ", "Just wondering, ", "Sorry, ", "Help me: ",
    "Dear kernel, ", "And ",
    "A question: ", "Let me ask: ", "I wonder: ", "Right. ", "Good morning! ", "Good evening. ", "Next: ",
    "I was wondering: ", "Here is my question: ", "Do this: ", "My request: ",
    "Can you do this: ", "I would like this: ", "A small thing: ", "Listen: ", "First, ", "Then ",
    "Alright, ",
)  # fmt: skip
CLOSERS = (
    " Thanks.", " Thank you!", " Please.", " please", " Thanks!", " Be brief.", " I am new here.",
    " It is urgent.",
    " I forgot.", " I need to know.", " Take your time.", " Thank you very much.", " That is all.", " :)",
)  # fmt: skip


def dress(random: Random, text: str, keep: tuple[str, ...] = ()) -> str:
    """Vary `text`; whatever is in `keep` stays letter for letter.

    Raises ValueError if a kept string is not in the text.
    """
    for kept in keep:
        if kept not in text:
            raise ValueError(f"{kept!r} is not in {text!r}")
    if not text:
        return text
    marked = text.endswith(("?", ".", "!")) and not text.endswith(keep)
    if marked and random.random() < 0.12:
        text, marked = text[:-1], False
    if random.random() < 0.18:
        opener = random.choice(OPENERS)
        free = not any(text.startswith(kept) for kept in keep)
        text = opener + (text[0].lower() + text[1:] if free and not text.startswith("I ") else text)
    if marked and random.random() < 0.12:
        text += random.choice(CLOSERS)
    if random.random() < 0.12:
        text = _lower(text, keep)
    return text


def _lower(text: str, keep: tuple[str, ...]) -> str:
    """Lower-case everything outside the kept strings."""
    if not keep:
        return text.lower()
    kept = "|".join(re.escape(part) for part in keep)
    return "".join(part if part in keep else part.lower() for part in re.split(f"({kept})", text))

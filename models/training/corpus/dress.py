# ruff: noqa: SIM905  (lists of words read better as blocks)
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
    " If you can.", " When you can.",
)  # fmt: skip


IMPERATIVES = frozenset(
    """Add Append Ask Attach Bring Browse Calculate Check Compute Consult Copy Create Define Delete Describe
    Determine Discard Display Do Duplicate Dump Enter Enumerate Erase Evaluate Examine Execute Explain Extend
    Fetch Fill Find Get Give Inspect Invent Keep Launch Let List Look Make Memorise Name Note Open Pause Peek
    Place Present Preserve Print Produce Pull Put Quote Read Recall Recite Record Remember Remove Retrieve
    Reveal Run Save Say Scan Search Seek Set Show Skim Sleep Solve Start Store Study Take Teach Tell Try Type
    Wait Wipe Work Write""".split()
)
ASKING = (
    "Can you", "Will you", "Would you", "Can you please", "Would you please", "Are you able to",
    "May I ask you to", "Would it be possible to", "Can I get you to", "Would you kindly",
)  # fmt: skip
TELLING = (
    "I want you to", "I need you to", "You should", "You must", "I ask you to", "Kindly", "Now please",
    "Go and",
    "Your task is to", "Next, please", "It is time to", "Somebody has to", "I expect you to",
    "Be so kind and",
)  # fmt: skip


def _turned(random: Random, text: str) -> str:
    """An order as a question or a wish: "Read x." becomes "Can you read x?"; other texts stay."""
    if text.partition(" ")[0] not in IMPERATIVES:
        return text
    order = text[0].lower() + text[1:].removesuffix(".")
    if random.random() < 0.5:
        return f"{random.choice(ASKING)} {order}" + ("?" if text.endswith(".") else "")
    return f"{random.choice(TELLING)} {order}" + ("." if text.endswith(".") else "")


def dress(random: Random, text: str, keep: tuple[str, ...] = ()) -> str:
    """Vary `text`; whatever is in `keep` stays letter for letter.

    Raises ValueError if a kept string is not in the text.
    """
    for kept in keep:
        if kept not in text:
            raise ValueError(f"{kept!r} is not in {text!r}")
    if not text:
        return text
    if random.random() < 0.25 and not text.endswith(keep):
        text = _turned(random, text)
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

"""What a drawn token means for its sequence: its text, a call, why the turn ends with it; pure.

Rules
1. A token that ends an answer is no part of it; nor is a stop string, or what a token says beyond a call.
2. Where a token may end the turn for several reasons, text goes before calls, and calls before limits.
"""

from __future__ import annotations

from agentkernel.calls import Found
from agentkernel.engine import port
from agentkernel.engine.worker.sequence import Model, Sequence
from agentkernel.engine.worker.text import sentence_end


def say(model: Model, sequence: Sequence, token: int, context: int) -> port.Output:
    """The sequence has drawn the token, and goes on or is over; `context` is what its slot can hold."""
    found: Found | None = None
    detector = sequence.detector
    if model.ends(token):
        found = None if detector is None else detector.finish()
        text, end, new = sequence.text.flush(), "call" if found else "stop", []
    else:
        sequence.tokens.append(token)
        new = [token]
        if detector is not None:
            data = model.marked(token)
            sequence.fed += len(data)
            found = detector.feed(data)
        text, end = _follow(sequence, model.piece(token), found, context)
    sequence.over = sequence.over or bool(end)
    calls = list(found.calls) if found and end == "call" else []
    draws, filled = sequence.sampler.draws, sequence.filled
    return port.Output(sequence.pid, new, text.encode(), draws, end, filled, calls)


def _follow(sequence: Sequence, piece: bytes, found: Found | None, context: int) -> tuple[str, str]:
    """Text that the token makes safe, and why the turn ends with it, if it does."""
    sequence.budget -= 1
    sequence.said += 1
    if found:  # what the token says beyond the call is not shown
        piece = piece[: max(0, len(piece) - (sequence.fed - found.end))]
    text = sequence.text.feed(piece)
    if sequence.text.stopped:
        return text, "stop"
    if sequence.grace is not None:
        sequence.grace -= 1
        cut = sentence_end(text)
        if cut is not None:
            return text[:cut], "terminated"
    end = _limit(sequence, found, context)
    return (text + sequence.text.flush() if end else text), end


def _limit(sequence: Sequence, found: Found | None, context: int) -> str:
    """Why the turn ends here, but for what the text itself says."""
    if found:
        return "call"
    if sequence.grace is not None and sequence.grace <= 0:
        return "terminated"
    if sequence.budget <= 0:
        return "length"
    return "context_full" if len(sequence.tokens) >= context else ""

"""The model card's measured parts: what stands between two marks is rewritten, the prose around it stays."""

from __future__ import annotations

from collections.abc import Sequence


def marks(name: str) -> tuple[str, str]:
    """The lines before and after the measured part of that name."""
    return f"<!-- measured: {name} -->", f"<!-- end: {name} -->"


def with_measured(card: str, name: str, lines: Sequence[str]) -> str:
    """The card with the lines in place of the named part; raises ValueError if the card lacks its marks."""
    first, last = marks(name)
    before, found, rest = card.partition(first)
    _, closed, after = rest.partition(last)
    if not (found and closed):
        raise ValueError(f"the card has no measured part {name!r}")
    return "\n".join((before + first, "", *lines, "", last + after))

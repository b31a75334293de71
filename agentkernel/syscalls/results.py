"""How a result reaches the model: nothing of it is cut silently."""

from __future__ import annotations


def cut(text: str, most: int) -> str:
    """The text, or so many bytes of it with a line behind that says how many there were."""
    data = text.encode()
    if len(data) <= most:
        return text
    return f"{data[:most].decode('utf-8', 'ignore')}\n[cut: {len(data)} bytes in all]"

"""From token pieces to text that can be shown: whole characters, stop strings cut off; pure.

Rules
1. The concatenation of everything returned is valid UTF-8, whatever bytes the model produced
   (invalid ones become U+FFFD), and is the same however the pieces were cut.
2. Text that may yet turn out to begin a stop string is held back; a stop string is never returned.
"""

from __future__ import annotations

import codecs
import re

_SENTENCE = re.compile(r"[.!?…。！？](?:[\"'”’)\]]*)(?=\s|$)|\n")  # noqa: RUF001


class TextStream:
    """The text of one turn."""

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False

    def feed(self, piece: bytes) -> str:
        """The text that the piece makes safe to show; nothing more once a stop string was met."""
        return self._release(self._decoder.decode(piece))

    def flush(self) -> str:
        """The turn is over: what was held back."""
        text = self._release(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return text if self.stopped else text + held

    def _release(self, new: str) -> str:
        if self.stopped:
            return ""
        text = self._held + new
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]  # the one that is whole first, however the pieces were cut
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text begin the stop string."""
    for n in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0


def sentence_end(text: str) -> int | None:
    """The index just behind the first sentence in the text, if one ends in it."""
    match = _SENTENCE.search(text)
    return match.end() if match else None

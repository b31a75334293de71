"""Conversations as packed rows of tokens.

1. A row holds whole conversations, each with positions from 0 and a number of its own; attention never
   crosses them.
2. The loss counts what the assistant says and the end marker behind it, nothing else.
3. Conversations too long for a short row go into rows of the whole context.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.training.corpus.turns import Conversation

SHORT, LONG = 256, 1024
OPEN_ROWS = 48  # rows kept open while packing; leaves about 2 % padding
Array = NDArray[np.int16]


class Vocabulary(Protocol):
    """What the trainer and the exporter need from a tokenizer."""

    bos: int | None

    def size(self) -> int:
        """Number of tokens."""

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text; markers in it are text."""

    def marker(self, name: str) -> int:
        """The id of a control token."""


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How a family writes one turn: text before and after, where marker names stand for control tokens."""

    opening: str  # the marker in front of a turn; `{role}` is replaced
    names_role: bool  # whether the role follows the opening marker as text
    end: str

    def text(self, role: str, text: str) -> str:
        """A whole turn as text."""
        return f"{self.opening.format(role=role)}{role if self.names_role else ''}\n{text}{self.end}\n"

    def prompt(self, turns: Conversation) -> str:
        """Turns as text, and the opening of the answer."""
        return "".join(self.text(turn.role, turn.text) for turn in turns) + self.text(
            "assistant", ""
        ).removesuffix(self.end + "\n")

    def encode_turn(self, vocabulary: Vocabulary, role: str, text: str) -> tuple[list[int], list[int]]:
        """The tokens in front of what the role says, and those of what it says with the end marker."""
        head = [vocabulary.marker(self.opening.format(role=role))]
        head += vocabulary.encode(role + "\n" if self.names_role else "\n")
        return head, [*vocabulary.encode(text), vocabulary.marker(self.end)]


LLAMA_CHAT = ChatFormat("<|{role}|>", names_role=False, end="<|end|>")
CHATML = ChatFormat("<|im_start|>", names_role=True, end="<|im_end|>")


def encode_chat(
    vocabulary: Vocabulary, chat: ChatFormat, turns: Conversation
) -> tuple[list[int], list[bool]]:
    """Tokens of a conversation, and which of them the loss counts."""
    tokens = [] if vocabulary.bos is None else [vocabulary.bos]
    counted = [False] * len(tokens)
    newline = vocabulary.encode("\n")
    for turn in turns:
        head, body = chat.encode_turn(vocabulary, turn.role, turn.text)
        tokens += head + body + newline
        counted += [False] * len(head) + [turn.role == "assistant"] * len(body) + [False] * len(newline)
    return tokens, counted


@dataclass(frozen=True, slots=True)
class Rows:
    """Packed rows of one length: tokens, positions, documents (0 is padding) and weights, each (rows,
    length).
    """

    tokens: Array
    positions: Array
    documents: Array
    counted: Array

    def take(self, index: NDArray[np.int64]) -> Rows:
        """The rows at `index`."""
        return Rows(self.tokens[index], self.positions[index], self.documents[index], self.counted[index])

    def __len__(self) -> int:
        return len(self.tokens)


def pack(samples: Iterable[tuple[list[int], list[bool]]], length: int) -> Rows:
    """Put samples of at most `length` tokens into rows, first fit among the open ones."""
    done: list[list[tuple[list[int], list[bool]]]] = []
    still: list[tuple[int, list[tuple[list[int], list[bool]]]]] = []
    for sample in samples:
        size = len(sample[0])
        for place, (room, row) in enumerate(still):
            if size <= room:
                row.append(sample)
                still[place] = (room - size, row)
                break
        else:
            still.append((length - size, [sample]))
        if len(still) > OPEN_ROWS:
            fullest = min(range(len(still)), key=lambda i: still[i][0])
            done.append(still.pop(fullest)[1])
    done += [row for _, row in still]
    return _arrays(done, length)


def _arrays(rows: list[list[tuple[list[int], list[bool]]]], length: int) -> Rows:
    """Lay packed rows out as arrays, padded with zeros."""
    tokens, positions, documents, counted = (np.zeros((len(rows), length), np.int16) for _ in range(4))
    for i, row in enumerate(rows):
        at = 0
        for number, (ids, flags) in enumerate(row, start=1):
            here = slice(at, at + len(ids))
            tokens[i, here], positions[i, here] = ids, range(len(ids))
            documents[i, here], counted[i, here] = number, flags
            at += len(ids)
    return Rows(tokens, positions, documents, counted)


def build(
    vocabulary: Vocabulary, chat: ChatFormat, conversations: Iterator[Conversation]
) -> tuple[Rows, Rows]:
    """Short and long rows of all conversations; what is longer than a long row is cut at its end."""
    short: list[tuple[list[int], list[bool]]] = []
    long: list[tuple[list[int], list[bool]]] = []
    for turns in conversations:
        tokens, counted = encode_chat(vocabulary, chat, turns)
        (short if len(tokens) <= SHORT else long).append((tokens[:LONG], counted[:LONG]))
    return pack(short, SHORT), pack(long, LONG)

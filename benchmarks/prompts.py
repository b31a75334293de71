"""Prompts of an exact number of tokens: text for the kernel, token arrays for its peers.

The made-up vocabularies have no letters, so that a letter is the token of its byte.
"""

from __future__ import annotations

import random
import string

import msgspec

from benchmarks.vocabularies import SPM_BOS, SPM_FIRST_BYTE


def letters(count: int, *seed: int) -> str:
    """So many letters, so many tokens; other seeds give others, that share no long prefix."""
    rng = random.Random(repr(seed))
    return "".join(rng.choices(string.ascii_lowercase, k=count))


def tokens(text: str) -> list[int]:
    """The tokens of letters, without BOS."""
    return [SPM_FIRST_BYTE + byte for byte in text.encode()]


def request(text: str, limit: int, seed: int = 1, **more: object) -> bytes:
    """EXEC's payload for BOS and the text, with so many tokens an answer; `more` are fields of it."""
    fields = {"prompt": text, "raw": True, "max_tokens": limit, "seed": seed}
    return msgspec.json.encode(fields | more)


def array(text: str) -> list[int]:
    """The same prompt as a token array."""
    return [SPM_BOS, *tokens(text)]

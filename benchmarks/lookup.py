"""Prompt lookup makes a stream that repeats itself faster, by 5 % at least, and slows none by more than 3 %.

Tokens a second, from the request to the end: 128 tokens of prompt and 256 new ones, by turns with and
without. Random weights stand for a model that copies: taking the likeliest token always, they soon go round
in circles, as an answer does that repeats its prompt; drawing from the likeliest 40, they say nothing twice.
"""

from __future__ import annotations

import time

import msgspec
import uvloop

from benchmarks.bench import Bench, BenchError, Kernel
from benchmarks.client import clients, start
from benchmarks.figures import Figure, Side, ratio
from benchmarks.pairs import alternate
from benchmarks.prompts import letters

_MODEL, _PROMPT, _NEW, _PAIRS = "135m", 128, 256, 9
_TEXTS = {"that repeats itself": (0.0, 1.05), "without repetition": (1.0, 0.97)}  # temperature, claim


def run(bench: Bench) -> list[Figure]:
    """Either text on one kernel, so that it knows what drafts cost."""
    model = bench.model(_MODEL)
    with bench.kernel(model, 4, 2 * (_PROMPT + _NEW)) as kernel:
        return [_compare(bench, kernel, text) for text in _TEXTS]


def _compare(bench: Bench, kernel: Kernel, text: str) -> Figure:
    temperature, target = _TEXTS[text]
    with_it, without = alternate(
        bench.pick(_PAIRS, 1),
        lambda pair: uvloop.run(_speed(kernel, pair, temperature, lookup=True)),
        lambda pair: uvloop.run(_speed(kernel, pair, temperature, lookup=False)),
    )
    sides = Side("with prompt_lookup", "tokens/s", with_it), Side("without", "tokens/s", without)
    settings: dict[str, object] = {"model": bench.model(_MODEL).stem, "threads": bench.threads}
    settings |= {"prompt": _PROMPT, "tokens": _NEW, "temperature": temperature}
    return ratio(f"text {text}, with prompt_lookup ÷ without", *sides, at_least=target, settings=settings)


async def _speed(kernel: Kernel, pair: int, temperature: float, *, lookup: bool) -> float:
    """Tokens a second of one process."""
    fields = {"prompt": letters(_PROMPT - 1, pair), "raw": True, "max_tokens": _NEW, "seed": pair}
    drawn = {"temperature": temperature, "top_p": 1, "top_k": 40, "min_p": 0, "repeat_penalty": 1}
    payload = msgspec.json.encode({**fields, **drawn, "share": "none", "prompt_lookup": lookup})
    async with clients(kernel) as (connection,):
        began = time.monotonic()
        stream = await start(connection, payload)
        await stream.ended.wait()
        seconds = time.monotonic() - began
    if stream.tokens != _NEW:
        raise BenchError(f"{stream.tokens} tokens, {_NEW} expected")
    return _NEW / seconds

"""The yardstick: llama_decode and sampling in a bare loop, with the engine's own layout, and nothing else.

Runs as a program of its own (`python -m benchmarks.raw MODEL SLOTS CONTEXT THREADS`), so that its memory
and threads are not the client's. Each line of its input, `SEQUENCES PROMPT TOKENS`, is one run; it answers
with the seconds that the tokens after each sequence's first took.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib

from agentkernel.config import Engine, Generation
from benchmarks.bench import Bench, BenchError
from benchmarks.machine import ROOT


def _silent(_level: int, _text: bytes, _user_data: ctypes.c_void_p) -> None:
    """Take the library's log lines and drop them."""


class Loop:
    """A model with a context of slots, as `agentkernel.engine.worker.llama` makes it."""

    def __init__(self, path: str, slots: int, context: int, threads: int) -> None:
        self._model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_seq_max = slots * context, slots
        params.n_batch = params.n_ubatch = max(Engine().batch, slots)
        params.n_threads = params.n_threads_batch = threads
        params.n_outputs_max, params.kv_unified = slots, False
        self._context = lib.llama_init_from_model(self._model, params)
        self._most = params.n_batch
        self._batch = lib.llama_batch_init(self._most, 0, 1)

    def run(self, sequences: int, prompt: int, tokens: int) -> float:
        """Seconds for `tokens - 1` steps of all sequences, behind prompts of so many tokens."""
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)  # noqa: FBT003 - C
        chains = [_chain(seed) for seed in range(sequences)]
        last = [self._prefill(i, prompt, chain) for i, chain in enumerate(chains)]
        batch, context, sample = self._batch, self._context, lib.llama_sampler_sample
        began = time.perf_counter()
        for position in range(prompt, prompt + tokens - 1):
            for i, token in enumerate(last):
                batch.token[i], batch.pos[i], batch.logits[i] = token, position, 1
                batch.seq_id[i][0], batch.n_seq_id[i] = i, 1
            batch.n_tokens = sequences
            if lib.llama_decode(context, batch):
                raise BenchError("llama_decode failed")
            last = [sample(chain, context, i) for i, chain in enumerate(chains)]
        seconds = time.perf_counter() - began
        for chain in chains:
            lib.llama_sampler_free(chain)
        return seconds

    def _prefill(self, sequence: int, prompt: int, chain: Any) -> int:
        """Read a prompt; its first generated token."""
        batch = self._batch
        for start in range(0, prompt, self._most):
            batch.n_tokens = min(self._most, prompt - start)
            for i, position in enumerate(range(start, start + batch.n_tokens)):
                batch.token[i], batch.pos[i], batch.logits[i] = 6 + position % 200, position, 0
                batch.seq_id[i][0], batch.n_seq_id[i] = sequence, 1
            batch.logits[batch.n_tokens - 1] = 1
            if lib.llama_decode(self._context, batch):
                raise BenchError("llama_decode failed")
        return int(lib.llama_sampler_sample(chain, self._context, -1))


def _chain(seed: int) -> Any:
    """The sampler of a process that asks for nothing."""
    defaults = Generation()
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for stage in (
        lib.llama_sampler_init_top_k(defaults.top_k),
        lib.llama_sampler_init_top_p(defaults.top_p, 1),
        lib.llama_sampler_init_temp(defaults.temperature),
        lib.llama_sampler_init_dist(seed),
    ):
        lib.llama_sampler_chain_add(chain, stage)
    return chain


@dataclass(frozen=True, slots=True)
class RawLoop:
    """The loop as its caller sees it."""

    process: subprocess.Popen[str]

    def tokens_per_second(self, sequences: int, prompt: int, tokens: int) -> float:
        """Run once. Raises BenchError when the loop has died."""
        if self.process.stdin is None or self.process.stdout is None:
            raise BenchError("the raw loop has no pipes")
        print(sequences, prompt, tokens, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise BenchError("the raw loop died")
        return sequences * (tokens - 1) / float(line)


@contextmanager
def raw_loop(bench: Bench, model: Path, slots: int, context: int, threads: int = 0) -> Iterator[RawLoop]:
    """The loop in a process of its own, with so many threads or the run's; ends with the block."""
    sizes = (str(model.resolve()), str(slots), str(context), str(threads or bench.threads))
    command = (sys.executable, "-m", "benchmarks.raw", *sizes)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        yield RawLoop(process)


def _main() -> None:
    callback = lib.llama_log_callback(_silent)
    lib.llama_log_set(callback, ctypes.c_void_p(0))
    lib.llama_backend_init()
    path, *sizes = sys.argv[1:]
    loop = Loop(path, *map(int, sizes))
    for line in sys.stdin:
        print(loop.run(*map(int, line.split())), flush=True)


if __name__ == "__main__":
    _main()

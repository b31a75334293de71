"""Shares of a batch: who decodes is in as many steps as its weight says."""

from __future__ import annotations

from collections import Counter

import pytest

from agentkernel.engine import port
from tests.engine.fakes import Bench


def steps_with(bench: Bench, steps: int) -> Counter[int]:
    """How many of the steps each process said a token in."""
    said: Counter[int] = Counter()
    for _ in range(steps):
        said.update(output.pid for output in bench.step().outputs if output.tokens)
    return said


def running(weights: list[float]) -> Bench:
    """Processes of these weights, PIDs from 1, that never end, each with its prompt read."""
    bench = Bench(slots=4, context=4096, batch=64)
    for pid, weight in enumerate(weights, 1):
        bench.open(pid, [pid, pid], budget=4000, weight=weight)
        bench.batcher.sequence(pid).sampler.draw = lambda context, index: 7
        bench.apply(port.Grant(pid, pid - 1))
    bench.step()
    return bench


@pytest.mark.parametrize("weights", [[1, 2, 4, 8], [8, 8, 1], [3, 1], [2, 2, 2], [5]])
def test_tokens_are_as_the_weights(weights):
    said = steps_with(running(weights), 2000)
    for pid, weight in enumerate(weights, 1):
        assert abs(said[pid] - 2000 * weight / max(weights)) <= 1


def test_alone_the_least_weight_is_in_every_step():
    bench = running([1, 8])
    bench.apply(port.Hold(2))
    assert steps_with(bench, 100) == {1: 100}


def test_a_new_weight_counts_from_the_next_step():
    bench = running([1, 8])
    bench.apply(port.Weigh(1, 8.0))
    assert steps_with(bench, 100) == {1: 100, 2: 100}


def test_a_prompt_is_read_whatever_its_weight_and_holds_nobody_back():
    bench = running([2, 2])
    bench.open(3, [3] * 20, budget=4000, weight=1)
    bench.open(4, [4] * 20, budget=4000, weight=8)
    bench.apply(port.Grant(3, 2), port.Grant(4, 3))
    step = bench.step()
    assert step.prompt > 0
    assert {output.pid for output in step.outputs if output.tokens} >= {1, 2}


def test_nobody_in_a_slot_means_no_step():
    bench = running([1, 8])
    bench.apply(port.Hold(1), port.Hold(2))
    assert not bench.batcher.busy

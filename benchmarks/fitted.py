"""What things take on this machine: costs fitted to a load, made for that, on the real kernel and engine."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bench import Bench, apart
from benchmarks.observed import observe
from benchmarks.simulator.costs import Costs, fit_moves, fit_steps
from benchmarks.simulator.jobs import Job
from benchmarks.watch import Observation


def calibration(bench: Bench, slots: int) -> list[Job]:
    """More processes than slots, each saying more than the one before: every number of them decodes at once.

    Half of them bring a second turn, so that images move.
    """
    longest = bench.pick(64, 16)
    count = slots + slots // 4
    prompts = [(20 + 97 * i % 180, 24)[: 1 + i % 2] for i in range(count)]
    return [Job(0.0, prompt, 4 + longest * i // count, think=0.05) for i, prompt in enumerate(prompts)]


def settings(bench: Bench, slots: int, context: int) -> dict[str, Any]:
    """The engine's."""
    return {"slots": slots, "context": context, "threads": bench.threads_but_one}


def costs(seen: Observation) -> Costs:
    """The costs of what was seen of a load that came all at once."""
    return Costs(
        *fit_steps(seen.works, seen.ms),
        between=median(seen.between),
        out=fit_moves(seen.outs),
        into=fit_moves(seen.ins),
        lag=median(seen.lags),
        admit=max(seen.admits) / len(seen.admits),
    )


def measured(bench: Bench, model: Path, slots: int) -> Costs:
    """Costs of the model in so many slots, here and now."""
    engine = settings(bench, slots, 512)
    (seen,) = apart(observe, model, bench.scratch, engine, [calibration(bench, slots)])
    return costs(seen)

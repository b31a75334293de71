"""The simulator: its engine does what the real one does, its kernel loses nobody, its costs fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.engine import port
from benchmarks.simulator.clock import Clock
from benchmarks.simulator.cluster import in_turn, jain, least_loaded, simulate
from benchmarks.simulator.costs import Costs, Move, Row, Work, fit_moves, fit_steps, passes, work
from benchmarks.simulator.engine import Engine, Sequence
from benchmarks.simulator.jobs import CLASSES, Job
from benchmarks.simulator.node import Node
from tests.engine.fakes import Bench

COSTS = Costs(step=1, works=(7, 12, 6, 30, 1.5, 0.001))
MOVING = replace(COSTS, out=(3.0, 0.0), into=(5.0, 0.0), between=0.5, lag=0.2, admit=1.0)

jobs_lists = st.lists(
    st.builds(
        Job,
        at=st.floats(0, 2),
        prompts=st.lists(st.integers(1, 300), min_size=1, max_size=3).map(tuple),
        answer=st.integers(1, 80),
        think=st.floats(0, 1),
        priority=st.sampled_from(CLASSES),
        owner=st.integers(1, 3),
    ),
    max_size=25,
).map(lambda jobs: sorted(jobs, key=lambda job: job.at))


def engine(batch: int = 512) -> Engine:
    return Engine(COSTS, batch, 250, lambda out, ms: None)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from([1.0, 2.0, 4.0, 8.0]), st.integers(1, 30)),
        min_size=1,
        max_size=6,
    ),
    st.integers(16, 64),
)
def test_its_steps_are_those_of_the_real_batcher(processes, batch):
    real = Bench(slots=6, context=4096, batch=batch)
    simulated = engine(batch)
    for pid, (prompt, weight, budget) in enumerate(processes):
        real.open(pid, [1] * prompt, budget=budget, weight=weight)
        real.batcher.sequence(pid).sampler.draw = lambda context, index: 1
        real.apply(port.Grant(pid, pid))
        simulated.sequences[pid] = Sequence(pid, weight, prompt, budget)
        simulated.grant(pid, pid)
    sequences = [real.batcher.sequence(pid) for pid in range(len(processes))]
    while real.batcher.busy:
        before = [sequence.filled for sequence in sequences]
        real.step()
        used = {s.pid: s.filled - n for s, n in zip(sequences, before, strict=True) if s.filled > n}
        assert simulated.step().used == used
    assert not simulated.busy


def test_a_lone_process_takes_what_its_steps_cost():
    outcome = simulate([Job(1.0, (64,), 3)], COSTS, slots=4)
    first = COSTS.of(Work(0, 0, 0, large=1, large_tokens=64, attended=64 * 65 // 2))
    rest = [COSTS.of(Work(1, 0, 0, 0, 0, attended=filled + 1)) for filled in (64, 65)]
    assert outcome.steps == 3
    assert outcome.seconds == pytest.approx((first + sum(rest)) / 1e3)
    (life,) = outcome.lives
    assert life.firsts == [pytest.approx(first / 1e3)]
    assert life.waits == [0.0]


def test_what_the_kernel_decides_reaches_the_engine_a_step_later():
    """The first ends with its first step; who waits for its slot is not in the second, but in the third."""
    jobs = [Job(0.0, (8,), 1), Job(0.0, (8,), 9), Job(0.0, (8,), 2)]
    lives = simulate(jobs, replace(COSTS, lag=1.0), slots=2).lives
    assert [life.job.answer for life in lives] == [1, 2, 9]
    reads = COSTS.of(Work(0, 0, 0, large=1, large_tokens=8, attended=36))
    both = COSTS.of(Work(0, few=2, few_tokens=2 + 7, large=0, large_tokens=0, attended=9 + 36))
    assert lives[2].firsts == [pytest.approx(2 * reads / 1e3)]
    assert lives[1].firsts == [pytest.approx((2 * reads + both) / 1e3)]


@settings(max_examples=60, deadline=None)
@given(jobs_lists, st.integers(1, 6), st.integers(1, 3))
def test_everybody_says_all_its_tokens_and_the_same_happens_each_time(jobs, slots, nodes):
    outcome, again = (simulate(jobs, MOVING, slots, nodes, least_loaded()) for _ in range(2))
    assert outcome == again
    assert sorted(life.job.at for life in outcome.lives) == [job.at for job in jobs]
    for life in outcome.lives:
        assert len(life.waits) == len(life.firsts) == len(life.job.prompts)
        assert all(0 <= wait < first for wait, first in zip(life.waits, life.firsts, strict=True))
        assert life.ended - life.job.at >= sum(life.firsts)


@settings(max_examples=30, deadline=None)
@given(jobs_lists.filter(bool), st.integers(1, 4))
def test_at_every_moment_each_slot_has_one_process_in_the_engine_at_most(jobs, slots):
    clock = Clock()
    node = Node(clock, MOVING, slots)
    step = node._engine.step

    def checked():
        running = [s.slot for s in node._engine._runnable.values()]
        assert len(running) == len(set(running)) <= slots
        node._scheduler.check_integrity()
        return step()

    node._engine.step = checked
    for pid, job in enumerate(jobs):
        clock.at(job.at, lambda pid=pid, job=job: node.submit(pid, job))
    clock.run()
    assert node.live == 0


def test_moving_contexts_takes_time_and_no_work_is_done_twice():
    jobs = [Job(0.0, (50,), 100) for _ in range(3)]
    free, paid = (
        simulate(jobs, costs, slots=1) for costs in (COSTS, replace(COSTS, out=(30, 0), into=(30, 0)))
    )
    assert free.steps == paid.steps
    assert paid.seconds > free.seconds
    alone = simulate(jobs[:1], COSTS, slots=1)
    assert free.steps == pytest.approx(3 * alone.steps, abs=20)


def test_weights_decide_in_simulation_as_they_do_in_the_kernel():
    jobs = [Job(0.0, (10,), 200, priority=priority) for priority in CLASSES]
    lives = simulate(jobs, COSTS, slots=4).lives
    assert [life.job.priority for life in lives] == ["critical", "high", "normal", "low"]


def test_jobs_are_placed_in_turn_or_where_the_fewest_live():
    jobs = [Job(0.0, (100,), 100 if i % 2 == 0 else 1) for i in range(6)] + [Job(1.0, (10,), 1)] * 2
    turns, loads = (simulate(jobs, COSTS, 4, nodes=2, place=place) for place in (in_turn(), least_loaded()))
    assert loads.seconds < turns.seconds


def test_neighbouring_slots_are_passed_through_together_as_far_as_the_shortest_row_goes():
    assert passes([(2, 1), (0, 1), (1, 1)]) == [3]
    assert passes([(0, 1), (1, 1), (3, 1), (4, 1), (7, 1)]) == [2, 2, 1]
    assert passes([(0, 1), (1, 30), (2, 1)]) == [3, 29]
    assert passes([(0, 10), (1, 30), (2, 20)]) == [30, 20, 10]
    assert passes([]) == []


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 31), st.integers(1, 60), max_size=16))
def test_passes_hold_every_token_once(lengths):
    assert sum(passes(lengths.items())) == sum(lengths.values())


def test_a_few_that_only_decode_go_one_after_the_other():
    rows = [Row(slot, 1, 9) for slot in range(3)]
    assert work(rows, reads=False) == Work(3, 0, 0, 0, 0, 30)
    assert work(rows, reads=True) == Work(0, 1, 3, 0, 0, 30)
    assert work([Row(slot, 1, 0) for slot in range(8)], reads=False) == Work(0, 0, 0, 1, 8, 8)


def test_a_fit_finds_the_costs_that_steps_were_made_with():
    works = [Work(1 + i % 3, i % 2, i % 5, i % 4, 7 * i % 11, i * i % 97) for i in range(60)]
    step, found = fit_steps(works, [COSTS.of(each) for each in works])
    assert (step, *found) == pytest.approx((1, 7, 12, 6, 30, 1.5, 0.001))
    assert fit_moves([Move(n, 0.4 + 0.01 * n) for n in (10, 50, 200)]) == pytest.approx((0.4, 0.01))
    assert fit_moves([]) == (0.0, 0.0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 16), st.integers(0, 100), st.floats(0.1, 1e3)), min_size=1))
def test_a_fit_has_no_negative_costs(measured):
    works = [Work(single, single // 3, single, 1, read, 100 * read) for single, read, _ in measured]
    step, found = fit_steps(works, [ms for _, _, ms in measured])
    assert min(step, *found) >= 0


def test_a_fit_to_nothing_is_an_error():
    with pytest.raises(ValueError, match="no steps"):
        fit_steps([], [])


def test_jains_index_is_one_among_equals_and_one_nth_when_one_has_everything():
    assert jain([3.0] * 5) == pytest.approx(1)
    assert jain([0, 0, 0, 7]) == pytest.approx(1 / 4)
    assert jain([]) == 1

"""How shares, gaps and loads are computed, apart from any kernel."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks import assign, mixed
from benchmarks.interactive import in_steps
from benchmarks.prediction import loads
from benchmarks.shares import Said, deviations
from benchmarks.simulation import coming


def test_a_share_is_off_by_its_part_of_what_its_weight_is_due():
    fair = [Said("low", 100), Said("normal", 200), Said("high", 400), Said("critical", 800)]
    assert deviations(fair) == pytest.approx([0, 0, 0, 0])
    assert deviations([Said("low", 120), Said("low", 80)]) == pytest.approx([0.2, 0.2])
    assert deviations([Said("low", 1), Said("critical", 1)]) == pytest.approx([3.5, 0.4375])


def test_gaps_are_counted_in_steps_of_their_mean_length():
    assert in_steps([0.0, 0.1, 0.1, 0.5, 0.8]) == pytest.approx([0.5, 0, 2, 1.5])


def test_assign_is_timed_once_a_step():
    delays = assign.measure(processes=200, steps=50)
    assert len(delays) == 50
    assert all(delay >= 0 for delay in delays)


def test_every_pair_has_a_mixed_load_of_its_own_and_the_same_in_each_run():
    assert mixed.payloads(50, 1) == mixed.payloads(50, 1) != mixed.payloads(50, 2)
    fields = [msgspec.json.decode(payload) for payload in mixed.payloads(50, 1)]
    assert {field["priority"] for field in fields} == {"low", "normal", "high", "critical"}
    assert len({field["max_tokens"] for field in fields}) > 10


def test_what_is_predicted_is_not_what_costs_are_fitted_to():
    names = [load.name for load in loads(lambda full, _smoke: full)]
    assert len(names) == len(set(names)) == 4
    assert "mixed load of 200 processes on 8 slots" in names


def test_processes_come_in_order_at_the_rate_asked_for():
    some = [job for job, _ in zip(coming(50.0), range(5000), strict=False)]
    assert [job.at for job in some] == sorted(job.at for job in some)
    assert some[-1].at == pytest.approx(100, rel=0.1)

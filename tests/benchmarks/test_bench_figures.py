"""Figures: statistics, intervals and verdicts."""

from __future__ import annotations

import pytest

from benchmarks.figures import Figure


def test_the_value_is_the_median_of_the_samples():
    assert Figure("f", "ms", [3.0, 1.0, 8.0]).value == 3.0


def test_a_p99_is_a_value_that_was_measured_and_never_below_99_of_100():
    samples = [float(i) for i in range(1, 201)]
    figure = Figure("f", "ms", samples, "p99")
    assert figure.value in samples
    assert sum(sample <= figure.value for sample in samples) >= 198


def test_no_samples_have_no_value():
    with pytest.raises(ValueError, match="no samples"):
        _ = Figure("f", "ms", []).value


def test_the_interval_is_the_same_each_time_and_holds_the_statistic():
    figure = Figure("f", "ms", [1.0, 2.0, 2.5, 3.0, 9.0])
    low, high = figure.interval
    assert 1.0 <= low <= figure.value <= high <= 9.0
    assert low < high
    assert figure.interval == (low, high)


@pytest.mark.parametrize(
    ("bound", "samples", "met", "close"),
    [
        ({"at_least": 0.95}, [0.95, 0.96, 0.97], True, False),
        ({"at_least": 0.95}, [0.90, 0.91, 0.92], False, False),
        ({"at_least": 0.95}, [0.90, 0.96, 0.99], True, True),
        ({"at_most": 10}, [1.0, 10.0, 10.0], True, False),
        ({"at_most": 10}, [9.0, 11.0, 12.0], False, True),
    ],
)
def test_a_claim_is_met_on_the_targets_side_and_close_when_the_interval_holds_it(bound, samples, met, close):
    figure = Figure("f", "", samples, **bound)
    assert (figure.met, figure.close) == (met, close)


def test_a_miss_is_told_as_a_fraction_of_the_target():
    assert Figure("f", "", [0.76], at_least=0.95).miss == pytest.approx(0.2)
    assert Figure("f", "", [12.0], at_most=10).miss == pytest.approx(0.2)
    assert Figure("f", "", [8.0], at_most=10).miss == 0.0


def test_a_figure_without_a_target_claims_nothing():
    figure = Figure("f", "", [1.0])
    assert (figure.met, figure.target, figure.close, figure.miss) == (None, "", False, 0.0)

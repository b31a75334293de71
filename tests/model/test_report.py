"""The report and the card: tables that show misses as misses, and marks that keep the prose around them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.evaluation import report
from models.training.evaluation.card import marks, with_measured

SERVED = {"two steps": {"whole task": (70, 100)}, "odd input": {"some answer, no call": (99, 100)}}
GREEDY = {"two steps": {"whole task": (90, 100)}, "odd input": {"some answer, no call": (100, 100)}}


def test_a_goal_is_judged_by_the_answers_as_served():
    lines = report.rows("agentkernel-tiny", SERVED, GREEDY)
    assert "| two steps | whole task | 100 | 70.0% | 90.0% | 80%, missed |" in lines
    met = report.rows("agentkernel-tiny", GREEDY, SERVED)
    assert "| two steps | whole task | 100 | 90.0% | 70.0% | 80%, met |" in met


def test_the_tools_are_judged_each_and_together():
    share = {measured: (9, 10) for measured, _ in report.TOOL_GOALS}
    table = dict.fromkeys(report.TOOL_CATEGORIES, share) | SERVED
    together = report.with_all_tools(table)
    assert list(together) == [*report.TOOL_CATEGORIES, "all these tools", *SERVED]
    assert together["all these tools"]["valid call"] == (54, 60)
    lines = report.rows("agentkernel-tiny", together, together)
    assert "| all these tools | valid call | 60 | 90.0% | 90.0% | 99%, missed |" in lines


def test_what_has_no_goal_gets_no_verdict():
    assert report.rows("agentkernel-tiny", SERVED, GREEDY)[-1].endswith("| 99.0% | 100.0% |  |")
    assert report.rows("agentkernel-chatml", SERVED, GREEDY)[2].endswith("| 70.0% | 90.0% |  |")


def test_no_goal_is_missing():
    assert min(goal for (_, measured), goal in report.GOALS.items() if measured == "valid call") == 0.99
    assert report.GOALS["all", "stops by itself"] == 0.99
    assert report.GOALS["story", "no loop"] == 0.98
    assert report.GOALS["no tool", "no call"] == report.GOALS["verb wished anew", "right answer"] == 0.95


@given(st.text(), st.text(), st.text("abc|\n"))
def test_measured_parts_are_replaced_and_the_rest_stays(before, after, old):
    first, last = marks("tiny")
    card = with_measured(before + first + old + last + after, "tiny", ["| new |"])
    assert card == f"{before}{first}\n\n| new |\n\n{last}{after}"
    assert with_measured(card, "tiny", ["| new |"]) == card


def test_a_card_without_the_marks_is_refused():
    with pytest.raises(ValueError, match="no measured part 'tiny'"):
        with_measured("A card.", "tiny", ["x"])

"""Reports and the index made from them."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks import index, plots, report
from benchmarks.bounds import BOUNDS
from benchmarks.figures import Figure, Side, ratio
from benchmarks.machine import Usage

_QUIET = Usage(seconds=1.0, others_cores=0.0, load_before=0.1, load_after=0.2)
_LOADED = Usage(seconds=1.0, others_cores=1.0, load_before=0.1, load_after=0.2)


def _report(date, *figures, usage=_QUIET, machine="2c-test", **changes):
    section = report.Section("some", "A claim.", usage, list(figures))
    whole = report.Report(
        date=date,
        commit="abc1234",
        dirty=False,
        smoke=False,
        command=["python", "-m", "benchmarks", "some"],
        machine={"name": machine, "processor": "Test", "cores": 2},
        versions={"python": "3"},
        sections=[section],
    )
    return msgspec.structs.replace(whole, **changes)


def _row(text, name):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_report_is_named_by_date_commit_and_machine_and_reads_back_whole(tmp_path):
    written = _report("2026-01-02T03:04:05Z", Figure("speed", "tokens/s", [1.5, 2.5]))
    path = report.write(written, tmp_path)
    assert path.name == "2026-01-02T030405Z-abc1234-2c-test.json"
    assert report.read(tmp_path) == [written]


def test_the_index_shows_each_claim_with_its_interval_target_and_verdict():
    text = index.render([_report("2026-01-02T03:04:05Z", Figure("wait", "ms", [12.0], at_most=10))])
    _, measured, interval, sides, target, verdict, samples, run = _row(text, "wait")
    assert (measured, interval, sides, target) == ("12 ms", "12 to 12", "", "≤ 10 ms")
    assert (verdict, samples) == ("missed by 20%", "1")
    assert run == "[2026-01-02 abc1234](2026-01-02T030405Z-abc1234-2c-test.json)"


def test_a_met_claim_says_so():
    text = index.render([_report("2026-01-02", Figure("ratio", "", [0.97], at_least=0.95))])
    assert _row(text, "ratio")[5] == "met"


def test_the_index_says_what_bounds_claims_that_are_missed_and_no_others():
    bounded, (unknown, as_unknown, met) = next(iter(BOUNDS)), ("wait", "delay", "speed")
    figures = [Figure(name, "ms", [12.0], at_most=10) for name in (bounded, unknown, as_unknown)]
    reports = [
        _report("2026-01-02", figure) for figure in (*figures, Figure(met, "1/s", [12.0], at_least=10))
    ]
    lines = f"- {bounded}: {BOUNDS[bounded]}\n- wait, delay: what does is not known\n"
    assert f"What bounds those that are missed:\n\n{lines}\n" in index.render(reports)


def test_what_a_ratio_compares_is_shown_beside_it():
    sides = Side("rival", "s", [30.0, 32.0]), Side("ours", "s", [6.0, 6.4])
    text = index.render([_report("2026-01-02", ratio("faster", *sides, at_least=4))])
    assert _row(text, "faster")[1:4] == ["5", "5 to 5", "rival 31 s, ours 6.2 s"]


def test_a_comparison_that_claims_nothing_shows_both_sides_too():
    sides = Side("after", "µs", [6.0, 6.0]), Side("before", "µs", [8.0, 8.0])
    text = index.render([_report("2026-01-02", ratio("change ÷ before", *sides))])
    assert _row(text, "change ÷ before")[1:4] == ["0.75", "0.75 to 0.75", "after 6 µs, before 8 µs"]


def test_the_newest_measurement_of_a_figure_is_shown_and_others_stay(tmp_path):
    kept, old, new = (Figure(n, "ms", [v]) for n, v in (("kept", 1.0), ("wait", 2.0), ("wait", 3.0)))
    report.write(_report("2026-01-03T00:00:00Z", new), tmp_path)
    report.write(_report("2026-01-02T00:00:00Z", kept, old), tmp_path)
    index.renew(tmp_path)
    text = (tmp_path / "index.md").read_text()
    assert _row(text, "wait")[1] == "3 ms"
    assert _row(text, "kept")[1] == "1 ms"


def test_machines_are_kept_apart():
    one = _report("2026-01-02", Figure("wait", "ms", [1.0]), machine="2c-one")
    two = _report("2026-01-02", Figure("wait", "ms", [2.0]), machine="4c-two")
    text = index.render([one, two])
    assert text.index("## 2c-one") < text.index("| wait | 1 ms") < text.index("## 4c-two")
    assert "| wait | 2 ms" in text


@pytest.mark.parametrize(
    ("changes", "marks"),
    [
        ({}, ""),
        ({"usage": _LOADED}, "loaded"),
        ({"dirty": True, "smoke": True}, "smoke, dirty"),
    ],
)
def test_what_takes_from_a_runs_worth_is_marked(changes, marks):
    text = index.render([_report("2026-01-02", Figure("wait", "ms", [1.0]), **changes)])
    assert _row(text, "wait")[-1].endswith(f") {marks}" if marks else ")")


def test_a_machines_claims_have_a_picture_that_the_index_shows(tmp_path):
    pytest.importorskip("matplotlib")
    sides = Side("rival", "s", [30.0, 32.0]), Side("agentkernel", "s", [6.0, 6.4])
    claims = ratio("faster", *sides, at_least=4), Figure("wait", "ms", [0.0, 0.0], at_most=4)
    report.write(_report("2026-01-02T00:00:00Z", *claims), tmp_path)
    index.renew(tmp_path)
    assert (tmp_path / "2c-test.png").read_bytes().startswith(b"\x89PNG")
    assert "](2c-test.png)" in (tmp_path / "index.md").read_text()


def test_figures_without_a_claim_have_no_picture(tmp_path):
    report.write(_report("2026-01-02T00:00:00Z", Figure("wait", "ms", [1.0])), tmp_path)
    index.renew(tmp_path)
    assert not list(tmp_path.glob("*.png"))
    assert ".png" not in (tmp_path / "index.md").read_text()


@pytest.mark.parametrize(
    ("figure", "times"),
    [(Figure("f", "", [6.0], at_least=5), 1.2), (Figure("f", "", [8.0], at_most=4), 0.5)],
)
def test_a_picture_tells_how_many_times_as_good_as_its_target_a_claim_is(figure, times):
    assert plots.margin(figure, figure.value) == pytest.approx(times)


def test_other_json_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "model-eval.json").write_text("{}")
    report.write(_report("2026-01-02T00:00:00Z", Figure("wait", "ms", [1.0])), tmp_path)
    assert len(report.read(tmp_path)) == 1


def test_the_readme_beside_the_reports_shows_each_claim_and_nothing_else_of_it_changes(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- table measured -->\nold\n<!-- end -->\nafter\n")
    (tmp_path / "reports").mkdir()
    figures = Figure("wait", "ms", [12.0], at_most=10), Figure("no claim", "ms", [1.0])
    report.write(_report("2026-01-02T00:00:00Z", *figures), tmp_path / "reports")
    index.renew(tmp_path / "reports")
    assert readme.read_text() == (
        "before\n<!-- table measured -->\n| | measured | side by side | target | |\n|---|---|---|---|---|\n"
        "| wait | 12 ms |  | ≤ 10 ms | missed by 20% |\n<!-- end -->\nafter\n"
    )

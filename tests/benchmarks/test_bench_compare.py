"""What is said of two reports: what both have, and what of it changed beyond noise."""

from __future__ import annotations

import pytest

from benchmarks.compare import main
from benchmarks.figures import Figure
from benchmarks.machine import Usage
from benchmarks.report import Report, Section, write


def _report(folder, date, commit, dirty=False, **samples):
    figures = [Figure(name, "ms", values) for name, values in samples.items()]
    idle = Usage(1.0, 0.0, 0.0, 0.0)
    section = Section("some", "claim", idle, figures)
    machine = {"name": "2c-some"}
    return write(Report(date, commit, dirty, False, [], machine, {}, [section]), folder)


STEADY, NOISY, SLOW = [10.0, 10.1, 9.9, 10.0], [10.0, 14.0, 8.0, 11.0], [15.0, 15.1, 14.9, 15.2]


def test_what_changed_beyond_noise_is_told_from_what_did_not(tmp_path, capsys):
    before = {"gone": STEADY, "steady": STEADY, "noisy": STEADY, "slow": STEADY}
    _report(tmp_path, "2026-01-01T00:00:00Z", "aaaa1111", **before)
    _report(tmp_path, "2026-01-02T00:00:00Z", "bbbb2222", dirty=True, steady=STEADY, noisy=NOISY, slow=SLOW)
    assert main("aaaa", "bbbb", tmp_path) == 0
    steady, noisy, slow = capsys.readouterr().out.splitlines()
    assert (steady.strip()[:8], noisy.strip()[:8]) == ("the same", "the same")
    assert slow.strip().startswith("+51 %  slow: 10 → 15.1 ms (ratio 1.4")
    assert slow.endswith("dirty")


def test_of_a_commit_the_newest_of_each_figure_counts(tmp_path, capsys):
    _report(tmp_path, "2026-01-01T00:00:00Z", "aaaa1111", one=STEADY)
    _report(tmp_path, "2026-01-02T00:00:00Z", "bbbb2222", one=SLOW, other=SLOW)
    newest = _report(tmp_path, "2026-01-03T00:00:00Z", "bbbb2222", one=STEADY)
    assert main("aaaa", "bbbb", tmp_path) == 0
    assert main("aaaa", str(newest), tmp_path) == 0
    assert [line.strip()[:8] for line in capsys.readouterr().out.splitlines()] == ["the same"] * 2


@pytest.mark.parametrize(("second", "why"), [("cccc", "no report 'cccc'"), ("bbbb", "no figure in common")])
def test_what_can_not_be_compared_says_why(tmp_path, capsys, second, why):
    _report(tmp_path, "2026-01-01T00:00:00Z", "aaaa1111", one=STEADY)
    _report(tmp_path, "2026-01-02T00:00:00Z", "bbbb2222", other=STEADY)
    assert main("aaaa", second, tmp_path) == 1
    assert why in capsys.readouterr().err

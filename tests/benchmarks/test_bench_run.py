"""`python -m benchmarks` from its arguments to the files it leaves; never the times in them."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from benchmarks import __main__ as runner
from benchmarks import peers, report
from benchmarks.machine import ROOT

_QUICK = [
    "kernel_cpu",
    "idle",
    "connections",
    "lookup",
    "threads",
    "paging",
    "crowd",
    "swapping",
    "scheduling",
    "assign",
    "shares",
]
_QUICK += ["interactive", "mixed", "swarm", "prediction", "simulation", "journal", "parsing", "churn"]
_BESIDE = ["streams", "prefix", "rounds", "thinking", "python_server"]


def _run(tmp_path, *names):
    status = runner.main([*names, "--smoke", "--out", str(tmp_path / "out"), "--models", str(tmp_path)])
    (whole,) = report.read(tmp_path / "out")
    return status, whole, (tmp_path / "out" / f"{whole.stem}.json").read_text()


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A smoke run of the benchmarks that are quick and need no peer: status, report, its text, its folder."""
    folder = tmp_path_factory.mktemp("smoke")
    return *_run(folder, *_QUICK), folder / "out"


def test_a_smoke_run_reports_samples_of_every_claim_it_ran(smoke):
    status, whole, _, _ = smoke
    assert status == 0
    assert [section.name for section in whole.sections] == _QUICK
    for section in whole.sections:
        assert section.claim.endswith(".")
        assert section.usage.seconds > 0
        assert not section.failed
        assert any(figure.target for figure in section.figures)
        for figure in section.figures:
            assert figure.samples
            assert figure.settings.get("model", "llama-1m-Q8_0") == "llama-1m-Q8_0"


def test_a_report_tells_command_machine_versions_and_that_it_was_a_smoke_run(smoke):
    _, whole, _, _ = smoke
    assert whole.smoke
    assert whole.command == ["python", "-m", "benchmarks", *_QUICK, "--smoke"]
    assert whole.machine["cores"] >= 1
    assert {"python", "llama-cpp-python", "uvloop"} <= whole.versions.keys()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z-\w+-\d+c-\w+", whole.stem)


def test_a_report_names_no_folder_of_the_machine(smoke):
    _, _, text, folder = smoke
    index = (folder / "index.md").read_text()
    for path in (str(ROOT), str(Path.home()), str(folder)):
        assert path not in text
        assert path not in index
    assert not re.search(r'"/', text)


def test_the_index_has_a_row_for_every_figure_and_links_reports_that_are_there(smoke):
    _, whole, _, folder = smoke
    index = (folder / "index.md").read_text()
    for section in whole.sections:
        for figure in section.figures:
            assert f"| {figure.name} |" in index
    links = set(re.findall(r"\(([^)]+\.json)\)", index))
    assert links
    assert all((folder / link).is_file() for link in links)


_PEERS = all((peers.PROGRAM.exists(), peers.PYTHON_PROGRAM.exists(), importlib.util.find_spec("fastapi")))


@pytest.mark.skipif(not _PEERS, reason="the peers are not set up (make bench-peers)")
def test_a_smoke_run_beside_peers_has_both_sides_of_every_claim(tmp_path):
    status, whole, _ = _run(tmp_path, *_BESIDE)
    assert status == 0
    for section in whole.sections:
        peer = "Python server" if section.name == "python_server" else "llama-server"
        claims = [figure for figure in section.figures if figure.target]
        assert claims
        for figure in claims:
            assert {side.who for side in figure.sides} == {"agentkernel", peer}
            assert {len(side.samples) for side in figure.sides} == {len(figure.samples)}


def test_a_failing_benchmark_is_reported_and_the_others_still_run(tmp_path, monkeypatch):
    def fail(bench):
        raise RuntimeError("no such luck")

    fine = (lambda bench: [], "Nothing is claimed.")
    monkeypatch.setattr(runner, "BENCHMARKS", {"bad": (fail, "A claim."), "fine": fine})
    status, whole, _ = _run(tmp_path)
    assert status == 1
    assert [(s.name, s.failed) for s in whole.sections] == [("bad", "RuntimeError"), ("fine", "")]
    assert "bad, RuntimeError, " in (tmp_path / "out" / "index.md").read_text()


def test_a_name_that_is_no_benchmark_is_a_usage_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        runner.main(["speed", "--out", str(tmp_path)])
    assert caught.value.code == 2
    assert "decode, latency, kernel_cpu, idle" in capsys.readouterr().err


def test_every_file_opens_with_a_docstring_and_has_at_most_150_lines():
    for path in (ROOT / "benchmarks").glob("*.py"):
        text = path.read_text()
        assert ast.get_docstring(ast.parse(text)), path
        assert len(text.splitlines()) <= 150, path

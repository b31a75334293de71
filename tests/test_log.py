"""The kernel's log: one event a line on standard error, and as JSON in files of bounded size."""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import pytest

LOGGING = """
import sys
from pathlib import Path
from agentkernel import log
from agentkernel.config import Log

log._FILE_BYTES = 2_000
log.configure(Log(format=sys.argv[1]), Path(sys.argv[2]) / "kernel.log")
logger = log.get("test")
for number in range(200):
    logger.info("event", number=number)
try:
    1 / 0
except ZeroDivisionError:
    logger.exception("failed", pid=7)
"""


@pytest.fixture(params=["json", "console"])
def logged(request, tmp_path):
    """Standard error of a program that logs, and the folder of its files."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOGGING, request.param, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return request.param, result.stderr, tmp_path


def test_files_are_rotated_the_oldest_forgotten_and_all_are_their_owner_s_only(logged):
    _, _, folder = logged
    files = {path.name: path for path in folder.iterdir()}
    assert files.keys() == {"kernel.log", "kernel.log.1", "kernel.log.2", "kernel.log.3"}
    for path in files.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_size <= 2_000
    lines = [line for name in sorted(files, reverse=True) for line in files[name].read_text().splitlines()]
    numbers = [json.loads(line).get("number") for line in lines[:-1]]
    assert numbers == list(range(numbers[0], 200))


def test_a_failure_s_trace_is_in_both_and_one_line_of_json(logged):
    shape, errors, folder = logged
    last = json.loads((folder / "kernel.log").read_text().splitlines()[-1])
    assert (last["event"], last["level"], last["pid"]) == ("failed", "error", 7)
    assert "ZeroDivisionError" in last["exception"]
    assert "ZeroDivisionError" in errors
    if shape == "json":
        assert json.loads(errors.splitlines()[-1]) == last

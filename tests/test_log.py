"""The kernel's log: one event a line on standard error, and as JSON in files of bounded size."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading

import pytest

from agentkernel import log

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


UNREAD = """
import sys, time
from pathlib import Path
from agentkernel import log
from agentkernel.config import Log

log._QUEUED_LINES = 100_000
log.configure(Log(format="json"), Path(sys.argv[1]) / "kernel.log")
logger = log.get("test")
for number in range(3000):
    logger.info("event", number=number)
sys.exit(7)
"""


def every_number(folder):
    return [json.loads(line)["number"] for line in (folder / "kernel.log").read_text().splitlines()]


def test_a_pipe_that_nobody_reads_holds_nothing_up_and_the_file_is_whole(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", UNREAD, str(tmp_path)], stderr=subprocess.PIPE)
    assert process.wait(30) == 7
    assert every_number(tmp_path) == list(range(3000))
    process.stderr.close()


@pytest.mark.parametrize("closed", ["reader", "descriptor"])
def test_without_standard_error_the_program_goes_on_and_ends_as_it_would(closed, tmp_path):
    command = [sys.executable, "-c", UNREAD, str(tmp_path)]
    if closed == "descriptor":
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    process.stderr.close()
    assert process.wait(30) == 7
    assert every_number(tmp_path) == list(range(3000))


def test_what_a_full_queue_drops_is_counted_in_the_next_line(monkeypatch):
    monkeypatch.setattr(log, "_QUEUED_LINES", 2)
    written, may_write, blocked = [], threading.Event(), threading.Event()

    def write(line):
        blocked.set()
        may_write.wait(30)
        written.append(line)

    writer = log._Writer(write)
    writer.write("a\n")
    blocked.wait(30)
    for line in ("b\n", "c\n", "d\n", "e\n"):
        writer.write(line)
    may_write.set()
    writer._finish()
    told = '{"level": "warning", "part": "log", "event": "lines dropped", "count": 2}\n'
    assert written == ["a\n", f"{told}b\nc\n"]


def test_lines_that_come_together_are_written_together_and_in_order():
    written, at_most = [], log._TOGETHER
    writer = log._Writer(written.append)
    lines = [f"{number}\n" for number in range(3 * at_most)]
    for line in lines:
        writer.write(line)
    writer._finish()
    assert "".join(written) == "".join(lines)
    assert len(written) < len(lines) / 10


def test_what_could_not_be_written_costs_no_later_line(monkeypatch):
    monkeypatch.setattr(log, "_TOGETHER", 1)
    written = []

    def write(line):
        if line == "b\n":
            raise OSError
        written.append(line)

    writer = log._Writer(write)
    for line in ("a\n", "b\n", "c\n"):
        writer.write(line)
    writer._finish()
    assert written == ["a\n", "c\n"]


def test_what_the_standard_library_reports_is_in_the_file(tmp_path):
    program = UNREAD.replace(
        "sys.exit(7)", "import logging; logging.getLogger('asyncio').error('lost %s', 'x')"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=True)
    last = json.loads((tmp_path / "kernel.log").read_text().splitlines()[-1])
    assert (last["event"], last["level"], last["part"]) == ("lost x", "error", "asyncio")

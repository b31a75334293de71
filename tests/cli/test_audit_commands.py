"""`agentkernel audit`: whether the log is as it was written, and what it says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from agentkernel.syscalls.audit import Audit, Call

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def log(ak):
    """The log of three calls of two processes."""
    path = ak.folder / "state" / "audit.log"
    audit = Audit(path, clock=lambda: NOON)
    for number, (pid, tool) in enumerate([(1, "calc"), (2, "python"), (1, "\x1b[31mread_file")], 1):
        fields = {"owner": "local", "pid": pid, "call": number, "tool": tool, "arguments": "{}"}
        audit.append(Call(**fields, trust="standard", backend="bwrap", outcome="ok", ms=1.5))
    audit.close()
    return path


def test_verify_says_in_a_line_that_nothing_was_changed(ak, log):
    result = ak("audit", "verify", "--state", "state")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "state/audit.log: 3 calls, unchanged\n"


def test_verify_counts_what_a_crash_tore(ak, log):
    log.write_bytes(log.read_bytes() + b'{"seq":')
    Audit(log).close()
    result = ak("audit", "verify", "--state", "state")
    assert result.returncode == 0
    assert result.stdout == "state/audit.log: 3 calls, unchanged, 1 torn by a crash\n"


def test_verify_names_the_changed_line_and_ends_with_1(ak, log):
    log.write_bytes(log.read_bytes().replace(b'"pid":2', b'"pid":3'))
    result = ak("audit", "verify", "--state", "state")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "agentkernel: state/audit.log:2: changed: the next line has another hash of it\n"
    )


def test_verify_says_how_many_faults_there_are_besides(ak, log):
    log.write_bytes(b"".join(reversed(log.read_bytes().splitlines(keepends=True))))
    result = ak("audit", "verify", "--state", "state")
    assert result.returncode == 1
    assert result.stderr == "agentkernel: state/audit.log:1: 2 lines missing before it (and 3 more)\n"


def test_show_is_a_table_without_control_characters(ak, log):
    result = ak("audit", "show", "--state", "state")
    heading, first, _, last = (line.split() for line in result.stdout.splitlines())
    assert heading == ["SEQ", "TIME", "OWNER", "PID", "CALL", "TOOL", "OUTCOME", "MS", "BACKEND"]
    assert first == ["1", "2026-01-02T12:00:00.000Z", "local", "1", "1", "calc", "ok", "1.5", "bwrap"]
    assert last[5] == "\ufffd[31mread_file"


@pytest.mark.parametrize("shape", ["json", "jsonl"])
def test_show_gives_the_entries_of_a_process(ak, log, shape):
    result = ak("audit", "show", "--pid", "1", "--format", shape, "--state", "state")
    shown = (
        json.loads(result.stdout) if shape == "json" else list(map(json.loads, result.stdout.splitlines()))
    )
    assert [(entry["seq"], entry["tool"]) for entry in shown] == [(1, "calc"), (3, "\x1b[31mread_file")]
    assert shown == [json.loads(line) for line in log.read_bytes().splitlines()][::2]


def test_what_is_no_call_is_shown_by_its_event(ak, log):
    log.write_bytes(log.read_bytes() + b'{"seq":')
    Audit(log, clock=lambda: NOON).close()
    result = ak("audit", "show", "--state", "state")
    assert [line.split()[-3] for line in result.stdout.splitlines()[-2:]] == ["unreadable", "torn"]


@pytest.mark.parametrize("command", ["verify", "show"])
def test_where_there_is_no_log_a_line_says_so(ak, command):
    result = ak("audit", command, "--state", "nowhere")
    assert result.returncode == 1
    assert result.stderr == (
        "agentkernel: nowhere/audit.log: no log; name the kernel's state directory by --state\n"
    )

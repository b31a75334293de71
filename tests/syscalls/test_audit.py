"""The audit log: what a line holds, how it goes on after a stop or a crash, and what a failing disk does."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from datetime import UTC, datetime

import pytest

from agentkernel.syscalls import audit as auditing
from agentkernel.syscalls.audit import FIRST, Audit, AuditError, Call, head_of
from agentkernel.syscalls.verification import show, verify

NOON = datetime(2026, 1, 2, 12, 0, 0, 5000, tzinfo=UTC)


def call(pid=1, arguments='{"expression":"1+1"}', **others):
    fields = {"owner": "local", "call": 1, "tool": "calc", "trust": "standard", "backend": "bwrap"}
    return Call(**{**fields, "pid": pid, "arguments": arguments, "outcome": "ok", "ms": 1.5, **others})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "audit.log"


def write(path, pids, **options):
    """A run of the kernel that writes a call of each PID down."""
    log = Audit(path, clock=lambda: NOON, **options)
    for pid in pids:
        log.append(call(pid))
    log.close()


def entries(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def found(path):
    return [(fault.line, fault.reason) for fault in verify(path).faults]


def test_a_line_says_who_called_what_how_it_ended_and_what_it_took(path):
    log = Audit(path, clock=lambda: NOON)
    log.append(call(7, "{}", outcome="TIMEOUT", cpu_ms=2.5, memory_kb=300, output_bytes=4))
    log.close()
    assert entries(path) == [
        {
            "seq": 1,
            "prev": FIRST,
            "time": "2026-01-02T12:00:00.005Z",
            "event": "call",
            "owner": "local",
            "pid": 7,
            "call": 1,
            "tool": "calc",
            "trust": "standard",
            "backend": "bwrap",
            "outcome": "TIMEOUT",
            "ms": 1.5,
            "cpu_ms": 2.5,
            "memory_kb": 300,
            "output_bytes": 4,
            "digest": hashlib.sha256(b"{}").hexdigest(),
        }
    ]


def test_only_its_owner_may_read_the_log_and_its_head(path):
    path.parent.mkdir()
    path.touch(0o644)
    write(path, [1])
    for each in (path, head_of(path)):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


@pytest.mark.parametrize(("full", "confidential"), [(False, False), (True, False), (True, True)])
def test_arguments_are_written_where_it_is_asked_for_and_they_are_not_confidential(path, full, confidential):
    log = Audit(path, full=full)
    log.append(call(arguments="a\nb"), confidential=confidential)
    log.close()
    [entry] = entries(path)
    assert entry.get("arguments") == ("a\nb" if full and not confidential else None)


def test_the_chain_goes_on_after_a_restart(path):
    write(path, [1, 2])
    write(path, [3])
    lines = path.read_bytes().splitlines()
    assert [entry["seq"] for entry in entries(path)] == [1, 2, 3]
    assert entries(path)[2]["prev"] == hashlib.sha256(lines[1]).hexdigest()
    assert head_of(path).read_text() == f"{3:020} {hashlib.sha256(lines[2]).hexdigest()}\n"
    assert verify(path).ok
    assert verify(path).calls == 3


def test_lines_longer_than_a_block_are_gone_on_from(path):
    for pid in (1, 2):
        log = Audit(path, full=True)
        log.append(call(pid, "x" * 300_000))
        log.close()
    assert verify(path).calls == 2
    assert verify(path).ok


def test_two_kernels_cannot_write_the_same_log(path):
    first = Audit(path)
    with pytest.raises(AuditError, match=r"audit\.log: another kernel writes it"):
        Audit(path)
    first.close()
    Audit(path).close()


def test_a_link_in_the_log_s_place_is_refused(path):
    path.parent.mkdir()
    path.symlink_to(path.parent / "elsewhere")
    with pytest.raises(AuditError):
        Audit(path)
    assert not (path.parent / "elsewhere").exists()


@pytest.mark.parametrize("kept", [1, 100])
def test_what_a_crash_left_of_a_line_stays_and_is_told_of(path, kept):
    write(path, [1, 2])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"seq":3,"prev":"' + b"0" * kept)
    assert found(path) == [(3, "incomplete: its end is missing")]
    write(path, [3])
    assert path.read_bytes().startswith(whole + b'{"seq":3,"prev":"' + b"0" * kept + b"\n")
    report = verify(path)
    assert (report.calls, report.torn, report.faults) == (3, 1, ())
    assert [entry["event"] for entry in show(path)] == ["call", "call", "unreadable", "torn", "call"]


def test_behind_a_torn_line_a_change_before_it_is_still_found(path):
    write(path, [1, 2])
    path.write_bytes(path.read_bytes() + b'{"seq":')
    write(path, [3])
    path.write_bytes(path.read_bytes().replace(b'"pid":2', b'"pid":9'))
    assert found(path) == [(2, "changed: the next line has another hash of it")]


def test_a_changed_torn_line_is_found(path):
    write(path, [1])
    path.write_bytes(path.read_bytes() + b'{"seq":')
    write(path, [2])
    path.write_bytes(path.read_bytes().replace(b'{"seq":\n', b'{"sex":\n'))
    assert (2, "can't be read") in found(path)


def test_a_line_that_lacks_only_its_end_gets_it(path):
    write(path, [1])
    short = path.read_bytes()
    head = head_of(path).read_bytes()
    write(path, [2])
    both = path.read_bytes()
    path.write_bytes(both[:-1])
    head_of(path).write_bytes(head)
    write(path, [3])
    assert path.read_bytes().startswith(both)
    assert len(short) < len(both)
    assert verify(path).ok
    assert verify(path).torn == 0


def test_a_crash_between_line_and_head_breaks_nothing(path):
    write(path, [1])
    head = head_of(path).read_bytes()
    write(path, [2])
    head_of(path).write_bytes(head)
    assert verify(path).ok
    write(path, [])
    assert head_of(path).read_bytes().startswith(b"00000000000000000002")
    write(path, [3])
    assert verify(path).ok


def lines_cut(path):
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))


def cut_in_a_line(path):
    path.write_bytes(path.read_bytes()[:-300])


def emptied(path):
    path.write_bytes(b"")


def removed(path):
    path.unlink()


def no_head(path):
    head_of(path).unlink()


def changed_head(path):
    head_of(path).write_bytes(b"no head\n")


def last_changed(path):
    path.write_bytes(path.read_bytes()[:-10] + b"#" * 9 + b"\n")


def two_added(path):
    head = head_of(path).read_bytes()
    write(path, [8, 9])
    head_of(path).write_bytes(head)


@pytest.mark.parametrize(
    "harm", [lines_cut, cut_in_a_line, emptied, removed, no_head, changed_head, last_changed, two_added]
)
def test_harm_is_found_before_a_restart_and_behind_one_for_good(path, harm):
    write(path, [1, 2, 3, 4])
    harm(path)
    assert found(path)
    write(path, [5])
    later = found(path)
    assert any(reason.startswith("the kernel found it broken: the log ended with") for _, reason in later)
    write(path, [6])
    assert found(path) == later
    assert entries_of_calls(path)[-2:] == [5, 6]


def entries_of_calls(path):
    return [entry["pid"] for entry in show(path) if entry["event"] == "call"]


def test_a_line_that_is_removed_moved_or_put_in_is_named(path):
    write(path, [1, 2, 3, 4])
    one, two, three, four = path.read_bytes().splitlines(keepends=True)
    for lines, fault in (
        ([one, three, four], (2, "1 line missing before it")),
        ([one, three, two, four], (2, "1 line missing before it")),
        ([one, two, two, three, four], (3, "number 2 does not belong here")),
        ([one, two, b"\n", three, four], (3, "can't be read")),
        ([one, two], (3, "cut off from here: 2 lines")),
        ([two, three, four], (1, "1 line missing before it")),
        ([one, two.replace(b'"pid":2', b'"pid":9'), three, four], (2, None)),
        ([one, two, three, four.replace(b'"pid":4', b'"pid":9')], (4, None)),
    ):
        path.write_bytes(b"".join(lines))
        line, reason = found(path)[0]
        assert (line, fault[1] and reason) == fault


def test_a_log_that_is_being_written_is_verified_too(path, monkeypatch):
    log = Audit(path)
    log.append(call(1))
    heads = []

    def meanwhile(content):
        """Two calls between the reading of the lines and of the head."""
        if not heads:
            log.append(call(2))
            log.append(call(3))
        heads.append(head_of(path).read_bytes())
        return auditing.read_head(heads[-1])

    monkeypatch.setattr("agentkernel.syscalls.verification.read_head", meanwhile)
    assert verify(path).ok
    assert verify(path).calls == 3
    log.close()


def test_neither_log_nor_head_is_no_log(path):
    with pytest.raises(FileNotFoundError):
        verify(path)


def test_a_full_disk_is_an_error_and_leaves_no_part_of_a_line(path, monkeypatch):
    log = Audit(path)
    log.append(call(1))
    before = path.read_bytes()
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: real(fd, data[:20]))
        with pytest.raises(AuditError, match="no room for a line"):
            log.append(call(2))
    assert path.read_bytes() == before
    log.append(call(3))
    log.close()
    assert entries_of_calls(path) == [1, 3]
    assert verify(path).ok


def fail(*_arguments):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("function", ["write", "pwrite"])
def test_a_write_that_fails_leaves_log_and_head_as_they_were(path, monkeypatch, function):
    log = Audit(path)
    log.append(call(1))
    before = path.read_bytes(), head_of(path).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, function, fail)
        with pytest.raises(AuditError, match="Input/output error"):
            log.append(call(2))
    assert (path.read_bytes(), head_of(path).read_bytes()) == before
    log.append(call(3))
    log.close()
    assert verify(path).ok


def test_after_a_failed_sync_nothing_more_is_written(path, monkeypatch):
    log = Audit(path, sync=True)
    log.append(call(1))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        with pytest.raises(AuditError, match="not synced"):
            log.append(call(2))
    with pytest.raises(AuditError, match="not synced"):
        log.append(call(3))
    log.close()
    assert entries_of_calls(path) == [1]


def test_a_closed_log_takes_nothing(path):
    log = Audit(path)
    log.close()
    with pytest.raises(AuditError, match="closed"):
        log.append(call())


def test_show_gives_all_or_those_of_a_process(path):
    write(path, [1, 2, 1])
    assert [entry["seq"] for entry in show(path)] == [1, 2, 3]
    assert [entry["seq"] for entry in show(path, 1)] == [1, 3]

"""Whatever is done to an audit log: it is found, and the line is named."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from agentkernel.syscalls.audit import Audit, Call, head_of
from agentkernel.syscalls.verification import Report, verify

texts = st.text(max_size=20)
calls = st.builds(
    Call,
    owner=texts,
    pid=st.integers(1, 99),
    call=st.integers(1, 99),
    tool=texts,
    arguments=texts,
    trust=st.just("standard"),
    backend=texts,
    outcome=st.sampled_from(["ok", "TIMEOUT"]),
    ms=st.floats(0, 1e6),
)
runs = st.lists(st.lists(calls, max_size=4), min_size=1, max_size=3).filter(any)  # a list a run of the kernel


@contextmanager
def written(all_runs: list[list[Call]]) -> Iterator[Path]:
    """The log of these runs, the second of them after a crash in the middle of a line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.log"
        for number, run in enumerate(all_runs):
            log = Audit(path, full=True)
            for call in run:
                log.append(call)
            log.close()
            if number == 0:
                path.write_bytes(path.read_bytes() + b'{"seq":')
        if len(all_runs) == 1:
            Audit(path).close()
        yield path


def after(path: Path, data: bytes) -> Report:
    path.write_bytes(data)
    return verify(path)


@given(runs)
def test_a_log_is_as_it_was_written(all_runs: list[list[Call]]) -> None:
    with written(all_runs) as path:
        report = verify(path)
        assert report == Report(sum(map(len, all_runs)), 1, ())


@given(runs, st.data())
def test_a_changed_byte_is_found(all_runs: list[list[Call]], data: st.DataObject) -> None:
    with written(all_runs) as path:
        log = path.read_bytes()
        place = data.draw(st.integers(0, len(log) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda b: b != log[place]))
        report = after(path, log[:place] + bytes([byte]) + log[place + 1 :])
        line = log.count(b"\n", 0, place) + 1
        assert any(fault.line in (line - 1, line, line + 1) for fault in report.faults)


@given(runs, st.data())
def test_a_changed_byte_of_the_head_is_found(all_runs: list[list[Call]], data: st.DataObject) -> None:
    with written(all_runs) as path:
        head = head_of(path).read_bytes()
        place = data.draw(st.integers(0, len(head) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda b: b != head[place]))
        head_of(path).write_bytes(head[:place] + bytes([byte]) + head[place + 1 :])
        assert not verify(path).ok


@given(runs, st.data())
def test_a_cut_anywhere_is_found(all_runs: list[list[Call]], data: st.DataObject) -> None:
    with written(all_runs) as path:
        log = path.read_bytes()
        place = data.draw(st.integers(0, len(log) - 1))
        report = after(path, log[:place])
        assert report.faults[-1].line <= log.count(b"\n", 0, place) + 1
        assert report.faults


@given(runs, st.data())
def test_removed_lines_are_found(all_runs: list[list[Call]], data: st.DataObject) -> None:
    with written(all_runs) as path:
        lines = path.read_bytes().splitlines(keepends=True)
        first = data.draw(st.integers(0, len(lines) - 1))
        last = data.draw(st.integers(first, len(lines) - 1))
        report = after(path, b"".join(lines[:first] + lines[last + 1 :]))
        assert any(fault.line in range(first, first + 3) for fault in report.faults)


@given(runs, st.data())
def test_swapped_and_repeated_lines_are_found(all_runs: list[list[Call]], data: st.DataObject) -> None:
    with written(all_runs) as path:
        lines = path.read_bytes().splitlines(keepends=True)
        one = data.draw(st.integers(0, len(lines) - 1))
        other = data.draw(st.integers(0, len(lines) - 1))
        assume(one != other)
        swapped = list(lines)
        swapped[one], swapped[other] = lines[other], lines[one]
        report = after(path, b"".join(swapped))
        assert report.faults[0].line in (min(one, other), min(one, other) + 1)
        assert not after(path, b"".join([*lines[:one], lines[other], *lines[one:]])).ok


@given(runs, st.data(), st.binary(min_size=1, max_size=20))
def test_what_is_put_in_is_found(all_runs: list[list[Call]], data: st.DataObject, more: bytes) -> None:
    with written(all_runs) as path:
        log = path.read_bytes()
        place = data.draw(st.integers(0, len(log)))
        assert not after(path, log[:place] + more + log[place:]).ok

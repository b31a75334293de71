"""Cores that may be used, and slices of the processor that were asked for."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from agentkernel.cpu import usable_cores


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000\n", None), ("150000 100000\n", 2), ("10000 100000", 1), ("", None)]
)
def test_cores_are_what_affinity_and_cgroup_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int | None
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(6)))
    (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(tmp_path / "cpu.max") == (expected or 6)
    assert usable_cores(tmp_path / "missing") == 6
    (tmp_path / "cpu.max").write_text("900000 100000")
    assert usable_cores(tmp_path / "cpu.max") == 6


def test_a_slice_that_was_granted_is_in_force_for_threads_to_come() -> None:
    """In a process of its own: the test's slices stay as they are."""
    code = """if True:
        import threading
        from agentkernel.cpu import LONG_SLICE, get_slice, set_slice
        seen = []
        granted = set_slice(LONG_SLICE)
        thread = threading.Thread(target=lambda: seen.append(get_slice()))
        thread.start()
        thread.join()
        print(granted, seen == [LONG_SLICE])
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    release = tuple(map(int, platform.release().split(".")[:2]))
    assert said == "True True\n" or (release < (6, 12) and platform.system() == "Linux")

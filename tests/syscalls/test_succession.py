"""Files that take the place of a process's at once, and what a crash leaves of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkernel.jail.port import Limits
from agentkernel.syscalls import confined
from agentkernel.syscalls.succession import Successor, sweep
from agentkernel.syscalls.workspace import Workspace


def found(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("new", [{}, {"a/b": b"new", "c": b"new"}])
@pytest.mark.parametrize("old", [{}, {"a": b"old"}])
def test_each_has_what_the_other_had_and_a_second_time_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: dict, new: dict, atomic: bool
) -> None:
    """Also where one has nothing, and where the system can't do it at once."""
    if not atomic:
        monkeypatch.setattr(confined, "_renameat2", None)
    workspace, successor = Workspace(tmp_path, 7, Limits()), Successor(tmp_path, 7, Limits())
    for path, data in old.items():
        workspace.put(path, data)
    for path, data in new.items():
        successor.put(path, data)
    before = found(tmp_path)
    successor.exchange()
    own = {path.removeprefix("7/"): data for path, data in found(tmp_path).items() if path.startswith("7/")}
    assert own == new
    successor.exchange()
    assert found(tmp_path) == before
    successor.remove()
    assert found(tmp_path) == {f"7/{path}": data for path, data in old.items()}


def test_where_nobody_has_files_there_is_nothing_to_exchange(tmp_path: Path) -> None:
    Successor(tmp_path / "none", 7, Limits()).exchange()
    assert not (tmp_path / "none").exists()


def test_what_a_crash_has_left_is_removed_and_no_process_s_files(tmp_path: Path) -> None:
    Workspace(tmp_path, 7, Limits()).put("a", b"old")
    Successor(tmp_path, 7, Limits()).put("a/b/c", b"new")
    Successor(tmp_path, 8, Limits()).put("a", b"new")
    sweep(tmp_path, Limits())
    assert found(tmp_path) == {"7/a": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["7"]

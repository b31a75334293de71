"""Files that are replaced whole, whatever goes wrong and whenever the program ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentkernel.replacing import removed, replacing, sweep


def put(path: Path, data: bytes) -> None:
    with replacing(path) as file:
        file.write(data)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_takes_the_place_when_it_is_whole_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    put(path, b"old")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    with replacing(path) as file:
        file.write(b"new and longer")
        file.flush()
        assert path.read_bytes() == b"old"
        file.seek(0)
        assert file.read() == b"new and longer"
    assert path.read_bytes() == b"new and longer"
    assert names(path.parent) == ["file"]


def test_a_part_that_was_left_is_nothing_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"x" * 100)
    put(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_when_it_fails_what_was_there_is_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    put(path, b"old")

    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    def put_some() -> None:
        with replacing(path) as file:
            file.write(b"new")
            if call == "write":
                fail()

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif call == "rename":
        monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="No space"):
        put_some()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_it_is_on_the_disk_before_it_takes_the_place_and_so_is_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    fsync, rename = os.fsync, Path.rename

    def synced(file: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{file}').readlink().name}")
        fsync(file)

    def renamed(path: Path, target: Path) -> Path:
        done.append(f"rename {path.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    folder = tmp_path / "folder"
    put(folder / "file", b"new")
    removed(folder / "file")
    removed(folder / "file")
    assert done == ["sync file.part", "rename file.part", *["sync folder"] * 3]
    assert names(folder) == []


_DIES = """
import os, signal, sys
from pathlib import Path
from agentkernel import replacing
at = sys.argv[2]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if at == "sync":
    os.fsync = die
elif at == "rename":
    Path.rename = die
elif at == "after":
    replacing._sync = die
with replacing.replacing(Path(sys.argv[1])) as file:
    file.write(b"new" * 100000)
    if at == "write":
        die()
"""


@pytest.mark.parametrize("moment", ["write", "sync", "rename", "after"])
def test_after_kill_9_there_is_the_old_one_or_the_new_one(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "file"
    put(path, b"old")
    command = [sys.executable, "-c", _DIES, str(path), moment]
    assert subprocess.run(command, check=False, cwd=Path(__file__).parents[1]).returncode == -9
    assert path.read_bytes() == (b"new" * 100000 if moment == "after" else b"old")
    sweep(tmp_path)
    assert names(tmp_path) == ["file"]

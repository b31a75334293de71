"""What a workspace is counted to hold, whatever it is made of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentkernel.jail import quota


def counted(folder: Path, enough: int = 1000, uid: int | None = None) -> quota.Usage:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return quota.measure(descriptor, enough, uid)
    finally:
        os.close(descriptor)


def test_files_and_folders_count_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(bytes(5000))
    (tmp_path / "etc").symlink_to("/etc")
    usage = counted(tmp_path)
    assert (usage.entries, usage.opaque) == (4, False)
    assert 5000 <= usage.size <= 8192


def test_a_file_with_a_hole_counts_as_its_size(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 30)
    assert counted(tmp_path).size == 1 << 30


def test_counting_stops_when_there_is_enough(tmp_path: Path) -> None:
    for folder in range(10):
        (tmp_path / str(folder)).mkdir()
        for number in range(10):
            (tmp_path / str(folder) / str(number)).touch()
    usage = counted(tmp_path, 15)
    assert 15 < usage.entries <= 17
    assert usage.exceeds(1 << 30, 15)


@pytest.mark.parametrize(("depth", "opaque"), [(60, False), (70, True)])
def test_a_tree_that_is_too_deep_is_over_any_limit(tmp_path: Path, depth: int, opaque: bool) -> None:
    place = tmp_path
    for _ in range(depth):
        place /= "d"
        place.mkdir()
    usage = counted(tmp_path)
    assert usage.opaque is opaque
    assert usage.exceeds(1 << 30, 1 << 30) is opaque


def test_a_name_that_can_not_be_entered_is_over_any_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    real = os.open

    def refuse(path: str, *rest: int, **named: int) -> int:
        if path == "a":
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    assert counted(tmp_path).opaque


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    for name in ("a/b/c", "d/e"):
        (tmp_path / name).mkdir(parents=True)
    before = descriptors()
    counted(tmp_path)
    counted(tmp_path, 1)
    assert descriptors() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_is_roots_is_given_to_the_jails_user_and_nothing_elses(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    (tmp_path / "theirs").touch()
    os.chown(tmp_path / "theirs", 5, 5)
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    counted(tmp_path, uid=4000)
    owners = {path.name: path.lstat().st_uid for path in tmp_path.rglob("*")}
    assert owners == {"a": 4000, "b": 4000, "theirs": 5, "passwd": 4000}
    assert Path("/etc/passwd").stat().st_uid == 0

"""Checkpoints as files: found when they are there, refused when they are not what they were."""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkernel import checkpoints
from agentkernel.checkpoints import Checkpoint, Checkpoints, Held, Reader
from agentkernel.errors import KernelError
from tests.by_hand import ADMIN, ME, OTHER, run
from tests.checkpointed import at_once
from tests.kept import assert_kept
from tests.test_recovery import born, leave

MEMBERS = {
    "1/record": b"record" * 9,
    "1/output/0": b"",
    "1/files/%FF": bytes(range(256)),
    "1/memory/0": b"m" * 5000,
}


def write(
    folder: Path, name: str = "tale", owner: Any = ME, members: dict[str, bytes] = MEMBERS
) -> Checkpoint:
    """A checkpoint of one process."""
    writer = Checkpoints(folder, 9).write(owner, name)
    for member, data in members.items():
        writer.add(member, data)
    return writer.finish(owner.name, name, (Held(1, "demo", "fingerprint", 3),))


def content(path: Path) -> dict[str, bytes]:
    """All that is read of a checkpoint. Raises RESTORE_FAILED."""
    reader = Reader(path)
    with contextlib.closing(reader):
        said = {"": msgspec.json.encode(reader.manifest)}
        return said | {member: reader.read(member) for member in reader.manifest.hashes}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, bytes]]:
    """A checkpoint's bytes, and what is read of it."""
    path = write(tmp_path_factory.mktemp("whole")).path
    return path.read_bytes(), content(path)


def assert_refused_or_the_same(tmp: Path, data: bytes, expected: dict[str, bytes]) -> None:
    path = tmp / "x.checkpoint"
    path.write_bytes(data)
    listed = Checkpoints(tmp, 9).visible(ADMIN)
    found = None
    with contextlib.suppress(KernelError):  # RESTORE_FAILED
        found = content(path)
    if found is not None:
        assert found == expected
        assert [each.manifest.name for each in listed] == ["tale"]


def test_what_was_put_in_is_read_and_told(tmp_path: Path) -> None:
    made = write(tmp_path)
    assert content(made.path) == {"": msgspec.json.encode(made.manifest)} | MEMBERS
    reader = Reader(made.path)
    assert reader.below("1/files/") == [("1/files/%FF", "%FF")]
    reader.close()
    (found,) = Checkpoints(tmp_path, 9).visible(ME)
    assert found == made
    assert (found.bytes, found.path.stat().st_mode & 0o777) == (found.path.stat().st_size, 0o600)
    assert found.manifest.processes == (Held(1, "demo", "fingerprint", 3),)


@given(data=st.data())
def test_one_of_which_bytes_are_others_is_refused_or_is_the_same(
    whole: tuple[bytes, dict[str, bytes]], tmp_path_factory: Any, data: st.DataObject
) -> None:
    octets, expected = bytearray(whole[0]), whole[1]
    for place in data.draw(st.lists(st.integers(0, len(octets) - 1), min_size=1, max_size=3)):
        octets[place] = data.draw(st.integers(0, 255))
    assert_refused_or_the_same(_folder(tmp_path_factory), bytes(octets), expected)


def test_none_of_its_bytes_can_be_another_unnoticed(whole: Any, tmp_path_factory: Any) -> None:
    """Every bit of what says where its members are, and of their contents, one after the other."""
    octets, expected = whole
    folder = _folder(tmp_path_factory)
    for place in range(len(octets)):
        for bit in (1, 128) if place % 3 else (1 << place % 8, 255):
            assert_refused_or_the_same(
                folder, octets[:place] + bytes([octets[place] ^ bit]) + octets[place + 1 :], expected
            )


def test_one_that_is_cut_anywhere_or_goes_on_is_refused(whole: Any, tmp_path_factory: Any) -> None:
    octets, _ = whole
    folder = _folder(tmp_path_factory)
    path = folder / "x.checkpoint"
    for size in range(len(octets)):
        path.write_bytes(octets[:size])
        with pytest.raises(KernelError, match="RESTORE_FAILED"):
            Reader(path)
        assert Checkpoints(folder, 9).visible(ADMIN) == []


def _folder(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    return folder


def rewritten(path: Path, change: Any) -> None:
    """The checkpoint with another manifest, whose hash is right."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = msgspec.json.decode(members.pop("manifest.json"))
    data = msgspec.json.encode(change(manifest))
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
        archive.writestr("manifest.json", data)
        archive.comment = checkpoints._digest(data).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest | {"format": 2},
        lambda manifest: {"format": 2, "what": "a later version knows"},
        lambda manifest: manifest | {"processes": "none"},
        lambda manifest: [],
        lambda manifest: {key: value for key, value in manifest.items() if key != "format"},
    ],
)
def test_one_that_another_version_wrote_is_refused_and_hides_no_other(tmp_path: Path, change: Any) -> None:
    path = write(tmp_path).path
    write(tmp_path, "other")
    rewritten(path, change)
    with pytest.raises(KernelError, match="RESTORE_FAILED") as caught:
        Reader(path)
    assert [each.manifest.name for each in Checkpoints(tmp_path, 9).visible(ME)] == ["other"]
    if "what" in str(change({})):
        assert "it has format 2, this kernel reads 1" in caught.value.message


def test_a_member_that_is_missing_or_another_s_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path).path
    before = path.read_bytes()
    for change in (
        lambda manifest: manifest | {"hashes": {**manifest["hashes"], "1/more": "00"}},
        lambda manifest: manifest | {"hashes": dict.fromkeys(manifest["hashes"], "00")},
    ):
        path.write_bytes(before)
        rewritten(path, change)
        with pytest.raises(KernelError, match="RESTORE_FAILED"):
            Reader(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest | {"processes": [manifest["processes"][0] | {"pid": 77}]},
        lambda manifest: manifest | {"processes": [manifest["processes"][0] | {"pid": -1}]},
        lambda manifest: manifest | {"processes": manifest["processes"] * 2},
    ],
)
def test_a_manifest_that_doesn_t_fit_its_members_brings_nobody_back(
    tmp_path: Path, monkeypatch: Any, change: Any
) -> None:
    at_once(monkeypatch)

    async def main() -> None:
        bench = await born(tmp_path)
        await bench.exec("talk")
        made = await bench.kernel.checkpoint(ME, 1, "tale")
        bench.kernel.kill(ME, 1)
        rewritten(made.path, change)
        with contextlib.suppress(KernelError):
            await bench.kernel.restore(ME, "tale", as_new=False)
            assert len(bench.kernel.table) == 1
        assert_kept(bench.kernel)
        await leave(bench)

    run(main())


def test_what_is_put_into_the_folder_is_found_and_what_is_no_checkpoint_is_not(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    shutil.copy(write(one, "mine").path, tmp_path / "carried.checkpoint")
    write(two, "theirs", OTHER)
    for name in ("noise.checkpoint", "notes.txt"):
        (two / name).write_bytes(b"PK\x03\x04 no archive")
    (two / "folder.checkpoint").mkdir()
    shutil.copy(tmp_path / "carried.checkpoint", two)
    shelf = Checkpoints(two, 9)
    assert [each.manifest.name for each in shelf.visible(ME)] == ["mine"]
    assert [each.manifest.name for each in shelf.visible(ADMIN)] == ["mine", "theirs"]
    assert shelf.find(ME, "mine").path.name == "carried.checkpoint"
    with pytest.raises(KernelError, match="CHECKPOINT_NOT_FOUND"):
        shelf.find(ME, "theirs")
    shelf.drop(ME, "mine")
    assert not (two / "carried.checkpoint").exists()


def test_of_two_files_of_one_name_the_one_that_is_found_is_the_one_that_is_replaced(tmp_path: Path) -> None:
    made = write(tmp_path)
    for name in ("0", "zz"):
        shutil.copy(made.path, made.path.with_name(f"{name}.checkpoint"))
    shelf = Checkpoints(tmp_path, 1)
    write(tmp_path, members={"1/record": b"newer"})
    reader = Reader(shelf.find(ME, "tale").path)
    assert reader.read("1/record") == b"newer"
    reader.close()


def test_a_name_is_an_owner_s_and_of_two_an_administrator_finds_the_own_one(tmp_path: Path) -> None:
    shelf = Checkpoints(tmp_path, 9)
    write(tmp_path, "tale", ADMIN)
    write(tmp_path, "tale", ME)
    assert shelf.find(ADMIN, "tale").manifest.owner == "root"
    assert shelf.find(ME, "tale").manifest.owner == "me"
    shelf.drop(ADMIN, "tale")
    assert shelf.find(ADMIN, "tale").manifest.owner == "me"


def test_a_crash_while_one_is_written_leaves_the_former_and_the_next_kernel_nothing_else(
    tmp_path: Path,
) -> None:
    before = write(tmp_path).path.read_bytes()
    writer = Checkpoints(tmp_path, 9).write(ME, "tale")
    writer.add("1/record", os.urandom(1 << 16))
    assert len(list(tmp_path.iterdir())) == 2  # and no more of it is written
    shelf = Checkpoints(tmp_path, 9)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]
    assert shelf.find(ME, "tale").bytes == len(before)
    writer.abandon(RuntimeError())

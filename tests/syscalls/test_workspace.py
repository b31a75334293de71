"""Workspaces: private, bounded, replaced whole, and removable whatever a program left in them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import threading

import pytest

from agentkernel.jail.port import Limits
from agentkernel.jail.quota import measure
from agentkernel.syscalls import confined, workspace
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.workspace import Entry, Usage, Workspace, greatest
from tests.syscalls.strangers import NOBODY, as_nobody, folder_of_nobody, nest, swapping

MB = 1 << 20
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def files(tmp_path):
    """A workspace of 1 MB and 8 files."""
    return Workspace(tmp_path / "root", 7, Limits(workspace_mb=1, workspace_files=8))


def refusal(act, *arguments):
    with pytest.raises(ToolError) as error:
        act(*arguments)
    return error.value.code


def keep_size(file, size):
    """Allocate blocks for so many bytes of a file that stays as long as it is."""
    size_of = ctypes.c_int64
    return ctypes.CDLL(None).fallocate(file, 1, size_of(0), size_of(size))


def test_reading_makes_nothing_and_the_first_write_makes_a_private_directory(files, tmp_path):
    assert files.listing() == ([], True)
    assert files.empty
    assert files.usage() == Usage(0, 0)
    assert refusal(files.get, "a", 9) == "NOT_FOUND"
    assert refusal(files.delete, "a") == "NOT_FOUND"
    assert refusal(files.listing, "a") == "NOT_FOUND"
    files.remove()
    assert not (tmp_path / "root").exists()
    files.put("a", b"a")
    assert stat.S_IMODE((tmp_path / "root/7").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "root/7/a").stat().st_mode) == 0o600
    assert not files.empty


def test_the_directory_is_made_when_a_program_needs_it(files, tmp_path):
    assert files.make() == files.make() == tmp_path / "root/7"
    assert files.make().is_dir()
    assert files.empty


def test_what_was_put_comes_back(files):
    files.put("/workspace/a/b", b"\0\xff")
    files.put("a/b", b"again")
    files.append("a/b", b"!")
    files.append("a/c", b"new")
    assert files.get("a/b", 6) == b"again!"
    assert files.read("a/b", 2, 3) == (b"ain", 6)
    assert files.read("a/b", 9, 3) == (b"", 6)
    assert files.listing("a") == ([Entry("b", False, 6), Entry("c", False, 3)], True)
    assert files.listing(most=1)[0][0][:2] == ("a", True)
    assert files.listing("a", 1) == ([Entry("b", False, 6)], False)
    assert refusal(files.get, "a/b", 5) == "TOO_LARGE"


def test_a_directory_or_a_link_is_neither_read_nor_replaced(files):
    top = files.make()
    files.put("folder/a", b"a")
    (top / "link").symlink_to("folder/a")
    os.link(top / "folder/a", top / "hard")
    for act in (files.put, files.append):
        assert refusal(act, "folder", b"") == "IS_A_DIRECTORY"
        assert refusal(act, ".", b"") == "IS_A_DIRECTORY"
        assert refusal(act, "link", b"") == "PATH_ESCAPE"
        assert refusal(act, "hard", b"") == "NOT_A_FILE"
        assert refusal(act, "../x", b"") == "PATH_ESCAPE"
        assert refusal(act, "hard/x", b"") == "NOT_A_DIRECTORY"
    assert refusal(files.get, "link", 9) == "PATH_ESCAPE"
    assert refusal(files.listing, "link") == "PATH_ESCAPE"
    assert (top / "folder/a").read_bytes() == b"a"


def test_a_reader_sees_the_old_file_or_the_new_one(files):
    files.put("a", b"o" * 9000)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            files.put("a", b"n" * 9000)
            files.put("a", b"o" * 9000)

    writer = threading.Thread(target=write)
    writer.start()
    seen = {files.get("a", 9000) for _ in range(300)}
    stop.set()
    writer.join()
    assert seen <= {b"o" * 9000, b"n" * 9000}
    assert [entry.name for entry in files.listing()[0]] == ["a"]


def test_deleting_takes_names_away_and_follows_none(files):
    top = files.make()
    (top.parent / "outside").write_text("outside")
    (top / "link").symlink_to(top.parent / "outside")
    os.link(top.parent / "outside", top / "hard")
    os.mkfifo(top / "fifo")
    files.put("folder/a", b"")
    assert refusal(files.delete, "folder") == "IS_A_DIRECTORY"
    assert refusal(files.delete, ".") == "IS_A_DIRECTORY"
    assert refusal(files.delete, "none") == "NOT_FOUND"
    for path in ("link", "hard", "fifo", "folder/a", "folder"):
        files.delete(path)
    assert files.empty
    assert (top.parent / "outside").read_text() == "outside"


def test_bytes_are_bounded_in_blocks(files):
    files.put("a", bytes(MB - 4096))
    assert refusal(files.put, "b", bytes(4097)) == "QUOTA_EXCEEDED"
    assert refusal(files.append, "a", bytes(4097)) == "QUOTA_EXCEEDED"
    files.put("b", b"1")
    assert refusal(files.put, "c", b"1") == "QUOTA_EXCEEDED"
    assert files.usage() == Usage(MB, 2)
    files.append("b", bytes(4095))
    files.put("a", b"1")
    files.delete("b")
    assert files.usage() == Usage(4096, 1)
    files.put("c", bytes(MB - 4096))


def test_names_are_bounded_with_the_directories_above_them(files):
    assert refusal(files.put, "1/2/3/4/5/6/7/8/9", b"") == "QUOTA_EXCEEDED"
    assert files.empty
    files.put("1/2/3/4/5/6/7/8", b"")
    assert files.usage() == Usage(0, 8)
    assert refusal(files.append, "x", b"") == "QUOTA_EXCEEDED"
    files.append("1/2/3/4/5/6/7/8", b"text")
    files.delete("1/2/3/4/5/6/7/8")
    files.put("1/x", b"")


def test_directories_are_made_no_deeper_than_a_jail_counts_them(tmp_path):
    files = Workspace(tmp_path, 7, Limits())
    files.put("d/" * 64 + "a", b"a")
    usage = files.usage()
    assert refusal(files.append, "e/" * 65 + "a", b"a") == "BAD_ARGUMENTS"
    assert files.usage() == usage == Usage(4096, 65)
    folder = os.open(files.make(), os.O_RDONLY)
    assert not measure(folder, 1024).opaque
    os.close(folder)


def test_what_a_program_did_is_counted_once_it_is_told(files):
    top = files.make()
    files.put("a", b"a")
    for number in range(9):
        (top / f"{number}").write_bytes(b"")
    files.touched()
    assert not files.usage().complete
    assert refusal(files.put, "b", b"") == "QUOTA_EXCEEDED"
    files.put("a", b"b")
    for number in range(3):
        files.delete(f"{number}")
    files.put("b", b"")
    assert files.usage() == Usage(4096, 8)


def test_a_sparse_file_counts_by_its_size_and_a_preallocated_one_by_its_blocks(files):
    top = files.make()
    with (top / "sparse").open("wb") as sparse:
        sparse.truncate(MB)
    files.touched()
    assert refusal(files.put, "a", b"1") == "QUOTA_EXCEEDED"
    files.put("sparse", b"")
    with (top / "hidden").open("wb") as hidden:
        assert keep_size(hidden.fileno(), 2 * MB) == 0
    files.touched()
    assert files.usage().bytes >= 2 * MB
    files.put("hidden", b"")
    assert files.usage() == Usage(0, 2)


def test_a_full_disk_leaves_the_old_file_and_no_part_of_the_new_one(files, monkeypatch):
    files.put("a", b"old")

    def full(_file, _data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(workspace, "_write", full)
        assert refusal(files.put, "a", b"new") == "QUOTA_EXCEEDED"
        assert refusal(files.put, "b/c", b"new") == "QUOTA_EXCEEDED"
    assert files.get("a", 9) == b"old"
    assert files.usage() == Usage(4096, 2)
    assert files.listing("b") == ([], True)


def test_names_of_any_bytes_are_listed_counted_and_removed(files):
    top = files.make()
    for name in (b"new\nline", b"\xff\xfe", b"-rf", b" ", b"*"):
        (top / os.fsdecode(name)).touch()
    files.touched()
    assert [entry.name for entry in files.listing()[0]] == [" ", "*", "-rf", r"new\nline", r"\xff\xfe"]
    assert files.usage() == Usage(0, 5)
    files.remove()
    assert not top.exists()


def test_what_is_below_comes_in_order_without_following_links(files):
    for path in ("b/y", "b/a/z", "c", "a"):
        files.put(path, b"")
    (files.make() / "b/up").symlink_to("..")
    found, complete = files.walk(".", 9)
    assert [each.path for each in found] == ["a", "b", "c", "b/a", "b/up", "b/y", "b/a/z"]
    assert complete
    assert [each.path for each in found if each.regular] == ["a", "c", "b/y", "b/a/z"]
    assert [each.path for each in files.walk("b/a", 9)[0]] == ["b/a/z"]
    assert [each.path for each in files.walk(".", 2)[0]] == ["a", "b"]
    assert not files.walk(".", 2)[1]
    assert refusal(files.walk, "a", 9) == "NOT_A_DIRECTORY"
    assert refusal(files.walk, "none", 9) == "NOT_FOUND"


def test_a_directory_of_endless_names_is_looked_at_in_part(files, monkeypatch):
    monkeypatch.setattr(workspace, "_NAMES", 4)
    top = files.make()
    for number in range(5):
        (top / f"{number}").write_bytes(b"")
    assert (len(files.listing()[0]), files.listing()[1]) == (4, False)
    assert not files.usage().complete
    files.remove()
    assert not top.exists()


def test_a_tree_deeper_than_any_path_is_full_and_goes_away(tmp_path):
    files = Workspace(tmp_path, 7, Limits(workspace_files=10_000))
    nest(files.make(), 3000)
    files.touched()
    assert not files.usage().complete
    assert refusal(files.put, "a", b"a") == "QUOTA_EXCEEDED"
    files.remove()
    assert list(tmp_path.iterdir()) == []


def test_removing_follows_no_link_and_takes_what_appears_meanwhile(files, tmp_path, monkeypatch):
    top, outside = files.make(), tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (top / "link").symlink_to(outside)
    files.put("a/b/c", b"")
    (top / "a/b/link").symlink_to(outside)
    names, late = workspace._names, iter(range(5))

    def meanwhile(folder):
        found = names(folder)
        for number in late:
            os.close(os.open(f"late{number}", os.O_CREAT, dir_fd=folder))
            break
        return found

    monkeypatch.setattr(workspace, "_names", meanwhile)
    files.remove()
    assert next(late, None) is None
    assert not top.exists()
    assert (outside / "kept").read_text() == "kept"
    files.remove()


def test_writing_and_removing_in_a_race_touches_nothing_outside(files, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (files.make() / "d").mkdir()
    with swapping(files.make() / "d", outside):
        for number in range(1000):
            for act, data in ((files.put, (b"x",)), (files.append, (b"y",)), (files.delete, ())):
                with contextlib.suppress(ToolError):
                    act(f"d/{number % 3}", *data)
        for _ in range(100):
            with contextlib.suppress(ToolError):
                files.remove()
            with contextlib.suppress(FileExistsError):
                (files.make() / "d").mkdir()
            with contextlib.suppress(FileExistsError):
                (files.make() / "link").symlink_to(outside)
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"


def test_what_cannot_be_removed_is_told_and_does_not_stop_the_rest(files, monkeypatch):
    files.put("a", b"")
    files.put("stays/b", b"")
    rmdir = os.rmdir

    def refuse(path, **where):
        if path == "stays":
            raise PermissionError(1, "immutable")
        rmdir(path, **where)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", refuse)
        assert refusal(files.remove) == "TOOL_FAILED"
    assert [entry.name for entry in files.listing()[0]] == ["stays"]
    files.remove()
    assert files.empty


def test_a_locked_tree_is_counted_listed_written_and_removed_by_its_owner():
    with folder_of_nobody() as folder:

        def act():
            files = Workspace(folder, 7, Limits())
            files.put("a/b/c", b"c")
            files.put("a/d/e", b"e")
            top = files.make()
            for path in ("a/b/c", "a/b", "a/d", "a", "."):
                (top / path).chmod(0)
            files.touched()
            assert files.usage() == Usage(8192, 5)
            for path in ("a/b/c", "a/b", "a/d", "a", "."):
                (top / path).chmod(0)
            files.put("a/b/c", b"d")
            (top / "a/b").chmod(0o500)
            files.append("a/b/n", b"n")
            assert files.get("a/b/c", 9) == b"d"
            for path in ("a/b/c", "a/b", "a/d", "a", "."):
                (top / path).chmod(0)
            files.remove()
            assert not top.exists()

        as_nobody(act)


@needs_root
def test_what_the_kernel_makes_belongs_to_the_user_of_the_jail(tmp_path):
    files = Workspace(tmp_path, 7, Limits(), NOBODY)
    files.put("a/b/c", b"c")
    files.append("a/d", b"d")
    top = files.make()
    owners = {path.stat().st_uid for path in (top, top / "a", top / "a/b", top / "a/b/c", top / "a/d")}
    assert owners == {NOBODY}


def test_the_greatest_pid_with_a_directory_is_found(tmp_path):
    assert greatest(tmp_path / "none") == 0
    assert greatest(tmp_path) == 0
    for name in ("3", "12", "x99", "-7", "٩٩"):
        (tmp_path / name).mkdir()
    (tmp_path / "40").write_text("no directory")
    assert greatest(tmp_path) == 12


def test_no_workspace_without_confined_paths(tmp_path, monkeypatch):
    def missing():
        raise ToolError("ESANDBOX", "openat2 is missing")

    monkeypatch.setattr(workspace, "require", missing)
    assert workspace.require is not confined.require
    assert refusal(Workspace, tmp_path, 7, Limits()) == "ESANDBOX"

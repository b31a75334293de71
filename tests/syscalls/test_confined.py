"""Paths stay below their directory, by name, link or race; what is opened is a file or a directory."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections import Counter

import pytest

from agentkernel.syscalls import confined
from agentkernel.syscalls.confined import Tree, normal, shown
from agentkernel.syscalls.errors import ToolError
from tests.syscalls.strangers import as_nobody, folder_of_nobody, swapping

NORMAL = {
    "a": "a",
    "./a//b/./": "a/b",
    ".": ".",
    "": ".",
    "/workspace": ".",
    "/workspace/": ".",
    "/workspace/a": "a",
    "/workspace//a": "a",
    "workspace/a": "workspace/a",
    "...": "...",
    "~": "~",
    "é\n": "é\n",
}
REFUSED = {
    "..": "PATH_ESCAPE",
    "a/../b": "PATH_ESCAPE",
    "a/..": "PATH_ESCAPE",
    "/workspace/../etc/passwd": "PATH_ESCAPE",
    "/": "PATH_ESCAPE",
    "/etc/passwd": "PATH_ESCAPE",
    "//workspace/a": "PATH_ESCAPE",
    "/workspaces/a": "PATH_ESCAPE",
    "a\0b": "BAD_ARGUMENTS",
    "a" * 4096: "BAD_ARGUMENTS",
    "\ud800": "BAD_ARGUMENTS",
}


@pytest.fixture
def inside(tmp_path):
    """A directory with a file, and beside it a secret."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "file").write_text("file")
    return folder


@pytest.fixture
def tree(inside):
    descriptor = os.open(inside, os.O_PATH)
    yield Tree(descriptor)
    os.close(descriptor)


def refusal(tree, path, flags=os.O_RDONLY):
    with pytest.raises(ToolError) as error, tree.file(path, flags):
        pass
    return error.value.code


@pytest.mark.parametrize(("path", "plain"), NORMAL.items())
def test_a_path_has_one_normal_form(path, plain):
    assert normal(path) == plain


@pytest.mark.parametrize(("path", "code"), REFUSED.items())
def test_a_path_that_leads_out_or_is_none_is_refused_by_its_text(path, code):
    with pytest.raises(ToolError) as error:
        normal(path)
    assert error.value.code == code


def test_a_path_is_shown_as_one_short_line():
    assert shown("é a") == "é a"
    assert shown("a\n+OK\x1b[2J\u2028") == r"a\n+OK\x1b[2J\u2028"
    assert shown(os.fsdecode(b"\xff\xc3")) == r"\xff\xc3"
    assert len(shown("a" * 4000)) == 201


def test_a_file_is_opened_with_its_status(tree):
    with tree.file("file") as (file, status):
        assert os.read(file, 9) == b"file"
        assert status.st_size == 4
        assert not os.get_inheritable(file)


def test_nothing_is_opened_through_a_link(tree, inside):
    (inside / "out").symlink_to(inside.parent)
    (inside / "leak").symlink_to("/etc/passwd")
    (inside / "near").symlink_to("file")
    (inside / "here").symlink_to(".")
    for path in ("leak", "near", "out/secret", "here/file"):
        assert refusal(tree, path) == "PATH_ESCAPE"
        assert refusal(tree, path, os.O_WRONLY | os.O_CREAT) == "PATH_ESCAPE"
    with pytest.raises(ToolError, match="PATH_ESCAPE"):
        tree.make("out/new")
    assert not (inside.parent / "new").exists()


def test_a_descriptor_alone_confines_what_the_text_would_let_through(tree):
    for path in ("../secret", "/etc/passwd"):
        assert refusal(tree, path) == "PATH_ESCAPE"


def test_magic_links_and_other_file_systems_are_out_of_reach():
    descriptor = os.open("/", os.O_PATH)
    assert refusal(Tree(descriptor), "proc/version") == "PATH_ESCAPE"
    os.close(descriptor)
    descriptor = os.open("/proc/self", os.O_PATH)
    assert refusal(Tree(descriptor), "root/etc/passwd") == "PATH_ESCAPE"
    os.close(descriptor)


def test_a_hard_link_to_a_file_outside_is_no_file(tree, inside):
    os.link(inside.parent / "secret", inside / "link")
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_CREAT):
        assert refusal(tree, "link", flags) == "NOT_A_FILE"
    assert (inside.parent / "secret").read_text() == "secret"


def test_a_fifo_or_a_socket_is_no_file_and_nobody_waits_for_its_other_end(tree, inside):
    os.mkfifo(inside / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(inside / "socket"))
        for path in ("fifo", "socket"):
            for flags in (os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_CREAT):
                assert refusal(tree, path, flags) == "NOT_A_FILE"


def test_what_is_wrong_with_a_path_has_a_code(tree, inside):
    (inside / "folder").mkdir()
    assert refusal(tree, "none") == "NOT_FOUND"
    assert refusal(tree, "folder") == "IS_A_DIRECTORY"
    assert refusal(tree, "folder", os.O_WRONLY) == "IS_A_DIRECTORY"
    assert refusal(tree, "file/below") == "NOT_A_DIRECTORY"
    assert refusal(tree, "a" * 256) == "BAD_ARGUMENTS"
    with pytest.raises(ToolError, match="error: NOT_A_DIRECTORY: not a folder: file"), tree.folder("file"):
        pass


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "QUOTA_EXCEEDED"), (errno.EROFS, "PERMISSION_DENIED"), (errno.EIO, "TOOL_FAILED")],
)
def test_a_fault_within_becomes_an_error_that_names_the_path_as_the_model_knows_it(tree, number, code):
    with pytest.raises(ToolError) as error, tree.file("file"):
        raise OSError(number, os.strerror(number), "/host/path")
    assert error.value.code == code
    assert error.value.reason.endswith(": file")
    assert "host" not in error.value.reason


def test_status_looks_without_following(tree, inside):
    (inside / "link").symlink_to("/etc/passwd")
    assert tree.status("file").st_size == 4
    assert tree.status("link").st_ino == (inside / "link").lstat().st_ino
    assert tree.status("none") is None
    assert tree.status("none/below") is None


def test_directories_are_made_private_and_counted_beforehand(tree, inside):
    assert tree.missing("a/b/c") == 3
    tree.make("a/b/c")
    assert (inside / "a/b/c").is_dir()
    assert (inside / "a").stat().st_mode & 0o777 == 0o700
    assert (tree.missing("a/b/c"), tree.missing("a/b/d/e")) == (0, 2)


@pytest.mark.parametrize("exchange", [True, False])
def test_a_file_takes_the_place_of_another_but_not_of_a_directory(inside, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(confined, "_renameat2", None)
    descriptor = os.open(inside, os.O_RDONLY)
    for name in ("file", "none"):
        (inside / "new").write_text("new")
        confined.replace(descriptor, "new", name)
        assert (inside / name).read_text() == "new"
        assert not (inside / "new").exists()
    (inside / "new").write_text("new")
    (inside / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        confined.replace(descriptor, "new", "folder")
    assert ((inside / "new").is_file(), (inside / "folder").is_dir()) == (True, True)
    os.close(descriptor)


def test_a_path_swapped_for_a_link_while_it_is_opened_never_leads_out(tree, inside):
    outside = inside.parent / "outside"
    for folder in (outside, inside / "d"):
        folder.mkdir()
        (folder / "file").write_text(folder.name)
    seen = Counter()
    with swapping(inside / "d", outside):
        for _ in range(5000):
            try:
                with tree.file("d/file", os.O_RDWR) as (file, _):
                    seen[os.read(file, 9)] += 1
            except ToolError as error:
                seen[error.code] += 1
    assert seen.total() == 5000
    assert set(seen) <= {b"d", "NOT_FOUND", "PATH_ESCAPE"}


def test_rights_taken_from_the_owner_are_given_back():
    with folder_of_nobody() as folder:

        def act():
            folder.chmod(0o700)
            (folder / "a/b").mkdir(parents=True)
            (folder / "a/b/file").write_text("text")
            descriptor = os.open(folder, os.O_PATH)
            for path in ("a/b/file", "a/b", "a", "."):
                (folder / path).chmod(0)
            tree = Tree(descriptor)
            with tree.file("a/b/file", os.O_RDWR) as (file, _):
                assert os.read(file, 9) == b"text"
            (folder / "a/b").chmod(0o400)
            with tree.folder("a/b") as below:
                assert os.stat("file", dir_fd=below).st_size == 4
            (folder / "a/b").chmod(0o500)
            tree.make("a/b/c")
            os.close(descriptor)

        as_nobody(act)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of others")
def test_rights_that_are_not_the_kernels_to_give_are_an_error():
    with folder_of_nobody() as folder:
        (folder / "file").write_text("of root")
        (folder / "file").chmod(0)

        def act():
            descriptor = os.open(folder, os.O_PATH)
            assert refusal(Tree(descriptor), "file") == "PERMISSION_DENIED"
            os.close(descriptor)

        as_nobody(act)
        assert (folder / "file").stat().st_mode & 0o777 == 0


def test_a_kernel_without_openat2_is_told_and_opens_nothing(tree, monkeypatch):
    confined.require()

    def missing(*_):
        ctypes.set_errno(errno.ENOSYS)
        return -1

    monkeypatch.setattr(confined, "_syscall", missing)
    with pytest.raises(ToolError, match="error: ESANDBOX: openat2 is missing"):
        confined.require()
    assert refusal(tree, "file") == "ESANDBOX"

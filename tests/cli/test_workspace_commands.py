"""`workspace`: files of processes, listed, fetched and written."""

from __future__ import annotations

import pytest

from agentkernel.client import Client


@pytest.fixture
def beside(scripted):
    """Do something beside a kernel whose process 1 waits for input."""

    def begin(use):
        def prepared(kernel):
            with Client(port=kernel.port) as client:
                client.exec("hi", interactive=True).read()
                use(kernel)

        scripted(prepared)

    return begin


def test_files_are_written_listed_and_fetched(ak, beside):
    (ak.folder / "sum.txt").write_bytes(b"685\n|")

    def use(kernel):
        assert ak("workspace", "ls", "1", kernel=kernel).stdout.split() == ["NAME", "BYTES"]
        assert ak("workspace", "put", "1", "sum.txt", kernel=kernel).returncode == 0
        put = ak("workspace", "put", "1", "-", "in/a b.txt", kernel=kernel, stdin="hello")
        assert (put.returncode, put.stderr) == (0, "")
        lines = ak("workspace", "ls", "1", kernel=kernel).stdout.splitlines()
        assert [line.split() for line in lines[1:]] == [["in/", "-"], ["sum.txt", "5"]]
        inner = ak("workspace", "ls", "1", "in", kernel=kernel).stdout.splitlines()
        assert inner[1].split() == ["a", "b.txt", "5"]
        assert ak("workspace", "get", "1", "in/a b.txt", kernel=kernel).stdout == "hello"
        assert ak("workspace", "get", "1", "sum.txt", "copy.txt", kernel=kernel).stdout == ""
        assert (ak.folder / "copy.txt").read_bytes() == b"685\n|"

    beside(use)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "text"),
    [
        (("get", "1", "absent"), 66, "FILE_NOT_FOUND"),
        (("get", "1", "../2/a"), 65, "FILE_INVALID"),
        (("ls", "9"), 66, "PID_NOT_FOUND"),
        (("put", "1", "-"), 2, "needs a PATH"),
        (("put", "1", "-", "a|b"), 2, "a path can't be sent"),
    ],
)
def test_what_can_t_be_is_said(ak, beside, arguments, exit_code, text):
    def use(kernel):
        result = ak("workspace", *arguments, kernel=kernel)
        assert (result.returncode, result.stdout) == (exit_code, "")
        assert text in result.stderr

    beside(use)

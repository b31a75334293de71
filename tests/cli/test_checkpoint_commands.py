"""`checkpoint`, `restore` and `checkpoints`, between kernels that run as a user runs them."""

from __future__ import annotations

import json
import shutil

from tests.conftest import ENDLESS

LETTERS = {
    "raw": True,
    "grammar": "root ::= [a-z ] root",
    "temperature": 1.5,
    "seed": 7,
    "deterministic": True,
    "max_tokens": 120,
    "on_disconnect": "detach",
}


def rows(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_process_goes_on_in_another_kernel_where_it_was_saved_in_the_first(ak, make_kernel, client_of):
    here, there = make_kernel(), make_kernel()
    client = client_of(here)
    whole = client.exec("Once", **LETTERS).read()
    stream = client.exec("Once", **LETTERS)
    part = next(iter(stream))
    client.suspend(stream.pid)
    client.memw(stream.pid, b"four")
    client.put_file(stream.pid, "notes/one", b"data")
    (saved,) = rows(ak("checkpoint", str(stream.pid), "tale", "--format", "jsonl", kernel=here))
    assert (saved["name"], saved["pids"]) == ("tale", [stream.pid])
    size = client.logs(stream.pid).size
    assert len(part) <= size < len(whole)
    shutil.copytree(here.state / "checkpoints", there.state / "checkpoints", dirs_exist_ok=True)
    restored = ak("restore", "tale", kernel=there)
    assert [line.split() for line in restored.stdout.splitlines()] == [["PID", "WAS"], ["2", "2"]]
    client = client_of(there)
    rest = client.attach(stream.pid, size)
    client.resume(stream.pid)
    assert rest.read() == whole[size:]
    assert client.logs(stream.pid).data.decode() == whole
    assert client.exec("hi", max_tokens=1).pid == stream.pid + 1


def test_it_comes_back_beside_itself_as_often_as_one_likes(ak, kernel, client_of):
    client = client_of(kernel)
    stream = client.exec("hi", interactive=True, grammar=ENDLESS, max_tokens=4)
    text = stream.read()
    assert rows(ak("checkpoint", str(stream.pid), "--format", "jsonl", kernel=kernel))[0]["name"] == (
        f"pid-{stream.pid}"
    )
    busy = ak("restore", f"pid-{stream.pid}", kernel=kernel)
    assert (busy.returncode, "RESTORE_BUSY" in busy.stderr) == (73, True)
    for _ in range(2):
        (made,) = rows(ak("restore", f"pid-{stream.pid}", "--as-new", "--format", "jsonl", kernel=kernel))
        assert made["was"] == stream.pid != made["pid"]
        assert client.logs(made["pid"]).data.decode() == text
        client.kill(made["pid"])
    client.kill(stream.pid)
    client.drop_checkpoint(f"pid-{stream.pid}")


def test_what_is_saved_is_listed_and_forgotten(ak, kernel, client_of):
    client = client_of(kernel)
    streams = [client.exec("hi", interactive=True, grammar=ENDLESS, max_tokens=4) for _ in range(2)]
    for stream in streams:
        stream.read()
    ak("checkpoint", "all", "both", kernel=kernel)
    headings, line = ak("checkpoints", "list", kernel=kernel).stdout.splitlines()
    assert headings.split() == ["NAME", "PIDS", "TOKENS", "BYTES", "OWNER"]
    assert line.split()[0] == "both"
    (listed,) = rows(ak("checkpoints", "list", "--format", "jsonl", kernel=kernel))
    assert listed["pids"] == [stream.pid for stream in streams]
    assert (kernel.state / "checkpoints" / listed["file"]).stat().st_size == listed["bytes"]
    assert rows(ak("checkpoints", "drop", "both", "--format", "jsonl", kernel=kernel)) == [{"name": "both"}]
    gone = ak("restore", "both", kernel=kernel)
    assert (gone.returncode, "CHECKPOINT_NOT_FOUND" in gone.stderr) == (66, True)
    for stream in streams:
        client.kill(stream.pid)


def test_what_is_no_name_or_pid_is_refused(ak, kernel):
    for arguments, code, status in (
        (("checkpoint", "all", "no/name"), "CHECKPOINT_INVALID", 65),
        (("checkpoint", "999", "tale"), "PID_NOT_FOUND", 66),
        (("checkpoints", "drop", "none"), "CHECKPOINT_NOT_FOUND", 66),
    ):
        result = ak(*arguments, kernel=kernel)
        assert (result.returncode, code in result.stderr) == (status, True)

"""`snapshots`, `run --from` and `mem`."""

from __future__ import annotations

import json

import pytest

from tests.conftest import ENDLESS


@pytest.fixture
def waiting(kernel, client_of):
    """A client, and the stream of its process that waits for input."""
    client = client_of(kernel)
    stream = client.exec("hi", interactive=True, grammar=ENDLESS, max_tokens=4)
    stream.read()
    yield client, stream
    client.kill(stream.pid)


def test_a_context_is_kept_listed_begun_from_and_forgotten(ak, kernel, waiting):
    client, stream = waiting
    taken = ak("snapshots", "take", str(stream.pid), "tale", "--format", "jsonl", kernel=kernel)
    tokens = json.loads(taken.stdout)["tokens"]
    assert tokens == client.process_status(stream.pid).context_tokens
    headings, line = ak("snapshots", "list", kernel=kernel).stdout.splitlines()
    assert headings.split()[:2] == ["NAME", "TOKENS"]
    assert line.split()[:2] == ["tale", str(tokens)]
    run = ("run", "more", "--from", "tale", "--max-tokens", "1", "--detach")
    pid = int(ak(*run, kernel=kernel).stdout)
    client.wait(pid)
    assert client.process_status(pid).prompt_tokens > tokens
    assert json.loads(ak("snapshots", "drop", "tale", "--format", "json", kernel=kernel).stdout) == {
        "name": "tale"
    }
    gone = ak(*run, kernel=kernel)
    assert (gone.returncode, "SNAPSHOT_NOT_FOUND" in gone.stderr) == (66, True)


def test_a_name_that_is_none_is_refused(ak, kernel, waiting):
    result = ak("snapshots", "take", str(waiting[1].pid), "no/name", kernel=kernel)
    assert (result.returncode, "SNAPSHOT_INVALID" in result.stderr) == (65, True)


def test_mem_is_of_the_kernel_or_of_a_process(ak, kernel, waiting):
    client, stream = waiting
    client.memw(stream.pid, b"four")
    own = json.loads(ak("mem", str(stream.pid), "--format", "json", kernel=kernel).stdout)
    assert (own["pid"], own["size"]) == (stream.pid, 4)
    lines = [line.split() for line in ak("mem", kernel=kernel).stdout.splitlines()]
    assert ["alloc_bytes", "16384"] in lines

"""`agentkernel journal`: what a journal says, whether it is sound, and making it small."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from contextlib import closing

import msgspec
import pytest

from agentkernel.journal.reading import Call
from agentkernel.journal.store import Journal
from tests.journal.old import DATA


@pytest.fixture
def path(ak):
    """The journal of a live process and of one that has ended."""
    path = ak.folder / "state" / "journal.db"
    journal = Journal(path)
    journal.begin(1, "ann", msgspec.msgpack.encode({"prompt": "hi", "seed": 7}))
    journal.append(1, "tokens", msgspec.msgpack.encode([1, 2, 3]))
    journal.append(1, "image", b"\xc1 is no message pack")
    journal.output(1, 0, "Grüße".encode())
    journal.intent(1, Call(1, "calc", "d", idempotent=True))
    journal.result(1, 1, b"42")
    journal.begin(2, "bob", msgspec.msgpack.encode({3: b"bytes"}))
    journal.output(2, 0, b"\xff\x00")
    journal.ended(2, 12.5)
    journal.claim("ann", "key", 1, 0.0)
    (page,) = asyncio.run(journal.contents([b"kept"]))
    journal.pages(1, {3: page})
    journal.close()
    return path


def damage(path):
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 64)


def test_check_says_in_a_line_that_it_is_sound(ak, path):
    result = ak("journal", "check", "--state", "state")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        "state/journal.db: sound, version 3: processes 1 live, 1 ended;"
        " 4 records, 9 bytes of output, 4 of memory\n"
    )


def test_check_names_what_is_damaged_and_changes_nothing(ak, path):
    damage(path)
    before = path.read_bytes()
    result = ak("journal", "check", "--state", "state")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("agentkernel: state/journal.db: ")
    assert result.stderr.endswith("; move it away, with its -wal, to begin anew\n")
    assert result.stderr.count("\n") == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("DELETE FROM records WHERE seq = 1", "process 1 does not begin with how it stands"),
        ("UPDATE recent SET start = 1 WHERE pid = 1", "output of process 1 does not go on at byte 0"),
        ("UPDATE calls SET pid = 9", "output or calls of process 9, which is not known"),
        ("INSERT INTO dropped VALUES (9)", "process 9 is gone, and its PID may be given again"),
        ("UPDATE pages SET pid = 9", "a page of process 9, which is not known"),
        ("DELETE FROM contents", "page 3 of process 1 is not there"),
        ("INSERT INTO pages SELECT pid, 5, content FROM pages", "one content is at pages 3 and 5"),
    ],
)
def test_check_names_what_does_not_fit_together(ak, path, change, fault):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(change)
    result = ak("journal", "check", "--state", "state")
    assert result.returncode == 1
    assert result.stderr == (
        f"agentkernel: state/journal.db: {fault}; move it away, with its -wal, to begin anew\n"
    )


def test_a_journal_from_before_there_was_memory_is_looked_at_as_it_is(ak):
    (ak.folder / "state").mkdir()
    shutil.copyfile(DATA / "v1.sqlite", ak.folder / "state" / "journal.db")
    assert "sound, version 1: " in ak("journal", "check", "--state", "state").stdout
    lines = ak("journal", "export", "--state", "state").stdout.splitlines()
    assert {json.loads(line)["is"] for line in lines} == {"process", "record", "call", "output", "key"}


def test_check_says_how_many_faults_there_are_besides(ak, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM records")
    result = ak("journal", "check", "--state", "state")
    assert "process 1 does not begin with how it stands (and 1 more); " in result.stderr


def test_dump_is_a_table_of_a_process_s_records(ak, path):
    result = ak("journal", "dump", "1", "--state", "state")
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split(maxsplit=1) for line in result.stdout.splitlines()] == [
        ["KIND", "BODY"],
        ["stands", '{"prompt":"hi","seed":7}'],
        ["tokens", "[1,2,3]"],
        ["image", '{"base64":"wSBpcyBubyBtZXNzYWdlIHBhY2s="}'],
    ]


def test_dump_gives_json_of_a_process_that_has_ended(ak, path):
    result = ak("journal", "dump", "2", "--state", "state", "--format", "json")
    assert json.loads(result.stdout) == [{"kind": "stands", "body": {"3": "Ynl0ZXM="}}]


def test_dump_writes_output_byte_for_byte(ak, path):
    assert ak("journal", "dump", "1", "--text", "--state", "state").stdout == "Grüße"


def test_dump_of_what_is_not_there_says_so(ak, path):
    result = ak("journal", "dump", "3", "--state", "state")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "agentkernel: state/journal.db: no process 3\n"


def test_export_gives_all_of_it(ak, path):
    result = ak("journal", "export", "--state", "state")
    assert (result.returncode, result.stderr) == (0, "")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"is": "process", "pid": 1, "owner": "ann", "ended": None, "size": 7},
        {"is": "process", "pid": 2, "owner": "bob", "ended": 12.5, "size": 2},
        {"is": "record", "pid": 1, "kind": "stands", "body": {"prompt": "hi", "seed": 7}},
        {"is": "record", "pid": 1, "kind": "tokens", "body": [1, 2, 3]},
        {"is": "record", "pid": 1, "kind": "image", "body": {"base64": "wSBpcyBubyBtZXNzYWdlIHBhY2s="}},
        {"is": "record", "pid": 2, "kind": "stands", "body": {"3": "Ynl0ZXM="}},
        {
            "is": "call",
            "pid": 1,
            "call": 1,
            "tool": "calc",
            "digest": "d",
            "idempotent": True,
            "result": "42",
        },
        {"is": "output", "pid": 1, "text": "Grüße"},
        {"is": "page", "pid": 1, "page": 3, "content": "kept"},
        {"is": "output", "pid": 2, "text": {"base64": "/wA="}},
        {"is": "key", "owner": "ann", "key": "key", "pid": 1, "expires": 86400.0},
    ]


def test_compact_gives_room_back_and_keeps_every_process(ak, path):
    journal = Journal(path)
    for _ in range(300):
        journal.append(1, "tokens", b"x" * 1000)
    journal.compact(1, b"")
    journal.close()
    before = path.stat().st_size
    result = ak("journal", "compact", "--state", "state")
    assert (result.returncode, result.stderr) == (0, "")
    assert path.stat().st_size < before / 2
    assert result.stdout == f"state/journal.db: {before} bytes before, {path.stat().st_size} after\n"
    result = ak("journal", "check", "--state", "state")
    assert "processes 1 live, 1 ended; 2 records" in result.stdout


@pytest.mark.parametrize("command", [("check",), ("compact",), ("export",), ("dump", "1")])
def test_a_journal_that_a_kernel_has_open_is_left_to_it(ak, path, command):
    journal = Journal(path)
    result = ak("journal", *command, "--state", "state")
    journal.close()
    assert (result.returncode, result.stdout) == (78, "")
    assert result.stderr == (
        "agentkernel: state/journal.db: in use by another program; a kernel that runs?\n"
    )


@pytest.mark.parametrize("command", [("check",), ("compact",), ("export",), ("dump", "1")])
def test_where_there_is_no_journal_a_line_says_so(ak, command):
    result = ak("journal", *command, "--state", "nowhere")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "agentkernel: nowhere/journal.db: no journal; name the kernel's state directory by --state\n"
    )
    assert not (ak.folder / "nowhere").exists()

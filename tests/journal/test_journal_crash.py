"""What is committed survives `kill -9` of the program that commits, whole."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from agentkernel.journal.opening import read_only
from agentkernel.journal.store import STANDS, Journal
from agentkernel.journal.verification import verify

ROOT = Path(__file__).parent.parent.parent
PROCESSES = 4

# Each commit gives every process a record and output that hold its number, and is told of behind it.
APPEND_FOR_EVER = """
import os, sys
from pathlib import Path
from agentkernel.journal import store

store.WAL_PAGES = 40
journal = store.Journal(Path(sys.argv[1]))
first = journal.output_size(1) // 8 if journal.processes else 0
for pid in range(1, 5) if not first else ():
    journal.begin(pid, "ann", b"")
number = first
while True:
    for pid in range(1, 5):
        body = number.to_bytes(8, "big")
        journal.append(pid, "tokens", body)
        journal.output(pid, number * 8, body)
    journal.commit()
    os.write(1, b"%d\\n" % number)
    journal.maintain(1.0)
    number += 1
"""


def append_and_kill(path, lines):
    """Let a program append, and kill it while it does; the last commit that it told of."""
    command = [sys.executable, "-c", APPEND_FOR_EVER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as child:
        told = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        told += child.stdout.readlines()
        child.wait()
    return int([line for line in told if line.endswith(b"\n")][-1])


@pytest.mark.parametrize("seed", range(3))
def test_nothing_committed_is_lost_and_no_commit_is_torn(tmp_path, seed):
    path, chance = tmp_path / "journal.db", random.Random(seed)
    for _ in range(4):
        last = append_and_kill(path, chance.randint(1, 1200))
        with read_only(path) as db:
            assert verify(db).faults == ()
        journal = Journal(path)
        bodies = {pid: [] for pid in range(1, PROCESSES + 1)}
        for pid, kind, body in journal.replay():
            if kind != STANDS:
                bodies[pid].append(int.from_bytes(body, "big"))
        count = len(bodies[1])
        assert last + 1 <= count <= last + 2
        for pid, numbers in bodies.items():
            assert numbers == list(range(count))
            expected = b"".join(number.to_bytes(8, "big") for number in range(count))
            assert journal.read_output(pid, 0, 1 << 30) == expected
        journal.close()

"""What failing disks leave: a full one, a read-only one, and ones that can't be synced."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agentkernel.journal.errors import JournalFailedError
from agentkernel.journal.opening import wal_of
from agentkernel.journal.store import STANDS, Journal
from tests.small_disk import run_on_a_disk_of

ROOT = Path(__file__).parent.parent.parent

FULL = """
import os, sys
from pathlib import Path
from agentkernel.journal.errors import JournalFullError
from agentkernel.journal.store import Journal, STANDS

path, ballast = Path({folder!r}) / "journal.db", Path({folder!r}) / "ballast"
ballast.write_bytes(bytes(2 << 20))
journal = Journal(path)
journal.begin(1, "ann", b"")
given = []
refused = 0
while refused < 3:
    given.append(len(given).to_bytes(4, "big") * 1000)
    journal.append(1, "tokens", given[-1])
    try:
        journal.commit()
    except JournalFullError:
        refused += 1
found = [body for _, kind, body in journal.replay() if kind != STANDS]
assert found == given[:-3], (len(found), len(given))
assert journal._database.checkpoint() in (True, False)
ballast.unlink()
journal.commit()
found = [body for _, kind, body in journal.replay() if kind != STANDS]
assert found == given, (len(found), len(given))
journal.close()
again = Journal(path)
assert [body for _, kind, body in again.replay() if kind != STANDS] == given
"""

FULL_OF_PAGES = """
import asyncio
from pathlib import Path
from agentkernel.journal.errors import JournalFullError
from agentkernel.journal.store import Journal

path, ballast = Path({folder!r}) / "journal.db", Path({folder!r}) / "ballast"
ballast.write_bytes(bytes(2 << 20))

async def fill(journal):
    page = 0
    while True:
        contents = [bytes([page + at]) * 16384 for at in range(8)]
        numbers = await journal.contents(contents)
        journal.pages(1, dict(zip(range(page, page + 8), numbers)))
        journal.commit()
        page += 8

def held(journal):
    return {{page: journal.read_contents([content])[0] for content, page, _ in journal.held_pages()}}

journal = Journal(path)
journal.begin(1, "ann", b"")
try:
    asyncio.run(fill(journal))
except JournalFullError:
    pass
before = held(journal)
assert len(before) >= 8 and all(content == bytes([page]) * 16384 for page, content in before.items())
ballast.unlink()
(number,) = asyncio.run(journal.contents([b"more"]))
journal.pages(1, {{0: number}})
journal.close()
again = Journal(path)
assert held(again) == before | {{0: b"more"}}
while again.maintain(1.0):
    pass
with again._database.reading() as db:
    assert db.execute("SELECT count(*) FROM contents").fetchone()[0] == len(before)
"""

FULL_AT_THE_START = """
import os
from pathlib import Path
from agentkernel.journal.errors import JournalFullError
from agentkernel.journal.store import Journal, STANDS

path, ballast = Path({folder!r}) / "journal.db", Path({folder!r}) / "ballast"
if (child := os.fork()) == 0:
    journal = Journal(path)
    journal.begin(1, "ann", b"kept")
    journal.commit()
    os._exit(0)
os.waitpid(child, 0)
try:
    ballast.write_bytes(bytes(4 << 20))
except OSError:
    pass
try:
    Journal(path)
except JournalFullError as error:
    assert "no room on its disk" in str(error), error
else:
    raise SystemExit("opened")
ballast.unlink()
assert list(Journal(path).replay()) == [(1, STANDS, b"kept")]
"""

FULL_OF_LOG = """
from pathlib import Path
from agentkernel.journal.errors import JournalFullError
from agentkernel.journal.reading import Call
from agentkernel.journal.store import Journal, STANDS, WAL_PAGES
from agentkernel.journal.upkeep import Retention

path = Path({folder!r}) / "journal.db"
journal = Journal(path, retention=Retention(processes=0))
journal.begin(1, "ann", b"")
journal.intent(1, Call(1, "calc", "d", idempotent=True))
journal.result(1, 1, b"x" * 500_000)
journal.commit()
assert journal._database.checkpoint()
journal.ended(1, 0.0)
while journal.maintain(1.0):  # which leaves room in the tables
    pass
assert journal._database.checkpoint()
journal.begin(2, "ann", b"")
refused = 0
for number in range(2000):
    journal.compact(2, b"%d" % number)
    try:
        journal.maintain(1.0)
    except JournalFullError:
        refused += 1
        assert not journal._database.wal_has(WAL_PAGES)
        journal._checkpoint.result()
        journal.commit()
assert refused, "the disk was too large"
assert list(journal.replay()) == [(2, STANDS, b"1999")]
"""

READ_ONLY = """
import subprocess
from pathlib import Path
from agentkernel.journal.errors import JournalError
from agentkernel.journal.opening import read_only
from agentkernel.journal.store import Journal
from agentkernel.journal.verification import verify

def remount(how):
    subprocess.run(["mount", "-o", "remount," + how, {folder!r}], check=True)

folder = Path({folder!r})
remount("ro")
try:
    Journal(folder / "journal.db")
except JournalError as error:
    assert "Read-only file system" in str(error), error
else:
    raise SystemExit("opened")
remount("rw")
journal = Journal(folder / "journal.db")
journal.begin(1, "ann", b"")
journal.commit()
journal.close()
remount("ro")
try:
    Journal(folder / "journal.db")
except JournalError as error:
    assert "Read-only file system" in str(error), error
else:
    raise SystemExit("opened")
with read_only(folder / "journal.db") as db:
    assert verify(db).live == 1
"""


def test_on_a_full_disk_nothing_is_lost_and_it_goes_on_when_there_is_room(tmp_path):
    run_on_a_disk_of(4 << 20, tmp_path, FULL.format(folder=str(tmp_path)))


def test_on_a_full_disk_no_page_is_lost_and_what_was_refused_leaves_none(tmp_path):
    run_on_a_disk_of(4 << 20, tmp_path, FULL_OF_PAGES.format(folder=str(tmp_path)))


def test_a_log_that_fills_the_disk_is_brought_into_the_tables_and_begins_anew(tmp_path):
    run_on_a_disk_of(2 << 20, tmp_path, FULL_OF_LOG.format(folder=str(tmp_path)))


def test_on_a_disk_that_is_full_at_the_start_it_is_refused_and_nothing_is_lost(tmp_path):
    run_on_a_disk_of(4 << 20, tmp_path, FULL_AT_THE_START.format(folder=str(tmp_path)))


def test_on_a_read_only_disk_it_is_refused_but_can_be_looked_at(tmp_path):
    run_on_a_disk_of(2 << 20, tmp_path, READ_ONLY.format(folder=str(tmp_path)))


def test_whatever_ends_a_transaction_undoes_it(tmp_path):
    journal = Journal(tmp_path / "journal.db")

    def fail():
        with journal._database.transaction() as db:
            db.execute("INSERT INTO dropped VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    journal.begin(1, "ann", b"")
    journal.commit()
    assert list(journal.replay()) == [(1, STANDS, b"")]
    with journal._database.reading() as db:
        assert db.execute("SELECT count(*) FROM dropped").fetchone() == (0,)
    journal.close()


class Disk:
    """Syncs that are counted, and fail when told to."""

    def __init__(self):
        self.calls, self.failing = 0, False

    def sync(self, descriptor):
        self.calls += 1
        if self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(descriptor)


def test_a_failed_sync_is_for_ever_and_never_tried_again(tmp_path):
    disk, path = Disk(), tmp_path / "journal.db"
    journal = Journal(path, sync=disk.sync)

    async def scenario():
        journal.begin(1, "ann", b"")
        await journal.synced()
        disk.failing = True
        journal.append(1, "tokens", b"a")
        waiters = [asyncio.create_task(journal.synced()) for _ in range(3)]
        for result in await asyncio.gather(*waiters, return_exceptions=True):
            assert isinstance(result, JournalFailedError)
            assert "Input/output error" in str(result)
        disk.failing, calls = False, disk.calls
        with pytest.raises(JournalFailedError):
            await journal.synced()
        return calls

    calls = asyncio.run(scenario())
    journal.append(1, "tokens", b"b")
    log = wal_of(path).read_bytes()
    for act in (journal.commit, lambda: journal.maintain(1.0), journal.close):
        with pytest.raises(JournalFailedError):
            act()
    assert not journal._database.checkpoint()
    assert (disk.calls, wal_of(path).read_bytes()) == (calls, log)
    assert [kind for _, kind, _ in journal.replay()] == [STANDS, "tokens"]


def test_what_a_crash_left_is_synced_before_it_counts(tmp_path):
    disk = Disk()
    Journal(tmp_path / "journal.db", sync=disk.sync).close()
    assert disk.calls == 1
    disk.failing = True
    with pytest.raises(JournalFailedError, match="not synced"):
        Journal(tmp_path / "journal.db", sync=disk.sync)


WRITES_THAT_FAIL = """
import sys
from pathlib import Path
from agentkernel.journal.errors import JournalFullError
from agentkernel.journal.store import Journal, STANDS

journal = Journal(Path(sys.argv[1]))
journal.begin(1, "ann", b"")
refused = 0
for number in range(40):
    journal.append(1, "tokens", b"%d" % number)
    try:
        journal.commit()
    except JournalFullError as error:
        refused += 1
assert [body for _, kind, body in journal.replay() if kind != STANDS] == [b"%d" % n for n in range(40)]
journal.close()
print(refused)
"""


def test_writes_that_fail_are_tried_again_until_the_disk_can_be_written(tmp_path):
    assert int(traced(tmp_path, "pwrite64:error=EROFS:when=30..40", WRITES_THAT_FAIL)) > 0


def test_a_sync_that_fails_before_a_checkpoint_leaves_the_file_alone(tmp_path):
    disk, path = Disk(), tmp_path / "journal.db"
    journal = Journal(path, sync=disk.sync)
    journal.begin(1, "ann", b"")
    journal.commit()
    before, disk.failing = path.read_bytes(), True
    assert not journal._database.checkpoint()
    assert path.read_bytes() == before
    with pytest.raises(JournalFailedError):
        journal.commit()


SYNCED_BY_SQLITE = """
import os, sys
from pathlib import Path
from agentkernel.journal.errors import JournalFailedError
from agentkernel.journal.store import Journal

journal = Journal(Path(sys.argv[1]), sync=lambda descriptor: None)
journal.begin(1, "ann", b"")
journal.commit()
assert not journal._database.checkpoint()
try:
    journal.commit()
except JournalFailedError as error:
    os.write(1, str(error).encode())
os._exit(0)
"""


def test_a_sync_of_sqlite_s_own_that_fails_is_for_ever_too(tmp_path):
    said = traced(tmp_path, "fdatasync:error=EIO:when=3+", SYNCED_BY_SQLITE)
    assert said == f"{tmp_path / 'journal.db'}: disk I/O error"


def traced(folder, fault, program):
    """What a program prints that is given a journal's path, and a disk with that fault."""
    path, strace = folder / "journal.db", shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    Journal(path).close()
    command = [
        strace,
        "-f",
        "-o",
        os.devnull,
        "-e",
        f"inject={fault}",
        sys.executable,
        "-c",
        program,
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if "PTRACE" in done.stderr:
        pytest.skip("nothing can be traced here")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout

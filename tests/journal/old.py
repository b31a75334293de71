"""Writes `data/vN.sqlite`, a journal of the version that this program writes, once for each version.

    python -m tests.journal.old

What stands in it is `fill`'s, as far as that version had it; every later version must read the same from it.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from agentkernel.journal.migrations import MIGRATIONS
from agentkernel.journal.reading import Call
from agentkernel.journal.store import Journal
from agentkernel.journal.upkeep import Retention

DATA = Path(__file__).parent / "data"
CALL = Call(1, "calc", "digest", idempotent=True)


def fill(journal: Journal) -> None:
    """Something of everything there is."""
    journal.begin(1, "ann", b"gone")
    journal.ended(1, 50.0)
    journal.commit()
    while journal.maintain(60.0):
        pass
    journal.begin(2, "ann", b"ended")
    journal.output(2, 0, b"text of two")
    journal.ended(2, 100.0)
    journal.begin(3, "bob", b"dead")
    journal.append(3, "tokens", b"dead too")
    journal.compact(3, b"stands")
    journal.append(3, "tokens", b"more")
    journal.output(3, 0, b"some")
    journal.output(3, 4, b"thing")
    journal.intent(3, CALL)
    journal.result(3, 1, b"2")
    journal.intent(3, Call(2, "shell", "other", idempotent=False))
    journal.claim("bob", "key", 3, 1000.0)
    before, page, last = asyncio.run(journal.contents([b"before", b"page", b"last"]))
    journal.pages(3, {0: before})
    journal.pages(3, {0: page, 7: last})
    journal.account("ann", b"before")
    journal.account("ann", b"books")
    journal.commit()


def seen(journal: Journal) -> dict[str, object]:
    """All that `fill` left, as readers find it."""
    return {
        "replay": list(journal.replay()),
        "ended": [(each.pid, each.owner, each.ended, each.size) for each in journal.ended_processes()],
        "records": journal.records(2),
        "output": [journal.read_output(pid, 0, 100) for pid in (2, 3)],
        "calls": journal.calls(3),
        "key": journal.claimed("bob", "key", 1001.0),
        "next": journal.next_pid,
        "accounts": journal.accounts(),
        "memory": [
            (page, pids, journal.read_contents([content])) for content, page, pids in journal.held_pages()
        ],
    }


EXPECTED = {
    "replay": [(3, "stands", b"stands"), (3, "tokens", b"more")],
    "ended": [(2, "ann", 100.0, 11)],
    "records": [("stands", b"ended")],
    "output": [b"text of two", b"something"],
    "calls": [Call(1, "calc", "digest", True, b"2"), Call(2, "shell", "other", False)],
    "key": 3,
    "next": 4,
    "accounts": [("ann", b"books")],
    "memory": [(0, [3], [b"page"]), (7, [3], [b"last"])],
}
_WITHOUT = {1: {"memory": [], "accounts": []}, 2: {"accounts": []}}  # what a version has otherwise


def expected(version: int) -> dict[str, object]:
    """What `seen` finds in a journal of this version."""
    return EXPECTED | _WITHOUT.get(version, {})


def main() -> None:
    """Write it, unless it is there: a journal of an old version can't be made again."""
    path = DATA / f"v{len(MIGRATIONS)}.sqlite"
    if path.exists():
        raise SystemExit(f"{path} exists")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "journal.db"
        journal = Journal(made, retention=Retention(processes=0))
        fill(journal)
        journal.close()
        shutil.copyfile(made, path)


if __name__ == "__main__":
    main()

"""Which pages of memory every live process has, and whose contents nobody has any more: pure, but for `load`.

Rules
1. A content never changes, and has one number for ever. Several processes have it after a fork, all at the
   same page.
2. A content that nobody has is `unused` until it has been removed, and counts for nobody.
3. It holds what was given to the journal, committed or not: what is removed by it is removed in a later
   transaction than that which let go of it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping


class Pages:
    """The pages of all processes, by PID and page: numbers of contents."""

    def __init__(self) -> None:
        self.held: dict[int, dict[int, int]] = {}
        self.unused: deque[int] = deque()  # contents that may be removed
        self.leaving: dict[int, None] = {}  # PIDs of processes that have none any more, but rows
        self._next = 1
        self._holders: Counter[int] = Counter()  # of each content

    def __repr__(self) -> str:
        return f"<Pages contents={len(self._holders)} unused={len(self.unused)} leaving={len(self.leaving)}>"

    def numbers(self, count: int) -> list[int]:
        """Numbers for so many new contents."""
        self._next += count
        return list(range(self._next - count, self._next))

    def place(self, pid: int, pages: Mapping[int, int]) -> None:
        """The process has these contents at these pages from now on."""
        held = self.held.setdefault(pid, {})
        for page, content in pages.items():
            before = held.get(page)
            held[page] = content
            self._holders[content] += 1
            if before is not None:
                self._let_go(before)

    def fork(self, parent: int, child: int) -> None:
        """The child has what the parent has."""
        if pages := self.held.get(parent):
            self.place(child, pages)

    def release(self, pid: int, *, written: bool = True) -> None:
        """The process has no memory any more; what was `written` of it is to be removed."""
        pages = self.held.pop(pid, None)
        for content in pages.values() if pages else ():
            self._let_go(content)
        if pages and written:
            self.leaving[pid] = None

    def discard(self, contents: Iterable[int]) -> None:
        """Nobody will have these."""
        self.unused.extend(contents)

    def by_content(self) -> list[tuple[int, int, list[int]]]:
        """All that is held, as content, page, and PIDs in their order."""
        found: dict[int, tuple[int, int, list[int]]] = {}
        for pid in sorted(self.held):
            for page, content in self.held[pid].items():
                found.setdefault(content, (content, page, []))[2].append(pid)
        return sorted(found.values())

    def _let_go(self, content: int) -> None:
        self._holders[content] -= 1
        if not self._holders[content]:
            del self._holders[content]
            self.unused.append(content)


def load(db: sqlite3.Connection) -> Pages:
    """What the journal says of all pages."""
    pages = Pages()
    live = {row[0] for row in db.execute("SELECT pid FROM processes WHERE ended IS NULL")}
    found: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for pid, page, content in db.execute("SELECT pid, page, content FROM pages"):
        if pid in live:
            found[pid][page] = content
        else:
            pages.leaving[pid] = None
    for pid, held in found.items():
        pages.place(pid, held)
    contents = [row[0] for row in db.execute("SELECT id FROM contents ORDER BY id")]
    named = {content for held in found.values() for content in held.values()}
    pages.discard(content for content in contents if content not in named)
    pages.numbers(contents[-1] if contents else 0)
    return pages

"""The tools that work on files: text in, text out, each for one workspace.

Rules
1. Nothing is cut, skipped or replaced without a last line in brackets that says so.
2. What a tool looks at is bounded, as is what it answers.
3. Names come out as one line each, whatever they hold.
"""

from __future__ import annotations

import codecs
import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, field

from agentkernel.syscalls.confined import normal, one_line, shown
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.workspace import Workspace

READ = 65_536  # bytes
LISTED = 1_000  # names
MATCHES, LINE = 100, 200  # lines, and characters of each
SEARCHED, SEARCHED_BYTES = 2_000, 16 << 20  # files, with directories, and bytes of them all
_PATTERN = 255  # characters: no name is longer
_CHARACTER = 4  # bytes of UTF-8
_PIECE = 1 << 20  # bytes looked through at a stretch, while no other thread runs
_BEFORE = 80  # characters of a long line before what was searched for


def read_file(workspace: Workspace, path: str, offset: int = 0, limit: int = READ) -> str:
    """The file's text from the offset on: at most `limit` bytes, or a character, never more than `READ`."""
    data, size = workspace.read(path, offset, min(max(limit, _CHARACTER), READ))
    if offset > size:
        raise ToolError("BAD_ARGUMENTS", f"the file has {size} bytes")
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    end = offset + len(data)
    text = decoder.decode(data, final=end >= size)
    kept = end - len(decoder.getstate()[0])
    notes = []
    if kept < size:
        notes.append(f"[cut: {size} bytes in all, go on at offset {kept}]")
    if text.count("\ufffd") > data.count("\ufffd".encode()):
        notes.append("[not all of it is UTF-8 text: the rest is shown as \ufffd]")
    return _noted(text, notes)


def write_file(workspace: Workspace, path: str, content: str) -> str:
    """Make or replace the file."""
    data = _encoded(content)
    workspace.put(path, data)
    return f"ok: wrote {len(data)} bytes to {shown(normal(path))}"


def append_file(workspace: Workspace, path: str, content: str) -> str:
    """Add to the end of the file; it is made if there is none."""
    data = _encoded(content)
    workspace.append(path, data)
    return f"ok: appended {len(data)} bytes to {shown(normal(path))}"


def list_files(workspace: Workspace, path: str = ".", pattern: str = "") -> str:
    """The names in a directory, or those of them that match the pattern; directories end in a slash."""
    if "/" in pattern or len(pattern) > _PATTERN:
        raise ToolError("BAD_ARGUMENTS", "a pattern is of names in one folder; give the folder as path")
    entries, complete = workspace.listing(path)
    names = [
        entry.name + "/" * entry.folder
        for entry in entries
        if not pattern or fnmatch.fnmatchcase(entry.name, pattern)
    ]
    more = f"{len(names)}" if complete else f"more than {len(names)}"
    cut = len(names) > LISTED or not complete
    return _noted("\n".join(names[:LISTED]), [f"[cut: {more} names in all]"] if cut else [])


def search_text(workspace: Workspace, query: str, path: str = ".") -> str:
    """The lines that hold the text, of a file or of all files below a directory, as `path:line: text`."""
    if not query or "\n" in query:
        raise ToolError("BAD_ARGUMENTS", "the query is one line of text")
    search, wanted = _Search(), _encoded(query)
    for file in _files(workspace, path, search):
        try:
            data = workspace.get(file, SEARCHED_BYTES - search.size)
        except ToolError:  # large, a lock or a change just now; what was asked for itself is told
            if file == normal(path):
                raise
            search.skipped += 1
            continue
        search.size += len(data)
        if b"\0" in data:
            search.skipped += 1
        elif not search.add(file, data, wanted):
            break
    return search.answer()


def delete_file(workspace: Workspace, path: str) -> str:
    """Delete a file, or an empty directory."""
    workspace.delete(path)
    return f"ok: deleted {shown(normal(path))}"


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns is of the path, or of a directory that it is in.

    In a pattern, as in a path, `.` is the whole workspace; `*`, `?` and `[…]` stand for characters of one
    name and `**` for any number of names. A path or pattern that would leave the workspace matches nothing.
    """
    try:
        parts = _parts(path)
    except ToolError:
        return False
    for pattern in patterns:
        try:
            wanted = _parts(pattern)
        except ToolError:
            continue
        if _leads(wanted, parts):
            return True
    return False


def _parts(path: str) -> list[str]:
    path = normal(path)
    return [] if path == "." else path.split("/")


def _leads(pattern: list[str], parts: list[str]) -> bool:
    """Whether the pattern matches the first of these names, however many."""
    reached = _skipped(pattern, {0})  # how much of the pattern may be matched by the names so far
    for part in parts:
        if len(pattern) in reached:
            return True
        met = [at for at in reached if pattern[at] == "**" or fnmatch.fnmatchcase(part, pattern[at])]
        reached = _skipped(pattern, {at + (pattern[at] != "**") for at in met})
    return len(pattern) in reached


def _skipped(pattern: list[str], reached: set[int]) -> set[int]:
    """`**` stands for no name, too; two in a row are one."""
    for at, part in enumerate(pattern):
        if part == "**" and at in reached:
            reached.add(at + 1)
    return reached


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ToolError("BAD_ARGUMENTS", "the text is not Unicode") from None


def _noted(text: str, notes: list[str]) -> str:
    """The text with notes below it."""
    return "\n".join([*([text.removesuffix("\n")] if text else []), *notes]) if notes else text


def _files(workspace: Workspace, path: str, search: _Search) -> list[str]:
    """The files to look at: the one there, or all below."""
    try:
        found, search.complete = workspace.walk(path, SEARCHED)
    except ToolError as error:
        if error.code != "NOT_A_DIRECTORY":
            raise
        return [normal(path)]
    return [each.path for each in found if each.regular]


@dataclass(slots=True)
class _Search:
    """What has been found, and what hasn't been looked at."""

    lines: list[str] = field(default_factory=list)
    size: int = 0  # of the files looked at, in bytes
    skipped: int = 0
    complete: bool = True  # whether all files are known

    def add(self, path: str, data: bytes, wanted: bytes) -> bool:
        """Take the lines of a file that hold what is wanted, up to one too many; whether to go on."""
        number, counted, at = 1, 0, 0
        while len(self.lines) <= MATCHES:
            at = _found(data, wanted, at)
            if at < 0:
                return True
            begin, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
            end = end if end >= 0 else len(data)
            number += _newlines(data, counted, begin)
            self.lines.append(f"{one_line(path)}:{number}: {_cut(data, begin, at, end)}")
            counted, at = begin, end
        return False

    def answer(self) -> str:
        """The matches, with notes on what is missing."""
        notes = []
        if len(self.lines) > MATCHES:
            notes.append(f"[cut: more than {MATCHES} lines match]")
        elif not self.complete:
            notes.append("[cut: there are more files than are searched at once]")
        if self.skipped:
            notes.append(f"[not searched: {self.skipped} files that are large or no text]")
        return _noted("\n".join(self.lines[:MATCHES]) or "no matches", notes)


def _found(data: bytes, wanted: bytes, start: int) -> int:
    """Where it is first, from there on, or -1."""
    for at in range(start, len(data), _PIECE):
        found = data.find(wanted, at, at + _PIECE + len(wanted) - 1)
        if found >= 0:
            return found
    return -1


def _newlines(data: bytes, start: int, end: int) -> int:
    """How many there are."""
    return sum(data.count(b"\n", at, min(at + _PIECE, end)) for at in range(start, end, _PIECE))


def _cut(data: bytes, begin: int, at: int, end: int) -> str:
    """A line, or of a long one the part around the match, and how long it is."""
    first, last = max(begin, at - LINE * _CHARACTER), min(end, at + LINE * _CHARACTER)
    before = data[first:at].decode(errors="replace")
    line = before + data[at:last].decode(errors="replace").removesuffix("\r")
    if len(line) <= LINE and (first, last) == (begin, end):
        return line
    start = max(0, min(len(before) - _BEFORE, len(line) - LINE))
    left, right = start > 0 or first > begin, start + LINE < len(line) or last < end
    return f"{'…' * left}{line[start : start + LINE]}{'…' * right} [cut: {end - begin} bytes]"

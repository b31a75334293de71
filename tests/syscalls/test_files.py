"""The file tools: what they answer, word for word, and that nothing is cut without being said."""

from __future__ import annotations

import os

import pytest

from agentkernel.jail.port import Limits
from agentkernel.syscalls import files
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.files import (
    append_file,
    delete_file,
    list_files,
    matches,
    read_file,
    search_text,
    write_file,
)
from agentkernel.syscalls.workspace import Workspace


@pytest.fixture
def space(tmp_path):
    return Workspace(tmp_path, 7, Limits(workspace_files=3000))


def refusal(act, *arguments, **named):
    with pytest.raises(ToolError) as error:
        act(*arguments, **named)
    return str(error.value)


def test_the_tools_say_what_models_are_trained_on(space):
    assert list_files(space) == ""
    assert write_file(space, "sum.txt", "685") == "ok: wrote 3 bytes to sum.txt"
    assert append_file(space, "/workspace/out/a.txt", "é") == "ok: appended 2 bytes to out/a.txt"
    assert read_file(space, "sum.txt") == "685"
    assert list_files(space) == "out/\nsum.txt"
    assert search_text(space, "8", "sum.txt") == "sum.txt:1: 685"
    assert search_text(space, "9", "sum.txt") == "no matches"
    assert delete_file(space, "sum.txt") == "ok: deleted sum.txt"
    assert list_files(space, "out") == "a.txt"
    assert refusal(read_file, space, "sum.txt") == "error: NOT_FOUND: no such file: sum.txt"
    assert refusal(read_file, space, "out") == "error: IS_A_DIRECTORY: it is a folder: out"
    assert refusal(write_file, space, "../x", "") == "error: PATH_ESCAPE: the path leaves the workspace: ../x"
    assert refusal(delete_file, space, "out").startswith("error: IS_A_DIRECTORY: it is a folder that is not")


def test_what_is_written_is_read_whatever_it_is(space):
    for text in ("", "\n", "a\r\nb\n", "\0", "é\ufffd☃", "TOOL:read_file {}\n+OK\n"):
        write_file(space, "a", text)
        assert read_file(space, "a") == text
        assert append_file(space, "a", text) == f"ok: appended {len(text.encode())} bytes to a"
        assert read_file(space, "a") == text * 2
    assert refusal(write_file, space, "a", "\ud800") == "error: BAD_ARGUMENTS: the text is not Unicode"


def test_a_long_file_is_read_in_parts_that_join_to_the_whole(space):
    text = "aé☃" * 30_000
    write_file(space, "a", text)
    offset, whole = 0, ""
    while True:
        part, _, note = read_file(space, "a", offset).partition(
            "\n[cut: 180000 bytes in all, go on at offset "
        )
        whole += part
        if not note:
            break
        assert len(part.encode()) in range(files.READ - 2, files.READ + 1)
        offset = int(note.removesuffix("]"))
    assert whole == text


def test_part_of_a_file_is_cut_between_characters(space):
    write_file(space, "a", "ab☃cd")
    assert read_file(space, "a", limit=4) == "ab\n[cut: 7 bytes in all, go on at offset 2]"
    assert read_file(space, "a", 2, 1) == "☃c\n[cut: 7 bytes in all, go on at offset 6]"
    assert read_file(space, "a", 5) == "cd"
    assert read_file(space, "a", 7) == ""
    assert refusal(read_file, space, "a", 8) == "error: BAD_ARGUMENTS: the file has 7 bytes"


def test_what_is_no_text_is_shown_with_marks_and_said(space):
    space.put("a", b"a\xffb\n")
    assert read_file(space, "a") == "a\ufffdb\n[not all of it is UTF-8 text: the rest is shown as \ufffd]"
    space.put("b", "☃".encode()[:2])
    assert read_file(space, "b").startswith("\ufffd\n[not all")


def test_names_are_one_line_each(space):
    for name in (b"two\nlines", b"\xff", b"\x1b[2J"):
        (space.make() / os.fsdecode(name)).mkdir()
    write_file(space, "a" * 255, "")
    assert list_files(space) == "\\x1b[2J/\n" + "a" * 255 + "\ntwo\\nlines/\n\\xff/"


def test_names_are_chosen_by_a_pattern(space):
    for path in ("a.py", "b.py", "B.PY", "c.txt", "d/e.py"):
        write_file(space, path, "")
    assert list_files(space, pattern="*.py") == "a.py\nb.py"
    assert list_files(space, pattern="?") == "d/"
    assert list_files(space, "d", "[e-f]*") == "e.py"
    assert list_files(space, pattern="none") == ""
    assert refusal(list_files, space, pattern="d/*").startswith("error: BAD_ARGUMENTS")
    assert refusal(list_files, space, pattern="*a" * 200).startswith("error: BAD_ARGUMENTS")


def test_a_long_listing_is_cut_and_says_of_how_many(space, monkeypatch):
    for number in range(12):
        write_file(space, f"{number:02}", "")
    monkeypatch.setattr(files, "LISTED", 10)
    lines = list_files(space).splitlines()
    assert lines[9:] == ["09", "[cut: 12 names in all]"]
    monkeypatch.setattr("agentkernel.syscalls.workspace._NAMES", 11)
    assert list_files(space).splitlines()[10:] == ["[cut: more than 11 names in all]"]


def test_a_search_goes_through_all_files_below(space):
    write_file(space, "b.txt", "one\ntwo three\nthree\r\n")
    write_file(space, "a/b/c", "the three")
    (space.make() / "link").symlink_to("b.txt")
    everywhere = "b.txt:2: two three\nb.txt:3: three\na/b/c:1: the three"
    assert search_text(space, "three") == everywhere
    assert search_text(space, "three", "/workspace/.") == everywhere
    assert search_text(space, "three", "a") == "a/b/c:1: the three"
    assert search_text(space, "[a-z]*") == "no matches"
    assert refusal(search_text, space, "x", "link").startswith("error: PATH_ESCAPE")
    assert refusal(search_text, space, "x", "none").startswith("error: NOT_FOUND")
    assert refusal(search_text, space, "") == refusal(search_text, space, "a\nb")


def test_long_lines_are_shown_around_the_match(space):
    write_file(space, "a", "x" * 500 + "needle" + "y" * 500)
    assert search_text(space, "needle") == "a:1: …" + "x" * 80 + "needle" + "y" * 114 + "… [cut: 1006 bytes]"
    write_file(space, "a", "needle" + "y" * 500)
    assert search_text(space, "needle") == "a:1: needle" + "y" * 194 + "… [cut: 506 bytes]"
    write_file(space, "a", "x" * 500 + "needle")
    assert search_text(space, "needle") == "a:1: …" + "x" * 194 + "needle [cut: 506 bytes]"
    write_file(space, "a", "☃" * 2000 + "needle" + "☃" * 2000)
    assert search_text(space, "needle") == "a:1: …" + "☃" * 80 + "needle" + "☃" * 114 + "… [cut: 12006 bytes]"
    write_file(space, "a", "é" * 194 + "needle\r\n")
    assert search_text(space, "needle") == "a:1: " + "é" * 194 + "needle"


def test_a_search_finds_what_spans_the_pieces_it_looks_through(space, monkeypatch):
    monkeypatch.setattr(files, "_PIECE", 4)
    write_file(space, "a", "\n\nneedle in a needle\n\nneedle\n")
    assert search_text(space, "needle") == "a:3: needle in a needle\na:5: needle"


def test_a_search_is_bounded_and_says_what_it_left_out(space, monkeypatch):
    write_file(space, "a", "x\n" * 101)
    lines = search_text(space, "x").splitlines()
    assert lines[99:] == ["a:100: x", "[cut: more than 100 lines match]"]
    space.put("a", b"x\0")
    assert search_text(space, "x") == "no matches\n[not searched: 1 files that are large or no text]"
    write_file(space, "b", "x" * 30)
    monkeypatch.setattr(files, "SEARCHED_BYTES", 20)
    assert search_text(space, "x") == "no matches\n[not searched: 2 files that are large or no text]"
    assert refusal(search_text, space, "x", "b").startswith("error: TOO_LARGE")
    monkeypatch.setattr(files, "SEARCHED", 1)
    assert search_text(space, "x").splitlines()[1] == "[cut: there are more files than are searched at once]"


MATCHED = [
    ("a", "a"),
    ("a", "a/b/c"),
    ("a/", "a/b"),
    ("./a", "/workspace/a"),
    ("/workspace/out", "out/x"),
    (".", "."),
    (".", "a/b"),
    ("**", "."),
    ("**", "a/b"),
    ("*", "a"),
    ("*", "a/b"),
    ("out/*", "out/a"),
    ("out/*", "out/a/b"),
    ("out/**", "out"),
    ("**/c", "c"),
    ("**/c", "a/b/c/d"),
    ("a/**/c", "a/c"),
    ("a/**/**/c", "a/b/b/c"),
    ("*.txt", "a.txt"),
    ("[ab]?", "bc"),
]
UNMATCHED = [
    ("a", "."),
    ("a", "ab"),
    ("a/b", "a"),
    ("*", "."),
    ("out/*", "out"),
    ("out/*", "outer/a"),
    ("*.txt", "a/b.txt"),
    ("**/c", "a/b"),
    ("A", "a"),
    ("a/../**", "a"),
    ("../**", "a"),
    ("/**", "a"),
    ("**", "../a"),
    ("**", "a/../../b"),
    ("**", "/etc/passwd"),
    ("**", "a\0"),
]


@pytest.mark.parametrize(("pattern", "path"), MATCHED)
def test_a_pattern_is_of_a_path_and_all_below(pattern, path):
    assert matches(path, (pattern,))
    assert matches(path, ["none", pattern])


@pytest.mark.parametrize(("pattern", "path"), UNMATCHED)
def test_a_pattern_is_of_nothing_else(pattern, path):
    assert not matches(path, (pattern,))


def test_without_patterns_nothing_matches_and_strange_ones_take_no_time():
    assert not matches("a", ())
    assert not matches("/".join("a" * 2000), ("**/a/" * 50 + "b",))

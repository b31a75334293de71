"""How values are shown, in-process: what a table leaves out and what JSON keeps."""

from __future__ import annotations

import json

import pytest

from agentkernel.cli.output import printable, show_record, show_rows

ROWS = [{"id": "a\x1b]0;x", "n": 1.0, "more": "kept"}, {"id": "", "n": 20.5, "more": [1, 2]}]


def test_a_table_shows_its_columns_aligned_and_harmless(capsys):
    show_rows(ROWS, {"ID": "id", "N": "n"}, "table")
    assert capsys.readouterr().out == "ID         N\na\ufffd]0;x     1\n-       20.5\n"


def test_json_keeps_what_a_table_leaves_out(capsys):
    show_rows(ROWS, {"ID": "id"}, "json")
    assert json.loads(capsys.readouterr().out) == ROWS


def test_jsonl_is_one_line_each_whatever_they_hold(capsys):
    show_rows([{"text": "a\nb"}, {"text": "ü"}], {}, "jsonl")
    assert capsys.readouterr().out == '{"text": "a\\nb"}\n{"text": "ü"}\n'


def test_a_record_s_nested_keys_are_joined(capsys):
    show_record({"a": {"b": {"c": True}}, "d": {}, "e": [1, 2]}, "table")
    assert [line.split(None, 1) for line in capsys.readouterr().out.splitlines()] == [
        ["a.b.c", "true"],
        ["d", "-"],
        ["e", "1, 2"],
    ]


def test_a_long_value_is_neither_cut_nor_broken(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    show_rows([{"id": "x" * 5000}], {"ID": "id"}, "table")
    assert capsys.readouterr().out == "ID\n" + "x" * 5000 + "\n"


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x9b"])
def test_no_control_character_reaches_a_terminal(character):
    assert printable(f"a{character}b\n\t") == "a\ufffdb\n\t"


def test_markup_in_a_value_is_only_text(capsys):
    show_rows([{"id": "[red]a[/red]"}], {"ID": "id"}, "table")
    assert "[red]a[/red]" in capsys.readouterr().out

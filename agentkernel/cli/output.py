"""How results are shown: `--format table`, `json` or `jsonl`.

Rules
1. A table is for people: no borders, nothing cut (a terminal wraps long lines), coloured on a terminal only.
2. `json` is one document, `jsonl` one line a row; both hold all the kernel said, a table what fits.
3. What comes from models and files is shown without control characters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import click

Format = Literal["table", "json", "jsonl"]
Row = Mapping[str, Any]
_WIDE = 100_000  # columns: no line is as long
_CONTROLS = {i: "\ufffd" for i in (*range(32), *range(127, 160)) if chr(i) not in "\n\t"}


def format_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--format`; the command gets it as `shape`."""
    return click.option(
        "--format",
        "shape",
        type=click.Choice(["table", "json", "jsonl"]),
        default="table",
        show_default=True,
        help="How to print the result.",
    )(command)


def printable(text: str) -> str:
    """The text without what would steer a terminal; line ends and tabs stay."""
    return text.translate(_CONTROLS)


def show_rows(rows: Sequence[Row], columns: Mapping[str, str], shape: Format) -> None:
    """Print rows; `columns` maps a table's headings to the keys below them."""
    if shape == "json":
        click.echo(_pretty(list(rows)))
    elif shape == "jsonl":
        for row in rows:
            show_line(row)
    else:
        _table([[row.get(key, "") for key in columns.values()] for row in rows], list(columns))


def show_record(record: Row, shape: Format) -> None:
    """Print one thing: a line a key in a table, nested keys joined by dots."""
    if shape == "json":
        click.echo(_pretty(record))
    elif shape == "jsonl":
        show_line(record)
    else:
        _table([[key, value] for key, value in _flat(record)], [])


def show_line(record: Row) -> None:
    """Print one thing as a line of JSON, at once."""
    click.echo(json.dumps(record, ensure_ascii=False))


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _flat(record: Row, prefix: str = "") -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for key, value in record.items():
        nested = isinstance(value, Mapping) and value
        out += _flat(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)]
    return out


def _table(rows: list[list[Any]], headings: list[str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slower to import than all the rest
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, show_header=bool(headings), header_style="bold")
    for i, heading in enumerate(headings or ["", ""]):
        numbers = bool(headings and rows) and all(isinstance(row[i], int | float) for row in rows)
        table.add_column(heading, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console(file=sys.stdout, width=_WIDE, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().rstrip("\n").split("\n"):
        click.echo(line.rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "-"
    return printable("-" if value in ("", None, {}) else str(value)).rstrip()

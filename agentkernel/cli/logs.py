"""`agentkernel logs`: the kernel's log file, for people or as it is.

Rules
1. Lines are read from the file the kernel keeps and its older ones; no kernel need run.
2. A PID is one of the kernel that ran last: PIDs begin at 1 with each.
3. `--follow` goes on where the file was renamed and begun anew.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import click

from agentkernel import config as configuration
from agentkernel.cli.output import Format, format_option, printable, show_line, show_rows
from agentkernel.cli.target import config_option

_POLL_SECONDS = 0.25
_COLOURS = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}
_FIRST = ("timestamp", "level", "part", "event")  # the rest follows as key=value

Event = dict[str, Any]


@click.command(short_help="Show the kernel's log.")
@click.argument("pid", type=int, required=False)
@click.option("-n", "--lines", type=click.IntRange(0), default=100, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come.")
@click.option("--state", help="The kernel's state directory.")
@config_option
@format_option
def logs(
    *, pid: int | None, lines: int, follow: bool, state: str | None, file: Path | None, shape: Format
) -> None:
    """Show the last lines of the kernel's log, or those about process PID."""
    if follow and shape == "json":
        raise click.UsageError("what goes on is no one document: use --format jsonl with --follow")
    settings, _ = configuration.load({"state": state}, file)
    path = settings.log_file
    if not path.exists():
        raise click.ClickException(f"{path}: no log; name the kernel's state directory by --state")
    with path.open(errors="replace") as current:
        past = _last(_events(_history(path, current)), pid, lines)
        if shape == "json":
            show_rows(list(past), {}, shape)
            return
        for event in past:
            _show(event, shape)
        for event in _events(_following(path, current)) if follow else ():
            if pid in (None, event.get("pid")):
                _show(event, shape)


def _history(path: Path, current: TextIO) -> Iterator[str]:
    """All lines there are, the oldest first."""
    older = path.parent.glob(f"{path.name}.[0-9]*")
    for old in sorted(older, key=lambda file: int(file.suffix[1:]), reverse=True):
        yield from old.read_text(errors="replace").splitlines()
    yield from current.read().splitlines()


def _following(path: Path, file: TextIO) -> Iterator[str]:
    """Lines as they come, for ever."""
    unfinished = ""
    while True:
        renamed = _renamed(path, file)  # asked first: then what is read next is the last of it
        *whole, unfinished = (unfinished + file.read()).split("\n")
        yield from whole
        if renamed:
            file.close()
            file = path.open(errors="replace")
        elif not whole:
            time.sleep(_POLL_SECONDS)


def _renamed(path: Path, file: TextIO) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:  # renamed, and the new one not begun yet
        return False


def _last(events: Iterable[Event], pid: int | None, count: int) -> deque[Event]:
    """The last events, of the process where one is named."""
    last: deque[Event] = deque(maxlen=count)
    for event in events:
        if pid is not None and event.get("event") == "listening":
            last.clear()
        if pid in (None, event.get("pid")):
            last.append(event)
    return last


def _events(lines: Iterable[str]) -> Iterator[Event]:
    """The lines' events; a line that is no JSON object is left out."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _show(event: Event, shape: Format) -> None:
    if shape == "jsonl":
        show_line(event)
        return
    when, level, part, what = (str(event.get(key, "")) for key in _FIRST)
    rest = " ".join(f"{key}={value}" for key, value in event.items() if key not in _FIRST)
    mark = click.style(f"{level:<7}", fg=_COLOURS.get(level))
    text = printable(f"{part:<8} {what}  {rest}").rstrip()
    click.echo(f"{when[:19]}Z {mark} {text}")

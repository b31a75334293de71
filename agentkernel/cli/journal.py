"""`agentkernel journal`: what the kernel keeps of its processes, read from its file while no kernel runs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from agentkernel import config as configuration
from agentkernel.cli.output import Format, format_option, show_line, show_rows
from agentkernel.cli.target import config_option

if TYPE_CHECKING:
    import sqlite3

_COLUMNS = {"KIND": "kind", "BODY": "body"}


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--state` and `--config`."""
    return click.option("--state", help="The kernel's state directory.")(config_option(command))


@click.group()
def journal() -> None:
    """Look at what the kernel keeps of its processes."""


@journal.command(short_help="Look for faults.")
@_options
def check(state: str | None, file: Path | None) -> None:
    """Check that the journal is as it must be, changing nothing; exit code 1 where it is not."""
    from agentkernel.journal import errors, opening, verification  # noqa: PLC0415 - sqlite3 is for these alone

    path = _journal_file(state, file)
    remedy = "move it away, with its -wal, to begin anew"
    try:
        with opening.read_only(path) as db:
            report = verification.verify(db)
    except errors.JournalCorruptError as error:
        raise click.ClickException(f"{error}; {remedy}") from error
    if report.faults:
        more = f" (and {len(report.faults) - 1} more)" if len(report.faults) > 1 else ""
        raise click.ClickException(f"{path}: {report.faults[0]}{more}; {remedy}")
    click.echo(
        f"{path}: sound, version {report.version}: processes {report.live} live, {report.ended} ended;"
        f" {report.records} records, {report.output} bytes of output, {report.memory} of memory"
    )


@journal.command(short_help="Make it as small as it can be.")
@_options
def compact(state: str | None, file: Path | None) -> None:
    """Remove what no process needs any more, and give its room back."""
    from agentkernel.journal import shrinking  # noqa: PLC0415

    path = _journal_file(state, file)
    before, after = shrinking.shrink(path)
    click.echo(f"{path}: {before} bytes before, {after} after")


@journal.command(short_help="Print all of it as lines of JSON.")
@_options
def export(state: str | None, file: Path | None) -> None:
    """Print every process, record, call, output, page of memory and key, a JSON object each."""
    from agentkernel.journal import opening  # noqa: PLC0415

    with opening.read_only(_journal_file(state, file)) as db:
        for entry in _entries(db):
            show_line(entry)


@journal.command(short_help="Show a process's records, or its output.")
@click.argument("pid", type=int)
@click.option("--text", is_flag=True, help="Write its output instead, byte for byte.")
@_options
@format_option
def dump(pid: int, text: bool, state: str | None, file: Path | None, shape: Format) -> None:
    """Show the records of process PID, the oldest first."""
    from agentkernel.journal import opening, reading  # noqa: PLC0415

    path = _journal_file(state, file)
    with opening.read_only(path) as db:
        standing = next((each for each in reading.standings(db) if each.pid == pid), None)
        if standing is None:
            raise click.ClickException(f"{path}: no process {pid}")
        if text:
            click.echo(reading.output(db, pid, 0, standing.size), nl=False)
            return
        rows = [{"kind": kind, "body": _readable(body)} for kind, body in reading.records(db, pid)]
    if shape == "table":
        rows = [{**row, "body": msgspec.json.encode(row["body"]).decode()} for row in rows]
    show_rows(rows, _COLUMNS, shape)


def _entries(db: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    from agentkernel.journal import reading  # noqa: PLC0415

    standings = reading.standings(db)
    for each in standings:
        yield {"is": "process", **msgspec.structs.asdict(each)}
    for pid, kind, body in reading.all_records(db):
        yield {"is": "record", "pid": pid, "kind": kind, "body": _readable(body)}
    for each in standings:
        for call in reading.calls(db, each.pid):
            result = None if call.result is None else _text(call.result)
            yield {"is": "call", "pid": each.pid, **msgspec.structs.asdict(call), "result": result}
        if each.size:
            yield {"is": "output", "pid": each.pid, "text": _text(reading.output(db, each.pid, 0, each.size))}
        for page, content in reading.pages(db, each.pid):
            yield {"is": "page", "pid": each.pid, "page": page, "content": _text(content)}
    for owner, key, pid, expires in reading.claims(db):
        yield {"is": "key", "owner": owner, "key": key, "pid": pid, "expires": expires}


def _readable(body: bytes) -> Any:
    """What a body says, bytes in it as Base64; a body that can't be read is Base64 as a whole."""
    try:
        return msgspec.to_builtins(msgspec.msgpack.decode(body), str_keys=True)
    except (ValueError, TypeError):
        return {"base64": base64.b64encode(body).decode()}


def _text(data: bytes) -> Any:
    """UTF-8 as text, and what is none as Base64."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _journal_file(state: str | None, file: Path | None) -> Path:
    from agentkernel.journal.opening import FILE_NAME  # noqa: PLC0415

    settings, _ = configuration.load({"state": state}, file)
    path = Path(settings.state) / FILE_NAME
    if not path.is_file():
        raise click.ClickException(f"{path}: no journal; name the kernel's state directory by --state")
    return path

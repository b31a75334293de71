"""`agentkernel workspace`: the files of a process."""

from __future__ import annotations

from pathlib import Path

import click

from agentkernel.cli.output import Format, format_option, show_record, show_rows
from agentkernel.cli.target import Target, target_options
from agentkernel.client.requests import put_file


@click.group()
def workspace() -> None:
    """List, fetch and write the files of a process."""


@workspace.command(short_help="List files.")
@click.argument("pid")
@click.argument("path", default=".")
@target_options
@format_option
def ls(target: Target, pid: str, path: str, shape: Format) -> None:
    """List what is in the workspace of PID, or in its directory PATH; also when the process has ended."""
    with target.client() as client:
        listed = client.call("LIST_FILES", f"{pid} {path}")
    rows = listed["files"]
    if shape == "table":
        rows = [{**row, "name": f"{row['name']}/", "size": ""} if row["folder"] else row for row in rows]
    show_rows(rows, {"NAME": "name", "BYTES": "size"}, shape)
    if not listed["complete"]:
        click.echo(f"agentkernel: {path} holds more than these", err=True)


@workspace.command(short_help="Fetch a file.")
@click.argument("pid", type=int)
@click.argument("path")
@click.argument("to", type=click.Path(path_type=Path), required=False, metavar="[FILE]")
@target_options
def get(target: Target, pid: int, path: str, to: Path | None) -> None:
    """Write the file PATH of PID's workspace to FILE, or to standard output."""
    with target.client() as client:
        data = client.get_file(pid, path).data
    if to is None:
        click.echo(data, nl=False)
    else:
        to.write_bytes(data)


@workspace.command(short_help="Write a file.")
@click.argument("pid", type=int)
@click.argument("source", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE")
@click.argument("path", required=False)
@target_options
@format_option
def put(target: Target, pid: int, source: Path, path: str | None, shape: Format) -> None:
    """Copy FILE (`-` is standard input) into PID's workspace, as PATH or under its own name."""
    if path is None and str(source) == "-":
        raise click.UsageError("what comes from standard input needs a PATH")
    with click.open_file(str(source), "rb") as opened:
        data = opened.read()
    try:
        request = put_file(pid, path or source.name, data)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    with target.client() as client:
        show_record(client.call(request.verb, request.payload), shape)

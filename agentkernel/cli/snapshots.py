"""`agentkernel snapshots`: named contexts; `run --from NAME` begins with one."""

from __future__ import annotations

import click

from agentkernel.cli.output import Format, format_option, show_record, show_rows
from agentkernel.cli.target import Target, target_options

_COLUMNS = {"NAME": "name", "TOKENS": "tokens", "MODEL": "model", "SHARE": "share", "OWNER": "owner"}


@click.group()
def snapshots() -> None:
    """Keep contexts of processes under names."""


@snapshots.command("list", short_help="List your snapshots.")
@target_options
@format_option
def list_(target: Target, shape: Format) -> None:
    """List your snapshots, or as an administrator everybody's."""
    with target.client() as client:
        show_rows(client.call("LIST_SNAPSHOTS")["snapshots"], _COLUMNS, shape)


@snapshots.command(short_help="Keep a process's context.")
@click.argument("pid")
@click.argument("name")
@target_options
@format_option
def take(target: Target, pid: str, name: str, shape: Format) -> None:
    """Keep the context of PID, as it stands, under NAME."""
    with target.client() as client:
        show_record(client.call("SNAPSHOT", f"{pid} {name}"), shape)


@snapshots.command(short_help="Forget a snapshot.")
@click.argument("name")
@target_options
@format_option
def drop(target: Target, name: str, shape: Format) -> None:
    """Forget your snapshot NAME; processes that began with it go on."""
    with target.client() as client:
        show_record(client.call("DROP_SNAPSHOT", name), shape)

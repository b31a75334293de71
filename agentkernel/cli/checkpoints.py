"""`agentkernel checkpoint` and `restore`: processes saved under names; `checkpoints` lists and drops them."""

from __future__ import annotations

import click

from agentkernel.cli.output import Format, format_option, show_record, show_rows
from agentkernel.cli.target import Target, target_options

_COLUMNS = {"NAME": "name", "PIDS": "pids", "TOKENS": "tokens", "BYTES": "bytes", "OWNER": "owner"}


@click.command(short_help="Save processes under a name.")
@click.argument("pid")
@click.argument("name", default="")
@target_options
@format_option
def checkpoint(target: Target, pid: str, name: str, shape: Format) -> None:
    """Save PID, or `all`, under NAME, in the place of what had that name."""
    with target.client() as client:
        show_record(client.call("CHECKPOINT", f"{pid} {name}"), shape)


@click.command(short_help="Bring saved processes back.")
@click.argument("name")
@click.option("--as-new", is_flag=True, help="Under PIDs that nobody had, beside those that live.")
@target_options
@format_option
def restore(target: Target, name: str, shape: Format, *, as_new: bool) -> None:
    """Bring back the processes of the checkpoint NAME; `attach` reads them."""
    with target.client() as client:
        rows = client.call("RESTORE", f"{name} {'as new' if as_new else ''}")["processes"]
        show_rows(rows, {"PID": "pid", "WAS": "was"}, shape)


@click.group()
def checkpoints() -> None:
    """What is saved of processes."""


@checkpoints.command("list", short_help="List your checkpoints.")
@target_options
@format_option
def list_(target: Target, shape: Format) -> None:
    """List your checkpoints, or as an administrator everybody's."""
    with target.client() as client:
        show_rows(client.call("LIST_CHECKPOINTS")["checkpoints"], _COLUMNS, shape)


@checkpoints.command(short_help="Forget a checkpoint.")
@click.argument("name")
@target_options
@format_option
def drop(target: Target, name: str, shape: Format) -> None:
    """Forget your checkpoint NAME."""
    with target.client() as client:
        show_record(client.call("DROP_CHECKPOINT", name), shape)

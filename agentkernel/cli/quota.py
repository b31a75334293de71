"""The command `quota`: limits, and what is used of them."""

from __future__ import annotations

import click

from agentkernel.cli.output import Format, format_option, show_record
from agentkernel.cli.target import Target, target_options


@click.command(short_help="Show or change limits.")
@click.argument("who")
@click.argument("limits", nargs=-1, metavar="[LIMIT=N]...")
@target_options
@format_option
def quota(target: Target, who: str, limits: tuple[str, ...], shape: Format) -> None:
    """Show what WHO, a PID or @OWNER, may use and has used, after changing the limits given.

    A limit is max_ or soft_ and tokens, syscalls, prompt_tokens, wall_secs, cpu_secs or kv_byte_secs; `none`
    takes one away.
    """
    with target.client() as client:
        if limits:
            client.call("SET_QUOTA", f"{who} {','.join(limits)}")
        show_record(client.call("GET_QUOTA", who), shape)

"""`agentkernel tools`: what models can call; `answer`, `approve` and `deny`: what they ask of people."""

from __future__ import annotations

import json
from pathlib import Path

import click

from agentkernel.cli.output import Format, format_option, show_record, show_rows
from agentkernel.cli.target import Target, target_options

_COLUMNS = {
    "NAME": "name",
    "CAPABILITY": "capability",
    "COST": "cost",
    "JAILED": "jailed",
    "SOURCE": "source",
    "DESCRIPTION": "description",
}


@click.group()
def tools() -> None:
    """List, add and remove what models can call."""


@tools.command(short_help="List the tools.")
@target_options
@format_option
def ls(target: Target, shape: Format) -> None:
    """List what models can call, by name."""
    with target.client() as client:
        show_rows(client.call("LIST_TOOLS")["tools"], _COLUMNS, shape)


@tools.command(short_help="Show a tool's schema and limits.")
@click.argument("name")
@target_options
@format_option
def info(target: Target, name: str, shape: Format) -> None:
    """Show what the tool NAME takes, and what bounds it."""
    with target.client() as client:
        tool = client.call("TOOL_INFO", name)
    if shape == "table":
        tool["schema"] = json.dumps(tool["schema"], ensure_ascii=False)
    show_record(tool, shape)


@tools.command(short_help="Add a tool.")
@click.argument("source", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE")
@target_options
@format_option
def register(target: Target, source: Path, shape: Format) -> None:
    """Add the tool that FILE describes, in YAML or JSON (`-` reads standard input)."""
    with click.open_file(str(source), "rb") as opened:
        description = opened.read()
    with target.client() as client:
        show_record(client.call("REGISTER_TOOL", description), shape)


@tools.command(short_help="Forget a tool.")
@click.argument("name")
@target_options
@format_option
def rm(target: Target, name: str, shape: Format) -> None:
    """Forget the tool NAME that was registered."""
    with target.client() as client:
        show_record(client.call("UNREGISTER_TOOL", name), shape)


@click.command(short_help="Answer what a process asks.")
@click.argument("pid", type=int)
@click.argument("text")
@target_options
@format_option
def answer(target: Target, pid: int, text: str, shape: Format) -> None:
    """Answer with TEXT what the process PID asks; `why PID` says what that is."""
    with target.client() as client:
        show_record(client.call("ANSWER", {"pid": pid, "prompt": text}), shape)


@click.command(short_help="Let a process make a call.")
@click.argument("pid")
@click.argument("call")
@target_options
@format_option
def approve(target: Target, pid: str, call: str, shape: Format) -> None:
    """Let the process PID make its call number CALL; `why PID` says what it is."""
    with target.client() as client:
        show_record(client.call("APPROVE", f"{pid} {call}"), shape)


@click.command(short_help="Refuse a process a call.")
@click.argument("pid")
@click.argument("call")
@click.argument("reason", default="")
@target_options
@format_option
def deny(target: Target, pid: str, call: str, reason: str, shape: Format) -> None:
    """Refuse the process PID its call number CALL; the model is told the REASON."""
    with target.client() as client:
        show_record(client.call("DENY", f"{pid} {call} {reason}"), shape)

"""Commands on processes that exist, and on the kernel as a whole: ps, status, mem, wait and the signals.

Rules
1. A command that takes several PIDs does each; what fails is said line by line, and the exit code is
   that of the last failure.
"""

from __future__ import annotations

import click

from agentkernel.cli.failure import exit_code, say
from agentkernel.cli.output import Format, Row, format_option, printable, show_record, show_rows
from agentkernel.cli.target import Target, target_options
from agentkernel.client import ClientError

_PS_COLUMNS = {
    "PID": "pid",
    "STATE": "state",
    "WAIT": "wait",
    "PRIORITY": "priority",
    "NICE": "nice",
    "PROMPT": "prompt_tokens",
    "TOKENS": "tokens_generated",
    "SECONDS": "elapsed_secs",
    "MODEL": "model",
    "OWNER": "owner",
    "ASKS": "asks",
}
_ASKED = 60  # characters that `ps` shows of a question
_UNDONE = 1  # exit code for a process that didn't run to its own end, or not as before


@click.command(short_help="List live processes.")
@target_options
@format_option
def ps(target: Target, shape: Format) -> None:
    """List the live processes you may see, oldest first; `why PID` says all that one asks."""
    with target.client() as client:
        rows = client.call("PS")["processes"]
    if shape == "table":
        rows = [{**row, "asks": _line(row["asks"])} for row in rows]
    show_rows(rows, _PS_COLUMNS, shape)


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _ASKED else f"{line[:_ASKED]}…"


@click.command(short_help="Show the kernel's state, or a process's.")
@click.argument("pid", required=False)
@target_options
@format_option
def status(target: Target, pid: str | None, shape: Format) -> None:
    """Show the state of the kernel, or of the process PID, also when it has lately ended."""
    with target.client() as client:
        show_record(client.call("STATUS", pid or ""), shape)


@click.command(short_help="Say what a process is about, or waits for.")
@click.argument("pid")
@target_options
def why(target: Target, pid: str) -> None:
    """Say in one line what the process PID is about, or what it waits for."""
    with target.client() as client:
        click.echo(printable(client.call("WHY", pid)["why"]))


@click.command(short_help="Run an ended process again, and compare.")
@click.argument("pid")
@target_options
@format_option
@click.pass_context
def replay(context: click.Context, target: Target, pid: str, shape: Format) -> None:
    """Run the ended process PID again from the journal; the exit code is 1 when a token is another."""
    with target.client(timeout=None) as client:
        found = client.call("REPLAY", pid)
    show_record(found, shape)
    context.exit(_UNDONE if found["differs_at"] is not None else 0)


@click.command(short_help="Show what memory and contexts take.")
@click.argument("pid", required=False)
@target_options
@format_option
def mem(target: Target, pid: str | None, shape: Format) -> None:
    """Show what memory and contexts take, of all processes or of PID."""
    with target.client() as client:
        show_record(client.call("MEM", pid or ""), shape)


@click.command(short_help="Wait until a process has ended.")
@click.argument("pid")
@click.option("--timeout", type=click.FloatRange(0), help="Seconds to wait at most.")
@target_options
@format_option
@click.pass_context
def wait(context: click.Context, target: Target, pid: str, timeout: float | None, shape: Format) -> None:
    """Wait for PID and say how it ended; the exit code is 0 when it ran to its own end."""
    limit = "" if timeout is None else f" {timeout:.6f}"
    with target.client(timeout=None) as client:
        ended = client.call("WAIT", f"{pid}{limit}")
    show_record(ended, shape)
    context.exit(0 if ended["state"] == "Done" else _UNDONE)


def _signal(verb: str, help_: str) -> click.Command:
    """The command of a verb that takes a PID and answers with what became of it."""

    @click.command(verb.lower(), help=help_)
    @click.argument("pids", metavar="PID...", nargs=-1, required=True)
    @target_options
    @format_option
    @click.pass_context
    def command(context: click.Context, target: Target, pids: tuple[str, ...], shape: Format) -> None:
        rows: list[Row] = []
        failure = 0
        with target.client() as client:
            for pid in pids:
                try:
                    rows.append(client.call(verb, pid))
                except ClientError as error:
                    say(error)
                    failure = exit_code(error)
        if rows:
            show_rows(rows, {key.upper(): key for key in rows[0] if key != "mode"}, shape)
        context.exit(failure)

    return command


kill = _signal("KILL", "End processes at their next step.")
term = _signal("TERM", "End processes at the end of their sentence.")
suspend = _signal("SUSPEND", "Take processes off the processor until they are resumed.")

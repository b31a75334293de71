"""`agentkernel audit`: the log of what models called, read from its file; no kernel need run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from agentkernel import config as configuration
from agentkernel.cli.output import Format, format_option, show_line, show_rows
from agentkernel.cli.target import config_option

_HEADINGS = "seq time owner pid call tool outcome ms backend"
_COLUMNS = {name.upper(): name for name in _HEADINGS.split()}


def _state_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--state", help="The kernel's state directory.")(command)


@click.group()
def audit() -> None:
    """Read the log of what models called."""


@audit.command(short_help="Look for changed or missing lines.")
@_state_option
@config_option
def verify(state: str | None, file: Path | None) -> None:
    """Check that every line is as it was written; exit code 1 where one is not."""
    from agentkernel.syscalls import verification  # noqa: PLC0415 - it locks files as only Unix does

    path = _log_file(state, file)
    report = verification.verify(path)
    if not report.ok:
        first, others = report.faults[0], len(report.faults) - 1
        more = f" (and {others} more)" if others else ""
        raise click.ClickException(f"{path}:{first.line}: {first.reason}{more}")
    torn = f", {report.torn} torn by a crash" if report.torn else ""
    click.echo(f"{path}: {report.calls} call{'' if report.calls == 1 else 's'}, unchanged{torn}")


@audit.command(short_help="Show the calls.")
@click.option("--pid", type=int, metavar="N", help="Only those of process N.")
@_state_option
@config_option
@format_option
def show(pid: int | None, state: str | None, file: Path | None, shape: Format) -> None:
    """Show what was called, by whom and how it ended, the oldest first."""
    from agentkernel.syscalls import verification  # noqa: PLC0415

    entries = verification.show(_log_file(state, file), pid)
    if shape == "jsonl":
        for entry in entries:
            show_line(entry)
    else:
        rows = ({"outcome": entry.get("event"), **entry} for entry in entries)
        show_rows(list(rows if shape == "table" else entries), _COLUMNS, shape)


def _log_file(state: str | None, file: Path | None) -> Path:
    settings, _ = configuration.load({"state": state}, file)
    path = settings.audit_file
    if not path.parent.is_dir():
        raise click.ClickException(f"{path}: no log; name the kernel's state directory by --state")
    return path

"""`agentkernel config`: the settings in force, and where each comes from."""

from __future__ import annotations

from pathlib import Path

import click

from agentkernel import config as configuration
from agentkernel.cli.output import Format, format_option, show_rows
from agentkernel.cli.target import config_option


@click.group()
def config() -> None:
    """Show the settings."""


@config.command(short_help="Show every setting.")
@click.option("--origin", is_flag=True, help="Also where each value comes from.")
@config_option
@format_option
def show(origin: bool, file: Path | None, shape: Format) -> None:
    """Show every setting after merging environment, files and defaults."""
    settings, origins = configuration.load(file=file)
    rows = [{"key": key, "value": value} for key, value in configuration.flatten(settings).items()]
    columns = {"KEY": "key", "VALUE": "value"}
    if origin:
        rows = [{**row, "origin": origins.get(row["key"], "default")} for row in rows]
        columns["ORIGIN"] = "origin"
    show_rows(rows, columns, shape)

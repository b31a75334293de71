"""`agentkernel models`: the catalogue, what is loaded, and downloads."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import msgspec

from agentkernel import config as configuration
from agentkernel import hub
from agentkernel.cli import extra
from agentkernel.cli.output import Format, format_option, show_record, show_rows
from agentkernel.cli.target import Target, config_option, target_options
from agentkernel.client.replies import Event

_COLUMNS = {
    "": "mark",
    "ID": "id",
    "FAMILY": "family",
    "QUANT": "quantization",
    "CONTEXT": "context_train",
    "SIZE": "size",
    "STATE": "state",
}


@click.group()
def models() -> None:
    """List, load and fetch models."""


@models.command("list", short_help="List the catalogue.")
@target_options
@format_option
def list_(target: Target, shape: Format) -> None:
    """List the models in the kernel's models directory; `*` marks the selected one."""
    with target.client() as client:
        data = client.call("LIST_MODELS")
    rows = data["models"]
    if shape == "table":
        rows = [_described(row, data["selected_model_id"]) for row in rows]
    show_rows(rows, _COLUMNS, shape)


@models.command(short_help="Show what a model file says of itself.")
@click.argument("id_", metavar="[ID]", default="")
@target_options
@format_option
def info(target: Target, id_: str, shape: Format) -> None:
    """Show what the file of model ID, or of the selected one, says of itself."""
    with target.client() as client:
        data = client.call("MODEL_INFO", id_)
    if shape == "table":
        data["chat_template"] = f"{len(data['chat_template'])} characters"
    show_record(data, shape)


@models.command(short_help="Load a model.")
@click.argument("selector", metavar="[ID|PATH]", default="")
@target_options
@format_option
def load(target: Target, selector: str, shape: Format) -> None:
    """Load the model ID or PATH, or the selected one; new processes run on it."""
    show_record(asyncio.run(_load(target, selector)), shape)


@models.command(short_help="Unload a model.")
@click.argument("id_", metavar="[ID]", default="")
@target_options
@format_option
def unload(target: Target, id_: str, shape: Format) -> None:
    """Unload the model ID, or the loaded one, if no process uses it."""
    with target.client() as client:
        show_record(client.call("UNLOAD", id_), shape)


@models.command(short_help="Choose what load takes by default.")
@click.argument("id_", metavar="ID")
@target_options
@format_option
def select(target: Target, id_: str, shape: Format) -> None:
    """Choose the model ID as what `load` takes by default."""
    with target.client() as client:
        show_record(client.call("SELECT_MODEL", id_), shape)


@models.command(short_help="Fetch a model from the Hugging Face Hub.")
@click.argument("reference", metavar="hf://ORG/REPO[:QUANT]")
@click.option("--models", "directory", help="Directory of GGUF files.")
@config_option
@format_option
def pull(reference: str, directory: str | None, file: Path | None, shape: Format) -> None:
    """Fetch a GGUF file from the Hugging Face Hub into the models directory.

    Without QUANT it is Q4_K_M, or the repository's only file. Downloads resume; the hub's cache, token
    and HF_HUB_OFFLINE hold.
    """
    extra.require(extra.HUB_MODULES)
    config, _ = configuration.load({"models": directory}, file)
    pulled = hub.pull(hub.Reference.parse(reference), Path(config.models), hub.HuggingFace())
    show_record({"id": pulled.id, "path": str(pulled.path), "file_bytes": pulled.size}, shape)


def _described(row: dict[str, Any], selected: str) -> dict[str, Any]:
    """A row of the catalogue for people."""
    size = f"{row['file_bytes'] / 1e6:,.1f} MB"
    state = "loaded" if row["loaded"] else row["error"]
    return {**row, "mark": "*" if row["id"] == selected else " ", "size": size, "state": state}


async def _load(target: Target, selector: str) -> dict[str, Any]:
    async with target.async_client() as client:
        events = await client.events()
        showing = asyncio.create_task(_show_progress(events, selector or "model"))
        try:
            loaded: dict[str, Any] = msgspec.to_builtins(await client.load(selector))
        finally:
            showing.cancel()
            await asyncio.wait([showing])
        return loaded


async def _show_progress(events: AsyncIterator[Event], name: str) -> None:
    """A bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.progress import Progress  # noqa: PLC0415

    bar = Progress(console=Console(stderr=True), transient=True)
    with contextlib.suppress(asyncio.CancelledError), bar:
        task = bar.add_task(f"Loading {name}", total=1.0)
        async for event in events:
            if event.kind == "load_progress":
                bar.update(task, completed=event.fields["fraction"])

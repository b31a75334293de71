"""What only the `server` extra installs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

import click

INSTALL = "pip install 'agentkernel[server]'"
KERNEL_MODULES = ("uvloop", "structlog", "psutil", "llama_cpp", "zstandard", "jsonschema")
HUB_MODULES = ("huggingface_hub",)


def absent(modules: Iterable[str]) -> list[str]:
    """Those of the modules that are not installed."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def require(modules: Iterable[str]) -> None:
    """Raise ClickException with the command that installs what is missing."""
    if missing := absent(modules):
        raise click.ClickException(f"{', '.join(missing)} missing; run: {INSTALL}")

"""`agentkernel serve`: the kernel as a program.

Rules
1. Standard output gets one line, `ready HOST:PORT`, when clients are accepted and the model is loaded.
2. Flags that are not given leave the setting to environment, files and defaults.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from agentkernel import config as configuration
from agentkernel.cli import extra
from agentkernel.config import Config

# Option, setting, help.
_SETTINGS: tuple[tuple[str, str, str], ...] = (
    ("--host", "server.host", "Address to listen on."),
    ("--port", "server.port", "TCP port; 0 takes a free one."),
    ("--models", "models", "Directory of GGUF files."),
    ("--workspace", "workspace", "Directory of the processes' files."),
    ("--state", "state", "Directory of tokens and logs."),
    ("--model", "model", "Model to load, by id or path; '' for none."),
    ("--text-lists", "server.text_lists", "LIST_MODELS without HELLO: text or json."),
    ("--token-file", "auth.token_file", "File of tokens; made when missing."),
    ("--log-format", "log.format", "auto, json or console."),
    ("--log-level", "log.level", "debug, info, warning or error."),
)


def _setting_options(command: Callable[..., None]) -> Callable[..., None]:
    for option, key, help_ in reversed(_SETTINGS):
        command = click.option(option, key.replace(".", "__"), help=help_)(command)
    return command


@click.command(short_help="Start the kernel.")
@_setting_options
@click.option("--auth/--no-auth", "auth__required", default=None, help="Whether clients need a token.")
@click.option("--unsafe-host-tools", is_flag=True, help="Run tools without a jail if none can be had.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file.")
@click.option("--hints/--no-hints", default=None, help="Print things to try; default: on a terminal.")
def serve(file: Path | None, hints: bool | None, unsafe_host_tools: bool, **flags: Any) -> None:
    """Start the kernel and serve until SIGTERM, Ctrl-C or SHUTDOWN."""
    extra.require(extra.KERNEL_MODULES)
    from agentkernel import daemon  # noqa: PLC0415 - only the server extra can

    settings = {key.replace("__", "."): value for key, value in flags.items()}
    config, origins = configuration.load(settings, file)
    config = msgspec.structs.replace(config, model=daemon.default_model(config, origins))
    show_hints = sys.stdout.isatty() if hints is None else hints

    def announce(host: str, port: int) -> None:
        click.echo(f"ready {_address(host, port)}")
        if show_hints:
            click.echo(_hints(config, host, port))

    daemon.serve(config, announce, host_tools=unsafe_host_tools)


def _address(host: str, port: int) -> str:
    """As clients are given it; a Unix socket has no port."""
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _hints(config: Config, host: str, port: int) -> str:
    """Three things to type, as they work from here."""
    at = "" if (host, port) == ("127.0.0.1", 6380) else f" --host {host} --port {port}"
    first = "EXEC me - Tell me a story"
    if config.auth.required:
        at += f" --token-file {config.token_file}"
        first = f"AUTH me - and a token of {config.token_file}"
    program = _program()
    return (
        f"Try:  nc {host} {port}      and there:  {first}\n"
        f"      {program} run{at} 'Tell me a story'\n"
        f"      {program} ps{at}"
    )


def _program() -> str:
    """How this program is called from here."""
    own = Path(sys.argv[0])
    if own.name == "__main__.py":
        return f"{sys.executable} -m agentkernel.cli"
    return own.name if shutil.which(own.name) else os.path.relpath(own)

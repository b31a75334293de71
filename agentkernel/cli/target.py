"""Which kernel a command talks to: flags, then the configuration.

Rules
1. The default token file is the local kernel's own: its token goes to a loopback address only.
2. A token file that is named and can't be read is an error; the default one may be missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from agentkernel import config as configuration
from agentkernel.client import AsyncClient, Client
from agentkernel.config import Config, ConfigError, is_loopback

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a kernel listens, and how to reach it
_TIMEOUT = 60.0  # seconds without a byte where an answer is due at once


@dataclass(frozen=True, slots=True)
class Target:
    """A kernel's address and the token for it."""

    host: str
    port: int
    token: str

    def client(self, timeout: float | None = _TIMEOUT) -> Client:
        """A client that is not connected yet."""
        return Client(self.host, self.port, token=self.token, timeout=timeout)

    def async_client(self) -> AsyncClient:
        """A client that is not connected yet."""
        return AsyncClient(self.host, self.port, token=self.token)


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--config`; the command gets it as `file`."""
    return click.option(
        "--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="Settings file."
    )(command)


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--host`, `--port`, `--token-file` and `--config`; the command gets a `Target` first."""

    @click.option("--host", help="The kernel's address.")
    @click.option("--port", metavar="N", help="The kernel's port.")
    @click.option("--token-file", metavar="FILE", help="File that holds your token.")
    @config_option
    @functools.wraps(command)
    def wrapper(
        host: str | None, port: str | None, token_file: str | None, file: Path | None, **others: Any
    ) -> Any:
        flags = {"server.host": host, "server.port": port, "auth.token_file": token_file}
        config, _ = configuration.load(flags, file)
        return command(find_target(config), **others)

    return wrapper


def find_target(config: Config) -> Target:
    """The kernel that these settings name. Raises ConfigError."""
    host = _ANY.get(config.server.host, config.server.host)
    named = bool(config.auth.token_file)
    token = _token(config.token_file, required=named) if named or is_loopback(host) else ""
    return Target(host, config.server.port, token)


def _token(path: Path, *, required: bool) -> str:
    """The first token of a file of `NAME TOKEN [admin]` lines, or of a token alone."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        if required:
            raise ConfigError(f"auth.token_file: {path}: {error.strerror}") from error
        return ""
    for line in lines:
        if line.strip() and not line.startswith("#"):
            return line.split()[:2][-1]
    return ""

"""What each failure says, in one line on standard error, and the exit code it gives."""

from __future__ import annotations

import errno

import click

from agentkernel.client import ClientError, UnreachableError
from agentkernel.config import ConfigError
from agentkernel.errors import ERRORS, KernelError
from agentkernel.hub import PullError

Failure = ClientError | ConfigError | KernelError | PullError | OSError

# sysexits.h
_UNAVAILABLE, _SOFTWARE, _SYSTEM, _TEMPORARY, _FORBIDDEN, _CONFIG = 69, 70, 71, 75, 77, 78
_CLIENT_CODES = {
    "CONNECTION_FAILED": _UNAVAILABLE,
    "CONNECTION_LOST": _UNAVAILABLE,
    "REPLY_TIMEOUT": _TEMPORARY,
}
_SYSTEM_CODES = {errno.EADDRINUSE: _UNAVAILABLE, errno.EACCES: _FORBIDDEN, errno.EPERM: _FORBIDDEN}


def exit_code(failure: Failure) -> int:
    """What the command line ends with."""
    if isinstance(failure, ConfigError):
        return _CONFIG
    if isinstance(failure, OSError):
        return _SYSTEM_CODES.get(failure.errno or 0, _SYSTEM)
    if isinstance(failure, PullError):
        return failure.exit_code
    if failure.code in ERRORS:
        return ERRORS[failure.code].exit_code
    return _CLIENT_CODES.get(failure.code, _SOFTWARE)


def say(failure: Failure) -> None:
    """Print it."""
    text = str(failure)
    if isinstance(failure, ClientError) and failure.code in _CLIENT_CODES:
        text = failure.message
    if isinstance(failure, UnreachableError):
        text += "; start one: agentkernel serve"
    click.echo(f"agentkernel: {' '.join(text.split())}", err=True)

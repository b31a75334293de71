"""The command line's root: its commands, and what each way of ending prints and exits with.

Rules
1. Results go to standard output, everything else to standard error; an error is one line.
2. Exit codes are those of `agentkernel.errors`; 2 is a wrong command line, 130 Ctrl-C.
3. No command imports the kernel but `serve`.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from agentkernel import __version__
from agentkernel.cli.serve import serve
from agentkernel.config import ConfigError
from agentkernel.errors import KernelError

_INTERRUPTED, _CONFIG, _UNAVAILABLE, _SYSTEM, _FORBIDDEN = 130, 78, 69, 71, 77  # sysexits.h
_SYSTEM_CODES = {errno.EADDRINUSE: _UNAVAILABLE, errno.EACCES: _FORBIDDEN, errno.EPERM: _FORBIDDEN}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def root() -> None:
    """Run language-model processes on a kernel of your own."""


root.add_command(serve)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program `agentkernel`; ends with `SystemExit`."""
    try:
        status = root.main(arguments, "agentkernel", standalone_mode=False)
    except click.Abort:
        status = _INTERRUPTED
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (ConfigError, KernelError, OSError) as error:
        message, status = _explain(error)
        click.echo(f"agentkernel: {' '.join(message.split())}", err=True)
    sys.exit(status)


def _explain(error: ConfigError | KernelError | OSError) -> tuple[str, int]:
    """What an error says in one line, and the exit code."""
    if isinstance(error, ConfigError):
        return str(error), _CONFIG
    if isinstance(error, KernelError):
        return str(error), error.spec.exit_code
    return str(error), _SYSTEM_CODES.get(error.errno or 0, _SYSTEM)

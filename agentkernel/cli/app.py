"""The command line's root: its commands, and how a failure ends it.

Rules
1. Results go to standard output, everything else to standard error; a failure is one line.
2. Exit codes are those of `agentkernel.errors`; 2 is a wrong command line, 130 Ctrl-C.
3. Only `serve` imports the kernel.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from agentkernel import __version__
from agentkernel.cli.audit import audit
from agentkernel.cli.bench import bench
from agentkernel.cli.checkpoints import checkpoint, checkpoints, restore
from agentkernel.cli.doctor import doctor
from agentkernel.cli.failure import exit_code, say
from agentkernel.cli.journal import journal
from agentkernel.cli.logs import logs
from agentkernel.cli.models import models
from agentkernel.cli.processes import kill, mem, ps, replay, status, suspend, term, wait, why
from agentkernel.cli.quota import quota
from agentkernel.cli.run import attach, output, resume, run
from agentkernel.cli.serve import serve
from agentkernel.cli.settings import config
from agentkernel.cli.snapshots import snapshots
from agentkernel.cli.streaming import INTERRUPTED
from agentkernel.cli.tools import answer, approve, deny, tools
from agentkernel.cli.workspace import workspace
from agentkernel.client import ClientError
from agentkernel.config import ConfigError
from agentkernel.errors import KernelError
from agentkernel.hub import PullError

_USAGE = 2
_COMMANDS = (
    *(serve, run, attach, output, ps, wait, kill, term, suspend, resume, answer, approve, deny),
    *(quota, checkpoint, restore, checkpoints, models, snapshots, tools, workspace, status, why, mem, logs),
    *(audit, journal, replay, doctor, config, bench),
)


class _InOrder(click.Group):
    """A group that lists its commands as they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def root() -> None:
    """Run language-model processes on a kernel of your own."""


for _command in _COMMANDS:
    root.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program `agentkernel`; ends with `SystemExit`."""
    _prepare_output()
    try:
        code = root.main(arguments, "agentkernel", standalone_mode=False)
    except click.Abort:
        code = INTERRUPTED
    except click.UsageError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        click.echo(f"agentkernel: {error.message}", err=True)
        code = error.exit_code
    except (ClientError, ConfigError, KernelError, PullError, OSError) as failure:
        say(failure)
        code = exit_code(failure)
    except UnicodeEncodeError:
        click.echo("agentkernel: an argument is not UTF-8", err=True)
        code = _USAGE
    sys.exit(code)


def _prepare_output() -> None:
    """Let printing never fail for a closed standard output or a character that it has no bytes for."""
    sys.stdout = sys.stdout or io.StringIO()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")

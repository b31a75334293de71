"""`agentkernel bench`: the source tree's benchmarks, as `make bench` runs them.

Rules
1. What is measured is the tree that this program runs from, wherever it is called; an installed package has
   no benchmarks.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

import agentkernel
from agentkernel.cli import extra

_TREE = Path(agentkernel.__file__).resolve().parent.parent
_MODULES = ("gguf", "llama_cpp", "numpy", "psutil", "uvloop")
_UNAVAILABLE = 69  # sysexits.h


class NoBenchmarksError(click.ClickException):
    """There is nothing to run."""

    exit_code = _UNAVAILABLE


@click.command(short_help="Measure this kernel; from a source tree.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--smoke", is_flag=True, help="A minute's run with few samples.")
@click.pass_context
def bench(context: click.Context, *, names: tuple[str, ...], smoke: bool) -> None:
    """Run the benchmarks NAME, or all, and write a report into the source tree's reports folder.

    `make bench` runs the same, and first sets up what the kernel is compared with.
    """
    if not (_TREE / "benchmarks" / "__main__.py").is_file():
        text = "benchmarks are part of the source tree, and this is an installed package"
        raise NoBenchmarksError(f"{text}: clone the repository, and run make bench there")
    if missing := extra.absent(_MODULES):
        raise NoBenchmarksError(f"{', '.join(missing)} missing; run: make bench")
    command = [sys.executable, "-m", "benchmarks", *names, *(["--smoke"] if smoke else [])]
    context.exit(subprocess.run(command, cwd=_TREE, check=False).returncode)  # noqa: S603 - a module of ours, and names

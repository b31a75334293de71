"""`agentkernel bench` runs the source tree's benchmarks, or says where they are."""

from __future__ import annotations

from pathlib import Path

import agentkernel
from tests.cli.conftest import CommandLine


def test_bench_runs_the_benchmarks_of_the_source_tree_wherever_it_is_called(ak: CommandLine) -> None:
    """They refuse a name they don't have, and name those they have; their exit status is the command's."""
    done = ak("bench", "nothing-of-the-kind", "--smoke")
    assert done.returncode == 2, done.stderr
    assert "no benchmark 'nothing-of-the-kind'; there are " in done.stderr
    assert "churn" in done.stderr


def test_an_installed_package_says_where_benchmarks_are(ak: CommandLine, tmp_path: Path) -> None:
    """Without them it is one line, and the exit code of what is not to be had."""
    package = tmp_path / "site" / "agentkernel"
    package.mkdir(parents=True)
    for part in Path(agentkernel.__file__).parent.iterdir():
        if part.name == "__init__.py":  # by which the tree is found
            (package / part.name).write_bytes(part.read_bytes())
        else:
            (package / part.name).symlink_to(part)
    done = ak("bench", PYTHONPATH=str(package.parent))
    assert done.returncode == 69
    what = "benchmarks are part of the source tree, and this is an installed package"
    assert done.stderr == f"agentkernel: {what}: clone the repository, and run make bench there\n"

"""Jails by WebAssembly: Python code alone, in an interpreter that has no system calls."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentkernel.errors import KernelError
from agentkernel.jail import wasm
from agentkernel.jail.owners import jail_uid
from agentkernel.jail.port import Limits
from tests.jail.conftest import Jailed

pytestmark = pytest.mark.parametrize("jailed", ["wasm"], indirect=True, scope="module")


@pytest.fixture
def secret(workspace: Path) -> Iterator[Path]:
    """A file of the host beside the workspace, that everybody may read."""
    path = Path("/var/tmp") / f"{workspace.name}.secret"
    path.write_text("s3cret")
    path.chmod(0o644)
    yield path
    path.unlink()


def test_it_passes_its_own_canaries_for_every_trust(jailed: Jailed) -> None:
    found = jailed.spawner.verdict
    assert found
    assert found.canaries >= 20
    assert found.faults == ()
    assert {"trusted", "standard"} <= set(found.levels)


def test_code_has_arguments_environment_and_input_and_its_end_is_told(jailed: Jailed) -> None:
    code = "import os, sys\nprint(sys.argv[1:], os.environ['A'], sys.stdin.read())\nsys.exit(3)"
    done = jailed.python(code, "x", "y", environment={"A": "b"}, stdin=b"and input")
    assert (done.status, done.killed, done.output) == (3, "", b"['x', 'y'] b and input\n")


def test_a_fault_is_told_as_python_does(jailed: Jailed) -> None:
    done = jailed.python("def f():\n    return 1 / 0\nf()")
    assert done.status == 1
    assert done.output.startswith(b'Traceback (most recent call last):\n  File "<string>", line 3')
    assert done.output.endswith(b"ZeroDivisionError: division by zero\n")


def test_files_of_the_workspace_are_the_jails_users(jailed: Jailed, workspace: Path) -> None:
    (workspace / "a").write_text("text")
    done = jailed.python("open('b', 'w').write(open('a').read() * 2)", workspace=str(workspace), owner=7)
    assert (done.status, done.output) == (0, b"")
    assert (workspace / "b").read_text() == "texttext"
    assert (workspace / "b").stat().st_uid == (jail_uid(7) or os.geteuid())


def test_a_workspace_that_is_closed_can_be_read_alone(jailed: Jailed, workspace: Path) -> None:
    (workspace / "a").write_text("text")
    code = "print(open('a').read())\ntry: open('a', 'w')\nexcept OSError: print('refused')"
    done = jailed.python(code, workspace=str(workspace), writable=False)
    assert done.output == b"text\nrefused\n"
    assert (workspace / "a").read_text() == "text"


@pytest.mark.parametrize("way", ["{0}", "../../../../../../..{0}", "link", "folder/{1}"])
def test_no_way_leads_out_of_the_workspace(jailed: Jailed, workspace: Path, secret: Path, way: str) -> None:
    (workspace / "link").symlink_to(secret)
    (workspace / "folder").symlink_to(secret.parent)
    code = "import sys\ntry: print(open(sys.argv[1]).read())\nexcept OSError: print('refused')"
    done = jailed.python(code, way.format(secret, secret.name), workspace=str(workspace))
    assert done.output == b"refused\n"


def test_programs_that_are_no_python_are_refused(jailed: Jailed) -> None:
    with pytest.raises(KernelError, match=r"ESANDBOX: wasm: .*Python"):
        jailed.run("true")


@pytest.mark.parametrize(
    ("code", "killed"),
    [
        ("while True: pass", "wall"),
        ("while True: print('x' * 999)", "output"),
        ("for n in range(8): open(str(n), 'wb').write(bytes(1 << 20))\nwhile True: pass", "workspace"),
    ],
)
def test_limits_end_it(jailed: Jailed, workspace: Path, code: str, killed: str) -> None:
    done = jailed.python(code, workspace=str(workspace), limits=Limits(wall_s=3, workspace_mb=4))
    assert done.killed == killed


def test_memory_ends_at_its_limit(jailed: Jailed) -> None:
    done = jailed.python("held = []\nwhile True: held.append(bytes(1 << 20))", limits=Limits(memory_mb=96))
    assert b"MemoryError" in done.output
    assert done.memory_kb <= (96 + wasm.Wasm.memory_mb) << 10

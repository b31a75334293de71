"""`agentkernel serve` where it can't have its journal: a line that says why, and the journal as it was."""

from __future__ import annotations

import pytest

from agentkernel.client import Client
from agentkernel.journal.opening import FILE_NAME, wal_of
from agentkernel.journal.store import Journal
from tests.cli.test_serve import NOTHING_LOADED, one_line
from tests.small_disk import run_on_a_disk_of

_BAD_SETTINGS = 78

READ_ONLY = """
import subprocess
from pathlib import Path
from agentkernel.client import Client
from tests.conftest import command_line, start_kernel

folder, models = Path({folder!r}), Path({models!r})
kernel = start_kernel(folder, models)
with Client(kernel.host, kernel.port) as client:
    pid = client.exec("go", on_disconnect="detach", max_tokens=3).pid
kernel.process.kill()
kernel.process.wait()

def refused(*arguments):
    before = {{path.name: path.read_bytes() for path in kernel.state.glob("journal*")}}
    assert "journal.db" in before
    asked = command_line("serve", "--port", "0", "--models", str(models), "--state", str(kernel.state))
    done = subprocess.run(asked + ["--workspace", str(folder / "workspace")], capture_output=True, text=True)
    assert before == {{path.name: path.read_bytes() for path in kernel.state.glob("journal*")}}
    assert done.stdout == ""
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("agentkernel: ")]

journal = str(kernel.state / "journal.db")
subprocess.run(["mount", "--bind", journal, journal], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", journal], check=True)
assert refused() == (78, [f"agentkernel: {{journal}}: Read-only file system"]), refused()
subprocess.run(["umount", journal], check=True)
subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
code, (line,) = refused()
assert code == 71 and "Read-only file system: " in line, (code, line)
subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
kernel = start_kernel(folder, models)
with Client(kernel.host, kernel.port) as client:
    assert client.wait(pid).tokens == 3
assert kernel.stop() == 0
"""


def test_what_is_read_only_is_refused_untouched_and_served_once_it_can_be_written(models_dir, tmp_path):
    program = READ_ONLY.format(folder=str(tmp_path), models=str(models_dir))
    run_on_a_disk_of(16 << 20, tmp_path, program)


def test_a_journal_that_another_kernel_has_is_left_to_it(ak, make_kernel):
    kernel = make_kernel(*NOTHING_LOADED)
    done = ak("serve", "--port", "0", "--state", str(kernel.state), *NOTHING_LOADED)
    line = one_line(done, _BAD_SETTINGS)
    assert line.endswith(f"{FILE_NAME}: in use by another program; a kernel that runs?")
    with Client(kernel.host, kernel.port) as client:
        client.ping()


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda path: path.write_bytes(b"x" * 5000), "corrupt: file is not a database; look at it: "),
        (lambda path: path.write_bytes(b""), "not a journal"),
        (lambda path: (path.unlink(), path.mkdir()), f"{FILE_NAME}: Is a directory"),
        (lambda path: path.rename(wal_of(path)), "its journal is gone; move it away too, or bring that back"),
    ],
    ids=["corrupt", "empty", "a folder", "gone"],
)
def test_what_is_no_journal_is_refused_in_one_line_and_untouched(ak, tmp_path, damage, text):
    path = tmp_path / "state" / FILE_NAME
    Journal(path).close()
    damage(path)
    before = [(each.name, each.is_file() and each.read_bytes()) for each in path.parent.glob("journal*")]
    done = ak("serve", "--port", "0", "--state", str(path.parent), *NOTHING_LOADED)
    assert text in one_line(done, _BAD_SETTINGS)
    assert before == [
        (each.name, each.is_file() and each.read_bytes()) for each in path.parent.glob("journal*")
    ]

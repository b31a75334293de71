"""What a job is given, what it may do, and what it is told to have been ended by."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentkernel.errors import KernelError
from agentkernel.jail.owners import jail_uid
from agentkernel.jail.port import Limits
from tests.jail.conftest import BACKENDS, Jailed, has_sentry

pytestmark = pytest.mark.parametrize("jailed", BACKENDS, indirect=True, scope="module")


def test_python_code_gets_arguments_input_and_environment(jailed: Jailed) -> None:
    code = "import os, sys; print(sys.argv[1:], input(), os.environ['A'], os.getcwd(), __name__)"
    done = jailed.python(code, "p", "q", stdin=b"in\n", environment={"A": "b"})
    assert (done.status, done.killed) == (0, "")
    assert done.output == b"['p', 'q'] in b /workspace __main__\n"


def test_a_program_gets_its_environment_and_what_every_program_needs(jailed: Jailed) -> None:
    done = jailed.run("env", environment={"A": "b"})
    assert sorted(done.output.split()) == [
        b"A=b", b"HOME=/workspace", b"LANG=C.UTF-8", b"PATH=/usr/bin:/bin", b"PWD=/workspace",
    ]  # fmt: skip


def test_variables_of_any_name_are_the_programs(jailed: Jailed) -> None:
    given = {"a.b": "1", "+a": "2", "a": "3", "PATH": "/bin"}
    done = jailed.run("env", environment=given)
    assert {f"{name}={value}".encode() for name, value in given.items()} < set(done.output.split())


def test_an_error_shows_the_codes_own_lines_only(jailed: Jailed) -> None:
    done = jailed.python("def f():\n    return 1 / 0\nf()")
    assert done.status == 1
    assert done.output.decode().splitlines()[:3] == [
        "Traceback (most recent call last):",
        '  File "<string>", line 3, in <module>',
        '  File "<string>", line 2, in f',
    ]


@pytest.mark.parametrize(
    ("code", "status"), [("exit(3)", 3), ("import sys; sys.exit(4)", 4), ("quit()", 0), ("x = (", 1)]
)
def test_python_code_ends_with_the_status_it_asks_for(jailed: Jailed, code: str, status: int) -> None:
    assert jailed.python(code).status == status


_AT_THE_END = {
    "a file": "f = open('a', 'w'); f.write('kept')",
    "a file in a circle": "f = [open('a', 'w')]; f[0].write('kept'); f.append(f)",
    "a file that a function holds": "def f(file=open('a', 'w')): file.write('kept')\nf()",
    "a file of the interpreter's": "import sys; sys.kept = open('a', 'w'); sys.kept.write('kept')",
    "a file of another module": "import json; json.kept = open('a', 'w'); json.kept.write('kept')",
    "a file as output": "import sys; sys.stdout = open('a', 'w'); print('kept', end='')",
    "a last word": "class C:\n def __del__(self): open(name, 'w').write('kept')\nname, c = 'a', C()",
    "a function for the end": "import atexit; atexit.register(lambda: open('a', 'w').write('kept'))",
    "a thread": "import threading as t, time as c\n"
    "t.Thread(target=lambda: (c.sleep(0.1), open('a', 'w').write('kept'))).start()",
}


@pytest.mark.parametrize("code", _AT_THE_END.values(), ids=list(_AT_THE_END))
def test_what_is_left_to_the_end_of_a_program_is_done_then(
    jailed: Jailed, workspace: Path, code: str
) -> None:
    done = jailed.python(code, workspace=str(workspace))
    assert (done.status, done.output) == (0, b"")
    assert (workspace / "a").read_text() == "kept"


def test_a_program_without_output_streams_ends_as_it_would_anywhere(jailed: Jailed) -> None:
    assert jailed.python("import sys; sys.stdout = sys.stderr = None").status == 0
    assert jailed.python("import sys; sys.stdout.close()").status == 0


def test_a_signal_is_a_negative_status(jailed: Jailed) -> None:
    assert jailed.run("sh", "-c", "kill -11 $$").status == -11


def test_a_program_that_is_not_there_or_can_not_be_run_has_the_shells_status(jailed: Jailed) -> None:
    missing, folder = jailed.run("nonesuch"), jailed.run("/usr")
    assert missing.status == 127
    assert b"nonesuch: No such file or directory" in missing.output
    assert folder.status == 126
    assert b"/usr: Permission denied" in folder.output


_SPIN, _FORKS = "while True: pass", "import os\nos.fork(); os.fork()\n"
_ONE_FILE = "import signal; signal.signal(25, signal.SIG_DFL)\nopen('a', 'wb').truncate(11 << 20)"
_FILES = "for i in range({}): open(str(i), 'wb').write(bytes({}))\n"


@pytest.mark.parametrize(
    ("code", "limits", "reason"),
    [
        (_SPIN, Limits(wall_s=0.2), "wall"),
        (_SPIN, Limits(wall_s=120, cpu_s=0.3), "cpu"),
        (_FORKS + _SPIN, Limits(wall_s=120, cpu_s=0.4), "cpu"),
        ("while True: print('x' * 100)", Limits(output_bytes=1000), "output"),
        (_ONE_FILE, Limits(workspace_mb=10), "workspace"),
        (_FILES.format(300, 0) + _SPIN, Limits(workspace_files=100), "workspace"),
        (_FILES.format(101, 0), Limits(workspace_files=100), "workspace"),
        (_FILES.format(30, 1 << 20), Limits(workspace_mb=2), "workspace"),
    ],
)
def test_a_job_that_is_over_a_limit_says_which(
    jailed: Jailed, workspace: Path, code: str, limits: Limits, reason: str
) -> None:
    done = jailed.python(code, limits=limits, workspace=str(workspace))
    assert done.killed == reason
    assert len(done.output) <= limits.output_bytes


def test_a_job_tells_what_it_took(jailed: Jailed) -> None:
    done = jailed.python("b = bytearray(40 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1")
    assert done.ms > 0
    assert done.cpu_ms > 0
    assert done.memory_kb == 0 or 40 << 10 < done.memory_kb < 100 << 10


def test_files_that_the_kernel_made_are_the_jails_and_the_other_way_round(
    jailed: Jailed, workspace: Path
) -> None:
    (workspace / "folder").mkdir(mode=0o700)
    (workspace / "folder" / "a").write_text("old")
    (workspace / "folder" / "a").chmod(0o600)
    job = jailed.job(
        code="open('folder/a', 'a').write(' new'); open('folder/b', 'w').write('b')", workspace=str(workspace)
    )
    done = jailed.runner.run(jailed.spawner.run(job))
    assert done.output == b""
    assert (workspace / "folder" / "a").read_text() == "old new"
    uid = os.getuid() if jail_uid(job.owner) is None else jail_uid(job.owner)
    assert {path.stat().st_uid for path in (workspace, *workspace.rglob("*"))} == {uid}


def test_without_a_workspace_there_is_an_empty_one_in_memory(jailed: Jailed) -> None:
    code = "import os; print(os.listdir()); open('a', 'w').write('x'); print(os.path.getsize('a'))"
    assert jailed.python(code).output == b"[]\n1\n"


def test_a_workspace_that_is_closed_to_a_job_can_be_read_by_it_alone(jailed: Jailed, workspace: Path) -> None:
    (workspace / "a").write_text("text")
    code = "print(open('a').read())\ntry: open('a', 'w')\nexcept OSError as e: print(e.strerror)"
    for given in ({"writable": False}, {"trust": "untrusted"}):
        done = jailed.python(code, workspace=str(workspace), **given)
        why = b"Permission denied" if has_sentry(jailed) else b"Read-only file system"
        assert done.output == b"text\n" + why + b"\n"
    assert (workspace / "a").read_text() == "text"


def test_an_untrusted_job_has_half_the_limits(jailed: Jailed) -> None:
    code = "import resource as r; print(r.getrlimit(r.RLIMIT_CPU)[0], r.getrlimit(r.RLIMIT_FSIZE)[0] >> 20)"
    assert jailed.python(code, trust="untrusted", limits=Limits()).output == b"4 8\n"


def test_a_workspace_over_its_limit_is_closed_to_programs(jailed: Jailed, workspace: Path) -> None:
    for number in range(12):
        (workspace / str(number)).touch()
    code = "import os; os.unlink('0')"
    done = jailed.python(code, workspace=str(workspace), limits=Limits(workspace_files=10))
    assert b"Read-only file system" in done.output
    assert (workspace / "0").exists()


@pytest.mark.parametrize("workspace_", ["link", "file", "gone"])
def test_a_workspace_that_is_no_folder_is_refused(jailed: Jailed, workspace: Path, workspace_: str) -> None:
    (workspace / "real").mkdir()
    (workspace / "link").symlink_to("real")
    (workspace / "file").touch()
    with pytest.raises(KernelError, match="ESANDBOX"):
        jailed.run("true", workspace=str(workspace / workspace_))


def test_no_bytes_of_a_job_become_options_of_its_jail(jailed: Jailed) -> None:
    for environment in ({"A": "b\0--ro-bind\0/etc\0/etc2"}, {"A\0--ro-bind\0/etc\0/etc2\0--setenv\0B": "c"}):
        done = jailed.run("ls", "/", environment=environment)
        assert (done.status, b"NUL" in done.output) == (126, True)
    assert b"etc2" not in jailed.run("--ro-bind", "/etc", "/etc2", "ls", "/").output

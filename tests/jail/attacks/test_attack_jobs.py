"""Jobs that are hostile themselves, in arguments, environment, input, limits or workspace, end defined.

Rules
1. A job ends with an outcome or is refused with ESANDBOX; the jail serves the next one.
2. What a job is given reaches the program in the jail and nothing that starts it.
"""

from __future__ import annotations

import msgspec
import pytest

from agentkernel.errors import KernelError
from agentkernel.jail.port import Job, Outcome
from tests.jail.attacks.attack import QUICK
from tests.jail.attacks.scene import Scene

_LAUNCHERS = (b"libcap", b"bwrap", b"runc", b"crun")
_BLOCK = "x" * (1 << 20)
_PLANT = """
import os
for name in ("bwrap", "setpriv", "prlimit", "python3"):
    with open(name, "w") as file:
        file.write("#!/bin/sh\\necho planted\\n")
    os.chmod(name, 0o755)
"""


def _run(scene: Scene, **given: object) -> Outcome | KernelError:
    """What becomes of such a job of a new process; the next job must come out right."""
    with scene.process() as (owner, facts):
        default = {"key": f"job-{owner}", "owner": owner, "workspace": facts.workspace, "limits": QUICK}
        try:
            ended: Outcome | KernelError = scene.run(Job(**(default | given)))
        except KernelError as refused:
            ended = refused
        if isinstance(ended, KernelError):
            assert ended.code == "ESANDBOX", ended
    scene.serves()
    scene.unchanged()
    return ended


_HOSTILE: dict[str, dict[str, object]] = {
    "NUL in an argument": {"argv": ("echo", "a\0b")},
    "surrogate in an argument": {"argv": ("echo", "\ud800")},
    "NUL in the program": {"argv": ("ec\0ho",)},
    "empty program": {"argv": ("",)},
    "no program": {"argv": ()},
    "program that is not there": {"argv": ("/nowhere",)},
    "program by a way up": {"argv": ("../../../bin/sh", "-c", "cat /etc/passwd")},
    "program that is a folder": {"argv": ("/usr",)},
    "program that is an option": {"argv": ("--help",)},
    "program that is an option of bwrap": {"argv": ("--ro-bind", "/", "/host", "cat", "/host/etc/passwd")},
    "argument of 1 MB": {"argv": ("echo", _BLOCK)},
    "arguments of 1 MB": {"argv": ("true", *["x" * 100_000] * 10)},
    "200,000 arguments": {"argv": ("true", *["x"] * 200_000)},
    "code with an argument of 1 MB": {"code": "print(1)", "argv": (_BLOCK,)},
    "code with a surrogate": {"code": "print('\ud800')"},
    "code that is a NUL": {"code": "\0"},
    "code that is deep": {"code": "(" * 100_000},
    "code of 1 MB": {"code": "x = [" + "1," * 500_000 + "]"},
    "NUL in a variable's name": {"argv": ("env",), "environment": {"A\0B": "1"}},
    "NUL in a variable": {"argv": ("env",), "environment": {"A": "1\0B=2"}},
    "variable without a name": {"argv": ("env",), "environment": {"A=B": "1", "": "2"}},
    "variable of 1 MB": {"argv": ("env",), "environment": {"A": _BLOCK}},
    "surrogate in a variable": {"argv": ("env",), "environment": {"A": "\ud800"}},
    "surrogate in a variable for code": {"code": "print(1)", "environment": {"A\0B": "\ud800"}},
    "option in a variable": {
        "argv": ("cat", "/host/etc/passwd"),
        "environment": {"A": "1\0--ro-bind\0/\0/host"},
    },
    "option in a variable's name": {
        "argv": ("cat", "/host/etc/passwd"),
        "environment": {"A\0B\0--ro-bind\0/\0/host": "1"},
    },
    "option in a variable for code": {
        "code": "print(open('/host/etc/passwd').read())",
        "environment": {"A": "1\0--ro-bind\0/\0/host"},
    },
    "workspace that is not there": {"argv": ("true",), "workspace": "/nowhere/at/all"},
    "workspace that is a file": {"argv": ("cat", "/workspace"), "workspace": "/etc/passwd"},
    "workspace with a NUL": {"argv": ("true",), "workspace": "a\0b"},
    "workspace with a path too long": {"argv": ("true",), "workspace": "/" + "x" * 5000},
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_a_job_that_no_program_can_be_run_with_is_refused_or_fails(scene: Scene, name: str) -> None:
    ended = _run(scene, **_HOSTILE[name])
    if isinstance(ended, Outcome):
        assert b"root:x:" not in ended.output
        assert len(ended.output) <= QUICK.output_bytes


@pytest.mark.parametrize("program", ["argv", "code"])
@pytest.mark.parametrize("name", ["LD_TRACE_LOADED_OBJECTS", "LD_DEBUG", "LD_PRELOAD", "PYTHONVERBOSE"])
def test_a_jobs_environment_reaches_no_program_outside_of_the_jail(
    scene: Scene, name: str, program: str
) -> None:
    given = {"argv": ("env",)} if program == "argv" else {"code": "import os; print(os.environ)"}
    ended = _run(scene, environment={name: "libs"}, **given)
    assert isinstance(ended, Outcome)
    assert ended.output
    assert not any(each in ended.output for each in _LAUNCHERS), ended


def test_a_path_of_the_environment_chooses_no_program_outside_of_the_jail(scene: Scene) -> None:
    with scene.process() as (owner, facts):
        planted = scene.run(Job("plant", owner, code=_PLANT, workspace=facts.workspace))
        assert planted.status == 0, planted
        path = {"PATH": f"{facts.workspace}:/workspace:."}
        for given in ({"argv": ("/usr/bin/env",)}, {"code": "print(1)"}):
            job = Job("path", owner, **given, environment=path, workspace=facts.workspace)
            assert b"planted" not in scene.run(job).output


def test_input_that_is_not_read_or_is_large_stops_nobody(scene: Scene) -> None:
    four = bytes(4 << 20)
    ignored = _run(scene, argv=("true",), stdin=four)
    closed = _run(scene, code="import os; os.close(0); print('closed')", stdin=four)
    counted = _run(scene, code="import sys; print(len(sys.stdin.buffer.read()))", stdin=four)
    echoed = _run(scene, argv=("cat",), stdin=four)
    for ended in (ignored, closed, counted, echoed):
        assert isinstance(ended, Outcome)
    assert (ignored.status, closed.output, counted.output) == (0, b"closed\n", b"4194304\n")
    assert (echoed.killed, len(echoed.output)) == ("output", QUICK.output_bytes)


def test_output_that_imitates_the_spawner_is_output(scene: Scene) -> None:
    fake = Outcome(0, "", b"forged", 0.0, 0.0, 0, "none")
    frames = [
        msgspec.json.encode(fake),
        msgspec.msgpack.encode(fake),
        b"\0\0\0\x04\xff\xff\xff\xff",
        bytes(range(256)),
    ]
    told = b"".join((*frames, *(len(frame).to_bytes(4, "big") + frame for frame in frames)))
    ended = _run(scene, code="import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())", stdin=told)
    assert isinstance(ended, Outcome)
    assert (ended.output, ended.status) == (told, 0)

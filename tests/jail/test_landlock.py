"""The weaker backend and the host: what they hold, and for whom they are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agentkernel.jail import backends, bwrap, canaries, landlock, wasm
from agentkernel.jail.link import Spawner, _levels
from agentkernel.jail.messages import Found
from agentkernel.jail.port import Job, Limits, Outcome
from tests.jail.conftest import Jailed
from tests.jail.test_spawner import children


@pytest.fixture(scope="module")
def found() -> Iterator[tuple[asyncio.Runner, Spawner, Found]]:
    if fault := landlock.missing():
        pytest.skip(f"sandbox not verified: {fault}")
    with asyncio.Runner() as runner:
        spawner = Spawner()
        yield runner, spawner, runner.run(spawner._spawn())
        runner.run(spawner.stop())


def run(found: tuple[asyncio.Runner, Spawner, Found], *argv: str, **given: Any) -> Outcome:
    runner, spawner, _ = found
    return runner.run(spawner._run("landlock", Job(**{"key": "k", "owner": 1, "argv": argv, **given})))


def test_every_canary_of_its_layers_is_held(found: tuple[asyncio.Runner, Spawner, Found]) -> None:
    runner, spawner, told = found
    count, faults = runner.run(canaries.test(partial(spawner._run, "landlock"), told.backends["landlock"]))
    assert count >= 20
    assert faults == []


def test_only_the_workspace_can_be_written(
    found: tuple[asyncio.Runner, Spawner, Found], workspace: Path
) -> None:
    script = "echo a > here; cat here; echo b > /tmp/there; cat /etc/passwd /proc/1/environ; ls /root"
    done = run(found, "sh", "-c", script, workspace=str(workspace))
    assert (workspace / "here").read_text() == "a\n"
    assert b"root:" not in done.output
    assert done.output.count(b"Permission denied") >= 3


def test_code_arguments_and_statuses_are_as_in_any_jail(
    found: tuple[asyncio.Runner, Spawner, Found],
) -> None:
    assert run(found, "p", code="import sys; print(sys.argv[1:])").output == b"['p']\n"
    assert run(found, "sh", "-c", "kill -9 $$").status == -9
    missing = run(found, "nonesuch")
    assert (missing.status, missing.output) == (127, b"nonesuch: No such file or directory")


def test_daemons_end_with_the_job(found: tuple[asyncio.Runner, Spawner, Found]) -> None:
    done = run(found, "sh", "-c", "(setsid sleep 100 &); echo done", limits=Limits(wall_s=20))
    assert (done.output, done.killed) == (b"done\n", "")
    spawner = found[1].os_pid
    assert spawner
    assert children(spawner) == set()


@pytest.mark.parametrize(
    ("backend", "layers", "levels"),
    [
        ("bwrap", ("namespaces", "cgroups"), ("trusted", "standard", "untrusted", "confidential")),
        ("bwrap", ("namespaces",), ("trusted", "standard")),
        ("runc", ("namespaces", "cgroups"), ("trusted", "standard", "untrusted", "confidential")),
        ("landlock", ("files", "cgroups"), ("trusted",)),
        ("host", ("limits", "cgroups"), ("trusted",)),
    ],
)
def test_a_level_is_granted_only_to_what_is_strong_enough(
    backend: str, layers: tuple[str, ...], levels: tuple[str, ...]
) -> None:
    assert _levels(backend, layers) == levels


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A survey without control groups and mounts, which this test's process must not touch."""

    def refuse() -> None:
        raise PermissionError(1, "not here")

    monkeypatch.setattr(backends, "_groups", refuse)
    monkeypatch.setattr(backends, "Shelf", refuse)
    monkeypatch.setattr(bwrap, "missing", lambda: "bwrap: not installed; install bubblewrap")
    monkeypatch.setattr(wasm, "missing", lambda: "wasm: not installed")
    monkeypatch.setattr(landlock, "missing", lambda: "landlock: Linux 6.12")
    return monkeypatch


def test_the_host_runs_programs_only_when_asked_for_and_never_for_root(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(os, "geteuid", lambda: 1000)
    assert list(backends.survey().backends) == []
    assert list(backends.survey(host=True).backends) == ["host"]
    bare.setattr(os, "geteuid", lambda: 0)
    told = backends.survey(host=True)
    assert list(told.backends) == []
    assert any(fault.startswith("host: refused to root") for fault in told.missing)


def test_the_strongest_backend_comes_first_and_what_lacks_is_said(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(os, "geteuid", lambda: 1000)
    bare.setattr(landlock, "missing", lambda: "")
    told = backends.survey(host=True)
    assert list(told.backends) == ["landlock", "host"]
    assert [fault.partition(":")[0] for fault in told.missing] == ["cgroups", "bwrap"]
    bare.setattr(bwrap, "missing", lambda: "")
    assert next(iter(backends.survey().backends)) == "bwrap"


def test_root_without_users_to_give_has_no_backend(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(os, "geteuid", lambda: 0)
    bare.setattr(backends, "jail_uid", lambda _owner: None)
    told = backends.survey()
    assert told.backends == {}
    assert any(fault.startswith("own_user: ") for fault in told.missing)


def test_this_machines_jail_is_the_strongest_it_has(jailed: Jailed) -> None:
    assert jailed.spawner.verdict
    assert bwrap.missing() or jailed.spawner.verdict.backend == "bwrap"

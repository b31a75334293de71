"""The self-test: passes on whole jails, and tells each broken layer from all others."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from agentkernel.errors import KernelError
from agentkernel.jail import canaries, container, landlock, wasi, wasm
from agentkernel.jail.link import Spawner
from agentkernel.jail.port import Job, Outcome, Verdict
from tests.jail.broken_spawner import BREAKS, CONTAINER_BREAKS
from tests.jail.conftest import Jailed

_BROKEN = str(Path(__file__).with_name("broken_spawner.py"))


def verdict(*command: str) -> Verdict:
    """What the self-test says of a spawner started so; nothing runs if no level is granted."""

    async def start() -> Verdict:
        spawner = Spawner(command=(sys.executable, "-I", *command))
        found = await spawner.start()
        if not found.levels:
            with pytest.raises(KernelError, match="ESANDBOX"):
                await spawner.run(Job("k", 1, ("true",), trust="trusted"))
        await spawner.stop()
        return found

    return asyncio.run(start())


def test_a_whole_jail_passes_at_least_twenty_canaries(jailed: Jailed) -> None:
    found = jailed.spawner.verdict
    assert found
    assert found.canaries >= 20
    assert found.ms > 0
    assert {"trusted", "standard"} <= set(found.levels)
    if "cgroups" in found.layers:
        assert found.faults == ()
        assert len(found.levels) == 4


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_layer_disables_tools_and_is_named_with_its_remedy(jailed: Jailed, name: str) -> None:
    layer = BREAKS[name][0]
    assert jailed.spawner.verdict
    if layer not in (*jailed.spawner.verdict.layers, "clean"):
        pytest.skip(f"sandbox not verified: this machine has no {layer} to break")
    found = verdict(_BROKEN, name)
    assert found.levels == ()
    assert any(fault.startswith(f"{layer}: a jail could ") for fault in found.faults), found.faults
    assert any(canaries.REMEDIES[layer] in fault for fault in found.faults)


@pytest.mark.parametrize("name", CONTAINER_BREAKS)
def test_a_container_that_lacks_a_layer_disables_tools_and_is_named_with_its_remedy(name: str) -> None:
    runtimes = [runtime for runtime in _runtimes() if runtime != "runsc"]
    if not runtimes:
        pytest.skip("sandbox not verified: no container runtime is installed")
    layer = CONTAINER_BREAKS[name][0]
    found = verdict(_BROKEN, name)
    assert found.backend == runtimes[0]
    assert found.levels == ()
    assert any(fault.startswith(f"{layer}: a jail could ") for fault in found.faults), found.faults


def _runtimes() -> list[str]:
    return [runtime for runtime in container.RUNTIMES if not container.missing(runtime)]


def test_without_bubblewrap_a_container_is_good_for_all_that_is_good_for(jailed: Jailed) -> None:
    if not _runtimes():
        pytest.skip("sandbox not verified: no container runtime is installed")
    found = verdict(_BROKEN, "no bwrap")
    assert jailed.spawner.verdict
    assert (found.backend, found.levels) == (_runtimes()[0], jailed.spawner.verdict.levels)
    assert any(fault.startswith("bwrap: ") for fault in found.faults)


def test_a_backend_that_makes_no_jails_gives_way_to_the_next_for_what_that_is_good_for() -> None:
    found = verdict(_BROKEN, "no namespaces")
    for name in {"bwrap", *_runtimes()} - {"runsc"}:  # which is asked for its options beforehand
        assert any(fault.startswith(f"{name}: ") for fault in found.faults)
    if landlock.missing():
        assert found.levels == ()
    else:
        assert (found.backend, found.levels) == ("landlock", ("trusted",))


def test_what_a_jail_by_webassembly_lacks_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasi.importlib.util, "find_spec", lambda _name: None)
    assert wasm.missing() == "wasm: not installed; pip install 'agentkernel[wasm]'"
    monkeypatch.setattr(wasi.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(wasi, "_compiled", lambda: Path("/nowhere"))
    assert wasm.missing().startswith("wasm: not compiled; ")
    assert " -m agentkernel.jail.wasi does" in wasm.missing()


def test_without_a_spawner_nothing_runs_and_the_verdict_says_so() -> None:
    found = verdict("-c", "raise SystemExit(1)")
    assert found.levels == ()
    assert found.faults[0].startswith("spawner: ")


def test_a_canary_that_says_nothing_has_failed() -> None:
    async def silent(_job: Job) -> Outcome:
        return Outcome(0, "", b"", 1, 1, 1, "none")

    layers = {layer for layer, _ in canaries.PROBES.values()} | {"cgroups"}
    count, faults = asyncio.run(canaries.test(silent, layers))
    assert count == len(faults) == len(canaries.PROBES) + len(canaries.ORDEALS)


def test_a_jail_that_can_not_be_made_is_no_escape() -> None:
    async def refuses(_job: Job) -> Outcome:
        raise KernelError("ESANDBOX", "no user namespaces")

    with pytest.raises(KernelError, match="no user namespaces"):
        asyncio.run(canaries.test(refuses, {"files"}))


def test_a_verdict_is_data() -> None:
    found = Verdict("bwrap", ("files",), ("trusted",), 1, 1.0, ("a fault",))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Verdict) == found

"""`agentkernel doctor`: each check finds what is wrong and names what mends it."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from agentkernel import config as configuration
from agentkernel.cli import doctor
from agentkernel.client.replies import EngineState
from agentkernel.client.toolreplies import Sandbox, ToolState

ROOT = Path(__file__).parents[2]


@pytest.fixture
def examined(tmp_path, unused_port, monkeypatch):
    """Run all checks with these settings, without an interpreter for WASI; the findings by name."""
    monkeypatch.setattr(doctor.wasm, "missing", lambda: "wasm: not installed")

    def run(**settings):
        flags = {"server.port": unused_port, "models": str(tmp_path / "models")}
        flags |= {"state": str(tmp_path / "state"), "workspace": str(tmp_path / "workspace")}
        config, _ = configuration.load({**flags, **settings}, environ={"HOME": str(tmp_path)})
        return {finding.check: finding for finding in doctor.examine(config)}

    return run


def test_the_exact_version_it_asks_for_is_the_one_the_package_pins():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"llama-cpp-python=={doctor.LLAMA_CPP}" in extras["server"]


def test_here_all_is_well_and_the_exit_code_is_zero(ak, kernel):
    result = ak("doctor", "--models", str(ak.folder), "--format", "json", kernel=kernel)
    findings = {finding["check"]: finding for finding in json.loads(result.stdout)}
    assert result.returncode == 0
    assert findings["llama.cpp"] == {"check": "llama.cpp", "state": "ok", "found": "0.3.36", "remedy": ""}
    assert findings["address"]["found"] == f"a kernel answers at {kernel.host}:{kernel.port}"
    assert findings["engine's jail"]["state"] == "ok"
    assert findings["tools' jail"]["found"].endswith(" processes")
    assert "the engine uses 1" in findings["cores"]["found"]


def test_for_people_it_is_a_line_a_check(ak, kernel):
    headings, *lines = ak("doctor", kernel=kernel).stdout.splitlines()
    assert headings.split() == ["STATE", "CHECK", "FOUND", "TO", "MEND", "IT"]
    assert len(lines) == 12
    assert {line.split()[0] for line in lines} <= {"ok", "note"}


def test_a_missing_program_fails_the_whole_with_the_command_that_installs_it(ak):
    """With nothing on the path there is neither compiler nor bubblewrap; llama.cpp is built already."""
    result = ak("doctor", "--port", "0", "--format", "json", PATH="/nowhere")
    findings = {finding["check"]: finding for finding in json.loads(result.stdout)}
    state = "missing" if doctor.wasm.missing() else "note"  # WebAssembly makes jails, too
    assert findings["bubblewrap"]["state"] == state
    assert result.returncode == (state == "missing")
    assert findings["bubblewrap"]["remedy"].endswith("install bubblewrap")
    assert findings["C and C++ compiler"]["state"] == "note"


@pytest.mark.parametrize(
    ("installer", "remedy"), [("apt-get", "apt-get install bubblewrap"), ("pacman", "pacman -S bubblewrap")]
)
def test_the_remedy_uses_the_system_s_own_installer(examined, tmp_path, monkeypatch, installer, remedy):
    (tmp_path / installer).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert examined()["bubblewrap"].remedy == f"sudo {remedy}"


@pytest.mark.parametrize(("uid", "state"), [(0, "note"), (1000, "missing")])
def test_root_can_do_without_bubblewrap_where_there_is_a_container_runtime(
    examined, tmp_path, monkeypatch, uid, state
):
    (tmp_path / "runc").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert examined()["bubblewrap"].state == state
    assert ("runc makes jails" in examined()["bubblewrap"].found) == (uid == 0)


def test_python_can_do_without_bubblewrap_where_it_is_compiled_for_wasi(examined, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor.wasm, "missing", str)
    finding = examined()["bubblewrap"]
    assert (finding.state, finding.found) == ("note", "no bwrap; WebAssembly makes jails for Python")


def test_another_version_of_llama_cpp_is_not_good_enough(examined, monkeypatch):
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "0.3.35")
    finding = examined()["llama.cpp"]
    assert (finding.state, finding.found) == ("missing", "0.3.35, not 0.3.36")
    assert finding.remedy == "pip install llama-cpp-python==0.3.36"


def test_a_llama_cpp_that_cannot_be_imported_is_missing(examined, tmp_path, monkeypatch):
    (tmp_path / "llama_cpp.py").write_text("raise OSError('libllama.so: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    finding = examined()["llama.cpp"]
    assert (finding.state, "libllama.so" in finding.found) == ("missing", True)


def test_without_the_server_extra_its_packages_are_named(examined, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    finding = examined()["server packages"]
    assert (finding.state, finding.found) == ("missing", "no uvloop")
    assert finding.remedy == "pip install 'agentkernel[server]'"


def test_models_are_counted_and_an_empty_directory_says_how_to_fill_it(examined, tmp_path):
    models = tmp_path / "models"
    assert examined()["models directory"].state == "note"
    models.mkdir()
    assert "agentkernel models pull" in examined()["models directory"].remedy
    (models / "m.gguf").touch()
    assert examined()["models directory"].found == f"{models}: 1 GGUF files"


def test_a_directory_that_cannot_be_made_is_missing(examined, tmp_path):
    (tmp_path / "file").touch()
    finding = examined(state=str(tmp_path / "file" / "state"))["state directory"]
    assert (finding.state, "can't be written" in finding.found) == ("missing", True)


def test_an_address_is_free_or_a_kernel_s_or_another_program_s(examined, make_kernel, unused_port):
    assert examined()["address"].found == f"127.0.0.1:{unused_port} is free"
    with socket.create_server(("127.0.0.1", unused_port)) as listener:

        def hang_up():
            listener.accept()[0].close()

        hangs_up = threading.Thread(target=hang_up)
        hangs_up.start()
        assert examined()["address"].state == "missing"
        hangs_up.join()
    make_kernel("--port", str(unused_port), "--auth", "--model", "")
    finding = examined()["address"]
    assert (finding.state, finding.remedy) == ("note", "--token-file")


def test_a_jail_without_its_layers_is_a_note(monkeypatch):
    engine = EngineState(1, 1, 1, 0, jail=["no_new_privs"])
    status = type("Status", (), {"engine": engine})()
    finding = doctor._jail(status)
    assert (finding.state, finding.found) == ("note", "no_new_privs")
    assert "landlock_files and seccomp" in finding.remedy


@pytest.mark.parametrize(
    ("jail", "state", "found", "remedy"),
    [
        (
            Sandbox("bwrap", levels=["trusted", "standard"]),
            "ok",
            "bwrap, for trusted, standard processes",
            "",
        ),
        (
            Sandbox("bwrap", levels=["trusted", "standard"], faults=["cgroups: none; start it as root"]),
            *("note", "bwrap, for trusted, standard processes", "cgroups: none; start it as root"),
        ),
        (
            Sandbox("off", faults=["bwrap: none; install bubblewrap", "landlock: off; boot with it"]),
            *("missing", "off", "bwrap: none; install bubblewrap / landlock: off; boot with it"),
        ),
    ],
)
def test_the_jail_of_tools_is_what_the_kernel_s_own_test_has_found(jail, state, found, remedy):
    status = type("Status", (), {"tools": ToolState(0, 0, jail)})()
    finding = doctor._sandbox(status, enabled=True)
    assert (finding.state, finding.found, finding.remedy) == (state, found, remedy)


def test_without_a_kernel_nobody_has_tested_the_jail_of_tools(examined):
    finding = examined()["tools' jail"]
    assert (finding.state, finding.remedy) == ("note", "agentkernel serve")


def test_tools_that_are_switched_off_miss_nothing(examined):
    finding = examined(**{"tools.enabled": "false"})["tools' jail"]
    assert (finding.state, finding.found) == ("note", "tools are switched off")

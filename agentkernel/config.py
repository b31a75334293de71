"""Settings: one typed tree, and where each value came from.

Rules
1. Precedence: flag, environment (AGENTKERNEL_*), --config or ./agentkernel.yaml, user's file, system's
   file, default.
2. An unknown key or a value of the wrong type is an error that names its path and its origin.
3. Nested keys are joined by two underscores in the environment: AGENTKERNEL_ENGINE__THREADS.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from agentkernel.jail.port import Limits as JailLimits
from agentkernel.permits import Less

# Programs that the tool `shell` may run.
SHELL = (
    "base64", "cat", "cmp", "cp", "cut", "date", "diff", "echo", "expr", "false", "file", "fold", "grep",
    "head", "id", "join", "ls", "md5sum", "mkdir", "mv", "nl", "od", "paste", "printf", "pwd", "rev", "rm",
    "rmdir", "seq", "sha256sum", "shuf", "sort", "stat", "sum", "tac", "tail", "tee", "touch", "tr",
    "true", "uname", "uniq", "wc", "whoami",
)  # fmt: skip
SYSTEM_FILE = Path("/etc/agentkernel/config.yaml")

_MOST = 2**31 - 1  # what the engine's integers hold
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1, le=_MOST)]
Auto = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
Seed = Annotated[int, msgspec.Meta(ge=0)]
Weight = Annotated[float, msgspec.Meta(gt=0, le=1000)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


def _xdg(variable: str, fallback: str) -> str:
    return str(Path(os.environ.get(variable) or Path.home() / fallback) / "agentkernel")


def check_seed(seed: int | None) -> None:
    """Raise ValueError for a seed over 64 bits (a bound msgspec can't state)."""
    if seed is not None and seed >= 2**64:
        raise ValueError("a seed has 64 bits at most")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group of settings."""


class Server(Section, frozen=True):
    """Where and how clients are served; sizes in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: Port = 6380
    max_connections: Count = 8192
    header_bytes: Count = 4096
    body_bytes: Count = 8 * 1024 * 1024
    header_timeout: Seconds = 10.0
    body_timeout: Seconds = 30.0
    commands_in_flight: Count = 256
    output_bytes: Count = 256 * 1024
    drain_seconds: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    text_lists: Literal["text", "json"] = "text"


class Auth(Section, frozen=True):
    """Who may connect; the token file defaults to `<state>/tokens`."""

    required: bool = False
    token_file: str = ""


class Engine(Section, frozen=True):
    """How models run; 0 means chosen from the machine and the model.

    All in memory take at most `memory_mb` MiB. Where not all fit, each that is in use has turns of
    `turn_secs` seconds; one that is not is unloaded after `idle_minutes`, with 0 never.
    """

    threads: Auto = 0
    slots: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    context: Auto = 0
    batch: Annotated[int, msgspec.Meta(ge=16, le=8192)] = 512
    gpu_layers: Annotated[int, msgspec.Meta(ge=-1)] = -1
    memory_mb: Auto = 0
    turn_secs: Seconds = 10.0
    idle_minutes: Auto = 30


class Memory(Section, frozen=True):
    """KV images outside the slots, and processes' own memory; budgets in MiB.

    `ram_mb` 0 is an eighth of what is free at a load. A write to memory that is full waits or is refused.
    """

    paging: Literal["on", "off"] = "on"
    policy: Literal["cost", "lru", "priority"] = "cost"
    ram_mb: Auto = 0
    disk_mb: Auto = 4096
    compress: bool = False
    process_ram_mb: Auto = 256
    process_disk_mb: Auto = 1024
    when_full: Literal["queue", "refuse"] = "queue"


class Scheduler(Section, frozen=True):
    """Who gets the batch: `weights` of the priorities low to critical, `quantum` in tokens."""

    max_step_ms: Count = 250
    weights: tuple[Weight, Weight, Weight, Weight] = (1.0, 2.0, 4.0, 8.0)
    quantum: Count = 32


class Generation(Section, frozen=True):
    """Defaults of SET_GEN; without a seed every process draws its own."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.7
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    top_k: Auto = 40
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    repeat_penalty: Annotated[float, msgspec.Meta(gt=0, le=2)] = 1.0
    seed: Seed | None = None
    max_tokens: Count = 500

    def __post_init__(self) -> None:
        check_seed(self.seed)


class Limits(Section, frozen=True):
    """Bounds of the process table, of an owner's snapshots and checkpoints, and of who waits.

    `queued` (of the lane interactive), `queued_batch` and `queued_background` bound the processes that wait
    for a slot; `waiting`, of each lane, the EXECs that wait until there are fewer. `term_grace_tokens` are
    left to who was sent TERM, `wrap_up_tokens` to who has reached a soft limit.
    """

    processes: Count = 10_000
    queued: Count = 4096
    queued_batch: Count = 4096
    queued_background: Count = 4096
    waiting: Count = 1024
    snapshots: Count = 64
    checkpoints: Count = 16
    ended_processes: Count = 1_000
    term_grace_tokens: Count = 64
    wrap_up_tokens: Count = 64


class Tools(Section, frozen=True):
    """What models may call; `limits` bound every job in a jail, `tool_limits` those of a tool.

    `skills` is a directory of tools of the user's own, `secrets` their file (`<state>/secrets` when empty).
    Of a process's calls `calls` may begin in `calls_seconds`; it ends after `errors` failures in a row.
    A workspace is kept until somebody removes it, or removed with its process. A result is cut at
    `result_bytes`. People have `approval_seconds` and `answer_seconds`.
    """

    enabled: bool = True
    skills: str = ""
    secrets: str = ""
    shell: tuple[str, ...] = SHELL
    limits: JailLimits = JailLimits()
    tool_limits: dict[str, Less] = {}
    calls: Count = 12
    calls_seconds: Seconds = 10.0
    errors: Count = 3
    result_bytes: Annotated[int, msgspec.Meta(ge=256, le=1 << 20)] = 8192
    workspaces: Literal["keep", "remove"] = "keep"
    rule_of_two: bool = True
    audit_arguments: bool = False
    approval_seconds: Seconds = 300.0
    answer_seconds: Seconds = 3600.0
    messages: Count = 64


class Journaling(Section, frozen=True):
    """What survives a crash of the kernel, and of the machine.

    `mixed`: what was acknowledged survives both, tokens the first; `power`: everything both; `off`: nothing
    either. Processes of a former kernel go on, or wait for RESUME. Of those that ended, `ended` are kept, for
    `hours`, and `mb` of all that they put out. Every `checkpoint_minutes`, unless these are 0, each owner's
    processes are saved as the checkpoint `auto`.
    """

    durability: Literal["mixed", "power", "off"] = "mixed"
    recover: Literal["ready", "suspended"] = "ready"
    ended: Count = 10_000
    hours: Annotated[float, msgspec.Meta(gt=0, le=24 * 366)] = 168.0
    mb: Count = 1024
    checkpoint_minutes: Annotated[float, msgspec.Meta(ge=0, le=60 * 24 * 366)] = 0.0


class Log(Section, frozen=True):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Config(Section, frozen=True):
    """Everything that can be set."""

    models: str = msgspec.field(default_factory=lambda: f"{_xdg('XDG_DATA_HOME', '.local/share')}/models")
    workspace: str = msgspec.field(
        default_factory=lambda: f"{_xdg('XDG_DATA_HOME', '.local/share')}/workspace"
    )
    state: str = msgspec.field(default_factory=lambda: _xdg("XDG_STATE_HOME", ".local/state"))
    model: str = ""
    server: Server = Server()
    auth: Auth = Auth()
    engine: Engine = Engine()
    memory: Memory = Memory()
    scheduler: Scheduler = Scheduler()
    generation: Generation = Generation()
    limits: Limits = Limits()
    tools: Tools = Tools()
    journal: Journaling = Journaling()
    log: Log = Log()

    @property
    def token_file(self) -> Path:
        """Where the tokens are."""
        return Path(self.auth.token_file or Path(self.state) / "tokens")

    @property
    def secrets_file(self) -> Path:
        """Where the tools' secrets are."""
        return Path(self.tools.secrets or Path(self.state) / "secrets")

    @property
    def audit_file(self) -> Path:
        """Where every call is written down."""
        return Path(self.state) / "audit.log"

    @property
    def log_file(self) -> Path:
        """Where the kernel keeps its log."""
        return Path(self.state) / "kernel.log"


class ConfigError(Exception):
    """A setting that can't be used; the text names its path and origin."""


Origins = dict[str, str]


def load(
    flags: Mapping[str, Any] | None = None,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Config, Origins]:
    """Merge all sources; returns the settings and, by dotted key, where each was set.

    `flags` maps dotted keys to values, None meaning not given. Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    tree: dict[str, Any] = {}
    origins: Origins = {}
    for path in _files(environ, file):
        _merge(tree, origins, _read(path, required=path == file), str(path))
    for key, value, origin in _from_environment(environ):
        _merge(tree, origins, _nest(key, value), origin)
    for key, value in (flags or {}).items():
        if value is not None:
            _merge(tree, origins, _nest(key, value), "the command line")
    try:
        return msgspec.convert(tree, Config, strict=False), origins
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), origins)) from error


def flatten(config: Config) -> dict[str, Any]:
    """Every setting by its dotted key."""
    return dict(_leaves(msgspec.to_builtins(config)))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _files(environ: Mapping[str, str], file: Path | None) -> Iterator[Path]:
    yield SYSTEM_FILE
    home = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    yield Path(home) / "agentkernel" / "config.yaml"
    yield file or Path("agentkernel.yaml")


def _read(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        if required:
            raise ConfigError(f"{path}: {error.strerror}") from error
        return {}
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {error}") from error
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{path}: not a mapping")
    return tree or {}


_ALIASES = {"AGENTIC_PORT": "server.port"}


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name, key in _ALIASES.items():
        if name in environ:
            yield key, environ[name], f"environment {name}"
    for name, value in environ.items():
        if name.startswith("AGENTKERNEL_") and not name.startswith("AGENTKERNEL_SECRET_"):
            key = name.removeprefix("AGENTKERNEL_").lower().replace("__", ".")
            yield key, value, f"environment {name}"


def _nest(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    tree: dict[str, Any] = value
    return tree


def _merge(tree: dict[str, Any], origins: Origins, new: dict[str, Any], origin: str) -> None:
    for key, value in _leaves(new):
        *parents, last = key.split(".")
        node = tree
        for part in parents:
            below = node.setdefault(part, {})
            if not isinstance(below, dict):
                raise ConfigError(f"{key}: {part} is no section (from {origin})")
            node = below
        node[last] = value
        origins[key] = origin


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _explain(message: str, origins: Origins) -> str:
    """Read what msgspec says: `… - at `$.engine.threads`` or names an unknown field; add the origin."""
    text, _, path = message.partition(" - at `$")
    key = path.rstrip("`").lstrip(".")
    if "unknown field" in text:
        key, text = f"{key}.{text.split('`')[1]}".lstrip("."), "unknown key"
    origin = next((o for k, o in origins.items() if k == key or k.startswith(f"{key}.")), "?")
    return f"{key or 'configuration'}: {text} (from {origin})"

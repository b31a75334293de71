"""What the kernel answers, typed, by the wire's names: seconds, bytes, tokens. Unknown keys are ignored."""

from __future__ import annotations

from typing import Any

import msgspec

from agentkernel.client.toolreplies import ToolState


class Envelope(msgspec.Struct):
    """A v1 success; `data` is of the request's reply type."""

    data: msgspec.Raw


class EventFrame(msgspec.Struct):
    """A frame of a subscription."""

    seq: int
    event: dict[str, Any]


class Negotiated(msgspec.Struct):
    """HELLO."""

    negotiated_version: str
    enabled_capabilities: list[str]


class Principal(msgspec.Struct):
    """AUTH: who the token stands for."""

    principal: str
    admin: bool = False


class Said(msgspec.Struct):
    """PING, QUIT, SHUTDOWN."""

    message: str


class Help(msgspec.Struct):
    """HELP."""

    text: str


class Generation(msgspec.Struct):
    """SET_GEN, GET_GEN: the defaults of later processes."""

    temperature: float
    top_p: float
    seed: int
    max_tokens: int
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0


class ModelState(msgspec.Struct):
    """Which model is selected and which is loaded; empty for none."""

    selected_model_id: str
    loaded_model_id: str
    loaded_family: str = ""
    loaded_model_path: str = ""


class ProcessCounts(msgspec.Struct):
    """The live processes the client may see."""

    active_processes: int
    waiting_processes: int
    active_pids: list[int]
    waiting_pids: list[int]


class EngineState(msgspec.Struct):
    """The loaded model's engine; `jail` names the layers that hold."""

    engine_slots: int
    engine_context: int
    engine_threads: int
    engine_restarts: int
    engine_prompt_tokens: int = 0
    jail: list[str] = []


class KernelStatus(msgspec.Struct):
    """STATUS without a PID."""

    uptime_secs: float
    total_commands: int
    total_errors: int
    total_exec_started: int
    total_signals: int
    model: ModelState
    processes: ProcessCounts
    generation: Generation
    memory: dict[str, Any] = {}
    scheduler: dict[str, int] = {}
    engine: EngineState | None = None
    images: dict[str, int] = {}
    lanes: dict[str, int] = {}
    tools: ToolState | None = None


class ProcessStatus(msgspec.Struct):
    """STATUS of a process; `asks` is the number of a call, a colon, and what the call asks a person."""

    pid: int
    owner_id: int
    state: str
    tokens: int
    max_tokens: int
    priority: str
    workload: str
    quota_tokens: int
    quota_syscalls: int
    tokens_generated: int
    syscalls_used: int
    elapsed_secs: float
    model: str = ""
    wait: str = ""
    reason: str = ""
    prompt_tokens: int = 0
    seed: int = 0
    interactive: bool = False
    parent: int = 0
    epoch: int = 1
    context_tokens: int = 0
    context_strategy: str = ""
    on_disconnect: str = ""
    attached: bool = True
    trust: str = ""
    calls: int = 0
    asks: str = ""
    nice: int = 0
    deadline_left_ms: int | None = None
    wall_left_ms: int | None = None
    missed: str = ""
    cpu_secs: float = 0.0
    kv_byte_secs: int = 0
    lane: str = ""
    queue_position: int | None = None
    lane_position: int | None = None
    estimate_ms: int | None = None
    times: dict[str, float] = {}


class ProcessRow(msgspec.Struct):
    """One process of PS."""

    pid: int
    owner: str
    state: str
    wait: str
    priority: str
    model: str
    prompt_tokens: int
    tokens_generated: int
    elapsed_secs: float
    asks: str = ""
    nice: int = 0
    times: dict[str, float] = {}


class ProcessList(msgspec.Struct):
    """PS."""

    total_processes: int
    processes: list[ProcessRow]


class Model(msgspec.Struct):
    """What a model file says of itself; `error` is why it can't be loaded."""

    id: str
    path: str
    family: str
    architecture: str
    name: str = ""
    quantization: str = ""
    tokenizer: str = ""
    context_train: int = 0
    embedding: int = 0
    vocabulary: int = 0
    kv_bytes_per_token: int = 0
    file_bytes: int = 0
    chat_template: str = ""
    error: str = ""
    loaded: bool = False


class ModelList(msgspec.Struct):
    """LIST_MODELS; the rows have no chat template."""

    selected_model_id: str
    total_models: int
    models: list[Model]


class SelectedModel(msgspec.Struct):
    """SELECT_MODEL."""

    selected_model: str


class LoadedModel(EngineState, kw_only=True):
    """LOAD."""

    family: str
    loaded_model_id: str
    path: str
    architecture: str
    backend: str


class UnloadedModel(msgspec.Struct):
    """UNLOAD."""

    unloaded_model: str


class Started(msgspec.Struct):
    """EXEC; a process that was found by its key may stream elsewhere, or have ended."""

    session_id: str
    pid: int
    workload: str
    priority: str
    context_window_size: int
    context_strategy: str = ""
    model: str = ""
    prompt_tokens: int = 0
    seed: int = 0
    streams_here: bool = True


class Forked(msgspec.Struct):
    """FORK: the PIDs of the children."""

    pid: int
    children: list[int]


class Named(msgspec.Struct):
    """STOP_OUTPUT, CONTINUE_OUTPUT."""

    pid: int


class Attached(msgspec.Struct):
    """A reader was attached to a process, at a byte of so many; `epoch` is of who drives it."""

    pid: int
    offset: int
    size: int
    state: str
    epoch: int = 1


class ProcessState(msgspec.Struct):
    """SEND_INPUT, SUSPEND, RESUME: the state afterwards; WHY: the state, and what the process is about."""

    pid: int
    state: str
    why: str = ""


class Ended(msgspec.Struct):
    """WAIT: how a process ended. `tokens` are those it generated."""

    pid: int
    state: str
    reason: str
    tokens: int = msgspec.field(name="tokens_generated")
    elapsed_secs: float = 0.0


class Signalled(msgspec.Struct):
    """TERM, KILL."""

    pid: int
    status: str
    mode: str


class Snapshotted(msgspec.Struct):
    """SNAPSHOT: what was kept."""

    pid: int
    name: str
    tokens: int
    model: str


class Snapshot(msgspec.Struct):
    """One row of LIST_SNAPSHOTS; `share` says who may use it, `created` is Unix time."""

    name: str
    owner: str
    model: str
    tokens: int
    share: str
    created: float


class SnapshotList(msgspec.Struct):
    """LIST_SNAPSHOTS."""

    total_snapshots: int
    snapshots: list[Snapshot]


class DroppedSnapshot(msgspec.Struct):
    """DROP_SNAPSHOT."""

    name: str


class Checkpoint(msgspec.Struct):
    """CHECKPOINT, and one row of LIST_CHECKPOINTS; `created` is Unix time, `file` in the kernel's folder."""

    name: str
    owner: str
    pids: list[int]
    tokens: int
    bytes: int
    created: float
    file: str


class CheckpointList(msgspec.Struct):
    """LIST_CHECKPOINTS."""

    total_checkpoints: int
    checkpoints: list[Checkpoint]


class RestoredProcess(msgspec.Struct):
    """A process that is back, and the PID that it had."""

    pid: int
    was: int


class Restored(msgspec.Struct):
    """RESTORE."""

    name: str
    processes: list[RestoredProcess]


class DroppedCheckpoint(msgspec.Struct):
    """DROP_CHECKPOINT."""

    name: str


class Replayed(msgspec.Struct):
    """REPLAY: tokens that are the same, and where in the context the first other one is, if one is.

    `said` stands there, `drawn` came instead; None for an end.
    """

    pid: int
    tokens: int
    differs_at: int | None
    said: int | None
    drawn: int | None


class Prioritised(msgspec.Struct):
    """SET_PRIORITY."""

    pid: int
    priority: str
    nice: int = 0


class Subscribed(msgspec.Struct):
    """SUBSCRIBE: `all` events or one's `own`."""

    scope: str


class Event(msgspec.Struct):
    """One event: its kind, the process it is about, and what else it says."""

    seq: int
    kind: str
    pid: int | None
    fields: dict[str, Any]

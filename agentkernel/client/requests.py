"""What a client can ask: one function a verb, from its arguments to a typed request; pure.

The functions are the methods of both clients (`client.kill(7)` sends `kill(7)`), named after their verbs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, Unpack

import msgspec

from agentkernel.client import memoryreplies, quotareplies, replies, toolreplies
from agentkernel.client.options import ExecOptions, Priority

T = TypeVar("T")
CAPABILITIES = ("event_stream_v1", "tagged_frames_v1")


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One command and the type of its reply's data; `slow` when others must not wait behind it."""

    verb: str
    reply: type[T]
    payload: bytes = b""
    slow: bool = False


def hello() -> Request[replies.Negotiated]:
    """Ask for v1 with everything a client here uses."""
    offer = {"supported_versions": ["v1"], "required_capabilities": CAPABILITIES}
    return Request("HELLO", replies.Negotiated, msgspec.json.encode(offer))


def auth(token: str) -> Request[replies.Principal]:
    """Say who you are."""
    return Request("AUTH", replies.Principal, token.encode())


def help() -> Request[replies.Help]:  # noqa: A001 - the verb's name
    """The kernel's own list of verbs."""
    return Request("HELP", replies.Help)


def quit() -> Request[replies.Said]:  # noqa: A001 - the verb's name
    """Let the kernel close the connection; its streams end as `on_disconnect` says."""
    return Request("QUIT", replies.Said)


def ping() -> Request[replies.Said]:
    """Whether the kernel answers."""
    return Request("PING", replies.Said)


def status() -> Request[replies.KernelStatus]:
    """The kernel's state."""
    return Request("STATUS", replies.KernelStatus)


def process_status(pid: int) -> Request[replies.ProcessStatus]:
    """A process's state, also when it has lately ended."""
    return Request("STATUS", replies.ProcessStatus, _words(pid))


def ps() -> Request[replies.ProcessList]:
    """The live processes, oldest first."""
    return Request("PS", replies.ProcessList)


def shutdown() -> Request[replies.Said]:
    """Drain and stop the kernel."""
    return Request("SHUTDOWN", replies.Said)


def list_models() -> Request[replies.ModelList]:
    """The catalogue."""
    return Request("LIST_MODELS", replies.ModelList)


def select_model(id: str) -> Request[replies.SelectedModel]:  # noqa: A002 - the wire's name
    """Choose what `load` takes by default."""
    return Request("SELECT_MODEL", replies.SelectedModel, id.encode())


def model_info(id: str = "") -> Request[replies.Model]:  # noqa: A002 - the wire's name
    """What a model file says of itself; without an id the selected or loaded one's."""
    return Request("MODEL_INFO", replies.Model, id.encode())


def load(selector: str = "") -> Request[replies.LoadedModel]:
    """Load a model by id or path, or the selected one."""
    return Request("LOAD", replies.LoadedModel, selector.encode(), slow=True)


def unload(id: str = "") -> Request[replies.UnloadedModel]:  # noqa: A002 - the wire's name
    """Unload a model that nobody uses."""
    return Request("UNLOAD", replies.UnloadedModel, id.encode())


def set_gen(**settings: float) -> Request[replies.Generation]:
    """Change the defaults of later processes, for every client."""
    return Request("SET_GEN", replies.Generation, _pairs(settings))


def get_gen() -> Request[replies.Generation]:
    """The defaults of later processes."""
    return Request("GET_GEN", replies.Generation)


def exec(  # noqa: A001 - the verb's name
    prompt: str | Sequence[Mapping[str, str]], **options: Unpack[ExecOptions]
) -> Request[replies.Started]:
    """Start a process on a prompt, or on messages of `role` and `content`."""
    key = "prompt" if isinstance(prompt, str) else "messages"
    given = {name.removesuffix("_"): value for name, value in options.items()}
    return Request("EXEC", replies.Started, msgspec.json.encode({key: prompt, **given}))


def send_input(pid: int, text: str) -> Request[replies.ProcessState]:
    """The next turn of an interactive process."""
    payload = msgspec.json.encode({"pid": pid, "prompt": text})
    return Request("SEND_INPUT", replies.ProcessState, payload)


def why(pid: int) -> Request[replies.ProcessState]:
    """In one line, what a process is about or waits for."""
    return Request("WHY", replies.ProcessState, _words(pid))


def stop_output(pid: int) -> Request[replies.Named]:
    """Hold a process and its output."""
    return Request("STOP_OUTPUT", replies.Named, _words(pid))


def continue_output(pid: int) -> Request[replies.Named]:
    """Let a stopped process go on."""
    return Request("CONTINUE_OUTPUT", replies.Named, _words(pid))


def wait(pid: int, seconds: float | None = None) -> Request[replies.Ended]:
    """How the process ended, once it has; TIMEOUT after so many seconds."""
    limit = () if seconds is None else (f"{seconds:.6f}",)
    return Request("WAIT", replies.Ended, _words(pid, *limit), slow=True)


def term(pid: int) -> Request[replies.Signalled]:
    """End a process at the end of its sentence."""
    return Request("TERM", replies.Signalled, _words(pid))


def kill(pid: int) -> Request[replies.Signalled]:
    """End a process at its next step."""
    return Request("KILL", replies.Signalled, _words(pid))


def suspend(pid: int) -> Request[replies.ProcessState]:
    """Take a process off the processor."""
    return Request("SUSPEND", replies.ProcessState, _words(pid))


def resume(pid: int) -> Request[replies.ProcessState]:
    """Put a suspended process back; see `stream` for its output when nobody else reads it."""
    return Request("RESUME", replies.ProcessState, _words(pid))


def fork(pid: int, children: int = 1) -> Request[replies.Forked]:
    """Children with the process's context; see `stream` for the output of each."""
    return Request("FORK", replies.Forked, _words(pid, children))


def snapshot(pid: int, name: str) -> Request[replies.Snapshotted]:
    """Keep a process's context under a name, for `exec(…, from_=name)`."""
    return Request("SNAPSHOT", replies.Snapshotted, _words(pid, name))


def list_snapshots() -> Request[replies.SnapshotList]:
    """One's own snapshots; of all owners for an administrator."""
    return Request("LIST_SNAPSHOTS", replies.SnapshotList)


def drop_snapshot(name: str) -> Request[replies.DroppedSnapshot]:
    """Forget one of one's own."""
    return Request("DROP_SNAPSHOT", replies.DroppedSnapshot, name.encode())


def checkpoint(pid: int | None = None, name: str = "") -> Request[replies.Checkpoint]:
    """Save a process, or all of one's own, under a name, `all` or `pid-N` when that is empty."""
    return Request("CHECKPOINT", replies.Checkpoint, _words("all" if pid is None else pid, name))


def restore(name: str = "all", *, as_new: bool = False) -> Request[replies.Restored]:
    """Bring back the processes of a checkpoint; `attach` for their output."""
    return Request("RESTORE", replies.Restored, _words(name, "as new" if as_new else ""))


def list_checkpoints() -> Request[replies.CheckpointList]:
    """One's own checkpoints; of all owners for an administrator."""
    return Request("LIST_CHECKPOINTS", replies.CheckpointList)


def drop_checkpoint(name: str) -> Request[replies.DroppedCheckpoint]:
    """Forget one of one's own."""
    return Request("DROP_CHECKPOINT", replies.DroppedCheckpoint, name.encode())


def replay(pid: int) -> Request[replies.Replayed]:
    """Run an ended process again, and compare."""
    return Request("REPLAY", replies.Replayed, _words(pid), slow=True)


def memw(pid: int, data: bytes, offset: int = 0) -> Request[memoryreplies.Written]:
    """Write to a process's memory; a write that finds no room may be queued, and the process waits."""
    return Request("MEMW", memoryreplies.Written, _words(pid, offset) + b"\n" + data)


def attach(pid: int, offset: int | None = None, *, take: bool = False) -> Request[replies.Attached]:
    """Stream a process's output from a byte on; from now on, without one; see `attach` of the clients."""
    where = [] if offset is None else [offset]
    return Request("ATTACH", replies.Attached, _words(pid, *where, *(["take"] if take else [])))


def detach(pid: int) -> Request[replies.Named]:
    """Stream nothing more of a process, which goes on."""
    return Request("DETACH", replies.Named, _words(pid))


def logs(pid: int, offset: int = 0, length: int | None = None) -> Request[memoryreplies.Read]:
    """What a process has put out, from a byte on."""
    return Request("LOGS", memoryreplies.Read, _words(pid, offset, *([] if length is None else [length])))


def memr(pid: int, offset: int = 0, length: int | None = None) -> Request[memoryreplies.Read]:
    """Bytes of a process's memory, without a length all from the offset on."""
    return Request("MEMR", memoryreplies.Read, _words(pid, offset, *([] if length is None else [length])))


def mem() -> Request[memoryreplies.KernelMemory]:
    """What memory and contexts take, of all processes."""
    return Request("MEM", memoryreplies.KernelMemory)


def process_mem(pid: int) -> Request[memoryreplies.ProcessMemory]:
    """What a process's memory and context take."""
    return Request("MEM", memoryreplies.ProcessMemory, _words(pid))


def list_tools() -> Request[toolreplies.ToolList]:
    """What models can call."""
    return Request("LIST_TOOLS", toolreplies.ToolList)


def tool_info(name: str) -> Request[toolreplies.Tool]:
    """A tool's schema and limits."""
    return Request("TOOL_INFO", toolreplies.Tool, name.encode())


def register_tool(description: str | Mapping[str, Any]) -> Request[toolreplies.NamedTool]:
    """Add a tool, described in YAML or JSON, or by what that would hold."""
    data = description.encode() if isinstance(description, str) else msgspec.json.encode(description)
    return Request("REGISTER_TOOL", toolreplies.NamedTool, data)


def unregister_tool(name: str) -> Request[toolreplies.NamedTool]:
    """Forget a tool that was registered."""
    return Request("UNREGISTER_TOOL", toolreplies.NamedTool, name.encode())


def answer(pid: int, text: str) -> Request[toolreplies.Replied]:
    """Answer what a process asks a person."""
    payload = msgspec.json.encode({"pid": pid, "prompt": text})
    return Request("ANSWER", toolreplies.Replied, payload)


def approve(pid: int, call: int) -> Request[toolreplies.Replied]:
    """Let a process make the call it wants approval for."""
    return Request("APPROVE", toolreplies.Replied, _words(pid, call))


def deny(pid: int, call: int, reason: str = "") -> Request[toolreplies.Replied]:
    """Refuse it; the model is told the reason."""
    return Request("DENY", toolreplies.Replied, _words(pid, call, reason))


def list_files(pid: int, path: str = ".") -> Request[toolreplies.FileList]:
    """What is in a process's workspace, or in a folder of it; also when the process has ended."""
    return Request("LIST_FILES", toolreplies.FileList, _words(pid, path))


def get_file(pid: int, path: str) -> Request[toolreplies.FileData]:
    """The bytes of a file of a process's workspace."""
    return Request("GET_FILE", toolreplies.FileData, _words(pid, path))


def put_file(pid: int, path: str, data: bytes) -> Request[toolreplies.FileWritten]:
    """Write a file into a process's workspace.

    Raises ValueError for a path with a line's end or `|`, or with blanks around it.
    """
    if {"\n", "|"} & set(path) or path != path.strip():
        raise ValueError(f"{path!r}: a path can't be sent that holds a line's end or |, or blanks around it")
    return Request("PUT_FILE", toolreplies.FileWritten, _words(pid, path) + b"\n" + data)


def set_priority(pid: int, priority: Priority, nice: int | None = None) -> Request[replies.Prioritised]:
    """Change the class a process is scheduled in, and its nice value, from -20 to 19, if one is given."""
    words = () if nice is None else (nice,)
    return Request("SET_PRIORITY", replies.Prioritised, _words(pid, priority, *words))


def get_quota(pid: int) -> Request[quotareplies.Quota]:
    """A process's limits, and what is used of them."""
    return Request("GET_QUOTA", quotareplies.Quota, _words(pid))


def set_quota(pid: int, **limits: float | None) -> Request[quotareplies.Limits]:
    """Change a process's limits, `max_…` and `soft_…` by kinds; None is no limit."""
    return Request("SET_QUOTA", quotareplies.Limits, _words(pid) + b" " + _limits(limits))


def get_owner_quota(name: str) -> Request[quotareplies.OwnerQuota]:
    """An owner's limits, and what all its processes have used of them."""
    return Request("GET_QUOTA", quotareplies.OwnerQuota, _words(f"@{name}"))


def set_owner_quota(name: str, **limits: float | None) -> Request[quotareplies.OwnerLimits]:
    """Change an owner's limits, as `set_quota` those of a process."""
    return Request("SET_QUOTA", quotareplies.OwnerLimits, _words(f"@{name}") + b" " + _limits(limits))


def subscribe() -> Request[replies.Subscribed]:
    """Have events sent on this connection."""
    return Request("SUBSCRIBE", replies.Subscribed)


def call(verb: str, payload: bytes | str | Mapping[str, Any] = b"") -> Request[dict[str, Any]]:
    """Any verb, its data untyped; a mapping is sent as JSON."""
    if not verb.isidentifier():
        raise ValueError(f"{verb!r} is no verb")
    if isinstance(payload, Mapping):
        payload = msgspec.json.encode(payload)
    data = payload.encode() if isinstance(payload, str) else payload
    return Request(verb, dict[str, Any], data)


def _words(*words: object) -> bytes:
    return " ".join(str(word) for word in words).encode()


def _limits(limits: Mapping[str, float | None]) -> bytes:
    return ",".join(f"{key}={'none' if n is None else n}" for key, n in limits.items()).encode()


def _pairs(settings: Mapping[str, float]) -> bytes:
    return ",".join(f"{key}={value}" for key, value in settings.items()).encode()

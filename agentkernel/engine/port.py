"""What kernel and engine say to each other, and the engine's interface.

Rules
1. A `Request` is answered: it makes what a client sent into tokens.
2. Everything else takes effect at the next step's edge, in the order it was sent.
3. The engine runs granted processes by itself and reports each step in one `Step`.
4. Tokens are the truth: a process reopened with its tokens, counters and draws goes on as it would have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from agentkernel.calls import Call
from agentkernel.errors import KernelError
from agentkernel.plan import Message, Sampling

SOFT = -1  # in a context, the token of a position that an embedding of the client's fills


class Load(msgspec.Struct, tag=True):
    """Load a model file. Sizes: tokens a slot, tokens a batch; `threads` is the most to use."""

    path: str
    slots: int
    context: int
    batch: int
    threads: int
    gpu_layers: int
    max_step_ms: int
    images: str = ""  # directory of KV images on disk; none without it
    compress: bool = False  # images on disk, by Zstandard
    adapter: str = ""  # path of a LoRA adapter


class Turn(msgspec.Struct):
    """How far a turn has come: tokens generated, bytes of text given out, random numbers used.

    A limit that a turn went beyond cut its text off: `emitted` counts from there, after `cut` tokens.
    """

    tokens: int = 0
    emitted: int = 0
    draws: int = 0
    cut: int = 0


class Open(msgspec.Struct, tag=True):
    """A new process, or (with `tokens`) one that goes on. `budget` is tokens left in the turn.

    `conversation` asks for the turns of its messages. A prompt with a `base` follows these tokens as the next
    turn. `soft` are the embeddings (float32) that the first tokens, each `SOFT`, stand for. An `exact`
    one is decoded a token at a time, by one thread, alone: its text depends on nobody else's. With `calls` a
    turn ends where a call does; `functions` (a JSON list, as templates take them) are told to the model, and
    with `schemas` (of arguments, by name) a call that has begun can only become one of these. A prompt
    of more tokens than `room` is refused. With `prompt_lookup` a step may bring several tokens of it. A
    `hasty` one's answer begins as soon as it can; others' may wait for prompts that came with theirs.
    """

    pid: int
    sampling: Sampling
    budget: int
    prompt: str | None = None
    messages: tuple[Message, ...] = ()
    raw: bool = False
    stop: tuple[str, ...] = ()
    grammar: str = ""
    json_schema: str = ""
    conversation: bool = False
    base: list[int] = []
    tokens: list[int] | None = None
    soft: bytes = b""
    turn: Turn = msgspec.field(default_factory=Turn)
    turn_over: bool = False
    weight: float = 1.0
    room: int | None = None
    exact: bool = False
    calls: bool = False
    functions: str = ""
    schemas: dict[str, str] = {}
    prompt_lookup: bool = False
    hasty: bool = False


class Append(msgspec.Struct, tag=True):
    """The next turn of a process; it runs again once it is granted. More tokens than `room` are refused."""

    pid: int
    message: Message
    budget: int
    room: int | None = None


class Prefix(msgspec.Struct, tag=True):
    """Put soft-prompt rows (float32, the model's embedding width) before everything a process has.

    More than `room` are refused.
    """

    pid: int
    rows: bytes
    room: int | None = None


class Grant(msgspec.Struct, tag=True):
    """Run in the slot. What of the context the slot doesn't hold comes from the process's image, or from the
    first `prefix` tokens of `donor`'s context, and the rest is rebuilt from tokens.
    """

    pid: int
    slot: int
    donor: int = 0
    prefix: int = 0


class Hold(msgspec.Struct, tag=True):
    """Don't run; keep the slot and its context."""

    pid: int


class Revoke(msgspec.Struct, tag=True):
    """Don't run; give up the slot, and keep its context as an image in memory or not."""

    pid: int
    keep: bool = False


class Weigh(msgspec.Struct, tag=True):
    """A process's share: of those that decode, one of half the greatest weight is in every second step."""

    pid: int
    weight: float


class Threads(msgspec.Struct, tag=True):
    """From the next step on, use this many at most."""

    most: int


class Splice(msgspec.Struct, tag=True):
    """Put other tokens in place of some of the context; what follows them is computed again."""

    pid: int
    start: int
    end: int
    tokens: list[int] = []


class Keep(msgspec.Struct, tag=True):
    """Keep a copy of the process's context as an image under a key that is no PID."""

    pid: int
    key: int


class Finish(msgspec.Struct, tag=True):
    """End at the end of the sentence, within `grace` tokens."""

    pid: int
    grace: int


class Limit(msgspec.Struct, tag=True):
    """Tokens the process may have in this turn, counted from its start."""

    pid: int
    tokens: int


class Resume(msgspec.Struct, tag=True):
    """Go on with a turn that was over, up to so many tokens from its start."""

    pid: int
    tokens: int


class Close(msgspec.Struct, tag=True):
    """Forget the process and everything it holds, but for an image that is to be kept."""

    pid: int
    keep: bool = False


class Store(msgspec.Struct, tag=True):
    """Move an image from memory to disk."""

    pid: int


class Adopt(msgspec.Struct, tag=True):
    """The process's image file, with the first so many tokens of its context, was put there by the kernel."""

    pid: int
    tokens: int
    size: int  # of the file, in bytes
    digest: bytes  # BLAKE2b


class Drop(msgspec.Struct, tag=True):
    """Forget an image."""

    pid: int


Request = Open | Append | Prefix
Signal = (
    Grant
    | Hold
    | Revoke
    | Weigh
    | Threads
    | Splice
    | Keep
    | Finish
    | Limit
    | Resume
    | Close
    | Store
    | Adopt
    | Drop
)
Command = Load | Request | Signal


def check_room(request: Request, tokens: int) -> None:
    """Raise QUOTA_EXCEEDED where so many tokens are more than the request has room for."""
    if request.room is not None and tokens > request.room:
        details = {"tokens": tokens, "left": request.room}
        raise KernelError("QUOTA_EXCEEDED", f"{tokens} more tokens, {request.room} are left", details)


class Progress(msgspec.Struct, tag=True):
    """How much of the file is loaded, 0 to 1."""

    fraction: float


class Ready(msgspec.Struct, tag=True):
    """The model is loaded; tokens a slot really has, and the layers of the engine's jail that hold."""

    context: int
    jail: list[str]


class Refused(msgspec.Struct, tag=True):
    """A Load or Request that can't be done; `pid` is 0 for Load."""

    pid: int
    code: str
    message: str
    details: dict[str, int] = {}


class Opened(msgspec.Struct, tag=True):
    """The tokens that a Request added to the context.

    `turns` are where among them turns begin that could be dropped from a conversation; before the first
    comes what every answer needs (a system prompt), or what closes the answer before: of a later turn the
    first `closing` tokens.
    """

    pid: int
    tokens: list[int]
    turns: list[int] = []
    closing: int = 0


class Output(msgspec.Struct, array_like=True):
    """What a step did to one process; of one that drafts a step has an output for each token, in order.

    `tokens` are new in its context, `text` is whole UTF-8 characters; `end` is empty, or why its
    turn is over: stop, length, context_full, terminated, failed, call (then `calls` are what it asks for).
    """

    pid: int
    tokens: list[int]
    text: bytes
    draws: int
    end: str = ""
    filled: int = 0  # tokens of its context that its slot holds
    calls: list[Call] = []


class Step(msgspec.Struct, tag=True):
    """One decode over all granted processes: tokens, milliseconds, threads; `prompt` were of prompts.

    Drafted tokens are among those of the batch, whether they were right or not.
    """

    batch: int
    ms: float
    threads: int
    outputs: list[Output]
    prompt: int = 0
    reading: dict[int, int] = {}  # by PID, tokens of a prompt in its slot


class Paged(msgspec.Struct, tag=True):
    """An image was moved: `out` and `in` of memory, `disk-out`, `disk-in`, `share`; or it `failed`."""

    pid: int
    op: str
    tokens: int
    bytes: int
    ms: float


Event = Progress | Ready | Refused | Opened | Step | Paged


class Engine(Protocol):
    """One model, loaded in a process of its own or scripted."""

    on_step: Callable[[Step], None]
    on_paged: Callable[[Paged], None]
    on_death: Callable[[str], None]

    async def start(self, load: Load, on_progress: Callable[[float], None]) -> Ready:
        """Load the model. Raises KernelError LOAD_FAILED or MEMORY_ADMISSION."""

    async def open(self, request: Request) -> Opened:
        """What it adds. Raises KernelError EXEC_INVALID, MEMW_INVALID, MEMORY_ADMISSION,
        QUOTA_EXCEEDED or ENGINE_FAILED.
        """

    def send(self, command: Signal) -> None:
        """Tell the engine something that has no answer; nothing happens when it is dead."""

    async def stop(self) -> None:
        """End it and wait until it is gone; `on_death` is not called."""

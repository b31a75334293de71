"""`Client`: the kernel's verbs as methods that block.

Rules
1. A client belongs to one thread; it connects when first used.
2. While it reads for one stream or answer, what comes for the others is kept for them.
3. A lost connection ends its streams with ConnectionLostError and is made anew for the next command.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar, Unpack

from agentkernel.client import replies, requests
from agentkernel.client.connection import Inbox, Output, TurnEnd
from agentkernel.client.options import ExecOptions
from agentkernel.client.requests import Request
from agentkernel.client.transport import BACKOFF, Address, Transport

T = TypeVar("T")
P = ParamSpec("P")


def _verb(build: Callable[P, Request[T]]) -> Callable[Concatenate[Client, P], T]:
    """The method that sends what `build` makes and returns the answer."""

    @functools.wraps(build)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.ask(build(*args, **kwargs))

    return method


class Client:
    """A connection to a kernel.

    `token` is sent by AUTH when it is given; `timeout` bounds each wait for bytes, None waits for
    ever; `backoff` are the pauses of a reconnection. Every method raises ClientError.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 6380,
        *,
        token: str = "",
        timeout: float | None = None,
        backoff: Sequence[float] = BACKOFF,
    ) -> None:
        self._transport = Transport(Address(host, port, token, backoff), timeout)

    def __repr__(self) -> str:
        return f"<Client {self._transport!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; processes that stream here do as their `on_disconnect` says."""
        self._transport.close()

    help = _verb(requests.help)
    ping = _verb(requests.ping)
    status = _verb(requests.status)
    process_status = _verb(requests.process_status)
    ps = _verb(requests.ps)
    shutdown = _verb(requests.shutdown)
    list_models = _verb(requests.list_models)
    select_model = _verb(requests.select_model)
    model_info = _verb(requests.model_info)
    load = _verb(requests.load)
    unload = _verb(requests.unload)
    set_gen = _verb(requests.set_gen)
    get_gen = _verb(requests.get_gen)
    send_input = _verb(requests.send_input)
    stop_output = _verb(requests.stop_output)
    continue_output = _verb(requests.continue_output)
    wait = _verb(requests.wait)
    term = _verb(requests.term)
    kill = _verb(requests.kill)
    why = _verb(requests.why)
    detach = _verb(requests.detach)
    logs = _verb(requests.logs)
    suspend = _verb(requests.suspend)
    resume = _verb(requests.resume)
    fork = _verb(requests.fork)
    snapshot = _verb(requests.snapshot)
    list_snapshots = _verb(requests.list_snapshots)
    drop_snapshot = _verb(requests.drop_snapshot)
    checkpoint = _verb(requests.checkpoint)
    restore = _verb(requests.restore)
    list_checkpoints = _verb(requests.list_checkpoints)
    drop_checkpoint = _verb(requests.drop_checkpoint)
    replay = _verb(requests.replay)
    memw = _verb(requests.memw)
    memr = _verb(requests.memr)
    mem = _verb(requests.mem)
    process_mem = _verb(requests.process_mem)
    list_tools = _verb(requests.list_tools)
    tool_info = _verb(requests.tool_info)
    register_tool = _verb(requests.register_tool)
    unregister_tool = _verb(requests.unregister_tool)
    answer = _verb(requests.answer)
    approve = _verb(requests.approve)
    deny = _verb(requests.deny)
    list_files = _verb(requests.list_files)
    get_file = _verb(requests.get_file)
    put_file = _verb(requests.put_file)
    set_priority = _verb(requests.set_priority)
    get_quota = _verb(requests.get_quota)
    set_quota = _verb(requests.set_quota)
    get_owner_quota = _verb(requests.get_owner_quota)
    set_owner_quota = _verb(requests.set_owner_quota)
    call = _verb(requests.call)

    def quit(self) -> replies.Said:
        """Let the kernel close the connection."""
        said = self.ask(requests.quit())
        self.close()
        return said

    def ask(self, request: Request[T]) -> T:
        """The answer to a request of `agentkernel.client.requests`."""
        return self._transport.ask(request)

    def exec(self, prompt: str | Sequence[Mapping[str, str]], **options: Unpack[ExecOptions]) -> Stream:
        """Start a process on a prompt or on messages, and stream its output."""
        if options.get("interactive"):
            self._transport.subscribe()  # the end of a turn is an event
        started = self.ask(requests.exec(prompt, **options))
        if not started.streams_here:
            self.ask(requests.attach(started.pid, 0))
        return Stream(self._transport, started.pid, started)

    def attach(self, pid: int, offset: int | None = None, *, take: bool = False) -> Stream:
        """The output of a process from a byte on, from now on without one, beside whoever else reads it.

        `Stream.offset` of a stream that was lost says where another goes on. With `take` this client drives
        the process from then on, and who did can change nothing of it any more.
        """
        if (self.ask(requests.process_status(pid))).interactive:
            self._transport.subscribe()  # the end of a turn is an event
        attached = self.ask(requests.attach(pid, offset, take=take))
        return Stream(self._transport, pid, offset=attached.offset)

    def stream(self, pid: int) -> Stream:
        """The output of a process that has lost its reader; take it, then `resume` the process."""
        self._transport.connect()
        return Stream(self._transport, pid)

    def events(self) -> Iterator[replies.Event]:
        """Subscribe; the iterator gives every event from now on."""
        self._transport.subscribe()
        return self._events(self._transport.connection.listen())

    def watch(self, watcher: Callable[[replies.Event], None]) -> None:
        """Subscribe; the function gets every event as it is read, whatever that is read for.

        It may not use the client. A connection that is made anew has no watchers.
        """
        self._transport.subscribe()
        self._transport.connection.watch(watcher)

    def _events(self, inbox: Inbox[replies.Event]) -> Iterator[replies.Event]:
        while (event := self._transport.next(inbox)) is not None:
            yield event


class Stream:
    """The output of one process: an iterator of whole-character text, up to its end or its turn's.

    `started` is EXEC's reply; `turn` is why the last turn of an interactive process ended; `offset` is the
    byte of the process's output up to which it was iterated.
    """

    def __init__(
        self, transport: Transport, pid: int, started: replies.Started | None = None, offset: int = 0
    ) -> None:
        self.pid, self.started, self.turn, self.offset = pid, started, "", offset
        self._transport = transport
        self._inbox: Inbox[Output] = transport.connection.stream(pid)

    def __repr__(self) -> str:
        return f"<Stream pid={self.pid} {self._inbox!r}>"

    def __iter__(self) -> Iterator[str]:
        while (item := self._transport.next(self._inbox)) is not None:
            if isinstance(item, TurnEnd):
                self.turn = item.reason
                return
            self.offset = item.end
            yield item.text

    def read(self) -> str:
        """All text up to the end, or the turn's."""
        return "".join(self)

    def send(self, text: str) -> None:
        """The next turn of an interactive process; its answer is iterated as the first one was."""
        self._transport.ask(requests.send_input(self.pid, text))

    def result(self) -> replies.Ended:
        """Wait for the end; says how it ended. Text that was not iterated yet is kept."""
        self._transport.finish(self._inbox)
        return self._transport.ask(requests.wait(self.pid))

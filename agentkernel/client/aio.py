"""`AsyncClient`: the kernel's verbs as coroutines.

Rules
1. Many tasks may use one client; it connects when first used.
2. WAIT and LOAD answer late, and would hold up what comes behind them: each has its own connection.
3. A lost connection ends its streams with ConnectionLostError and is made anew for the next command.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from agentkernel.client import replies, requests
from agentkernel.client.async_transport import AsyncTransport
from agentkernel.client.connection import Inbox, Output, TurnEnd
from agentkernel.client.options import ExecOptions
from agentkernel.client.requests import Request
from agentkernel.client.transport import BACKOFF, Address

T = TypeVar("T")
P = ParamSpec("P")
Method = Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]


def _verb(build: Callable[P, Request[T]]) -> Method[P, T]:
    """The method that sends what `build` makes and returns the answer."""

    @functools.wraps(build)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.ask(build(*args, **kwargs))

    return method


class AsyncClient:
    """A connection to a kernel.

    `token` is sent by AUTH when it is given; `backoff` are the pauses of a reconnection, in seconds.
    Every method raises ClientError.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 6380,
        *,
        token: str = "",
        backoff: Sequence[float] = BACKOFF,
    ) -> None:
        self._transport = AsyncTransport(Address(host, port, token, backoff))

    def __repr__(self) -> str:
        return f"<AsyncClient {self._transport!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect; processes that stream here do as their `on_disconnect` says."""
        await self._transport.close()

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

    async def quit(self) -> replies.Said:
        """Let the kernel close the connection."""
        said = await self.ask(requests.quit())
        await self.close()
        return said

    async def ask(self, request: Request[T]) -> T:
        """The answer to a request of `agentkernel.client.requests`."""
        if request.slow:
            return await self._transport.ask_apart(request)
        return await self._transport.ask(request)

    async def exec(
        self, prompt: str | Sequence[Mapping[str, str]], **options: Unpack[ExecOptions]
    ) -> AsyncStream:
        """Start a process on a prompt or on messages, and stream its output."""
        if options.get("interactive"):
            await self._transport.subscribe()  # the end of a turn is an event
        started = await self.ask(requests.exec(prompt, **options))
        if not started.streams_here:
            await self.ask(requests.attach(started.pid, 0))
        return AsyncStream(self._transport, started.pid, started)

    async def attach(self, pid: int, offset: int | None = None, *, take: bool = False) -> AsyncStream:
        """The output of a process from a byte on, from now on without one, beside whoever else reads it.

        `Stream.offset` of a stream that was lost says where another goes on. With `take` this client drives
        the process from then on, and who did can change nothing of it any more.
        """
        if (await self.ask(requests.process_status(pid))).interactive:
            await self._transport.subscribe()  # the end of a turn is an event
        attached = await self.ask(requests.attach(pid, offset, take=take))
        return AsyncStream(self._transport, pid, offset=attached.offset)

    async def stream(self, pid: int) -> AsyncStream:
        """The output of a process that has lost its reader; take it, then `resume` the process."""
        await self._transport.connect()
        return AsyncStream(self._transport, pid)

    async def events(self) -> AsyncIterator[replies.Event]:
        """Subscribe; the iterator gives every event from now on."""
        await self._transport.subscribe()
        return self._events(self._transport.connection.listen())

    async def watch(self, watcher: Callable[[replies.Event], None]) -> None:
        """Subscribe; the function gets every event as it is read, whatever that is read for.

        A connection that is made anew has no watchers.
        """
        await self._transport.subscribe()
        self._transport.connection.watch(watcher)

    async def _events(self, inbox: Inbox[replies.Event]) -> AsyncIterator[replies.Event]:
        while (event := await self._transport.next(inbox)) is not None:
            yield event


class AsyncStream:
    """The output of one process: an iterator of whole-character text, up to its end or its turn's.

    `started` is EXEC's reply; `turn` is why the last turn of an interactive process ended; `offset` is the
    byte of the process's output up to which it was iterated.
    """

    def __init__(
        self, transport: AsyncTransport, pid: int, started: replies.Started | None = None, offset: int = 0
    ) -> None:
        self.pid, self.started, self.turn, self.offset = pid, started, "", offset
        self._transport = transport
        self._inbox: Inbox[Output] = transport.connection.stream(pid)

    def __repr__(self) -> str:
        return f"<AsyncStream pid={self.pid} {self._inbox!r}>"

    async def __aiter__(self) -> AsyncIterator[str]:
        while (item := await self._transport.next(self._inbox)) is not None:
            if isinstance(item, TurnEnd):
                self.turn = item.reason
                return
            self.offset = item.end
            yield item.text

    async def read(self) -> str:
        """All text up to the end, or the turn's."""
        return "".join([text async for text in self])

    async def send(self, text: str) -> None:
        """The next turn of an interactive process; its answer is iterated as the first one was."""
        await self._transport.ask(requests.send_input(self.pid, text))

    async def result(self) -> replies.Ended:
        """Wait for the end; says how it ended. Text that was not iterated yet is kept."""
        await self._transport.finish(self._inbox)
        return await self._transport.ask(requests.wait(self.pid))

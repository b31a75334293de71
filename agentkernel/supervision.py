"""One model's engine as it comes and goes: started, started again when it dies, out of memory and back.

Rules
1. When the engine dies another takes its place; after three deaths within a minute the model is broken.
   A death while a request was being taken counts for that request, not for the model.
2. Out of memory a model has no engine. What is asked of it waits, and its processes go on where they stand.
3. It is wanted while somebody asks it for something, or could run on it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from agentkernel import log
from agentkernel.catalog import ModelCard
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.process import Process
from agentkernel.residency import Tenant

DEATHS, WITHIN = 3, 60.0  # so many deaths within so many seconds break a model

_log = log.get("serving")


class Host(Protocol):
    """What a served model reports to."""

    def deliver(self, outputs: list[tuple[Process, port.Output]]) -> None:
        """A step brought this for these processes."""

    def fail(self, process: Process, reason: str) -> None:
        """The process can't go on."""

    def emit(self, kind: str, **fields: Any) -> None:
        """Something happened that subscribers may want to know."""


class Supervised(ABC):
    """A model with an engine, or without one for the time being."""

    def __init__(
        self, card: ModelCard, load: port.Load, make_engine: Callable[[], port.Engine], host: Host
    ) -> None:
        self.card, self.load, self.fingerprint = card, load, ""
        self.context, self.threads = load.context, load.threads
        self.jail: list[str] = []
        self.broken = self._stopped = self._begun = False
        self.restarts = 0
        self.changed: Callable[[], bool] = lambda: False  # whether its file is another than at first
        self.on_want: Callable[[], None] = lambda: None  # called when who wants it, or its engine, changes
        self.on_progress: Callable[[float], None] = lambda _fraction: None  # of its first start
        self._make_engine, self._host = make_engine, host
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self.engine = make_engine()
        self._up = asyncio.Event()
        self._waiting = self._asking = 0  # requests, and those of them that the engine has
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._why = ""  # it is broken
        self._most = load.threads  # that its engine knows of
        self._refusal: KernelError | None = None  # why it never started
        self._restart: asyncio.Task[None] | None = None
        self._entered: float | None = None
        self._wanted: float | None = None
        self._rests, self._entry = self._clock(), 0.0

    @property
    @abstractmethod
    def _busy(self) -> bool:
        """Whether somebody could run on it."""

    @property
    @abstractmethod
    def lives(self) -> int:
        """How many processes run on it."""

    @abstractmethod
    def _set_back(self) -> None:
        """Every context is gone: nobody has a slot."""

    @abstractmethod
    async def _reopen_all(self) -> bool:
        """Have the new engine know every process; False when it died of that."""

    @abstractmethod
    def _give_up(self, reason: str) -> None:
        """The model is broken: fail every process."""

    @abstractmethod
    def schedule(self) -> None:
        """Let run who can."""

    @abstractmethod
    def _on_step(self, step: port.Step) -> None:
        """A step is done."""

    @abstractmethod
    def _on_paged(self, event: port.Paged) -> None:
        """An image was moved."""

    @property
    def up(self) -> bool:
        """Whether its engine takes requests, or says that it never will."""
        return self._up.is_set()

    @property
    def in_memory(self) -> bool:
        """Whether it has an engine, or is getting one."""
        return self._entered is not None

    @property
    def size(self) -> int:
        """Bytes of memory it needs: its file, and its slots."""
        slots = self.load.slots * self.load.context * self.card.kv_bytes_per_token
        return self.card.file_bytes + slots

    @property
    def tenant(self) -> Tenant:
        """What decides whether it is in memory."""
        return Tenant(self.card.id, self.size, self._entered, self._wanted, self._rests, self._entry)

    @property
    def wanted(self) -> bool:
        """Whether somebody needs it."""
        return self._wanted is not None

    @property
    def rests(self) -> float:
        """Since when nobody wants it; infinity while somebody does."""
        return self._rests if self._wanted is None else float("inf")

    async def enter(self) -> None:
        """Come into memory. Raises LOAD_FAILED or MEMORY_ADMISSION the first time."""
        began = self._entered = self._clock()
        if self._begun:
            self._restart = self._loop.create_task(self._start_again("model_entered"))
            await asyncio.wait([self._restart])
        else:
            try:
                await self._bring_up(self.on_progress)
            except BaseException:
                self._entered = None
                raise
            self._begun = True
            if await self._reopen_all():  # those of a former kernel; else `_on_death` knows
                self._up.set()
        now = self._clock()
        self._entry = now - began
        self._entered = None if self.broken else now
        self.on_want()
        self.schedule()

    async def leave(self) -> None:
        """Go out of memory: who runs goes on from its tokens when the model is back."""
        self._up.clear()
        self._entered = None
        if self._wanted is not None:
            self._wanted = self._clock()  # it has had its turn: others wait longer
        await self._end_restart()
        engine = self.engine
        engine.on_step = lambda _step: None
        engine.on_paged = lambda _paged: None
        self._set_back()
        await engine.stop()
        self._host.emit("model_left", model=self.card.id, processes=self.lives)

    def refuse(self, error: KernelError) -> None:
        """It never started: whoever waits for it is told why."""
        self._refusal = error
        self._up.set()
        self._give_up("engine_failed")

    async def ready(self) -> None:
        """Wait until it is in memory. Raises why it never will be."""
        self._ask_more()
        try:
            await self._up.wait()
        finally:
            self._ask_less()
        self._check_up()

    async def stop(self) -> None:
        """End the engine; the processes are the caller's to end first."""
        await self._end_restart()
        self._stopped = True
        self._up.set()  # whoever waits learns that it is stopped
        await self.engine.stop()

    def allow(self, threads: int) -> None:
        """Have the engine, if it is up, use this many at most."""
        if self.in_memory and self.up and threads != self._most:
            self._most = threads
            self.send(port.Threads(threads))

    def send(self, *commands: port.Signal) -> None:
        """Tell the engine."""
        for command in commands:
            self.engine.send(command)

    async def _ask(self, request: port.Request, known: Callable[[], bool]) -> port.Opened:
        """Ask the engine for a process that is still known.

        Should it die meanwhile, once more and then no more: the request may kill it.
        """
        self._ask_more()
        deaths = 0
        try:
            while True:
                try:
                    return await self._ask_once(request, known)
                except KernelError as error:
                    deaths += self.in_memory or self.broken  # else it has only left
                    if error.code != "ENGINE_FAILED" or deaths == 2:
                        raise
        finally:
            self._ask_less()

    async def _ask_once(self, request: port.Request, known: Callable[[], bool]) -> port.Opened:
        await self._up.wait()
        self._check_up()
        if not known():
            raise KernelError("PID_NOT_FOUND", f"PID {request.pid} has ended")
        self._asking += 1
        try:
            return await self.engine.open(request)
        finally:
            self._asking -= 1

    def _check_up(self) -> None:
        if self._refusal is not None:
            raise KernelError(self._refusal.code, self._refusal.message, self._refusal.details)
        if self._stopped:
            raise KernelError("SHUTTING_DOWN")
        if self.broken:
            raise KernelError("ENGINE_FAILED", f"{self.card.id}: {self._why}")

    def _ask_more(self) -> None:
        self._waiting += 1
        self._note()

    def _ask_less(self) -> None:
        self._waiting -= 1
        self._note()

    def _note(self) -> None:
        """Know since when somebody wants it, or nobody does."""
        wanted = self._waiting > 0 or self._busy
        if wanted is (self._wanted is None):
            now = self._clock()
            self._wanted = now if wanted else None
            self._rests = now
            self.on_want()

    async def _bring_up(self, on_progress: Callable[[float], None]) -> None:
        engine = self.engine
        ready = await engine.start(self.load, on_progress)
        if self._stopped:  # before it could be
            await engine.stop()
            raise KernelError("SHUTTING_DOWN")
        engine.on_step, engine.on_paged, engine.on_death = self._on_step, self._on_paged, self._on_death
        self.context, self.jail, self._most = ready.context, ready.jail, self.load.threads

    async def _end_restart(self) -> None:
        """Nothing brings up another engine any more, not even the death of this one."""
        self.engine.on_death = lambda _reason: None
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.wait([self._restart])

    def _on_death(self, reason: str) -> None:
        now = self._clock()
        self._up.clear()
        if not self._asking:  # else a request that was under way is the likelier cause
            self._deaths.append(now)
        self._set_back()
        broken = len(self._deaths) == DEATHS and now - self._deaths[0] < WITHIN
        _log.warning("engine died", model=self.card.id, reason=reason, broken=broken)
        self._host.emit("engine_died", model=self.card.id, reason=reason, broken=broken)
        if broken:
            self._break(f"the engine died {DEATHS} times", "engine_failed")
        else:
            self._restart = self._loop.create_task(self._start_again("engine_restarted"))

    def _break(self, why: str, reason: str) -> None:
        """It takes nothing any more, and nothing goes on."""
        self.broken, self._entered, self._why = True, None, why
        self._up.set()  # whoever waits learns of it
        self._give_up(reason)

    async def _start_again(self, event: str) -> None:
        """Another engine for all that live; `event` is what subscribers are told."""
        if self.changed():
            self._break("its file is another one by now", "model_changed")
            return
        self.engine = self._make_engine()
        try:
            await self._bring_up(lambda _fraction: None)
        except (KernelError, OSError) as error:  # no memory, no descriptors
            self._on_death(str(error))
            return
        opened = await self._reopen_all()
        if not opened or self.broken or self._restart is not asyncio.current_task():
            return  # it died again, and `_on_death` knows
        self.restarts += event == "engine_restarted"
        self._up.set()
        _log.info("engine is back", model=self.card.id, processes=self.lives)
        self._host.emit(event, model=self.card.id, processes=self.lives)
        self.on_want()
        self.schedule()

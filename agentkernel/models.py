"""The models: which of them are known and in memory, and which one a new process gets.

Rules
1. A load that fails leaves everything as it was.
2. LOAD makes a model the current one, which new processes get that name no other; those loaded before stay.
3. A model enters memory when somebody needs it; `residency` says who leaves for it. Nobody but it does that.
4. Engines that work at the same time share the cores: threads that wait for a core hold up all of a step.
5. A model that is not the current one and that nobody has used for `engine.idle_minutes` is unloaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from agentkernel import log
from agentkernel.catalog import Catalog, ModelCard
from agentkernel.config import Config
from agentkernel.cpu import usable_cores
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.gguf import fingerprint
from agentkernel.pages import Pager
from agentkernel.plan import Workload
from agentkernel.residency import move
from agentkernel.routing import Routes, ranking, rationale
from agentkernel.scheduler import Scheduler
from agentkernel.serving import Policy, Served
from agentkernel.supervision import Host

_DEFAULT_CONTEXT = 4096  # tokens a slot, where the model was trained for at least that
_DEFAULT_SLOTS = 16
MIB = 1 << 20
_IMAGE_SHARE = 8  # without `memory.ram_mb`, images take at most 1/8 of free memory
_KV_SHARE = 4  # without `engine.slots`, KV slots take at most 1/4 of free memory
_TICK = 1e-3  # seconds: a timer may be early by the clock's resolution
_RETRY = 1.0  # seconds until a model that nothing can make room for is looked at again

_log = log.get("models")


class Choice(NamedTuple):
    """The model that a process gets, and why, where it was chosen for it."""

    served: Served
    rationale: str = ""


class Models:
    """What is known, in memory, being loaded and selected."""

    def __init__(self, config: Config, make_engine: Callable[[], port.Engine], host: Host) -> None:
        """Raises LOAD_FAILED for scores of models that can't be read."""
        self.catalog = Catalog(Path(config.models))
        self.served: dict[str, Served] = {}
        self.loaded_id = self.selected_id = ""
        self._routes = Routes(Path(config.models))
        self._config, self._make_engine, self._host = config, make_engine, host
        self._most = config.engine.memory_mb * MIB or psutil.virtual_memory().available
        self._loading = ""
        self._registering = asyncio.Lock()
        self._moving: asyncio.Task[None] | None = None
        self._look_again: asyncio.TimerHandle | None = None
        self._retire_again: asyncio.TimerHandle | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        self._closed = False

    def current(self) -> Served:
        """The model that new processes get. Raises NO_MODEL."""
        if not self.loaded_id:
            raise KernelError("NO_MODEL")
        return self.served[self.loaded_id]

    async def cards(self) -> list[ModelCard]:
        """The catalogue, read anew."""
        return await asyncio.to_thread(self.catalog.list)

    async def select(self, id_: str) -> ModelCard:
        """Choose what LOAD takes by default. Raises MODEL_NOT_FOUND."""
        card = await asyncio.to_thread(self.catalog.get, id_)
        self.selected_id = card.id
        return card

    async def info(self, id_: str) -> ModelCard:
        """A model's card; without an id the selected or the loaded one's."""
        id_ = id_ or self.selected_id or self.loaded_id
        if not id_:
            raise KernelError("MODEL_SELECTOR")
        return await asyncio.to_thread(self.catalog.get, id_)

    async def load(self, selector: str) -> Served:
        """Have a model in memory, by id or path, or the selected one, and make it the current one.

        Raises MODEL_SELECTOR, MODEL_NOT_FOUND, LOAD_FAILED, LOAD_BUSY, MEMORY_ADMISSION.
        """
        selector = selector or self.selected_id
        if not selector:
            raise KernelError("MODEL_SELECTOR")
        if self._loading:
            raise KernelError("LOAD_BUSY", f"{self._loading} is being loaded")
        self._loading = selector
        try:
            card = await asyncio.to_thread(self.catalog.resolve, selector)
            known = self.served.get(card.id)
            if known is not None and known.broken:
                await self._drop(known)
            served = await self._known(card)
            await served.ready()
        finally:
            self._loading = ""
        self.loaded_id = self.selected_id = card.id
        self._host.emit("model_changed", model=card.id)
        self.retire_idle()
        return served

    async def choose(self, named: str, hint: Workload | None, workload: Workload) -> Choice:
        """The model for a process: the one named; one that is good at such work; else the current one.

        A class that was merely inferred, and is the general one, chooses nothing. Raises NO_MODEL, and for
        a named one as `serving`.
        """
        if named:
            return Choice(await self.serving(named), "as asked")
        current = self.current()
        if hint is None and workload == "general":
            return Choice(current)
        scores = self._routes.scores()
        if current.card.id not in scores:
            return Choice(current)
        ranked = ranking(scores, workload)
        for place, (id_, _) in enumerate(ranked):
            with contextlib.suppress(KernelError):  # it is not there, or can't be loaded: the next best, then
                served = await self.serving(id_)
                return Choice(served, rationale(ranked[place:], workload, asked=hint is not None))
        return Choice(current)

    async def serving(self, id_: str) -> Served:
        """The model of that id, which may be out of memory, where others are that are in use.

        Raises MODEL_NOT_FOUND, LOAD_FAILED, MEMORY_ADMISSION, and ENGINE_FAILED for a broken one.
        """
        if (known := self.served.get(id_)) is not None:
            if known.broken:
                await known.ready()  # which tells why it never will be
            return known
        served = await self._known(await asyncio.to_thread(self.catalog.get, id_))
        used = (each.size for each in self.served.values() if each.in_memory and each.wanted)
        if served.size + sum(used) <= self._room():
            await served.ready()
        return served

    async def unload(self, id_: str) -> str:
        """Unload a model nobody uses. Raises NO_MODEL, MODEL_NOT_FOUND or LOAD_BUSY."""
        id_ = id_ or self.loaded_id
        if not id_:
            raise KernelError("NO_MODEL")
        served = self.served.get(id_)
        if served is None:
            raise KernelError("MODEL_NOT_FOUND", f"{id_!r} is not loaded")
        if served.users:
            details = {"processes": served.users}
            raise KernelError("LOAD_BUSY", f"{served.users} processes use {id_}", details)
        await self._drop(served)
        return id_

    def retire_idle(self) -> None:
        """Unload what has been idle for too long, now and when the next one will have been."""
        if self._retire_again is not None:
            self._retire_again.cancel()
            self._retire_again = None
        minutes = self._config.engine.idle_minutes
        idle = [s for s in self.served.values() if s.card.id != self.loaded_id and not s.users]
        if not minutes or not idle or self._closed:
            return
        loop = asyncio.get_running_loop()
        for served in idle:
            if served.rests + minutes * 60 <= loop.time():
                self._forget(served)
                task = loop.create_task(served.stop())
                self._stopping.add(task)
                task.add_done_callback(self._stopping.discard)
        left = [served.rests for served in idle if served.card.id in self.served]
        if left:
            self._retire_again = loop.call_at(min(left) + minutes * 60, self.retire_idle)

    async def stop(self) -> None:
        """End every engine."""
        self._closed = True
        for timer in (self._look_again, self._retire_again):
            if timer is not None:
                timer.cancel()
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.wait([self._moving])
        for served in list(self.served.values()):
            await self._drop(served)
        if self._stopping:
            await asyncio.wait(self._stopping)

    async def _known(self, card: ModelCard) -> Served:
        """The model as one that may enter memory. Raises LOAD_FAILED, MEMORY_ADMISSION."""
        async with self._registering:
            if self._closed:
                raise KernelError("SHUTTING_DOWN")
            if (known := self.served.get(card.id)) is not None:
                return known
            if card.error:
                raise KernelError("LOAD_FAILED", f"{card.id}: {card.error}")
            load, settings = self._shape(card), self._config.scheduler
            try:
                found = await asyncio.to_thread(_fingerprint, card)
                changed = _watch(card, found)
            except OSError as error:
                raise KernelError("LOAD_FAILED", f"{card.id}: {error.strerror}") from error
            if self._closed:
                raise KernelError("SHUTTING_DOWN")
            paging = bool(load.images)  # without it, who gives way would lose its work
            scheduler = Scheduler(load.slots, settings.weights, settings.quantum, preempt=paging)
            served = Served(card, load, self._make_engine, self._host, Policy(scheduler, self._pager))
            served.fingerprint, served.changed = found, changed
            served.on_progress, served.on_want = self._shows_progress(card.id), self._on_want
            self.served[card.id] = served
            return served

    def _shows_progress(self, id_: str) -> Callable[[float], None]:
        shown = -1

        def on_progress(fraction: float) -> None:
            nonlocal shown
            if int(fraction * 10) > shown:
                shown = int(fraction * 10)
                self._host.emit("load_progress", model=id_, fraction=round(fraction, 3))

        return on_progress

    def _on_want(self) -> None:
        """Engines that work at the same time share the cores; one that has them to itself has them all."""
        working = [served for served in self.served.values() if served.in_memory and served.wanted]
        for served in working:
            served.allow(max(1, served.load.threads // len(working)))
        self._look()

    def _look(self) -> None:
        """Have those models in memory that are needed, in turns where not all of them fit."""
        outside = [s for s in self.served.values() if not (s.in_memory or s.broken)]
        if self._closed or self._moving is not None or not outside:
            return
        if self._look_again is not None:
            self._look_again.cancel()
        loop = asyncio.get_running_loop()
        now = loop.time()
        tenants = [served.tenant for served in self.served.values() if not served.broken]
        step = move(tenants, self._room(), self._config.engine.turn_secs, now)
        if step.enter:
            leave = [self.served[id_] for id_ in step.leave]
            self._moving = loop.create_task(self._move(leave, self.served[step.enter]))
        elif any(served.wanted for served in outside):
            when = now + _RETRY if step.due is None else max(step.due, now + _TICK)
            self._look_again = loop.call_at(when, self._look)

    async def _move(self, leave: list[Served], enter: Served) -> None:
        try:
            for served in leave:
                if served in self.served.values():  # else it was unloaded meanwhile
                    await served.leave()
                    _log.info("model left memory", model=served.card.id)
            if enter in self.served.values():
                await self._enter(enter)
        finally:
            self._moving = None
        self._look()

    async def _enter(self, served: Served) -> None:
        try:
            await served.enter()
        except KernelError as error:
            await self._refuse(served, error)
        except OSError as error:  # no memory or no descriptors for another process
            await self._refuse(served, KernelError("LOAD_FAILED", str(error.strerror)))
        else:
            slots = served.load.slots
            _log.info("model in memory", model=served.card.id, slots=slots, context=served.context)

    async def _refuse(self, served: Served, error: KernelError) -> None:
        """It can't be started: whoever waits for it is told, and nothing is left of it."""
        if served in self.served.values():  # else it was unloaded meanwhile
            self._forget(served)
        served.refuse(KernelError(error.code, f"{served.card.id}: {error.message}", error.details))
        await served.stop()

    async def _drop(self, served: Served) -> None:
        self._forget(served)
        await served.stop()

    def _forget(self, served: Served) -> None:
        del self.served[served.card.id]
        if self.loaded_id == served.card.id:
            self.loaded_id = ""
            self._host.emit("model_changed", model="")

    def _room(self) -> int:
        """Bytes that models may take, all together."""
        taken = sum(served.size for served in self.served.values() if served.in_memory)
        return min(self._most, psutil.virtual_memory().available + taken)

    def _shape(self, card: ModelCard) -> port.Load:
        """Slots and context: what the settings say, else what fits. Raises MEMORY_ADMISSION."""
        settings = self._config.engine
        context = settings.context or min(card.context_train or _DEFAULT_CONTEXT, _DEFAULT_CONTEXT)
        slot_bytes = max(1, context * card.kv_bytes_per_token)
        room = self._room()
        fitting = (room - card.file_bytes) // _KV_SHARE // slot_bytes
        slots = settings.slots or max(1, min(_DEFAULT_SLOTS, fitting))
        needed = card.file_bytes + slots * slot_bytes
        if needed > room:
            details = {"needed_bytes": needed, "free_bytes": room}
            raise KernelError("MEMORY_ADMISSION", f"{needed} bytes needed, {room} free", details)
        return port.Load(
            path=str(Path(card.path).resolve()),
            slots=slots,
            context=context,
            batch=max(settings.batch, slots),
            threads=settings.threads or usable_cores(),
            gpu_layers=settings.gpu_layers,
            max_step_ms=self._config.scheduler.max_step_ms,
            images=self._image_folder(card) if self._config.memory.paging == "on" else "",
            compress=self._config.memory.compress,
            adapter=str(Path(card.adapter).resolve()) if card.adapter else "",
        )

    def _pager(self) -> Pager:
        memory = self._config.memory
        if memory.paging == "off":
            return Pager(0, 0)
        ram = memory.ram_mb * MIB or psutil.virtual_memory().available // _IMAGE_SHARE
        return Pager(ram, memory.disk_mb * MIB, memory.policy)

    def _image_folder(self, card: ModelCard) -> str:
        """A directory of this model's own."""
        name = hashlib.blake2b(card.id.encode(), digest_size=8).hexdigest()
        return str(Path(self._config.state).resolve() / "images" / name)


def _watch(card: ModelCard, known: str) -> Callable[[], bool]:
    """Whether the model's files, or its adapter's, are others than those known now."""
    paths = [Path(path) for path in (card.path, card.adapter) if path]

    def stamps() -> list[tuple[int, int]]:
        return [(status.st_mtime_ns, status.st_size) for status in map(Path.stat, paths)]

    before = stamps()

    def changed() -> bool:
        try:
            return stamps() != before and _fingerprint(card) != known
        except OSError:
            return False  # the engine finds out that one is gone

    return changed


def _fingerprint(card: ModelCard) -> str:
    """Of the model's file, and of its adapter's. Raises OSError."""
    model = fingerprint(Path(card.path))
    return f"{model}+{fingerprint(Path(card.adapter))}" if card.adapter else model

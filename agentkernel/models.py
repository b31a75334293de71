"""The loaded models: which one new processes get, loading beside what runs, unloading when idle.

Rules
1. A load that fails leaves everything as it was.
2. After a load the new model gets the new processes; an older one is unloaded when its last process ends.
3. Room is checked before an engine is started: the file and its KV slots must fit into free memory.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import psutil

from agentkernel import log
from agentkernel.catalog import Catalog, ModelCard
from agentkernel.config import Config
from agentkernel.cpu import usable_cores
from agentkernel.engine import port
from agentkernel.errors import KernelError
from agentkernel.gguf import fingerprint
from agentkernel.pages import Pager
from agentkernel.scheduler import Scheduler
from agentkernel.serving import Host, Policy, Served

_DEFAULT_CONTEXT = 4096  # tokens a slot, where the model was trained for at least that
_DEFAULT_SLOTS = 16
MIB = 1 << 20
_IMAGE_SHARE = 8  # without `memory.ram_mb`, images take at most 1/8 of free memory
_KV_SHARE = 4  # without `engine.slots`, KV slots take at most 1/4 of free memory

_log = log.get("models")


class Models:
    """What is loaded, being loaded and selected."""

    def __init__(self, config: Config, make_engine: Callable[[], port.Engine], host: Host) -> None:
        self.catalog = Catalog(Path(config.models))
        self.served: dict[str, Served] = {}
        self.loaded_id = self.selected_id = ""
        self._config, self._make_engine, self._host = config, make_engine, host
        self._loading = ""
        self._stopping: set[asyncio.Task[None]] = set()

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
        """Load a model by id or path, or the selected one, beside what runs."""
        selector = selector or self.selected_id
        if not selector:
            raise KernelError("MODEL_SELECTOR")
        if self._loading:
            raise KernelError("LOAD_BUSY", f"{self._loading} is being loaded")
        self._loading = selector
        try:
            return await self._load(await asyncio.to_thread(self.catalog.resolve, selector))
        finally:
            self._loading = ""

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
        """Unload what new processes don't get and no process uses."""
        for served in list(self.served.values()):
            if served.card.id != self.loaded_id and not served.users:
                self._forget(served)
                task = asyncio.get_running_loop().create_task(served.stop())
                self._stopping.add(task)
                task.add_done_callback(self._stopping.discard)

    async def stop(self) -> None:
        """End every engine."""
        for served in list(self.served.values()):
            await self._drop(served)
        if self._stopping:
            await asyncio.wait(self._stopping)

    async def _load(self, card: ModelCard) -> Served:
        known = self.served.get(card.id)
        if known is not None and not known.broken:
            self._use(known)
            return known
        if card.error:
            raise KernelError("LOAD_FAILED", f"{card.id}: {card.error}")
        load, settings = self._shape(card), self._config.scheduler
        paging = bool(load.images)  # without it, who gives way would lose its work
        scheduler = Scheduler(load.slots, settings.weights, settings.quantum, preempt=paging)
        served = Served(card, load, self._make_engine, self._host, Policy(scheduler, self._pager))
        shown = -1

        def on_progress(fraction: float) -> None:
            nonlocal shown
            if int(fraction * 10) > shown:
                shown = int(fraction * 10)
                self._host.emit("load_progress", model=card.id, fraction=round(fraction, 3))

        try:
            served.fingerprint = await asyncio.to_thread(fingerprint, Path(card.path))
            await served.start(on_progress)
        except KernelError as error:
            await served.stop()
            raise KernelError(error.code, f"{card.id}: {error.message}", error.details) from error
        except OSError as error:  # no memory or no descriptors for another process
            raise KernelError("LOAD_FAILED", f"{card.id}: {error.strerror}") from error
        if known is not None and self.served.get(card.id) is known:
            await self._drop(known)
        self.served[card.id] = served
        _log.info("model loaded", model=card.id, slots=served.load.slots, context=served.context)
        self._use(served)
        return served

    def _use(self, served: Served) -> None:
        self.loaded_id = self.selected_id = served.card.id
        self._host.emit("model_changed", model=served.card.id)
        self.retire_idle()

    async def _drop(self, served: Served) -> None:
        self._forget(served)
        await served.stop()

    def _forget(self, served: Served) -> None:
        del self.served[served.card.id]
        if self.loaded_id == served.card.id:
            self.loaded_id = ""
            self._host.emit("model_changed", model="")

    def _shape(self, card: ModelCard) -> port.Load:
        """Slots and context: what the settings say, else what fits. Raises MEMORY_ADMISSION."""
        settings = self._config.engine
        context = settings.context or min(card.context_train or _DEFAULT_CONTEXT, _DEFAULT_CONTEXT)
        slot_bytes = max(1, context * card.kv_bytes_per_token)
        free = psutil.virtual_memory().available
        fitting = (free - card.file_bytes) // _KV_SHARE // slot_bytes
        slots = settings.slots or max(1, min(_DEFAULT_SLOTS, fitting))
        needed = card.file_bytes + slots * slot_bytes
        if needed > free:
            details = {"needed_bytes": needed, "free_bytes": free}
            raise KernelError("MEMORY_ADMISSION", f"{needed} bytes needed, {free} free", details)
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

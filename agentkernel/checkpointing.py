"""Processes saved under names, and brought back: after their end, on another kernel, or beside themselves.

Rules
1. What is saved is all processes as they stand at one moment. They go on meanwhile; only calls wait until
   their workspaces have been read.
2. What is brought back are all processes of a checkpoint or none. Their calls that had begun are treated as
   after a crash: never made twice.
3. A PID is a process's for ever: it comes back under its own, or, as new, under one that nobody had.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec

from agentkernel import log
from agentkernel.carrying import adopt, exported, form, place
from agentkernel.checkpoints import Checkpoint, Held, Reader, Writer
from agentkernel.errors import KernelError
from agentkernel.plan import Letter
from agentkernel.process import Event, Owner, Process, State, Wait
from agentkernel.quotas import NO_QUOTA
from agentkernel.records import Saved, encode, saved, unpacked
from agentkernel.request import summarizes
from agentkernel.serving import Served
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.succession import Successor
from agentkernel.toolverbs import ToolVerbs

_PIECE = 1 << 20  # bytes of output or memory in a member

_log = log.get("checkpoints")


class _Standing(NamedTuple):
    """A process as it stands: what is saved of it, and the bytes of its memory, which are kept for `-pid`."""

    process: Process
    saved: Saved
    memory: int


class _Returning(NamedTuple):
    """A process on its way back: what was saved of it, its model, and the PID it had."""

    process: Process
    saved: Saved
    served: Served
    was: int
    files: Successor


class Checkpointing(ToolVerbs):
    """The part of the kernel's methods that concerns checkpoints."""

    _next_save: asyncio.TimerHandle | None = None

    async def recover(self, known: Callable[[Owner], Owner] = lambda owner: owner) -> int:
        """See `Lifecycle.recover`; from then on processes are saved as often as the settings say."""
        found = await super().recover(known)
        self._save_later()
        return found

    async def close(self) -> None:
        """See `Lifecycle.close`."""
        if self._next_save is not None:
            self._next_save.cancel()
        await super().close()

    async def checkpoint(self, owner: Owner, pid: int | None, name: str) -> Checkpoint:
        """Save a process, or without a PID all that the owner may see, in the place of what had the name.

        Raises CHECKPOINT_LIMIT, CHECKPOINT_FAILED or JOURNAL_FULL.
        """
        async with self._saving:
            self._check_open()
            chosen = [process for process in self.table if owner.may(process)]
            chosen = chosen if pid is None else [self._mine(owner, pid)]
            processes = [process for process in chosen if not summarizes(process.plan)]
            if not processes:
                raise KernelError("CHECKPOINT_FAILED", "no process lives")
            try:
                with self._held(processes) as found:
                    await self.recorder.synced()
                    return await self._save(owner, name, found)
            except OSError as error:
                raise KernelError("CHECKPOINT_FAILED", f"{name!r}: {error.strerror}") from error

    async def restore(self, owner: Owner, name: str, *, as_new: bool) -> list[tuple[Process, int]]:
        """Bring back the processes of a checkpoint, each with the PID it had; nobody is sent what they say.

        Raises CHECKPOINT_NOT_FOUND, RESTORE_FAILED, RESTORE_BUSY, ESANDBOX, SPAWN_FAILED, MEMW_FAILED,
        JOURNAL_FULL.
        """
        self._check_open()
        found = await asyncio.to_thread(self.checkpoints.find, owner, name)
        reader = await asyncio.to_thread(Reader, found.path)
        try:
            async with self._returning(owner, reader, as_new=as_new) as returning:
                for each in returning:
                    await self._fill(each, reader)
                texts = [await asyncio.to_thread(_output, reader, each.was) for each in returning]
                self._return(returning, texts)
                await self._reopen(returning, reader)
                await self.recorder.synced()
                self._go_on_again(returning)
        finally:
            reader.close()
        return [(each.process, each.was) for each in returning]

    # Saving

    def _save_later(self) -> None:
        if minutes := self.config.journal.checkpoint_minutes:
            loop = asyncio.get_running_loop()
            self._next_save = loop.call_later(minutes * 60, lambda: self._start(self._save_all()))

    async def _save_all(self) -> None:
        """Save each owner's processes as `auto`."""
        for owner in sorted({replace(process.owner, admin=False) for process in self.table}, key=_id):
            try:
                await self.checkpoint(owner, None, "auto")
            except KernelError as error:
                _log.warning("no checkpoint", owner=owner.name, error=str(error))
        if not self.draining:
            self._save_later()

    @contextlib.contextmanager
    def _held(self, processes: Sequence[Process]) -> Iterator[list[_Standing]]:
        """The processes as they stand; what they write to memory from now on is not in `-pid`'s."""
        found = []
        try:
            for process in processes:
                self._frozen.add(process.pid)
                self.memory.fork(process.pid, -process.pid)
                size = self.memory.size(process.pid)
                found.append(_Standing(process, self.recorder.save(process), size))
            yield found
        finally:
            for process in processes:
                self._frozen.discard(process.pid)
                self.memory.forget(-process.pid)
            self._thaw.set()
            self._thaw.clear()

    async def _save(self, owner: Owner, name: str, found: list[_Standing]) -> Checkpoint:
        writer = await asyncio.to_thread(self.checkpoints.write, owner, name)
        try:
            held = [await self._save_process(writer, *each) for each in found]
            return await asyncio.to_thread(writer.finish, owner.name, name, tuple(held))
        except BaseException as error:
            await asyncio.shield(asyncio.to_thread(writer.abandon, error))
            raise

    async def _save_process(self, writer: Writer, process: Process, kept: Saved, memory: int) -> Held:
        pid, size = process.pid, kept.whole.standing.offset
        await asyncio.to_thread(writer.add, f"{pid}/record", encode(kept))
        for start in range(0, size, _PIECE):
            text = self.recorder.output(pid, start, min(_PIECE, size - start))
            if len(text) < min(_PIECE, size - start):
                raise KernelError("CHECKPOINT_FAILED", f"the output of PID {pid} is not kept whole")
            await asyncio.to_thread(writer.add, f"{pid}/output/{start}", text)
        await self._save_memory(writer, pid, memory)
        await self._save_files(writer, process)
        birth, tokens = kept.whole.birth, unpacked(kept.whole.tokens)
        held = Held(pid, birth.model_id, birth.fingerprint, len(tokens))
        served = self.models.served.get(process.model_id)
        if served is None:  # nobody has needed it since
            return held
        async with exported(served, process, tokens) as image:
            if image is None:
                return held
            await asyncio.to_thread(writer.add_file, f"{pid}/image", image.path)
        return msgspec.structs.replace(held, image=form(served), image_tokens=image.tokens)

    async def _save_memory(self, writer: Writer, pid: int, size: int) -> None:
        for start in range(0, size, _PIECE):
            try:
                data = await self.memory.read(-pid, start, min(_PIECE, size - start))
            except KernelError as error:
                raise KernelError("CHECKPOINT_FAILED", f"memory of PID {pid}: {error}") from error
            await asyncio.to_thread(writer.add, f"{pid}/memory/{start}", data)

    async def _save_files(self, writer: Writer, process: Process) -> None:
        limits = self.config.tools.limits
        try:
            found, complete = await self._with_files(
                process, lambda workspace: workspace.walk(".", limits.workspace_files)
            )
        except KernelError as error:
            if error.code != "FILE_NOT_FOUND":  # else it was never made
                raise KernelError("CHECKPOINT_FAILED", f"files of PID {process.pid}: {error}") from error
            return
        if not complete:
            raise KernelError("CHECKPOINT_FAILED", f"PID {process.pid} has more files than its limit")
        for path in (each.path for each in found if each.regular):
            with contextlib.suppress(FileNotFoundError):
                data = await self._content(process, path, limits.workspace_mb << 20)
                member = f"{process.pid}/files/{quote_from_bytes(os.fsencode(path))}"
                await asyncio.to_thread(writer.add, member, data)

    async def _content(self, process: Process, path: str, most: int) -> bytes:
        try:
            return await self._with_files(process, lambda workspace: workspace.get(path, most))
        except KernelError as error:
            if error.code == "FILE_NOT_FOUND":  # it has been removed meanwhile
                raise FileNotFoundError(path) from error
            raise KernelError("CHECKPOINT_FAILED", f"PID {process.pid}, {path}: {error}") from error

    # Bringing back

    @contextlib.asynccontextmanager
    async def _returning(
        self, owner: Owner, reader: Reader, *, as_new: bool
    ) -> AsyncIterator[list[_Returning]]:
        """The processes, with PIDs that are theirs; should the block raise, nothing of them is left."""
        wholes = {held.pid: _saved(reader, held.pid) for held in reader.manifest.processes}
        for kept in wholes.values():
            self._check_allowed(owner, kept)
        with contextlib.ExitStack() as stack:
            births = {pid: kept.whole.birth for pid, kept in wholes.items()}
            models = {
                pid: await self._model_of(birth.model_id, birth.fingerprint, "RESTORE_FAILED", stack)
                for pid, birth in births.items()
            }
            pids: dict[int, int] = {}
            found: list[_Returning] = []
            try:
                for pid, kept in wholes.items():
                    pids[pid] = self.table.new_pid() if as_new else self._own_pid(pid, kept)
                for pid, kept in wholes.items():
                    process = self._made(kept, pids, pid)
                    process.model_id = models[pid].card.id
                    with _told_of_files(process.pid):
                        files = await self.gate.successor(process.pid)
                        await asyncio.to_thread(files.remove)
                    found.append(_Returning(process, kept, models[pid], pid, files))
                yield found
            except BaseException:
                for each in found:
                    self._undo(each.process)
                raise
            finally:
                for pid in pids.values():
                    self.table.abandon(pid)
                for each in found:
                    with contextlib.suppress(ToolError):  # else the next kernel does it
                        await asyncio.to_thread(each.files.remove)

    def _undo(self, process: Process) -> None:
        if any(other is process for other in self.table):
            self._end(process, Event.KILL, "killed")
        else:
            self.backing.forget(process.pid)

    def _check_allowed(self, owner: Owner, kept: Saved) -> None:
        birth = kept.whole.birth
        if not owner.admin and birth.owner.name != owner.name:
            raise KernelError("RESTORE_FAILED", f"it holds processes of {birth.owner.name}")
        self.accounts.check(birth.owner.name)
        if birth.plan.permits is not None:
            self.gate.check_level(birth.plan.permits)

    async def _model_of(self, id_: str, fingerprint: str, code: str, stack: contextlib.ExitStack) -> Served:
        """What serves the model, for as long as the stack lasts. Raises the code where nothing can."""
        known = self.models.served.values()
        same = (each for each in known if each.fingerprint == fingerprint and not each.broken)
        try:
            served = next(same, None) or await self.models.serving(id_)
        except KernelError as error:
            raise KernelError(code, f"its model {id_}: {error}") from error
        if served.fingerprint != fingerprint:
            raise KernelError(code, f"{id_} is another file here")
        stack.callback(self.models.retire_idle)
        stack.enter_context(served.expecting())
        return served

    def _own_pid(self, pid: int, kept: Saved) -> int:
        """Its own PID, if that is still its own. Raises RESTORE_BUSY."""
        past, _ = self.recorder.past(pid) or (None, "")
        birth = kept.whole.birth
        if past is not None and (past.plan != birth.plan or past.owner.name != birth.owner.name):
            raise KernelError("RESTORE_BUSY", f"PID {pid} was another process here", {"pid": pid})
        if past is None and pid < self.table.next_pid:
            raise KernelError("RESTORE_BUSY", f"PID {pid} lives, or was another process here", {"pid": pid})
        self.table.claim(pid)
        return pid

    def _made(self, kept: Saved, pids: dict[int, int], was: int) -> Process:
        process = kept.whole.process(pids[was], self.clock())
        process.owner = self.recorder.known(process.owner)
        process.epoch += 1
        process.brought = process.used(self.clock())
        if process.parent not in pids:
            process.granted = NO_QUOTA
        if process.pid != was:
            process.plan = msgspec.structs.replace(process.plan, key="")
            process.parent = pids.get(process.parent, 0)
            for index, letter in enumerate(process.letters):
                process.letters[index] = Letter(pids.get(letter.sender, letter.sender), letter.text)
        if process.state is State.RUNNING:
            process.move(Event.REVOKE, self.clock())
        if process.calls:  # nobody is asked yet
            self.waits(process, Wait.SYSCALL)
        return process

    async def _fill(self, each: _Returning, reader: Reader) -> None:
        """Give it its memory and its files."""
        process = each.process
        for member, start in reader.below(f"{each.was}/memory/"):
            data = await asyncio.to_thread(reader.read, member)
            await self.backing.write(process.pid, int(start), data)
        with _told_of_files(process.pid):
            for member, name in reader.below(f"{each.was}/files/"):
                data = await asyncio.to_thread(reader.read, member)
                await asyncio.to_thread(each.files.put, os.fsdecode(unquote_to_bytes(name)), data)

    def _return(self, returning: list[_Returning], texts: list[list[bytes]]) -> None:
        """They live again, all at once, with what they have put out."""
        pairs = zip(returning, texts, strict=True)
        with contextlib.ExitStack() as undoing:
            for each in returning:
                with _told_of_files(each.process.pid):
                    each.files.exchange()
                undoing.callback(each.files.exchange)
            self.recorder.reborn([(each.process, each.saved, text) for each, text in pairs])
            undoing.pop_all()
        for each in returning:
            self._changing.add(each.process.pid)  # until its engine has it
            self.accounts.open(each.process)
            self._enlist(each.process)
            self._watch(each.process)
        live = {each.process.pid: each.process for each in returning}
        for process in self.table:  # a child may have lived on without its parent
            if parent := live.get(process.parent):
                parent.lend(process)

    async def _give_image(self, each: _Returning, held: Held, reader: Reader) -> None:
        """Spare it the prefill, if that can be."""
        served, process = each.served, each.process
        if served.load.images:
            path = place(served, process.pid)
            try:
                digest = await asyncio.to_thread(reader.extract, f"{each.was}/image", path)
                if process.state.ended:
                    path.unlink()
                else:
                    adopt(served, process, held.image_tokens, digest)
            except (OSError, KernelError) as error:
                _log.warning("no image", pid=process.pid, error=str(error))

    async def _reopen(self, returning: list[_Returning], reader: Reader) -> None:
        """Their engines have them, or RESTORE_FAILED."""
        opened = await asyncio.gather(*(each.served.readmit(each.process) for each in returning))
        held = {held.pid: held for held in reader.manifest.processes}
        for each, there in zip(returning, opened, strict=True):
            if there and held[each.was].image == form(each.served):
                await self._give_image(each, held[each.was], reader)
        for each in returning:
            if each.process.state.ended:
                raise KernelError("RESTORE_FAILED", f"PID {each.process.pid} could not go on")

    def _go_on_again(self, returning: list[_Returning]) -> None:
        for each in returning:
            self._changing.discard(each.process.pid)
            if not each.process.state.ended:
                self._resume_waiting(each.process)


_id = attrgetter("id")


@contextlib.contextmanager
def _told_of_files(pid: int) -> Iterator[None]:
    try:
        yield
    except ToolError as error:
        raise KernelError("RESTORE_FAILED", f"files of PID {pid}: {error}") from error


def _output(reader: Reader, pid: int) -> list[bytes]:
    return [reader.read(member) for member, _ in reader.below(f"{pid}/output/")]


def _saved(reader: Reader, pid: int) -> Saved:
    try:
        return saved(reader.read(f"{pid}/record"))
    except msgspec.MsgspecError as error:
        raise KernelError("RESTORE_FAILED", f"PID {pid}: {error}") from error

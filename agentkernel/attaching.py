"""What clients follow of processes: their output, from any connection, and who drives them.

Rules
1. A reader gets every byte from where it begins, once, and then the end marker; how many there are and how
   fast they read is nothing to the process.
2. Who takes a process over has to do with how its driver disconnects no more than any reader.
"""

from __future__ import annotations

import asyncio

from agentkernel.errors import KernelError
from agentkernel.lifecycle import Lifecycle
from agentkernel.process import Owner, Process, Sink


class Attaching(Lifecycle):
    """The part of the kernel's methods that concerns readers and drivers."""

    async def attach(
        self, owner: Owner, pid: int, offset: int | None, sink: Sink, *, take: bool = False
    ) -> tuple[Process, int, int]:
        """Send the sink what the process puts out, from a byte on: from now on, without one; with its size.

        With `take` it drives the process from then on. It gets what there is once the caller has told of it.
        Raises WRONG_STATE, ATTACH_INVALID, LOG_GONE; PID_NOT_FOUND for taking over what has ended.
        """
        process = self._mine(owner, pid) if take else self.find(owner, pid)
        start = self._start_of(process, offset)
        if take:
            await self._take_over(process, sink)
            start = self._start_of(process, offset)
        elif process.sink is sink:
            raise KernelError("WRONG_STATE", f"PID {pid} streams here already")
        if process.sink is not sink:
            marker = process.marker(process.ended) if self._seen_to_end(process) else b""
            self.readers.attach(process, sink, start, marker)
            asyncio.get_running_loop().call_soon(self.readable, pid, sink)
        return process, start, self._shown(process)

    def _start_of(self, process: Process, offset: int | None) -> int:
        size = self._shown(process)
        start = size if offset is None else offset
        if any(byte & 0xC0 == 0x80 for byte in self._at(process.pid, start, size)):
            raise KernelError("ATTACH_INVALID", f"byte {start} is inside a character")
        return start

    async def _take_over(self, process: Process, sink: Sink) -> None:
        """Who streamed it reads on, be it the sink, and its disconnecting is nobody's any more."""
        self._read_on(process)
        self.drivers.take(process, sink)
        await self.recorder.synced()

    def check_driver(self, owner: Owner, pid: int, sink: Sink, epoch: int | None) -> None:
        """Raise STALE_EPOCH unless the sink's command, which may name an epoch, may change the process."""
        process = self.table.get(pid)
        if process is not None and owner.may(process):
            self.drivers.check(process, sink, epoch)

    def detach(self, owner: Owner, pid: int, sink: Sink) -> Process:
        """Send the sink nothing more of the process, which goes on. Raises WRONG_STATE."""
        process = self.find(owner, pid)
        attached = self.readers.detach(pid, sink)
        if process.sink is sink:
            process.sink, attached = None, True
        if not attached:
            raise KernelError("WRONG_STATE", f"PID {pid} sends nothing here")
        self.readable(pid, sink)
        return process

    def logs(self, owner: Owner, pid: int, offset: int, length: int | None) -> tuple[bytes, int]:
        """What the process has put out, from a byte on, and its size; also of one of a former kernel.

        Raises ATTACH_INVALID or LOG_GONE.
        """
        kept = self.recorder.kept(pid)
        if kept is None:
            self.find(owner, pid)
            raise KernelError("LOG_GONE", f"the output of PID {pid} is not kept")
        name, size = kept
        if not owner.admin and owner.name != name:
            raise KernelError("FORBIDDEN", f"PID {pid} belongs to another owner")
        size = self._shown_of(pid, size)
        self._at(pid, offset, size)
        most = min(self.config.server.body_bytes, size - offset)
        return self.recorder.output(pid, offset, most if length is None else min(length, most)), size

    def _at(self, pid: int, offset: int, size: int) -> bytes:
        if offset > size:
            raise KernelError("ATTACH_INVALID", f"PID {pid} has put out {size} bytes", {"size": size})
        found = self.recorder.output(pid, offset, 1)
        if offset < size and not found:
            raise KernelError("LOG_GONE", f"the output of PID {pid} from {offset} on is not kept")
        return found

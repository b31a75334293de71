"""Processes forked ahead that have entered their groups and wait to become a jail.

Rules
1. To enter a group takes longer than to start a program; who waits has it behind him.
2. One that waits holds nothing of the spawner's but its own end of a socket, and ends with the spawner.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
from typing import NoReturn

from msgspec import structs

from agentkernel.jail.cgroups import Slot
from agentkernel.jail.launch import FAILED, Launch, Place, become, die_with, memory_file, settle
from agentkernel.jail.port import Limits

_DESCRIPTORS = 16  # at most, of a launch and a place


class Seed:
    """A process that waits in a slot."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        doors = slot.doors()
        self._channel, theirs = socket.socketpair()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _wait(theirs, doors, parent)
        theirs.close()
        for door in doors:
            os.close(door)

    def grow(self, launch: Launch, place: Place, limits: Limits) -> int:
        """Let it become a jail; returns its process id. OSError when it has died."""
        how = launch.argv, launch.environment, launch.wraps
        told = memory_file(marshal.dumps((*how, place.uid, structs.astuple(limits))))
        try:
            descriptors = [told, place.stdin, place.output, place.status, *launch.descriptors]
            socket.send_fds(self._channel, [b"."], descriptors)
        finally:
            os.close(told)
            self.drop()
        return self.pid

    def drop(self) -> None:
        """Let go of it."""
        self._channel.close()


def _wait(channel: socket.socket, doors: tuple[int, ...], parent: int) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _keep(channel.fileno(), *doors)
        settle(doors, weighed=True)
        for door in doors:
            os.close(door)
        die_with(parent)
        _, descriptors, _, _ = socket.recv_fds(channel, 1, _DESCRIPTORS)
        if not descriptors:
            os._exit(0)
        channel.close()
        told, stdin, output, status, *others = descriptors
        size = os.fstat(told).st_size
        argv, environment, wraps, uid, limits = marshal.loads(os.pread(told, size, 0))  # noqa: S302 - our own
        os.close(told)
        launch = Launch(argv, environment, tuple(others), wraps=wraps)
        become(launch, Place(stdin, output, status, (), uid), Limits(*limits), parent)
    finally:
        os._exit(FAILED)


def _keep(*descriptors: int) -> None:
    """Close all but the standard streams and these."""
    before = 2
    for descriptor in sorted(descriptors):
        os.closerange(before + 1, descriptor)
        before = descriptor
    os.closerange(before + 1, os.sysconf("SC_OPEN_MAX"))

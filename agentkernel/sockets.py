"""Listening sockets, the service manager's or our own, and word to the manager.

Rules
1. Without authentication a socket is one that this machine alone can reach, whoever opened it.
2. No program that we start gets a listening socket.
3. A client whose machine is gone, or that closed without reading on, is noticed within two minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from agentkernel.config import ConfigError, is_loopback

_IDLE_SECONDS, _PROBE_SECONDS, _PROBES = 30, 10, 3


async def bind(
    protocol: Callable[[], asyncio.Protocol], at: tuple[str, int], *, remote: bool
) -> list[asyncio.Server]:
    """Servers on the sockets that systemd passed, or else on the address; they don't accept yet.

    Raises OSError for an address that can't be had, ConfigError for a socket that is for `remote` clients.
    """
    loop, passed, servers = asyncio.get_running_loop(), inherited(), []
    for sock in () if remote else passed:
        refuse_remote(sock)
    for sock in passed:
        make = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
        servers.append(await make(protocol, sock=sock, start_serving=False))
    if not servers:
        servers = [await loop.create_server(protocol, *at, backlog=1024, start_serving=False)]
    for sock in (sock for server in servers for sock in server.sockets):
        keep_alive(sock)
    return servers


def inherited() -> list[socket.socket]:
    """Listening sockets passed by systemd (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    sockets = [socket.socket(fileno=3 + i) for i in range(count)]
    for sock in sockets:
        sock.set_inheritable(False)
    return sockets


def refuse_remote(sock: socket.socket) -> None:
    """Raise ConfigError where another machine can reach the socket."""
    if sock.family == socket.AF_UNIX:
        return
    host = sock.getsockname()[0]
    if not is_loopback(host):
        raise ConfigError(f"LISTEN_FDS: {host} is not loopback; set auth.required to true")


def keep_alive(sock: socket.socket) -> None:
    """Have the connections that it accepts probed while nothing comes."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)


def address(sock: socket.socket) -> tuple[str, int]:
    """Host and port; for a Unix socket its path (`@…`, an abstract one) and 0."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return os.fsdecode(name).replace("\0", "@", 1), 0
    return name[0], name[1]


def notify(state: str) -> None:
    """Tell the service manager (sd_notify(3)), where there is one."""
    target = os.environ.get("NOTIFY_SOCKET", "")
    if not target:
        return
    if target.startswith("@"):
        target = "\0" + target[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), target)

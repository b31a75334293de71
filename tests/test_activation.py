"""Started as a service manager starts it: sockets that were listening before, and word of being ready."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LLAMA, command_line

SECONDS = 30  # after which a test fails instead of hanging

# What a service manager does between fork and exec: descriptors from 3 on, and whom they are for.
_HAND_OVER = """
import os, sys
descriptors = [os.dup(int(word)) for word in sys.argv[1].split(",")]
for number, descriptor in enumerate(descriptors, 3):
    os.dup2(descriptor, number)
    os.set_inheritable(number, True)
os.environ |= {"LISTEN_FDS": str(len(descriptors)), "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def listening() -> Iterator[list[socket.socket]]:
    """Two sockets that listen already, without anybody who accepts."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]


@contextlib.contextmanager
def activated(sockets: list[socket.socket], folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`agentkernel serve` with these sockets, begun and not waited for."""
    own = ["--state", str(folder / "state"), "--workspace", str(folder / "workspace"), *arguments]
    numbers = [sock.fileno() for sock in sockets]
    hand_over = [sys.executable, "-c", _HAND_OVER, ",".join(map(str, numbers))]
    process = subprocess.Popen(
        [*hand_over, *command_line("serve", *own)],
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=numbers,
        cwd=folder,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(SECONDS)
        process.stdout.close()


def test_clients_that_came_before_the_kernel_are_served_on_every_socket(listening, models_dir, tmp_path):
    clients = [socket.create_connection(sock.getsockname(), SECONDS) for sock in listening]
    for client in clients:
        client.sendall(b"PING early 0\n")
    with activated(listening, tmp_path, "--models", str(models_dir), "--model", LLAMA) as process:
        for client in clients:
            with client:
                assert client.recv(100) == b"+OK PING 4\r\nPONG"
        host, port = listening[0].getsockname()
        assert process.stdout.readline() == f"ready {host}:{port}\n"


def test_the_configured_address_is_not_listened_on_then(listening, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # listening on it again would fail
        with activated(listening[:1], tmp_path, "--port", str(port), "--model", "") as process:
            assert process.stdout.readline() == f"ready 127.0.0.1:{listening[0].getsockname()[1]}\n"
            process.terminate()
            assert process.wait(SECONDS) == 0


def test_the_service_manager_hears_when_clients_are_served_and_when_the_kernel_stops(make_kernel, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SECONDS)
        kernel = make_kernel(env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"READY=1"
        with socket.create_connection((kernel.host, kernel.port), SECONDS) as client:
            client.sendall(b"EXEC me - hello\n")
            assert client.recv(11) == b"+OK GENERIC"  # the model was loaded before
        assert kernel.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"


def test_an_abstract_address_is_told_too(make_kernel, tmp_path):
    """systemd may give a name without a file: `@` stands for the NUL that it begins with."""
    name = f"agentkernel-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(SECONDS)
        make_kernel(model="", env={"NOTIFY_SOCKET": f"@{name}"})
        assert manager.recv(100) == b"READY=1"


def test_a_socket_others_can_reach_is_refused_without_authentication(tmp_path):
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        with activated([everywhere], tmp_path, "--model", "") as process:
            assert process.wait(SECONDS) == 78
            assert process.stdout.read() == ""


def test_a_unix_socket_is_served_and_named_by_its_path(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        with activated([listener], tmp_path, "--model", "") as process:
            assert process.stdout.readline() == f"ready {tmp_path / 'socket'}\n"
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(SECONDS)
                client.connect(str(tmp_path / "socket"))
                client.sendall(b"PING me 0\n")
                assert client.recv(100) == b"+OK PING 4\r\nPONG"


def test_a_program_that_it_starts_does_not_get_the_sockets(listening, tmp_path):
    with activated(listening, tmp_path, "--model", "") as process:
        assert process.stdout.readline()
        for number in (3, 4):
            lines = Path(f"/proc/{process.pid}/fdinfo/{number}").read_text().splitlines()
            (flags,) = (int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
            assert flags & os.O_CLOEXEC


def test_an_address_in_use_is_found_before_a_model_is_loaded(models_dir, tmp_path):
    """The model that is named is none: its fault would be told first, had it been looked at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        own = ["--state", str(tmp_path / "state"), "--workspace", str(tmp_path / "ws"), "--port", port]
        command = command_line("serve", *own, "--models", str(models_dir), "--model", "none")
        result = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS, check=False
        )
    assert port in result.stderr
    assert "MODEL_NOT_FOUND" not in result.stderr

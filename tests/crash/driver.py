"""Twelve processes that stream from a kernel that dies, and from the next: what their client sees of them.

Rules
1. The client keeps whole frames only, and asks the next kernel for what follows them.
2. What it has seen at the end is what LOGS says, byte for byte.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentkernel.protocol.framing import Frame, Reply, ReplyParser

ROOT = Path(__file__).parents[2]
TINY, CHATML = "builtin/agentkernel-tiny", "builtin/agentkernel-chatml"
_SOME = 20  # frames
_SECONDS = 20.0
CHECKPOINTS = ("saving", "saved", "restoring", "restored")  # places where one is made, or gone on from
_MARKER = re.compile(rb"\n\[PROCESS_FINISHED pid=\d+ .*\]\n")
_SETTINGS = {
    "AGENTKERNEL_ENGINE__THREADS": "1",
    "AGENTKERNEL_ENGINE__SLOTS": "4",
    "AGENTKERNEL_ENGINE__CONTEXT": "512",
    "AGENTKERNEL_SCHEDULER__QUANTUM": "8",
    "PYTHONPATH": str(ROOT),
}
_ENDLESS = "root ::= [a-z ] root"
_CALL = r'root ::= "TOOL:append_file {\"path\": \"log\", \"content\": \"a\"}"'
_FREE = {"raw": True, "max_tokens": 60, "temperature": 1.5, "top_p": 1, "top_k": 0, "deterministic": True}
DETERMINISTIC: list[dict[str, Any]] = [{"prompt": "Once there was", "seed": i, **_FREE} for i in range(2)]
PROCESSES: list[dict[str, Any]] = [
    *({"prompt": f"Tale {i}", "grammar": _ENDLESS, "max_tokens": 60 + 10 * i, "seed": i} for i in range(6)),
    {"prompt": "What does KILL do?", "temperature": 0, "max_tokens": 80},
    *({"prompt": "go", "grammar": _CALL, "max_tokens": 400, "max_syscalls": 3} for _ in range(3)),
    *DETERMINISTIC,
]


class Client:
    """A connection with tagged frames, read until the kernel is gone."""

    def __init__(self, address: tuple[str, int], seen: Seen) -> None:
        self._socket = socket.create_connection(address, _SECONDS)
        self._parser, self._replies, self._seen = ReplyParser(), 0, seen
        self._ids: list[Reply] = []
        self.ask("HELLO", {"required_capabilities": ["tagged_frames_v1"]})

    def ask(self, verb: str, payload: dict[str, Any] | str) -> Reply | None:
        """The reply; None when the kernel died before."""
        body = (json.dumps(payload) if isinstance(payload, dict) else payload).encode()
        try:
            self._socket.sendall(f"{verb} me {len(body)}\n".encode() + body)
        except OSError:
            return None
        while not self._ids and self.receive():
            pass
        return self._ids.pop(0) if self._ids else None

    def receive(self) -> bool:
        """Take what comes next; False when the kernel is gone."""
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        for item in self._parser.receive(data):
            if isinstance(item, Reply):
                self._ids.append(item)
            else:
                self._seen.take(item)
        return bool(data)

    def close(self) -> None:
        self._socket.close()


@dataclass
class Seen:
    """Of each process, what came of its output, and whether its end did."""

    text: dict[int, bytes] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    frames: int = 0

    def take(self, frame: Frame) -> None:
        """Every byte comes once and in order, and nothing behind the end."""
        assert frame.pid is not None
        assert frame.pid not in self.ended
        self.frames += 1
        before = self.text.setdefault(frame.pid, b"")
        assert frame.offset == len(before), (frame, len(before))
        if _MARKER.fullmatch(frame.payload):
            self.ended.add(frame.pid)
        else:
            self.text[frame.pid] = before + frame.payload


@dataclass
class Kernel:
    """`agentkernel serve`, perhaps one that dies at a place."""

    process: subprocess.Popen[str]
    address: tuple[str, int]

    @classmethod
    def start(cls, folder: Path, model: str, place: str = "", count: int = 0) -> Kernel:
        """Run it with its files in the folder."""
        folder.mkdir(exist_ok=True)
        program = ["-m", "tests.crash.dying", place, str(count)] if place else ["-m", "agentkernel.cli"]
        own = ["--models", str(ROOT / "models"), "--model", model, "--state", str(folder / "state")]
        with (folder / "log").open("a") as errors:
            process = subprocess.Popen(
                [sys.executable, *program, "serve", "--port", "0", *own, "--workspace", str(folder / "w")],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **_SETTINGS},
                cwd=folder,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready "), (line, (folder / "log").read_text())
        host, _, port = line.split()[1].rpartition(":")
        return cls(process, (host, int(port)))

    def end(self) -> int:
        """Kill it, if it lives; its exit code."""
        self.process.kill()
        code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


def alone(folder: Path, model: str = TINY) -> list[str]:
    """What each of those that are deterministic says where nobody else is, and nothing dies."""
    texts = []
    kernel = Kernel.start(folder, model)
    try:
        for number, asked in enumerate(DETERMINISTIC, 1):
            seen = Seen()
            client = Client(kernel.address, seen)
            client.ask("EXEC", asked)
            while not seen.ended:
                assert client.receive()
            client.close()
            texts.append(seen.text[number].decode())
    finally:
        kernel.end()
    return texts


def survive(
    folder: Path, place: str = "", count: int = 0, *, frames: int = 0, model: str = TINY
) -> list[str]:
    """Let a kernel die (at a place, or after so many frames), and the next go on; what each process said."""
    seen, pids = Seen(), []
    kernel = Kernel.start(folder, model, place, count)
    try:
        client = Client(kernel.address, seen)
        for number, asked in enumerate(PROCESSES):
            reply = client.ask("EXEC", {**asked, "on_disconnect": "detach", "key": f"k{number}"})
            if reply is None:
                break
            pids.append(_data(reply)["pid"])
        if place in CHECKPOINTS and len(pids) == len(PROCESSES):
            client.ask("CHECKPOINT", "all tale")
            client.ask("RESTORE", "tale as new")
        while (not frames or seen.frames < frames) and len(seen.ended) < len(PROCESSES) and client.receive():
            pass
        client.close()
        if place and not frames:  # it has died by itself
            kernel.process.wait(_SECONDS)
    finally:
        code = kernel.end()
    assert code == -9
    kernel = Kernel.start(folder, model)
    try:
        client = Client(kernel.address, seen)
        known = _go_on(client, seen, pids)
        if place in CHECKPOINTS:
            _go_on_from_checkpoint(client, seen, saved=place != "saving")
        client.close()
    finally:
        kernel.end()
    _check_files(folder)
    return [seen.text[pid].decode() for pid in known]


def _go_on(client: Client, seen: Seen, pids: list[int]) -> list[int]:
    """Read on in the next kernel, to all ends; every PID."""
    known = [*pids]
    elsewhere = set(pids) - seen.ended
    for number, asked in enumerate(PROCESSES):  # one whose EXEC was not answered is the same again
        if number >= len(pids):
            started = _data(client.ask("EXEC", {**asked, "on_disconnect": "detach", "key": f"k{number}"}))
            known.append(started["pid"])
            elsewhere |= {started["pid"]} if not started["streams_here"] else set()
    assert len(set(known)) == len(PROCESSES)
    for pid in elsewhere:
        _data(client.ask("ATTACH", f"{pid} {len(seen.text.get(pid, b''))}"))
    while set(known) - seen.ended:
        assert client.receive()
    for pid in known:
        said, ours = base64.b64decode(_data(client.ask("LOGS", f"{pid}"))["data"]), seen.text.get(pid, b"")
        assert said == ours, (pid, said, ours)
    return known


def _go_on_from_checkpoint(client: Client, seen: Seen, *, saved: bool) -> None:
    """It is there, if it was saved, and whole: its processes say what their originals have said."""
    listed = _data(client.ask("LIST_CHECKPOINTS", ""))["checkpoints"]
    assert len(listed) == saved
    if not saved:
        return
    coming = range(len(PROCESSES) + 1, len(PROCESSES) + len(listed[0]["pids"]) + 1)
    came = {pid for pid in coming if (reply := client.ask("LOGS", f"{pid}")) and reply.ok}
    assert came in (set(), set(coming))
    for row in _data(client.ask("RESTORE", "tale as new"))["processes"]:
        pid, was = row["pid"], row["was"]
        client.ask("ATTACH", f"{pid} 0")
        while pid not in seen.ended:
            assert client.receive()
        if was > len(PROCESSES) - len(DETERMINISTIC):
            assert seen.text[pid] == seen.text[was]


def _data(reply: Reply | None) -> Any:
    assert reply is not None
    assert reply.ok, reply
    return json.loads(reply.payload)["data"]


def _check_files(folder: Path) -> None:
    """Each call has appended once at most, and once if it said so."""
    lines = [json.loads(line) for line in (folder / "state" / "audit.log").read_text().splitlines()]
    calls = [line for line in lines if line["event"] == "call"]
    assert {"ok"} <= {call["outcome"] for call in calls} <= {"ok", "QUOTA", "INTERRUPTED"}
    for pid in {call["pid"] for call in calls}:
        numbers = {call["call"] for call in calls if call["pid"] == pid}
        good = {call["call"] for call in calls if call["pid"] == pid and call["outcome"] == "ok"}
        file = folder / "w" / str(pid) / "log"
        size = len(file.read_bytes()) if file.exists() else 0
        assert len(good) <= size <= len(numbers), (pid, calls, size)


def first_token(folder: Path) -> tuple[float, float]:
    """Seconds from a restart to a process's next token, and from EXEC of its context to the first."""
    seen, tale = Seen(), "go on and on " * 60
    asked = {"prompt": tale, "raw": True, "grammar": _ENDLESS, "max_tokens": 200, "on_disconnect": "detach"}
    kernel = Kernel.start(folder, TINY)
    client = Client(kernel.address, seen)
    began = time.monotonic()
    client.ask("EXEC", asked)
    while not seen.frames:
        assert client.receive()
    cold = time.monotonic() - began
    while seen.frames < _SOME:
        assert client.receive()
    client.close()
    kernel.end()
    kernel, before = Kernel.start(folder, TINY), len(seen.text[1])
    began = time.monotonic()
    client = Client(kernel.address, seen)
    client.ask("ATTACH", f"1 {before}")
    while len(seen.text[1]) == before:
        assert client.receive()
    after = time.monotonic() - began
    client.close()
    kernel.end()
    return after, cold

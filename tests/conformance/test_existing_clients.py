"""Clients of the protocol's older kernel, which must work unmodified: their habits, on the real engine.

They read the text dialect, open a connection for each command, take a header for three or more
blank-separated tokens with a number in the third place, and look for the end marker with a pattern that
suffers no other key.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator

import pytest

from tests.conftest import LLAMA, QWEN2, RunningKernel, start_kernel

MARKER = re.compile(r"\[PROCESS_FINISHED pid=(\d+) tokens_generated=(\d+) elapsed_secs=([\d.]+)\]")


class OldClient:
    """One connection. It knows of blocking sockets and of the text dialect, and of nothing newer."""

    def __init__(self, kernel: RunningKernel) -> None:
        self._socket = socket.create_connection((kernel.host, kernel.port), timeout=30)
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, verb: str, payload: str = "") -> None:
        body = payload.encode()
        self._socket.sendall(f"{verb} 1 {len(body)}\n".encode() + body)

    def frame(self) -> tuple[str, str, str]:
        """Status, code and payload of what comes next."""
        header = self._file.readline().decode("ascii")
        tokens = header.split()
        assert header.endswith("\r\n")
        assert len(tokens) >= 3
        payload = self._file.read(int(tokens[2]))
        assert len(payload) == int(tokens[2])
        return tokens[0], tokens[1], payload.decode()

    def stream(self) -> tuple[str, re.Match[str]]:
        """The text of a process and its end marker; a run in which `-ERR` comes has failed."""
        text = ""
        while True:
            status, kind, payload = self.frame()
            assert (status, kind) == ("DATA", "raw")
            assert "-ERR" not in payload
            if match := MARKER.search(payload):
                assert payload.strip() == match[0]
                return text, match
            text += payload


@pytest.fixture(scope="module")
def kernel(models_dir, tmp_path_factory) -> Iterator[RunningKernel]:
    """A kernel that serves lists as JSON, with no model loaded, and room for a process that goes on."""
    folder, room = tmp_path_factory.mktemp("old"), {"AGENTKERNEL_ENGINE__CONTEXT": "16384"}
    running = start_kernel(folder, models_dir, "--text-lists", "json", model="", env=room)
    yield running
    assert running.stop() == 0
    running.process.stdout.close()


def ask(kernel: RunningKernel, verb: str, payload: str = "") -> tuple[str, str]:
    """One command on a connection of its own: the code and payload of its +OK."""
    with contextlib.closing(OldClient(kernel)) as client:
        client.send(verb, payload)
        status, code, text = client.frame()
        assert status == "+OK", text
        return code, text


def values(line: str) -> dict[str, str]:
    """A line of `key=value` as these clients read it."""
    return dict(re.findall(r"(\w+)=(\[[^\]]*\]|\S+)", line))


def test_a_benchmark_runs_from_settings_to_the_last_marker(kernel):
    """SET_GEN before any LOAD, LOAD, several EXEC at a time, each on its own connection."""
    assert ask(kernel, "PING") == ("PING", "PONG")
    settings = "temperature=0.5 top_p=0.9 seed=42 max_tokens=12"
    assert ask(kernel, "SET_GEN", "temp=0.5;seed=42,max_new_tokens=12") == ("SET_GEN", settings)
    code, text = ask(kernel, "LOAD", LLAMA)
    assert code == "GENERIC"
    assert re.fullmatch(rf"Master Model Loaded\. family=Llama path=\S+/{LLAMA}\.gguf", text)
    clients = [OldClient(kernel) for _ in range(4)]
    for client in clients:
        client.send("EXEC", "capability=general; hello")
    for client in clients:
        status, code, text = client.frame()
        assert (status, code) == ("+OK", "GENERIC")
        started = re.fullmatch(r"Process Started PID: (\d+) workload=General priority=normal", text)
        said, end = client.stream()
        assert (end[1], end[2]) == (started[1], "12")
        assert said
        assert re.fullmatch(r"\d+\.\d{3}", end[3])
        client.send("PING")  # the connection has not ended with its process
        assert client.frame() == ("+OK", "PING", "PONG")
        client.close()


def test_what_one_connection_sets_every_later_one_has(kernel):
    ask(kernel, "SET_GEN", "temperature=0.25,max_tokens=7")
    assert "temperature=0.25 " in ask(kernel, "GET_GEN")[1]
    ask(kernel, "SELECT_MODEL", QWEN2)
    code, text = ask(kernel, "MODEL_INFO")
    assert code == "GENERIC"
    assert [line.split("=")[0] for line in text.splitlines()[:4]] == ["id", "family", "path", "tokenizer"]
    assert values(text)["id"] == QWEN2
    assert ask(kernel, "LOAD")[1].startswith("Master Model Loaded. family=Qwen ")
    code, text = ask(kernel, "STATUS")
    assert code == "STATUS"
    assert (values(text)["selected_model_id"], values(text)["loaded_model_id"]) == (QWEN2, QWEN2)
    assert re.search(r" generation=temperature:0\.25 top_p:0\.9 seed:\d+ max_tokens:7 mem_active=", text)


def test_lists_are_json_without_hello_and_everything_else_is_text(kernel):
    code, text = ask(kernel, "LIST_MODELS")
    models = json.loads(text)["models"]
    assert code == "GENERIC"
    assert len(models) == json.loads(text)["total_models"] == 3
    assert all(model["id"] and model["family"] and model["path"].endswith(".gguf") for model in models)
    assert ask(kernel, "PS")[1].startswith("Processes (")


def test_a_running_process_is_watched_and_ended_from_other_connections(kernel):
    ask(kernel, "LOAD", LLAMA)
    ask(kernel, "SET_GEN", "max_tokens=100000")
    with contextlib.closing(OldClient(kernel)) as client:
        client.send("EXEC", "capability=code; hello")
        pid = re.search(r"PID: (\d+) workload=Code", client.frame()[2])[1]
        assert client.frame()[0] == "DATA"
        process = values(ask(kernel, "STATUS", pid)[1])
        assert (process["pid"], process["state"], process["workload"]) == (pid, "Running", "Code")
        answer = ask(kernel, "SET_PRIORITY", f"{pid} high")
        assert answer == ("SET_PRIORITY", f"PID {pid} priority set to high")
        answer = ask(kernel, "SET_QUOTA", f"{pid} max_tokens=90000,max_syscalls=3")
        assert answer == ("SET_QUOTA", f"PID {pid} quota updated: max_tokens=90000 max_syscalls=3")
        quota = values(ask(kernel, "GET_QUOTA", pid)[1])
        assert (quota["priority"], quota["max_tokens"], quota["max_syscalls"]) == ("high", "90000", "3")
        assert f"active_pids=[{pid}]" in ask(kernel, "STATUS")[1]
        assert ask(kernel, "KILL", pid) == ("KILL", f"Killed PID {pid}")
        assert client.stream()[1][1] == pid
    assert "active_pids=[]" in ask(kernel, "STATUS")[1]

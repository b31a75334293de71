"""`agentkernel serve`: the contract that others script against, and how it fails."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys

import pytest

from agentkernel.client import Client
from tests.conftest import LLAMA

NOTHING_LOADED = ("--model", "")


def one_line(result, exit_code):
    """The command failed as a command should: its exit code, one line behind its log, no traceback."""
    assert result.returncode == exit_code, result.stderr
    assert result.stdout == ""
    [line] = [line for line in result.stderr.splitlines() if not line.startswith("{")]
    assert line.startswith("agentkernel: ")
    return line


def test_it_prints_one_ready_line_and_ends_with_zero_on_sigterm(make_kernel):
    kernel = make_kernel(*NOTHING_LOADED)
    assert kernel.host == "127.0.0.1"
    kernel.process.send_signal(signal.SIGTERM)
    assert kernel.process.stdout.read() == ""
    assert kernel.process.wait(30) == 0


def test_at_the_ready_line_the_model_is_loaded(make_kernel):
    kernel = make_kernel()
    with Client(kernel.host, kernel.port) as client:
        assert client.status().model.loaded_model_id == LLAMA


def test_hints_come_after_the_ready_line_and_work_as_they_stand(make_kernel, ak):
    kernel = make_kernel("--hints", *NOTHING_LOADED)
    hints = [kernel.process.stdout.readline().strip() for _ in range(3)]
    assert hints[0].startswith(f"Try:  nc 127.0.0.1 {kernel.port} ")
    assert f"run --host 127.0.0.1 --port {kernel.port} 'Tell me a story'" in hints[1]
    listing = subprocess.run(
        hints[2], shell=True, capture_output=True, text=True, env=ak.environment(None, {}), check=True
    )
    assert listing.stdout.startswith("PID")


LOADING = """
import asyncio, os, signal, sys
from agentkernel import config, daemon

class Loading:
    async def start(self, load, on_progress):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
    async def stop(self):
        pass

daemon.EngineProcess = Loading
models, folder, model = sys.argv[1:]
flags = {"models": models, "model": model, "server.port": 0}
settings, _ = config.load(flags | {"state": folder + "/s", "workspace": folder + "/w"})
daemon.serve(settings, lambda host, port: print("ready"))
print("ended")
"""


def test_sigterm_while_the_model_loads_ends_with_zero(models_dir, tmp_path):
    """A signal that comes before the server listens is neither lost nor fatal."""
    arguments = [str(models_dir), str(tmp_path), LLAMA]
    result = subprocess.run(
        [sys.executable, "-c", LOADING, *arguments], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "ended\n"), result.stderr


def test_the_built_in_model_is_loaded_when_none_is_named(ak, models_dir, tmp_path):
    models = tmp_path / "models"
    (models / "builtin").mkdir(parents=True)
    shutil.copy(models_dir / f"{LLAMA}.gguf", models / "builtin" / "agentkernel-tiny.gguf")
    process = ak.start("serve", "--port", "0", "--models", str(models))
    port = int(process.stdout.readline().rpartition(":")[2])
    with Client(port=port) as client:
        assert client.status().model.loaded_model_id == "builtin/agentkernel-tiny"
    process.terminate()
    process.communicate()
    assert process.returncode == 0


def test_lists_without_hello_are_json_where_asked_for(make_kernel):
    kernel = make_kernel("--text-lists", "json", *NOTHING_LOADED)
    with socket.create_connection((kernel.host, kernel.port)) as connection:
        connection.sendall(b"LIST_MODELS 1 0\n")
        connection.shutdown(socket.SHUT_WR)
        header, _, payload = b"".join(iter(lambda: connection.recv(4096), b"")).partition(b"\r\n")
    assert header.startswith(b"+OK GENERIC ")
    assert json.loads(payload)["total_models"] == 3


def test_its_log_is_kept_for_its_owner_only(make_kernel):
    kernel = make_kernel()
    with Client(kernel.host, kernel.port) as client:
        stream = client.exec("hello", max_tokens=2)
        stream.result()
    kernel.stop()
    log = kernel.state / "kernel.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [e["event"] for e in events if e.get("pid") == stream.pid] == ["process started", "process ended"]
    assert log.read_text() == kernel.log.read_text()


def test_its_log_for_people_leaves_the_file_as_json(make_kernel):
    kernel = make_kernel("--log-format", "console", *NOTHING_LOADED)
    kernel.stop()
    assert not kernel.log.read_text().startswith("{")
    lines = (kernel.state / "kernel.log").read_text().splitlines()
    assert "listening" in [json.loads(line)["event"] for line in lines]


def test_an_address_in_use_is_said_in_one_line(ak, kernel):
    line = one_line(ak("serve", "--port", str(kernel.port), *NOTHING_LOADED), 69)
    assert str(kernel.port) in line
    assert "in use" in line


@pytest.mark.parametrize(
    ("arguments", "exit_code", "text"),
    [
        (("--port", "0", "--model", "nowhere"), 66, "'nowhere' is not in the catalogue"),
        (("--port", "0", "--host", "0.0.0.0", *NOTHING_LOADED), 78, "not loopback"),
        (
            ("--port", "0", "--host", "0.0.0.0", "--auth", "--unsafe-host-tools", *NOTHING_LOADED),
            *(78, "--unsafe-host-tools: never as root, and on loopback only"),
        ),
        (("--port", "seven"), 78, "server.port: Expected `int`, got `str` (from the command line)"),
        (("--config", "absent.yaml"), 78, "absent.yaml: No such file"),
        (("--text-lists", "xml"), 78, "server.text_lists: Invalid enum value 'xml'"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(ak, arguments, exit_code, text):
    assert text in one_line(ak("serve", *arguments), exit_code)


def test_a_broken_model_file_is_said_in_one_line(ak, tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"not a model")
    line = one_line(ak("serve", "--port", "0", "--models", str(tmp_path), "--model", "bad"), 65)
    assert "LOAD_FAILED: bad: " in line


def test_a_token_file_that_others_may_read_is_refused(ak, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("me " + "a" * 64 + "\n")
    tokens.chmod(0o644)
    arguments = ("--port", "0", "--auth", "--token-file", str(tokens), *NOTHING_LOADED)
    assert re.search(r"auth.token_file: .* may be read by others", one_line(ak("serve", *arguments), 78))


def without_server_extra(code, *arguments, env):
    """Run code where the server extra is not installed."""
    absent = "import sys\nfor name in ('uvloop', 'structlog', 'psutil', 'llama_cpp', 'huggingface_hub'):\n"
    absent += "    sys.modules[name] = None\n"
    return subprocess.run(
        [sys.executable, "-c", absent + code, *arguments],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )


def test_without_the_server_extra_one_line_says_what_to_install(ak):
    code = "from agentkernel.cli import main; main(['serve'])"
    line = one_line(without_server_extra(code, env=ak.environment(None, {})), 1)
    assert line.endswith("missing; run: pip install 'agentkernel[server]'")
    assert "llama_cpp" in line


def test_without_the_server_extra_the_other_commands_work(ak, kernel):
    code = "from agentkernel.cli import main; main(['run', 'hello', '--max-tokens', '3', '--format', 'json'])"
    result = without_server_extra(code, env=ak.environment(kernel, {}))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["state"] == "Done"

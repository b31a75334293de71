"""`agentkernel models`: the catalogue, loading, and pulling from a hub that this file serves."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from urllib.parse import urlsplit

import pytest

from tests.conftest import LLAMA, MISTRAL, QWEN2

COMMIT = "b" * 40
FILE = "m-Q4_K_M.gguf"


def test_list_marks_what_is_selected_and_says_what_is_loaded(ak, kernel):
    headings, *lines = ak("models", "list", kernel=kernel).stdout.splitlines()
    assert headings.split() == ["ID", "FAMILY", "QUANT", "CONTEXT", "SIZE", "STATE"]
    rows = {line.removeprefix("*").split()[0]: line.split() for line in lines}
    assert rows.keys() == {LLAMA, MISTRAL, QWEN2}
    assert (rows[LLAMA][0], rows[LLAMA][-1]) == ("*", "loaded")
    assert rows[QWEN2][1:4] == ["Qwen", "Q8_0", "2048"]


def test_list_in_json_has_all_that_the_kernel_says(ak, kernel):
    rows = json.loads(ak("models", "list", "--format", "json", kernel=kernel).stdout)
    assert {row["id"] for row in rows if row["loaded"]} == {LLAMA}
    assert all(row["kv_bytes_per_token"] == 1024 for row in rows)


def test_info_shows_the_template_s_size_to_people_and_itself_to_programs(ak, kernel):
    template = json.loads(ak("models", "info", MISTRAL, "--format", "json", kernel=kernel).stdout)[
        "chat_template"
    ]
    assert "[INST]" in template
    shown = ak("models", "info", MISTRAL, kernel=kernel).stdout
    assert f"{len(template)} characters" in shown
    assert "[INST]" not in shown


def test_select_load_unload(ak, make_kernel):
    kernel = make_kernel()
    assert QWEN2 in ak("models", "select", QWEN2, kernel=kernel).stdout
    loaded = ak("models", "load", "--format", "json", kernel=kernel)
    assert json.loads(loaded.stdout)["loaded_model_id"] == QWEN2
    assert loaded.stderr == ""
    assert QWEN2 in ak("models", "unload", kernel=kernel).stdout
    nothing = ak("run", "hi", kernel=kernel)
    assert (nothing.returncode, "NO_MODEL" in nothing.stderr) == (69, True)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (("load", "nowhere"), 66, "MODEL_NOT_FOUND"),
        (("load", "."), 65, "LOAD_FAILED"),
        (("info", "nowhere"), 66, "MODEL_NOT_FOUND"),
        (("unload", "nowhere"), 66, "MODEL_NOT_FOUND"),
        (("select", ""), 64, "MISSING_MODEL_ID"),
    ],
)
def test_what_cannot_be_done_has_its_error_s_exit_code(ak, kernel, arguments, exit_code, code):
    result = ak("models", *arguments, kernel=kernel)
    assert (result.returncode, result.stdout) == (exit_code, "")
    assert result.stderr.startswith(f"agentkernel: {code}: ")


# Pulling


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub's interface as far as a download needs it; `broken_off` downloads end half-way."""

    protocol_version = "HTTP/1.1"
    content = b""
    broken_off = 0

    def do_GET(self):
        path = urlsplit(self.path).path
        if path == "/api/models/org/repo/tree/main":
            row = {"type": "file", "oid": "a" * 40, "size": len(self.content), "path": FILE}
            self.reply(json.dumps([row]).encode(), {"Content-Type": "application/json"})
        elif path == f"/org/repo/resolve/main/{FILE}":
            self.download()
        else:
            self.reply(b"", {"X-Error-Code": "RepoNotFound"}, 404)

    def do_HEAD(self):
        self.do_GET()

    def download(self):
        headers = {"ETag": f'"{hashlib.sha256(self.content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        half = len(self.content) // 2
        if self.command == "GET" and type(self).broken_off:
            type(self).broken_off -= 1
            self.close_connection = True
            self.reply(self.content, headers, cut=half)
        else:
            self.reply(self.content, headers)

    def reply(self, body, headers, status=200, cut=None):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(models_dir):
    """Settings of the hub's client for a hub that has one model."""
    handler = type("Serving", (Hub,), {"content": (models_dir / f"{LLAMA}.gguf").read_bytes()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield handler, {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
    server.shutdown()
    thread.join()
    server.server_close()


def pull(ak, reference, **env):
    return ak("models", "pull", reference, "--models", "models", "--format", "json", HF_HOME="home", **env)


def test_a_pulled_model_is_one_that_a_kernel_serves(ak, hub, make_kernel):
    _, settings = hub
    result = pull(ak, "hf://org/repo", **settings)
    assert result.returncode == 0, result.stderr
    id_ = json.loads(result.stdout)["id"]
    assert id_ == "hf/org/repo/m-Q4_K_M"
    kernel = make_kernel("--models", str(ak.folder / "models"), model=id_)
    assert ak("run", "hi", "--max-tokens", "2", kernel=kernel).returncode == 0


def test_a_download_that_breaks_off_is_taken_up_again(ak, hub):
    handler, settings = hub
    handler.broken_off = 1
    result = pull(ak, "hf://org/repo:Q4_K_M", **settings)
    assert result.returncode == 0, result.stderr
    assert handler.broken_off == 0
    assert (ak.folder / "models/hf/org/repo" / FILE).read_bytes() == handler.content


def test_what_the_cache_holds_is_pulled_offline(ak, hub):
    _, settings = hub
    pull(ak, "hf://org/repo", **settings)
    (ak.folder / "models/hf/org/repo" / FILE).unlink()
    result = pull(ak, "hf://org/repo", HF_HUB_OFFLINE="1")
    assert result.returncode == 0, result.stderr
    assert (ak.folder / "models/hf/org/repo" / FILE).exists()


def test_offline_and_not_in_the_cache_is_one_line(ak):
    result = pull(ak, "hf://org/repo", HF_HUB_OFFLINE="1")
    assert (result.returncode, result.stdout) == (69, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("agentkernel: org/repo is not in the cache")
    assert "HF_HUB_OFFLINE" in line


@pytest.mark.parametrize(
    ("reference", "exit_code", "text"),
    [
        ("hf://org/absent", 66, "org/absent"),
        ("hf://org/repo:Q8_0", 66, "no Q8_0; there is: Q4_K_M"),
        ("https://org/repo", 64, "a reference is hf://ORG/REPO"),
    ],
)
def test_what_cannot_be_pulled_is_one_line(ak, hub, reference, exit_code, text):
    _, settings = hub
    result = pull(ak, reference, **settings)
    assert (result.returncode, result.stdout) == (exit_code, "")
    assert text in result.stderr.splitlines()[-1]

"""Driving the peers, with a program that answers as they do."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
import urllib.request

import pytest

from benchmarks import peers
from benchmarks.bench import Bench, BenchError
from benchmarks.lives import on_server
from benchmarks.rounds import Work

# It is unwell at first, answers with as many tokens as it is asked for (one fewer for seed 13; an error
# for seed 14), says that it computed the whole prompt, and tells under /seen what it was asked.
_SERVER = f"""#!{sys.executable}
import json, sys
from pathlib import Path
from http.server import BaseHTTPRequestHandler, HTTPServer

if "--config-file" in sys.argv:
    config = json.loads(Path(sys.argv[2]).read_text())
    port, model = config["server"]["port"], config["model"]["path"]
else:
    config = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    port, model = int(config["--port"]), config["--model"]
if "--die" in model:
    sys.exit("no such model")
seen, unwell = [config], [True]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status = 503 if self.path.startswith("/health") and unwell and unwell.pop() else 200
        self._answer(status, seen if self.path == "/seen" else {{}})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seen.append(asked)
        count = asked.get("n_predict", asked.get("max_tokens")) - (asked["seed"] == 13)
        timings = {{"prompt_n": len(asked["prompt"]), "predicted_n": count}}
        found = {{"tokens": [9] * count, "timings": timings, "truncated": False}}
        found["usage"] = {{"completion_tokens": count}}
        if asked.get("stream"):
            events = [{{"tokens": [9]}}] * count + [found | {{"tokens": []}}]
            return self._send(200, b"".join(b"data: %s\\n\\n" % json.dumps(each).encode() for each in events))
        self._answer(500 if asked["seed"] == 14 else 200, found)

    def _answer(self, status, content):
        self._send(status, json.dumps(content).encode())

    def _send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A run for which both peers are that program."""
    program = tmp_path / "llama-server"
    program.write_text(_SERVER)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(peers, "PROGRAM", program)
    monkeypatch.setattr(peers, "PYTHON_PROGRAM", program)
    return Bench(smoke=False, models=tmp_path, scratch=tmp_path)


def _seen(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/seen") as reply:
        return json.load(reply)


def test_llama_server_is_given_the_kernels_file_threads_slots_and_context(bench, tmp_path):
    with peers.llama_server(bench, tmp_path / "m.gguf", slots=4, context=256) as server:
        (given,) = _seen(server)
    assert given.items() >= {
        ("--model", str(tmp_path / "m.gguf")),
        ("--parallel", "4"),
        ("--ctx-size", "1024"),
        ("--threads", str(bench.threads)),
        ("--threads-batch", str(bench.threads)),
        ("--batch-size", "512"),
    }


def test_the_python_server_is_given_the_same(bench, tmp_path):
    with peers.python_server(bench, tmp_path / "m.gguf", slots=4, context=256) as server:
        (given,) = _seen(server)
    assert given["model"].items() >= {
        ("path", str(tmp_path / "m.gguf")),
        ("n_seq_max", 4),
        ("n_ctx", 1024),
        ("threads", bench.threads),
        ("threads_batch", bench.threads),
        ("n_batch", 512),
    }


def test_a_completion_of_the_python_server_has_every_token_asked_for(bench, tmp_path):
    with peers.python_server(bench, tmp_path, 1, 64) as server:
        asyncio.run(server.complete([1, 2, 3], 5, seed=7))
        _, asked = _seen(server)
        with pytest.raises(BenchError, match="4 tokens of 5"):
            asyncio.run(server.complete([1], 5, seed=13))
    assert (asked["prompt"], asked["max_tokens"], asked["temperature"]) == ([1, 2, 3], 5, 0)


def test_a_completion_sends_tokens_and_the_kernels_sampling_and_nothing_about_the_cache(bench, tmp_path):
    with peers.llama_server(bench, tmp_path, 1, 64) as server:
        answer = asyncio.run(server.complete([1, 2, 3], 5, seed=7))
        _, asked = _seen(server)
    assert answer == peers.Answer([9] * 5, 3)
    assert (asked["prompt"], asked["n_predict"], asked["seed"]) == ([1, 2, 3], 5, 7)
    assert (asked["temperature"], asked["top_p"], asked["top_k"]) == (0.7, 0.9, 40)
    assert "cache_prompt" not in asked


def test_a_completion_that_streams_is_the_same(bench, tmp_path):
    with peers.llama_server(bench, tmp_path, 1, 64, streams=True) as server:
        answer = asyncio.run(server.complete([1, 2, 3], 5, seed=7))
        _, asked = _seen(server)
        with pytest.raises(BenchError, match="4 tokens of 5"):
            asyncio.run(server.complete([1], 5, seed=13))
    assert answer == peers.Answer([9] * 5, 3)
    assert asked["stream"] is True


@pytest.mark.parametrize(("seed", "message"), [(13, "4 tokens of 5"), (14, "500")])
def test_an_answer_that_is_short_or_an_error_is_no_sample(bench, tmp_path, seed, message):
    with peers.llama_server(bench, tmp_path, 1, 64) as server:
        with pytest.raises(BenchError, match=message):
            asyncio.run(server.complete([1], 5, seed=seed))


def test_every_round_sends_the_whole_conversation(bench, tmp_path):
    work = Work(agents=1, first=10, rounds=3, new=4, generated=2)
    with peers.llama_server(bench, tmp_path, 1, 64) as server:
        prefilled = asyncio.run(on_server(server, work.lives(1))).prefilled
        _, *asked = _seen(server)
    prompts = [one["prompt"] for one in asked]
    assert [len(prompt) for prompt in prompts] == [14, 14 + 2 + 4, 14 + 2 * (2 + 4)]
    assert prompts[1][:16] == [*prompts[0], 9, 9]
    assert prefilled == sum(map(len, prompts))


@pytest.mark.parametrize("serve", [peers.llama_server, peers.python_server])
def test_a_server_that_does_not_start_fails_with_its_last_words(bench, tmp_path, serve):
    with pytest.raises(BenchError, match="did not start: no such model"):
        with serve(bench, tmp_path / "--die", 1, 64):
            pass


@pytest.mark.parametrize("serve", [peers.llama_server, peers.python_server])
def test_a_server_that_is_not_there_is_asked_for(bench, tmp_path, monkeypatch, serve):
    monkeypatch.setattr(peers, "PROGRAM", tmp_path / "absent")
    monkeypatch.setattr(peers, "PYTHON_PROGRAM", tmp_path / "absent.py")
    with pytest.raises(BenchError, match="make bench-peers"):
        with serve(bench, tmp_path, 1, 64):
            pass

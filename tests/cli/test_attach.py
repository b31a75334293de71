"""`agentkernel attach`, `output`, and `run` with a key: the output of a process that another has started."""

from __future__ import annotations

import json
import signal

import pytest

from agentkernel.client import RequestError
from tests.conftest import ENDLESS


def test_attach_streams_from_a_byte_on_and_leaves_the_process_to_its_owner(ak, long_kernel, client_of):
    client = client_of(long_kernel)
    stream = client.exec("hi", grammar=ENDLESS, max_tokens=30_000)
    next(iter(stream))
    running = ak.start("attach", str(stream.pid), kernel=long_kernel)
    assert running.stdout.read(2) == "aa"
    running.send_signal(signal.SIGINT)
    running.communicate()
    assert running.returncode == 130
    assert client.process_status(stream.pid).state == "Running"
    client.kill(stream.pid)


def test_attach_shows_what_has_ended_and_its_end(ak, kernel, client_of):
    client = client_of(kernel)
    stream = client.exec("hi", grammar=ENDLESS, max_tokens=6)
    stream.result()
    shown = ak("attach", str(stream.pid), "--from", "4", "--format", "json", kernel=kernel)
    data = json.loads(shown.stdout)
    assert (data["text"], data["reason"], shown.returncode) == ("aa", "length", 0)


def test_output_is_what_there_is_byte_for_byte(ak, kernel, client_of):
    client = client_of(kernel)
    stream = client.exec("hello", max_tokens=20, temperature=2.0, seed=5)
    text = stream.read()
    assert ak("output", str(stream.pid), kernel=kernel).stdout == text
    size = len(text.encode())
    assert ak("output", str(stream.pid), "--from", str(size), kernel=kernel).stdout == ""
    beyond = ak("output", str(stream.pid), "--from", str(size + 1), kernel=kernel)
    assert (beyond.returncode, "ATTACH_INVALID" in beyond.stderr) == (65, True)


def test_run_with_a_known_key_shows_the_same_process(ak, kernel):
    (ak.folder / "endless.gbnf").write_text(ENDLESS)
    options = ("--grammar", "endless.gbnf", "--key", "cli", "--deterministic", "--format", "json")
    first, second = (
        json.loads(ak("run", prompt, *options, "--max-tokens", count, kernel=kernel).stdout)
        for prompt, count in (("one", "5"), ("two", "9"))
    )
    assert first == second
    assert first["text"] == "aaaaa"


def test_attach_takes_a_process_over(ak, long_kernel, client_of):
    client = client_of(long_kernel)
    stream = client.exec("hi", grammar=ENDLESS, max_tokens=30_000)
    next(iter(stream))
    running = ak.start("attach", str(stream.pid), "--take", kernel=long_kernel)
    assert running.stdout.read(2) == "aa"
    with pytest.raises(RequestError, match="STALE_EPOCH"):
        client.kill(stream.pid)
    client_of(long_kernel).kill(stream.pid)
    running.communicate()
    assert running.returncode == 1


def test_replay_says_whether_all_is_the_same(ak, kernel, client_of):
    stream = client_of(kernel).exec("hi", grammar=ENDLESS, max_tokens=6, deterministic=True)
    stream.result()
    shown = ak("replay", str(stream.pid), "--format", "json", kernel=kernel)
    assert shown.returncode == 0
    assert json.loads(shown.stdout) == {
        "pid": stream.pid,
        "tokens": 6,
        "differs_at": None,
        "said": None,
        "drawn": None,
    }

"""The client library against a real kernel: every verb, streams, turns, events, tokens."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading

import pytest

from agentkernel.client import (
    AsyncClient,
    AsyncStream,
    Client,
    ClientError,
    ConnectionLostError,
    RequestError,
    ResourceError,
    Stream,
    requests,
)
from agentkernel.protocol.verbs import VERBS
from agentkernel.request import ExecRequest
from tests.conftest import ENDLESS, LLAMA, MISTRAL, QWEN2

ELSEWHERE = {"HELLO", "AUTH", "SUBSCRIBE"}  # sent by connecting, and by `events`
HEAVY = ("agentkernel.kernel", "sqlite3", "structlog", "uvloop", "psutil", "llama_cpp", "yaml", "click")


@pytest.fixture
def client(kernel):
    with Client(kernel.host, kernel.port) as connected:
        yield connected


@pytest.fixture
def long_client(long_kernel):
    with Client(long_kernel.host, long_kernel.port) as connected:
        yield connected


def endless(client, **options):
    """A process that goes on until somebody ends it."""
    return client.exec("hi", grammar=ENDLESS, max_tokens=30_000, **options)


def run_async(kernel, main):
    """Run `main(client)` in a loop of its own."""

    async def connected():
        async with AsyncClient(kernel.host, kernel.port) as client:
            return await main(client)

    return asyncio.run(connected())


# What it is made of


def test_importing_the_client_loads_nothing_of_the_kernel():
    code = "import sys, agentkernel.client; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(loaded.stdout.split()) & set(HEAVY)
    kernel = {name for name in loaded.stdout.split() if name.startswith("agentkernel.")}
    assert {
        name for name in kernel if not name.startswith(("agentkernel.client", "agentkernel.protocol"))
    } == set()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_every_verb_is_a_method(kind):
    for verb in VERBS.keys() - ELSEWHERE:
        assert inspect.isfunction(getattr(kind, verb.lower(), None)), verb


def test_exec_takes_exactly_the_keys_that_the_kernel_takes():
    keys = set(ExecRequest.__struct_fields__) - {"prompt", "messages"}
    assert set(requests.ExecOptions.__annotations__) == keys


def test_both_clients_and_both_streams_offer_the_same():
    for blocking, other in ((Client, AsyncClient), (Stream, AsyncStream)):
        names = [{n for n in vars(kind) if not n.startswith("_")} for kind in (blocking, other)]
        assert names[0] == names[1]


# Streams


def test_a_stream_gives_whole_characters_and_no_marker(client):
    stream = client.exec("hello", max_tokens=40, seed=5, temperature=2.0)
    chunks = list(stream)
    assert len(chunks) > 1
    assert "PROCESS_FINISHED" not in "".join(chunks)
    ended = stream.result()
    assert (ended.pid, ended.state) == (stream.pid, "Done")
    assert ended.reason in ("stop", "length")
    assert 0 < ended.tokens <= 40


def test_what_exec_says_of_its_process_is_with_the_stream(client):
    stream = client.exec("hello", max_tokens=3, seed=11, priority="high", nice=4, capability="code")
    assert stream.started.seed == 11
    assert (stream.started.priority, stream.started.workload) == ("high", "Code")
    assert stream.started.model == LLAMA
    assert stream.started.prompt_tokens > 0


def test_the_result_may_be_had_before_the_text(client):
    stream = client.exec("hello", grammar=ENDLESS, max_tokens=9)
    assert stream.result().reason == "length"
    assert stream.read() == "a" * 9
    assert stream.read() == ""


def test_several_streams_of_a_connection_each_get_what_they_would_get_alone(client):
    """Same seed, same prompt: the text does not depend on who else streams on the connection."""
    options = [{"max_tokens": 30, "seed": seed, "temperature": 1.5} for seed in range(4)]
    alone = [client.exec("hello", **each).read() for each in options]
    together = [client.exec("hello", **each) for each in options]
    assert [stream.read() for stream in reversed(together)] == list(reversed(alone))
    assert len(set(alone)) > 1


def test_messages_are_a_prompt_too(client):
    messages = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hi"}]
    longer = client.exec(messages, max_tokens=1)
    shorter = client.exec("hi", max_tokens=1)
    assert longer.started.prompt_tokens > shorter.started.prompt_tokens
    for stream in (longer, shorter):
        stream.result()


def test_commands_run_while_a_stream_is_read(long_client):
    stream = endless(long_client)
    chunks = iter(stream)
    assert set(next(chunks)) == {"a"}
    assert stream.pid in [row.pid for row in long_client.ps().processes]
    assert long_client.kill(stream.pid).status == "killed"
    assert stream.result().state == "Killed"


def test_an_interactive_process_streams_turn_by_turn(client):
    stream = client.exec("hi", interactive=True, grammar=ENDLESS, max_tokens=4)
    assert (stream.read(), stream.turn) == ("aaaa", "length")
    assert client.process_status(stream.pid).wait == "input"
    stream.send("again")
    assert (stream.read(), stream.turn) == ("aaaa", "length")
    client.kill(stream.pid)
    assert stream.read() == ""
    assert stream.result().tokens == 8


def test_a_suspended_process_is_taken_over_by_another_connection(long_kernel, long_client):
    with Client(long_kernel.host, long_kernel.port) as first:
        stream = endless(first, on_disconnect="suspend")
        next(iter(stream))
    rest = long_client.stream(stream.pid)
    while (process := long_client.process_status(stream.pid)).attached:
        pass  # the kernel has not noticed yet
    assert process.state == "Suspended"
    long_client.resume(stream.pid)
    assert set(next(iter(rest))) == {"a"}
    long_client.kill(stream.pid)
    assert rest.result().state == "Killed"


# Verbs


def test_every_verb_about_processes_answers_typed(long_client):
    stream = endless(long_client)
    pid = stream.pid
    assert long_client.stop_output(pid).pid == pid
    assert long_client.process_status(pid).wait == "event"
    assert long_client.continue_output(pid).pid == pid
    assert long_client.suspend(pid).state == "Suspended"
    assert long_client.resume(pid).state in ("Ready", "Running")
    assert long_client.set_priority(pid, "low", 7).nice == 7
    assert long_client.set_priority(pid, "low").priority == "low"
    assert long_client.process_status(pid).nice == long_client.ps().processes[-1].nice == 7
    assert long_client.set_quota(pid, max_tokens=29_000, max_syscalls=3).max_syscalls == 3
    quota = long_client.get_quota(pid)
    assert (quota.max_tokens, quota.max_syscalls, quota.priority) == (29_000, 3, "low")
    assert long_client.set_quota(pid, max_cpu_secs=2.5, soft_tokens=28_000).max_cpu_secs == 2.5
    assert long_client.set_quota(pid, max_cpu_secs=None).max_cpu_secs is None
    quota = long_client.get_quota(pid)
    assert (quota.soft_tokens, quota.cpu_secs, quota.prompt_tokens > 0) == (28_000, 0.0, True)
    assert long_client.process_status(pid).kv_byte_secs >= 0
    assert long_client.set_owner_quota("ann", max_wall_secs=7.0).max_wall_secs == 7.0
    owner = long_client.get_owner_quota("ann")
    assert (owner.processes, owner.max_wall_secs, owner.tokens_generated) == (0, 7.0, 0)
    assert long_client.term(pid).mode == "term"
    ended = long_client.wait(pid, seconds=60)
    assert (ended.state, ended.reason) == ("Terminated", "terminated")


def test_a_deadline_is_kept_missed_or_refused(long_client):
    stream = endless(long_client, deadline_ms=600_000_000, ttft_ms=60_000, max_wall_ms=60_000)
    status = long_client.process_status(stream.pid)
    assert 0 < status.wall_left_ms <= 60_000
    assert 0 < status.deadline_left_ms <= 600_000_000
    assert status.missed == ""
    for _, _text in zip(range(5), stream, strict=False):  # so that it is measured
        pass
    long_client.kill(stream.pid)
    with pytest.raises(ResourceError, match="DEADLINE_UNREACHABLE") as caught:
        long_client.exec("hi", deadline_ms=1, max_tokens=1000)
    assert caught.value.details["estimate_ms"] > 1


def test_a_lane_that_is_full_refuses_with_what_it_knows_or_has_its_clients_wait(make_kernel):
    env = {"AGENTKERNEL_ENGINE__SLOTS": "1", "AGENTKERNEL_ENGINE__CONTEXT": "32768"}
    env["AGENTKERNEL_LIMITS__QUEUED_BATCH"] = "1"
    env["AGENTKERNEL_MEMORY__PAGING"] = "off"  # who runs gives way to nobody
    kernel = make_kernel(env=env)
    with Client(kernel.host, kernel.port) as client, Client(kernel.host, kernel.port) as other:
        running, queued = endless(client), client.exec("hi", lane="batch", max_tokens=4)
        assert client.process_status(queued.pid).lane == "batch"
        with pytest.raises(ResourceError, match="BUSY") as caught:
            client.exec("hi", lane="batch")
        assert (caught.value.details["queued"], caught.value.details["position"]) == (1, 2)
        assert client.status().lanes["queued_batch"] == 1
        places = []
        client.watch(lambda event: places.append(event.pid) if event.kind == "queued" else None)
        client.ping()
        done = []
        waiting = threading.Thread(
            target=lambda: done.append(other.exec("hi", lane="batch", wait=True, max_tokens=4).read())
        )
        waiting.start()
        while not places:
            client.ping()
        client.kill(running.pid)
        waiting.join()
        assert len(done) == 1
        assert queued.read()


def test_waiting_too_long_is_a_retryable_error(long_client):
    stream = endless(long_client)
    with pytest.raises(RequestError, match="TIMEOUT") as caught:
        long_client.wait(stream.pid, seconds=0.05)
    assert caught.value.retryable
    long_client.kill(stream.pid)


def test_every_verb_about_models_and_settings_answers_typed(make_kernel):
    kernel = make_kernel(model="")
    with Client(kernel.host, kernel.port) as client:
        assert {model.id for model in client.list_models().models} == {LLAMA, QWEN2, MISTRAL}
        assert client.select_model(QWEN2).selected_model == QWEN2
        assert client.model_info().family == "Qwen"
        assert client.status().engine is None
        loaded = client.load()
        assert (loaded.loaded_model_id, loaded.family, loaded.backend) == (QWEN2, "Qwen", "llama.cpp")
        engine = client.status().engine
        assert engine is not None
        assert engine.jail == loaded.jail
        assert "seccomp" in engine.jail
        assert client.set_gen(temperature=0.25, seed=7).temperature == 0.25
        assert client.get_gen().seed == 7
        assert client.unload().unloaded_model == QWEN2
        assert client.help().text.startswith("VERB AGENT LENGTH")
        assert client.quit().message == "bye"
        assert client.ping().message == "PONG"
        assert client.shutdown().message == "Kernel shutdown requested"
    assert kernel.process.wait(30) == 0


def test_any_verb_can_be_called_by_its_name(client):
    assert client.call("PING") == {"message": "PONG"}
    with pytest.raises(RequestError, match="UNKNOWN_VERB"):
        client.call("FROBNICATE", {"a": 1})


@pytest.mark.parametrize(
    ("ask", "kind", "code"),
    [
        (lambda client: client.kill(10**9), RequestError, "PID_NOT_FOUND"),
        (lambda client: client.exec("hi", temperature=9), RequestError, "EXEC_INVALID"),
        (lambda client: client.exec("x" * 100_000), ResourceError, "MEMORY_ADMISSION"),
        (lambda client: client.load("nowhere"), RequestError, "MODEL_NOT_FOUND"),
        (lambda client: client.set_gen(top_p=3), RequestError, "SET_GEN_INVALID"),
    ],
)
def test_an_error_is_typed_and_the_next_command_works(client, ask, kind, code):
    with pytest.raises(kind) as caught:
        ask(client)
    assert isinstance(caught.value, ClientError)
    assert caught.value.code == code
    assert not caught.value.retryable
    assert client.ping().message == "PONG"


# Events, tokens, loss


def test_events_of_a_process_s_life_come_in_order(client):
    events = client.events()
    stream = client.exec("hi", grammar=ENDLESS, max_tokens=3)
    mine = []
    for event in events:
        if event.pid == stream.pid:
            mine.append(event)
            if event.kind == "session_finished":
                break
    assert [event.kind for event in mine] == ["session_started", "session_finished"]
    assert mine[-1].fields["reason"] == "length"
    assert stream.read() == "aaa"


def test_where_a_token_is_needed_only_the_right_one_serves(make_kernel):
    kernel = make_kernel("--auth", model="")
    token = (kernel.state / "tokens").read_text().split()[1]
    with Client(kernel.host, kernel.port) as nobody, pytest.raises(RequestError, match="AUTH_REQUIRED"):
        nobody.ps()
    with Client(kernel.host, kernel.port, token="0" * 64) as stranger:
        for _ in range(2):  # the connection that AUTH refused is not used on
            with pytest.raises(RequestError, match="AUTH_FAILED"):
                stranger.ping()
    with Client(kernel.host, kernel.port, token=token) as admin:
        assert admin.ps().total_processes == 0


def test_a_killed_kernel_ends_streams_and_a_new_one_serves_the_same_client(make_kernel):
    kernel = make_kernel(env={"AGENTKERNEL_ENGINE__CONTEXT": "32768", "AGENTKERNEL_ENGINE__SLOTS": "2"})
    with Client(kernel.host, kernel.port) as client:
        stream = endless(client)
        next(iter(stream))
        kernel.process.kill()
        with pytest.raises(ConnectionLostError):
            stream.read()
        kernel.process.wait()
        make_kernel("--port", str(kernel.port), model="")
        assert client.ping().message == "PONG"
        with pytest.raises(RequestError, match="PID_NOT_FOUND"):
            client.process_status(stream.pid)


# Async


def test_async_streams_run_side_by_side(kernel):
    async def main(client):
        streams = [await client.exec("hi", grammar=ENDLESS, max_tokens=n) for n in range(1, 9)]
        texts = await asyncio.gather(*(stream.read() for stream in streams))
        ends = await asyncio.gather(*(stream.result() for stream in streams))
        return texts, [end.tokens for end in ends]

    texts, tokens = run_async(kernel, main)
    assert texts == ["a" * n for n in range(1, 9)]
    assert tokens == list(range(1, 9))


def test_async_who_waits_for_a_process_holds_up_nobody(long_kernel):
    """WAIT is answered late, and the server answers a connection in order: it has one of its own."""

    async def main(client):
        stream = await endless(client)
        waiting = asyncio.create_task(client.wait(stream.pid))
        reading = asyncio.create_task(stream.result())
        await anext(aiter(stream))
        assert (await client.kill(stream.pid)).status == "killed"
        return await waiting, await reading

    waited, result = run_async(long_kernel, main)
    assert waited == result
    assert waited.state == "Killed"


def test_async_an_interactive_process_streams_turn_by_turn(kernel):
    async def main(client):
        stream = await client.exec("hi", interactive=True, grammar=ENDLESS, max_tokens=3)
        first = await stream.read()
        await stream.send("again")
        second = await stream.read()
        await client.kill(stream.pid)
        return first, second, stream.turn, await stream.read(), (await stream.result()).tokens

    assert run_async(kernel, main) == ("aaa", "aaa", "length", "", 6)


def test_async_a_suspended_process_is_taken_over(long_kernel):
    async def main(client):
        async with AsyncClient(long_kernel.host, long_kernel.port) as first:
            stream = await endless(first, on_disconnect="suspend")
            await anext(aiter(stream))
        rest = await client.stream(stream.pid)
        while (await client.process_status(stream.pid)).attached:
            pass  # the kernel has not noticed yet
        await client.resume(stream.pid)
        text = await anext(aiter(rest))
        await client.kill(stream.pid)
        return text

    assert set(run_async(long_kernel, main)) == {"a"}


def test_async_loading_reports_its_progress_by_events(make_kernel):
    kernel = make_kernel()

    async def main(client):
        events = await client.events()
        loaded = await client.load(QWEN2)
        seen = [await anext(events)]
        while seen[-1].kind != "model_changed":
            seen.append(await anext(events))
        return loaded.loaded_model_id, [event.kind for event in seen], seen[-1].fields["model"]

    id_, kinds, changed = run_async(kernel, main)
    assert id_ == changed == QWEN2
    assert kinds[0] == "load_progress"


def test_async_errors_are_the_same(kernel):
    async def main(client):
        with pytest.raises(RequestError, match="PID_NOT_FOUND"):
            await client.kill(10**9)
        return await client.call("PING")

    assert run_async(kernel, main) == {"message": "PONG"}

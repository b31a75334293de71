"""The whole kernel on the real engine: families, seeds, limits, bad files, and engines that die."""

import itertools
import json
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psutil
import pytest

from agentkernel.client import Client, ClientError
from benchmarks import shapes
from tests.conftest import LLAMA, MISTRAL, QWEN2

MODELS = Path(__file__).parent.parent / "models"


@pytest.fixture
def client(kernel):
    """A client of the shared kernel."""
    with Client(kernel.host, kernel.port) as client:
        yield client


def engine_of(kernel):
    """The operating-system process of the kernel's engine."""
    children = psutil.Process(kernel.process.pid).children()
    (engine,) = [child for child in children if "agentkernel.engine.worker" in child.cmdline()]
    return engine


@pytest.mark.parametrize("model", [LLAMA, QWEN2, MISTRAL])
def test_each_family_generates(make_kernel, model):
    kernel = make_kernel(model=model)
    with Client(kernel.host, kernel.port) as client:
        stream = client.exec("hello", max_tokens=20, temperature=0)
        text = stream.read()
        assert (stream.result().reason, stream.result().tokens) == ("length", 20)
        assert text
        assert client.model_info(model).family == {"llama-1m": "Llama", "qwen2-1m": "Qwen"}.get(
            model, "Mistral"
        )


def test_the_same_seed_gives_the_same_text_and_another_another(client):
    texts = [client.exec("hello", seed=seed, max_tokens=40).read() for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_without_a_seed_each_process_draws_its_own_and_says_it(client):
    first, second = client.exec("hello", max_tokens=40), client.exec("hello", max_tokens=40)
    texts = first.read(), second.read()
    assert first.started.seed != second.started.seed
    assert texts[0] != texts[1]
    assert client.exec("hello", max_tokens=40, seed=first.started.seed).read() == texts[0]


def test_a_prompt_is_wrapped_by_the_template_unless_raw_or_already_special(client):
    wrapped = client.exec("hello", max_tokens=1).started.prompt_tokens
    raw = client.exec("hello", max_tokens=1, raw=True).started.prompt_tokens
    special = client.exec("<|eot_id|>hello", max_tokens=1).started.prompt_tokens
    messages = client.exec([{"role": "user", "content": "hello"}], max_tokens=1).started.prompt_tokens
    assert raw == 1 + len("hello")  # BOS, and a token a byte in this vocabulary
    assert special == 1 + 1 + len("hello")
    assert wrapped == messages > raw + 3


def test_more_processes_than_slots_all_finish_with_every_token(kernel):
    """16 processes on 8 slots, on one connection."""
    with Client(kernel.host, kernel.port) as client:
        streams = [client.exec(f"number {i}", max_tokens=30, temperature=0) for i in range(16)]
        assert [stream.result().tokens for stream in streams] == [30] * 16
        alone = client.exec("number 3", max_tokens=30, temperature=0).read()
        assert streams[3].read()[:5] == alone[:5]


def test_a_stop_string_ends_the_answer_and_is_not_shown(client):
    whole = client.exec("hello", max_tokens=60, seed=5).read()
    stop = whole[20:24]
    stream = client.exec("hello", max_tokens=60, seed=5, stop=[stop])
    assert stream.read() == whole[: whole.index(stop)]
    assert stream.result().reason == "stop"


def test_a_json_schema_makes_the_answer_conform(client):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "on": {"type": "boolean"}},
        "required": ["n", "on"],
        "additionalProperties": False,
    }
    for seed in range(5):
        stream = client.exec("hello", seed=seed, max_tokens=400, json_schema=schema)
        text = stream.read()
        if stream.result().reason == "stop":
            answer = json.loads(text)
            assert isinstance(answer["n"], int)
            assert isinstance(answer["on"], bool)
            return
    pytest.fail("no answer came to its end")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"grammar": "root ::= (("}, "EXEC_INVALID"),
        ({"json_schema": {"type": "nonsense"}}, "EXEC_INVALID"),
        ({"temperature": 3}, "EXEC_INVALID"),
        ({"max_tokens": 0}, "EXEC_INVALID"),
        ({"seed": 2**64}, "EXEC_INVALID"),
        ({"tools": ["fly"]}, "TOOL_NOT_FOUND"),
    ],
)
def test_a_wrong_option_is_refused_and_the_engine_goes_on(client, options, code):
    with pytest.raises(ClientError) as error:
        client.exec("hello", **options)
    assert error.value.code == code
    assert client.exec("hello", max_tokens=3).result().tokens == 3


def test_a_prompt_over_the_context_is_refused_with_both_numbers(make_kernel):
    kernel = make_kernel(env={"AGENTKERNEL_ENGINE__CONTEXT": "256"})
    with Client(kernel.host, kernel.port) as client:
        with pytest.raises(ClientError, match=r"prompt of \d+ tokens, context of 256") as error:
            client.exec("x" * 1000)
        assert error.value.code == "MEMORY_ADMISSION"
        stream = client.exec("x" * 200, max_tokens=500)
        ended = stream.result()
        assert ended.reason == "context_full"
        assert stream.started.prompt_tokens + ended.tokens == 256


def test_an_interactive_process_keeps_its_context_over_turns_and_lost_slots(make_kernel):
    """Two interactive processes share one slot: each turn takes it from the other."""
    kernel = make_kernel(env={"AGENTKERNEL_ENGINE__SLOTS": "1"})
    with Client(kernel.host, kernel.port) as client:
        streams = [client.exec(f"I am {i}", interactive=True, max_tokens=8) for i in range(2)]
        for stream in streams:
            assert stream.read()
        before = [client.process_status(stream.pid).prompt_tokens for stream in streams]
        for stream in streams:
            stream.send("again")
            assert stream.read()
        for stream, tokens in zip(streams, before, strict=True):
            status = client.process_status(stream.pid)
            assert (status.state, status.wait, status.tokens_generated) == ("Waiting", "input", 16)
            assert status.prompt_tokens > tokens + 5
            client.kill(stream.pid)


def test_term_ends_within_the_grace(make_kernel):
    kernel = make_kernel(env={"AGENTKERNEL_LIMITS__TERM_GRACE_TOKENS": "5"})
    with Client(kernel.host, kernel.port) as client:
        stream = client.exec("hello", max_tokens=1500, limits={"max_tokens": 1500})
        next(iter(stream))
        client.term(stream.pid)
        ended = stream.result()
        assert (ended.state, ended.reason) == ("Terminated", "terminated")
        assert ended.tokens < 1500


def test_a_dead_engine_is_replaced_and_greedy_text_goes_on_as_if_nothing_had_happened(make_kernel):
    """On the built-in model: random weights are so near ties that rounding may choose another token."""
    kernel = make_kernel("--models", str(MODELS), model="builtin/agentkernel-tiny")
    with Client(kernel.host, kernel.port) as client, Client(kernel.host, kernel.port) as watcher:
        events = watcher.events()
        story = "Tell me a short story about a fox"
        undisturbed = client.exec(story, temperature=0).read()
        stream = client.exec(story, temperature=0)
        pieces = iter(stream)
        begun = [next(pieces) for _ in range(5)]
        engine_of(kernel).kill()
        assert "".join([*begun, *pieces]) == undisturbed
        assert stream.result().reason == "stop"
        kinds = [event.kind for event in itertools.islice(events, 6)]
        assert [kind for kind in kinds if kind.startswith("engine")] == ["engine_died", "engine_restarted"]


def test_an_engine_that_dies_three_times_fails_its_processes_until_it_is_loaded_again(make_kernel):
    kernel = make_kernel()
    with Client(kernel.host, kernel.port) as client, Client(kernel.host, kernel.port) as watcher:
        events = watcher.events()
        stream = client.exec("hello", interactive=True, max_tokens=5)
        stream.read()
        for _ in range(2):
            engine_of(kernel).kill()
            next(event for event in events if event.kind == "engine_restarted")
        engine_of(kernel).kill()
        ended = stream.result()
        assert (ended.state, ended.reason) == ("Failed", "engine_failed")
        with pytest.raises(ClientError) as error:
            client.exec("hello")
        assert error.value.code == "ENGINE_FAILED"
        client.load(LLAMA)
        assert client.exec("hello", max_tokens=5).result().tokens == 5


@pytest.fixture
def bad_models(tmp_path):
    """A catalogue of one good model and of files that are none."""
    root = tmp_path / "bad"
    good = shapes.write(root / "good.gguf", shapes.SHAPES["llama-1m"])
    data = good.read_bytes()
    (root / "cut.gguf").write_bytes(data[: len(data) // 2])
    (root / "header.gguf").write_bytes(data[:100])
    (root / "text.gguf").write_text("this is no model\n" * 100)
    (root / "empty.gguf").write_bytes(b"")
    (root / "counts.gguf").write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 16)
    huge = data.replace(
        b"llama.block_count" + b"\4\0\0\0" + b"\4\0\0\0", b"llama.block_count" + b"\4\0\0\0" + b"\xff\xff\0\0"
    )
    assert huge != data
    (root / "layers.gguf").write_bytes(huge)
    (root / "folder.gguf").mkdir()
    (root / "outside.gguf").symlink_to("/etc/passwd")
    return root


def test_every_bad_file_gets_a_typed_error_and_the_running_model_goes_on(make_kernel, bad_models):
    kernel = make_kernel("--models", str(bad_models), model="good")
    with Client(kernel.host, kernel.port) as client, Client(kernel.host, kernel.port) as other:
        stream = other.exec("hello", max_tokens=1000, limits={"max_tokens": 1000})
        pieces = iter(stream)
        next(pieces)
        expected = {
            "cut": "LOAD_FAILED",
            "header": "LOAD_FAILED",
            "text": "LOAD_FAILED",
            "text.gguf": "LOAD_FAILED",
            "empty": "LOAD_FAILED",
            "counts": "LOAD_FAILED",
            "layers": ("LOAD_FAILED", "MEMORY_ADMISSION"),
            "folder": ("LOAD_FAILED", "MODEL_NOT_FOUND"),
            "folder.gguf": "LOAD_FAILED",
            str(bad_models): "LOAD_FAILED",
            "outside": "MODEL_NOT_FOUND",
            "/etc/passwd": "MODEL_NOT_FOUND",
            "../bad/../../etc/passwd": "MODEL_NOT_FOUND",
            "none": "MODEL_NOT_FOUND",
            "x" * 5000: "MODEL_NOT_FOUND",
        }
        for selector, codes in expected.items():
            with pytest.raises(ClientError) as error:
                client.load(selector)
            assert error.value.code in codes, selector
            assert client.status().model.loaded_model_id == "good"
        rest = sum(1 for _ in pieces)
        assert rest > 100
        assert stream.result().tokens == 1000


def test_a_model_too_large_for_memory_is_refused_with_the_numbers(make_kernel):
    kernel = make_kernel(model="", env={"AGENTKERNEL_ENGINE__CONTEXT": str(10**9)})
    with Client(kernel.host, kernel.port) as client:
        with pytest.raises(ClientError) as error:
            client.load(LLAMA)
        assert error.value.code == "MEMORY_ADMISSION"
        assert error.value.details["needed_bytes"] > error.value.details["free_bytes"]
        with pytest.raises(ClientError) as error:
            client.exec("hello")
        assert error.value.code == "NO_MODEL"


def test_loading_another_model_serves_new_processes_and_lets_the_old_ones_finish(make_kernel):
    kernel = make_kernel()
    with Client(kernel.host, kernel.port) as client:
        old = client.exec("hello", max_tokens=1000, limits={"max_tokens": 1000})
        next(iter(old))
        client.load(QWEN2)
        new = client.exec("hello", max_tokens=5)
        assert (old.started.model, new.started.model) == (LLAMA, QWEN2)
        assert (old.result().tokens, new.result().tokens) == (1000, 5)
        assert client.exec("hello", model=LLAMA, max_tokens=5).result().tokens == 5  # it stays
        client.unload(LLAMA)
        assert {model.id for model in client.list_models().models if model.loaded} == {QWEN2}


def test_loads_and_prompts_of_others_do_not_hold_up_a_command(make_kernel, models_dir, tmp_path):
    """While a LOAD is under way on one connection, another is answered before the LOAD is."""
    kernel = make_kernel()
    order = []
    with Client(kernel.host, kernel.port) as loading, Client(kernel.host, kernel.port) as other:
        loading.ping(), other.ping()
        thread = threading.Thread(target=lambda: (loading.load(QWEN2), order.append("load")))
        thread.start()
        while not order and len(order) < 1:
            other.ping()
            other.exec("hello", max_tokens=1)
            if thread.is_alive() and "load" not in order:
                order.append("other")
        thread.join()
    assert order[0] == "other"


def test_sigterm_ends_with_status_0_and_leaves_no_engine(make_kernel):
    kernel = make_kernel()
    engine = engine_of(kernel)
    with Client(kernel.host, kernel.port) as client:
        client.exec("hello", interactive=True, max_tokens=5)
        assert kernel.stop() == 0
    assert not engine.is_running()


def test_an_engine_does_not_outlive_a_killed_kernel(make_kernel):
    kernel = make_kernel()
    engine = engine_of(kernel)
    kernel.process.send_signal(signal.SIGKILL)
    kernel.process.wait()
    engine.wait(10)


def test_status_says_which_layers_of_the_engines_jail_hold(client):
    assert "no_new_privs" in client.call("STATUS")["engine"]["jail"]


_PROBES = {
    "write": "open('{path}/new', 'w')",
    "truncate": "open('{path}/old', 'r+')",
    "remove": "os.remove('{path}/old')",
    "socket": "socket.socket()",
    "unix": "socket.socketpair()",
    "kill": "os.kill(os.getppid(), 0)",
    "chmod": "os.chmod('{path}/old', 0o777)",
    "exec": "os.execv('/bin/true', ['true'])",
}


@pytest.mark.parametrize("probe", _PROBES)
def test_the_engines_jail_refuses(probe, tmp_path):
    """On a kernel without Landlock and seccomp this fails, loudly: the engine would be unjailed there."""
    (tmp_path / "old").write_text("kept")
    code = textwrap.dedent(f"""
        import os, socket
        from agentkernel.engine.worker import jail
        jail.enter(gpu=False)
        open('/etc/hostname').read()
        try:
            {_PROBES[probe].format(path=tmp_path)}
        except PermissionError:
            print("refused")
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_netcat_as_in_the_readme(kernel):
    """`printf … | nc -N` gets everything, then the close (-N: end the connection's input with one's own)."""
    assert shutil.which("nc"), "netcat is missing: apt-get install netcat-openbsd"
    done = subprocess.run(
        ["nc", "-N", kernel.host, str(kernel.port)],
        input=b"EXEC me 5\nhello",
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.startswith(b"+OK GENERIC ")
    assert b"\n[PROCESS_FINISHED pid=" in done.stdout


BUILTIN = ("--models", str(MODELS))


def test_contexts_paged_out_to_memory_or_disk_give_the_text_of_one_never_paged(make_kernel):
    """Three interactive processes on one slot, with room in memory for none or for one image."""
    env = {"AGENTKERNEL_ENGINE__SLOTS": "1", "AGENTKERNEL_MEMORY__RAM_MB": "1"}
    crowded = make_kernel(*BUILTIN, model="builtin/agentkernel-tiny", env=env)
    alone = make_kernel(*BUILTIN, model="builtin/agentkernel-tiny", env={"AGENTKERNEL_ENGINE__SLOTS": "4"})
    turns = ["Tell me a story about a fox", "What does KILL do?", "Tell me a story about a bear", "Hello"]

    def talk(kernel):
        with Client(kernel.host, kernel.port) as client:
            streams = [client.exec(f"{turns[0]} {i}", interactive=True, temperature=0) for i in range(3)]
            texts = [[stream.read()] for stream in streams]
            for turn in turns[1:]:
                for stream, said in zip(streams, texts, strict=True):
                    stream.send(turn)
                    said.append(stream.read())
            return texts, client.call("STATUS")["memory"]

    (texts, memory), (expected, undisturbed) = talk(crowded), talk(alone)
    assert texts == expected
    assert memory["swap_count"] >= 9
    assert memory["swap_faults"] >= 6
    assert (undisturbed["swap_count"], memory["swap_failures"]) == (0, 0)


def test_a_damaged_image_on_disk_costs_a_prefill_and_no_token(make_kernel):
    env = {"AGENTKERNEL_ENGINE__SLOTS": "1", "AGENTKERNEL_MEMORY__RAM_MB": "1"}
    kernel = make_kernel(*BUILTIN, model="builtin/agentkernel-tiny", env=env)
    story = "1 2 3 4 5 6 7 8 9 " * 25 + "Tell me a story about a fox"
    with Client(kernel.host, kernel.port) as client:
        streams = [
            client.exec(f"{story} {i}", interactive=True, temperature=0, max_tokens=60) for i in range(4)
        ]
        for stream in streams:
            stream.read()
        files = list(kernel.state.glob("images/*/*.kv"))
        assert files
        for file in files:
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 0x10
            file.write_bytes(data)
        answers = []
        for stream in streams:
            stream.send("What does KILL do?")
            answers.append(stream.read())
        assert client.call("STATUS")["memory"]["swap_failures"] >= 1
        whole = client.exec(f"{story} 0", interactive=True, temperature=0, max_tokens=60, share="none")
        whole.read()
        whole.send("What does KILL do?")
        assert answers[0] == whole.read()


def test_agents_that_share_a_prompt_read_it_once(make_kernel):
    kernel = make_kernel()
    prompt = "x" * 600
    with Client(kernel.host, kernel.port) as client:
        streams = [client.exec(f"{prompt} {i}", max_tokens=8, temperature=0) for i in range(6)]
        texts = [stream.read() for stream in streams]
        assert client.call("STATUS")["images"]["shared_prefixes"] == 5
        alone = [client.exec(f"{prompt} {i}", max_tokens=8, temperature=0, share="none") for i in (0, 5)]
        assert [alone[0].read(), alone[1].read()] == [texts[0], texts[5]]


def test_children_know_what_their_parent_was_told(make_kernel):
    kernel = make_kernel(*BUILTIN, model="builtin/agentkernel-tiny")
    with Client(kernel.host, kernel.port) as client:
        parent = client.exec("Hello", interactive=True, temperature=0)
        parent.read()
        forked = client.fork(parent.pid, 2)
        children = [client.stream(pid) for pid in forked.children]
        for stream in (*children, parent):
            stream.send("What does KILL do?")
        answers = [stream.read() for stream in (*children, parent)]
        assert answers[0] == answers[1] == answers[2]
        assert "KILL" in answers[0]


def test_what_is_far_too_long_is_refused_before_it_costs_anybody_time(client):
    """Two million characters would take the tokeniser minutes."""
    with pytest.raises(ClientError, match=r"prompt of over \d+ tokens, context of 2048") as error:
        client.exec("word " * 400_000)
    assert error.value.code == "MEMORY_ADMISSION"
    waiting = client.exec("hello", interactive=True, max_tokens=5)
    waiting.read()
    with pytest.raises(ClientError, match=r"prompt of over"):
        client.send_input(waiting.pid, "word " * 400_000)
    waiting.send("again")
    assert waiting.read()
    client.kill(waiting.pid)


@pytest.mark.parametrize(
    "options",
    [
        {"grammar": "root ::= " + "(" * 100_000 + '"a"' + ")" * 100_000},
        {"grammar": "root ::= " + "(" * 65 + '"a"' + ")" * 65},
        {"json_schema": {"enum": ["x" * 70_000]}},
        {"stop": ["x"] * 17},
        {"stop": "x" * 257},
    ],
    ids=["long grammar", "deep grammar", "long schema", "many stops", "long stop"],
)
def test_requests_that_would_cost_others_dearly_are_refused(client, options):
    with pytest.raises(ClientError) as error:
        client.exec("hello", **options)
    assert error.value.code == "EXEC_INVALID"


def test_every_bit_of_a_seed_counts_and_all_ones_are_a_seed_like_any_other(client):
    seeds = (2**32 - 1, 2**32 - 1, 7, 7 + 2**32)
    texts = [client.exec("hello", seed=seed, max_tokens=40).read() for seed in seeds]
    assert texts[0] == texts[1]
    assert texts[2] != texts[3]


def test_an_engine_inherits_nothing_but_its_socket(make_kernel):
    kernel = make_kernel()
    opened = {Path(f"/proc/{engine_of(kernel).pid}/fd/{n}").readlink() for n in (0, 1)}
    descriptors = Path(f"/proc/{engine_of(kernel).pid}/fd").iterdir()
    sockets = [path for path in descriptors if str(path.readlink()).startswith("socket:")]
    assert opened == {Path("/dev/null")}
    assert len([path for path in sockets if int(path.name) > 2]) == 1

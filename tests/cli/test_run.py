"""`agentkernel run` and `resume`: text, Ctrl-C, pipes, and what ends a process."""

from __future__ import annotations

import json
import os
import pty
import signal

import pytest

from tests.conftest import ENDLESS, QWEN2


@pytest.fixture
def endless(ak):
    """Arguments of a run that goes on until somebody ends it."""
    (ak.folder / "endless.gbnf").write_text(ENDLESS)
    return ("run", "hi", "--grammar", "endless.gbnf", "--max-tokens", "30000")


def only_pid(client):
    [row] = client.ps().processes
    return row.pid


def test_it_prints_the_text_and_nothing_else(ak, kernel, client_of):
    expected = client_of(kernel).exec("hello", max_tokens=12, seed=3).read()
    result = ak("run", "hello", "--max-tokens", "12", "--seed", "3", kernel=kernel)
    assert (result.returncode, result.stdout, result.stderr) == (0, expected, "")


def test_a_dash_reads_the_prompt_from_standard_input(ak, kernel):
    arguments = ("--max-tokens", "12", "--seed", "3")
    piped = ak("run", "-", *arguments, kernel=kernel, stdin="hello")
    assert piped.stdout == ak("run", "hello", *arguments, kernel=kernel).stdout


def test_system_and_raw_change_what_the_model_reads(ak, kernel, client_of):
    client = client_of(kernel)
    tokens = {}
    for name, more in {"plain": (), "system": ("--system", "be short"), "raw": ("--raw",)}.items():
        result = ak("run", "hello", "--max-tokens", "1", "--format", "json", *more, kernel=kernel)
        tokens[name] = client.process_status(json.loads(result.stdout)["pid"]).prompt_tokens
    assert tokens["raw"] < tokens["plain"] < tokens["system"]


def test_json_is_one_document_with_text_and_end(ak, kernel):
    (ak.folder / "ab.gbnf").write_text('root ::= "ab"')
    result = ak("run", "hello", "--grammar", "ab.gbnf", "--format", "json", kernel=kernel)
    data = json.loads(result.stdout)
    assert data["text"] == "ab"
    assert (data["state"], data["reason"]) == ("Done", "stop")


def test_jsonl_is_a_line_a_piece_and_one_for_the_end(ak, kernel, endless):
    result = ak(*endless[:4], "--max-tokens", "3", "--format", "jsonl", kernel=kernel)
    *pieces, end = [json.loads(line) for line in result.stdout.splitlines()]
    assert "".join(piece["text"] for piece in pieces) == "aaa"
    assert end["reason"] == "length"
    assert {piece["pid"] for piece in pieces} == {end["pid"]}


def test_a_schema_s_answer_is_of_the_schema(ak, kernel):
    (ak.folder / "schema.json").write_text('{"type": "boolean"}')
    result = ak("run", "hello", "--json-schema", "schema.json", kernel=kernel)
    assert json.loads(result.stdout) in (True, False)


def test_detach_prints_the_pid_and_the_process_runs_on(ak, long_kernel, client_of, endless):
    result = ak(*endless, "--detach", "--nice", "5", kernel=long_kernel)
    pid = int(result.stdout)
    client = client_of(long_kernel)
    assert client.process_status(pid).state in ("Ready", "Running")
    assert client.process_status(pid).nice == 5
    client.kill(pid)


def test_it_is_admitted_to_its_lane_and_may_wait_for_that(ak, long_kernel, client_of, endless):
    result = ak(*endless, "--detach", "--lane", "background", "--wait", kernel=long_kernel)
    client = client_of(long_kernel)
    assert client.process_status(int(result.stdout)).lane == "background"
    client.kill(int(result.stdout))


def test_its_wall_time_ends_it(ak, long_kernel, endless):
    result = ak(*endless, "--max-wall-ms", "300", "--deadline-ms", "9999999", kernel=long_kernel)
    assert result.returncode == 1
    assert result.stderr.endswith("ended Terminated: deadline\n")


def test_what_cannot_be_done_in_time_is_refused(ak, kernel):
    assert ak("run", "hello", "--max-tokens", "9", kernel=kernel).returncode == 0  # so that it is measured
    result = ak(
        "run", "hello", "--max-tokens", "1000", "--deadline-ms", "1", "--ttft-ms", "60000", kernel=kernel
    )
    assert result.returncode == 75
    assert result.stderr.startswith("agentkernel: DEADLINE_UNREACHABLE: the answer would take ")


def test_prompt_lookup_is_asked_for(ak, kernel):
    options = ("--prompt-lookup", "--max-tokens", "3")
    assert ak("run", "hello", *options, kernel=kernel).returncode == 0
    refused = ak("run", "hello", *options, "--deterministic", kernel=kernel)
    assert refused.stderr == "agentkernel: EXEC_INVALID: deterministic takes no prompt_lookup\n"


def test_ctrl_c_ends_this_process_only(ak, long_kernel, client_of, endless):
    client = client_of(long_kernel)
    other = client.exec("hi", grammar=ENDLESS, max_tokens=30_000)
    running = ak.start(*endless, kernel=long_kernel)
    assert running.stdout.read(1) == "a"
    [pid] = {row.pid for row in client.ps().processes} - {other.pid}
    running.send_signal(signal.SIGINT)
    text, errors = running.communicate()
    assert running.returncode == 130
    assert set(text) == {"a"}
    assert errors == f"agentkernel: PID {pid} ended Terminated: terminated\n"
    assert only_pid(client) == other.pid
    client.kill(other.pid)


def test_a_second_ctrl_c_kills(ak, make_kernel, client_of, endless):
    """The grace of the first is longer than anybody waits."""
    env = {"AGENTKERNEL_ENGINE__CONTEXT": "32768", "AGENTKERNEL_ENGINE__SLOTS": "2"}
    kernel = make_kernel(env={**env, "AGENTKERNEL_LIMITS__TERM_GRACE_TOKENS": "30000"})
    client = client_of(kernel)
    running = ak.start(*endless, kernel=kernel)
    assert running.stdout.read(1) == "a"
    pid = only_pid(client)
    running.send_signal(signal.SIGINT)
    while client.status().total_signals < 1:
        pass  # the first has not arrived yet
    assert client.process_status(pid).state == "Running"
    running.send_signal(signal.SIGINT)
    running.communicate()
    assert running.returncode == 130
    assert client.process_status(pid).reason == "killed"


def test_when_the_reader_of_a_pipe_leaves_the_process_ends_quietly(ak, long_kernel, client_of, endless):
    client = client_of(long_kernel)
    running = ak.start(*endless, kernel=long_kernel)
    assert running.stdout.read(1) == "a"
    pid = only_pid(client)
    running.stdout.close()
    assert running.stderr.read() == ""
    assert running.wait(30) != 0
    assert client.wait(pid, seconds=30).reason == "disconnected"


def test_a_kernel_that_dies_is_said_in_one_line(ak, make_kernel, endless):
    kernel = make_kernel(env={"AGENTKERNEL_ENGINE__CONTEXT": "32768", "AGENTKERNEL_ENGINE__SLOTS": "2"})
    running = ak.start(*endless, kernel=kernel)
    assert running.stdout.read(1) == "a"
    kernel.process.kill()
    _, errors = running.communicate()
    assert running.returncode == 69
    [line] = errors.splitlines()
    assert line.startswith("agentkernel: ")


def test_a_process_that_others_end_gives_exit_code_one(ak, long_kernel, client_of, endless):
    client = client_of(long_kernel)
    running = ak.start(*endless, kernel=long_kernel)
    assert running.stdout.read(1) == "a"
    client.kill(only_pid(client))
    _, errors = running.communicate()
    assert running.returncode == 1
    assert errors.endswith("ended Killed: killed\n")


def run_at_terminal(ak, *arguments, kernel):
    """All that a command writes to a terminal that is its standard output and error."""
    ours, theirs = pty.openpty()
    running = ak.start(*arguments, kernel=kernel, stdout=theirs, stderr=theirs, text=False)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # Linux's end of a terminal nobody has open any more
        pass
    os.close(ours)
    assert running.wait(30) == 0
    return shown.decode()


ESCAPE = 'root ::= "x\\x1b[2Jy"'


def test_at_a_terminal_a_model_cannot_steer_it_and_the_end_is_summed_up(ak, kernel):
    (ak.folder / "escape.gbnf").write_text(ESCAPE)
    shown = run_at_terminal(ak, "run", "hi", "--grammar", "escape.gbnf", kernel=kernel)
    assert "x\ufffd[2Jy\r\n" in shown
    assert "\x1b[2J" not in shown
    assert ": stop, " in shown


def test_in_a_pipe_the_text_is_as_the_model_gave_it(ak, kernel):
    (ak.folder / "escape.gbnf").write_text(ESCAPE)
    assert ak("run", "hi", "--grammar", "escape.gbnf", kernel=kernel).stdout == "x\x1b[2Jy"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "text"),
    [
        (("run", "hi", "--temperature", "9"), 65, "EXEC_INVALID"),
        (("run", ""), 65, "the prompt is empty"),
        (("run", "x" * 100_000), 69, "MEMORY_ADMISSION"),
        (("run", b"a\xff"), 2, "an argument is not UTF-8"),
    ],
)
def test_what_the_kernel_refuses_is_one_line(ak, kernel, arguments, exit_code, text):
    result = ak(*arguments, kernel=kernel)
    assert (result.returncode, result.stdout) == (exit_code, "")
    [line] = result.stderr.splitlines()
    assert text in line


def test_a_file_that_is_no_schema_is_a_wrong_command_line(ak, kernel):
    (ak.folder / "schema.json").write_text("[1]")
    result = ak("run", "hi", "--json-schema", "schema.json", kernel=kernel)
    assert result.returncode == 2
    assert "schema.json: not a JSON object" in result.stderr


def test_resume_streams_a_process_that_has_lost_its_reader(ak, long_kernel, client_of):
    client = client_of(long_kernel)
    stream = client.exec("hi", grammar=ENDLESS, max_tokens=30_000, on_disconnect="suspend")
    next(iter(stream))
    client.close()
    while client.process_status(stream.pid).attached:
        pass  # the kernel has not noticed yet
    running = ak.start("resume", str(stream.pid), kernel=long_kernel)
    assert running.stdout.read(1) == "a"
    running.send_signal(signal.SIGINT)
    running.communicate()
    assert running.returncode == 130
    assert client.process_status(stream.pid).state == "Terminated"


def test_resume_of_a_process_with_a_reader_only_says_its_state(ak, long_kernel, client_of):
    client = client_of(long_kernel)
    stream = client.exec("hi", grammar=ENDLESS, max_tokens=30_000)
    client.suspend(stream.pid)
    result = ak("resume", str(stream.pid), "--format", "jsonl", kernel=long_kernel)
    assert json.loads(result.stdout)["state"] in ("Ready", "Running")
    client.kill(stream.pid)


def test_it_runs_on_the_model_that_it_names(ak, make_kernel, client_of):
    kernel = make_kernel()
    ended = json.loads(
        ak("run", "hello", "--model", QWEN2, "--max-tokens", "3", "--format", "json", kernel=kernel).stdout
    )
    assert client_of(kernel).process_status(ended["pid"]).model == QWEN2
    refused = ak("run", "hello", "--lora", QWEN2, kernel=kernel)
    assert (refused.returncode, "LOAD_FAILED" in refused.stderr) == (65, True)

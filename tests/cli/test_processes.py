"""`ps`, `status`, `wait` and the signals: what they print in each format, and their exit codes."""

from __future__ import annotations

import json

import pytest

from tests.conftest import ENDLESS


@pytest.fixture
def waiting(kernel, client_of):
    """The stream of a process that stays as it is: interactive, its first turn over."""
    client = client_of(kernel)
    stream = client.exec("hi", interactive=True, grammar=ENDLESS, max_tokens=4)
    stream.read()
    yield stream
    if client.process_status(stream.pid).state in ("Waiting", "Suspended"):
        client.kill(stream.pid)


def test_ps_for_people_is_a_line_a_process_under_headings(ak, kernel, waiting):
    result = ak("ps", kernel=kernel)
    headings, line = result.stdout.splitlines()
    assert headings.split()[:3] == ["PID", "STATE", "WAIT"]
    assert line.split()[:4] == [str(waiting.pid), "Waiting", "input", "normal"]
    assert line == line.rstrip()


def test_ps_in_json_is_an_array_and_in_jsonl_a_line_each(ak, kernel, waiting):
    [row] = json.loads(ak("ps", "--format", "json", kernel=kernel).stdout)
    [line] = ak("ps", "--format", "jsonl", kernel=kernel).stdout.splitlines()
    assert row["pid"] == json.loads(line)["pid"] == waiting.pid
    assert row["tokens_generated"] == 4


def test_ps_of_no_process_is_headings_or_an_empty_array(ak, kernel):
    assert len(ak("ps", kernel=kernel).stdout.splitlines()) == 1
    assert json.loads(ak("ps", "--format", "json", kernel=kernel).stdout) == []
    assert ak("ps", "--format", "jsonl", kernel=kernel).stdout == ""


def test_status_is_of_the_kernel_or_of_a_process(ak, kernel, waiting):
    whole = json.loads(ak("status", "--format", "json", kernel=kernel).stdout)
    assert waiting.pid in whole["processes"]["waiting_pids"]
    lines = ak("status", str(waiting.pid), kernel=kernel).stdout.splitlines()
    assert ["state", "Waiting"] in [line.split() for line in lines]
    shown = ak("status", kernel=kernel).stdout
    assert "engine.jail" in shown
    assert "seccomp" in shown


def test_quota_shows_limits_and_use_and_changes_limits(ak, kernel, waiting):
    of = ("quota", str(waiting.pid), "--format", "json")
    assert json.loads(ak(*of, kernel=kernel).stdout)["tokens_generated"] == 4
    changed = json.loads(ak(*of[:2], "soft_tokens=900", "max_wall_secs=99.5", *of[2:], kernel=kernel).stdout)
    assert (changed["soft_tokens"], changed["max_wall_secs"]) == (900, 99.5)
    owner = json.loads(ak("quota", "@ann", "max_tokens=5", "--format", "json", kernel=kernel).stdout)
    assert (owner["owner"], owner["max_tokens"]) == ("ann", 5)
    assert ak("quota", "@ann", "max_tokens=few", kernel=kernel).returncode == 65


def test_wait_says_the_end_and_its_exit_code_tells_done_from_killed(ak, kernel, client_of, waiting):
    client = client_of(kernel)
    done = client.exec("hi", max_tokens=2, grammar=ENDLESS)
    done.result()
    result = ak("wait", str(done.pid), "--format", "jsonl", kernel=kernel)
    assert (result.returncode, json.loads(result.stdout)["reason"]) == (0, "length")
    client.kill(waiting.pid)
    result = ak("wait", str(waiting.pid), "--format", "jsonl", kernel=kernel)
    assert (result.returncode, json.loads(result.stdout)["reason"]) == (1, "killed")


def test_wait_gives_up_after_its_timeout(ak, kernel, waiting):
    result = ak("wait", str(waiting.pid), "--timeout", "0.05", kernel=kernel)
    assert (result.returncode, result.stdout) == (75, "")
    assert "TIMEOUT" in result.stderr


def test_signals_do_what_they_say(ak, kernel, client_of, waiting):
    client, pid = client_of(kernel), str(waiting.pid)
    assert "Suspended" in ak("suspend", pid, kernel=kernel).stdout
    assert client.process_status(waiting.pid).state == "Suspended"
    assert "Waiting" in ak("resume", pid, kernel=kernel).stdout
    ak("term", pid, kernel=kernel)
    assert client.process_status(waiting.pid).state == "Terminated"


def test_kill_does_each_pid_and_says_which_failed(ak, kernel, client_of, waiting):
    result = ak("kill", "999999", str(waiting.pid), "abc", "--format", "jsonl", kernel=kernel)
    assert json.loads(result.stdout) == {"pid": waiting.pid, "status": "killed", "mode": "kill"}
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == ["PID_NOT_FOUND", "INVALID_PID"]
    assert result.returncode == 64
    assert client_of(kernel).process_status(waiting.pid).state == "Killed"


@pytest.mark.parametrize(
    "command", ["ps", "status", "kill 1", "wait 1", "run hi", "models list", "models load"]
)
def test_where_no_kernel_is_one_line_says_so(ak, unused_port, command):
    result = ak(*command.split(), "--port", str(unused_port))
    assert (result.returncode, result.stdout) == (69, "")
    address = f"127.0.0.1:{unused_port}"
    [line] = result.stderr.splitlines()
    assert line == f"agentkernel: no kernel at {address}: Connection refused; start one: agentkernel serve"


@pytest.fixture(scope="module")
def guarded(models_dir, tmp_path_factory):
    """A kernel that wants tokens."""
    from tests.conftest import start_kernel

    running = start_kernel(tmp_path_factory.mktemp("guarded"), models_dir, "--auth", model="")
    yield running
    running.stop()
    running.process.stdout.close()


def test_the_local_kernel_s_own_token_file_is_used_by_default(ak, guarded):
    assert ak("ps", kernel=guarded).returncode == 0


def test_a_file_with_a_token_alone_will_do(ak, guarded):
    (ak.folder / "token").write_text((guarded.state / "tokens").read_text().split()[1] + "\n")
    assert ak("ps", "--port", str(guarded.port), "--token-file", "token").returncode == 0


def test_without_the_token_or_with_another_it_is_forbidden(ak, guarded):
    nobody = ak("ps", "--port", str(guarded.port))
    assert (nobody.returncode, "AUTH_REQUIRED" in nobody.stderr) == (77, True)
    (ak.folder / "token").write_text("0" * 64)
    stranger = ak("ps", "--token-file", "token", kernel=guarded)
    assert (stranger.returncode, "AUTH_FAILED" in stranger.stderr) == (77, True)


def test_a_token_file_that_is_named_must_be_there(ak, kernel):
    result = ak("ps", "--token-file", "absent", kernel=kernel)
    assert result.returncode == 78
    assert result.stderr == "agentkernel: auth.token_file: absent: No such file or directory\n"

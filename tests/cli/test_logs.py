"""`agentkernel logs`: the last lines, those of a process, and those that come."""

from __future__ import annotations

import json
import select

import pytest

RUNS = [
    {"event": "listening", "part": "server", "port": 1},
    {"event": "process started", "part": "kernel", "pid": 2, "owner": "before"},
    {"event": "listening", "part": "server", "port": 2},
    {"event": "process started", "part": "kernel", "pid": 2, "owner": "local"},
    {"event": "process started", "part": "kernel", "pid": 3},
    {"event": "process ended", "part": "kernel", "pid": 2, "reason": "stop"},
]


def log_line(event, second=0):
    stamp = {"level": "info", "timestamp": f"2026-01-02T03:04:{second:02}.123456Z"}
    return json.dumps(event | stamp) + "\n"


@pytest.fixture
def state(ak):
    """A state directory whose log was rotated once."""
    folder = ak.folder / "state"
    folder.mkdir()
    lines = [log_line(event, i) for i, event in enumerate(RUNS)]
    (folder / "kernel.log.1").write_text("".join(lines[:2]))
    (folder / "kernel.log").write_text("".join(lines[2:]))
    return folder


def logged(ak, *arguments):
    result = ak("logs", "--state", "state", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.usefixtures("state")
def test_a_line_for_people_has_time_level_part_event_and_the_rest(ak):
    assert logged(ak)[-1] == "2026-01-02T03:04:05Z info    kernel   process ended  pid=2 reason=stop"


@pytest.mark.usefixtures("state")
def test_all_files_are_read_the_oldest_first(ak):
    assert [json.loads(shown)["event"] for shown in logged(ak, "--format", "jsonl")] == [
        e["event"] for e in RUNS
    ]


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_n_gives_the_last_lines_over_the_files_edge(ak, count):
    shown = [json.loads(text)["event"] for text in logged(ak, "-n", str(count), "--format", "jsonl")]
    assert shown == [event["event"] for event in RUNS[len(RUNS) - count :]]


@pytest.mark.usefixtures("state")
def test_a_pid_is_one_of_the_kernel_that_ran_last(ak):
    [document] = [json.loads("\n".join(logged(ak, "2", "--format", "json")))]
    assert [event["event"] for event in document] == ["process started", "process ended"]
    assert document[0]["owner"] == "local"
    assert logged(ak, "99") == []


def test_a_line_that_is_no_json_is_passed_over_and_control_characters_are_shown_as_such(ak, state):
    with (state / "kernel.log").open("a") as log:
        log.write("half a li\n" + log_line({"event": "bad \x1b[2J name", "part": "models"}))
    assert "bad \ufffd[2J name" in logged(ak, "-n", "1")[0]


def test_follow_goes_on_over_a_rotation(ak, state):
    """What is in the old file and what is in the new one is shown once each, in order."""
    following = ak.start("logs", "--state", "state", "-n", "0", "-f", "--format", "jsonl")
    log = state / "kernel.log"

    def append(number):
        with log.open("a") as file:
            file.write(log_line({"event": f"e{number}"}))

    while True:  # until it follows: what was written before that is history
        append(0)
        if following.poll() is None and _ready(following):
            break
    append(1)
    log.rename(state / "kernel.log.2")
    append(2)
    append(3)
    shown = []
    while "e3" not in shown:
        event = json.loads(following.stdout.readline())["event"]
        if event != "e0":
            shown.append(event)
    assert shown == ["e1", "e2", "e3"]


def _ready(process):
    readable, _, _ = select.select([process.stdout], [], [], 0.1)
    return bool(readable)


def test_follow_shows_the_lines_of_one_process_only(ak, kernel, client_of):
    client = client_of(kernel)
    first = client.exec("hi", max_tokens=1)
    first.result()
    following = ak.start("logs", str(first.pid + 2), "-f", "--format", "jsonl", kernel=kernel)
    other, mine = (client.exec("hi", max_tokens=1) for _ in range(2))
    for stream in (other, mine):
        stream.result()
    events = [json.loads(following.stdout.readline()) for _ in range(2)]
    assert [event["event"] for event in events] == ["process started", "process ended"]
    assert {event["pid"] for event in events} == {mine.pid}


def test_follow_has_no_one_document_to_print(ak):
    result = ak("logs", "-f", "--format", "json")
    assert result.returncode == 2
    assert "--format jsonl" in result.stderr


def test_where_there_is_no_log_one_line_says_so(ak):
    result = ak("logs", "--state", "elsewhere")
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("agentkernel: elsewhere/kernel.log: no log;")
    assert "--state" in line

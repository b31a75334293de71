"""`tools`, `answer`, `approve`, `deny`, and what `run`, `ps` and `why` show of calls."""

from __future__ import annotations

import json

import pytest

from agentkernel.client import Client

GREET = """\
name: greet
description: greet somebody
schema: {type: object, properties: {who: {type: string}}}
command: [echo, hello, "{who}"]
"""


@pytest.fixture
def asking(ak):
    """Start a `run` and wait until it says what its process asks; the process, and what it said."""

    def start(kernel, *arguments):
        running = ak.start("run", *arguments, kernel=kernel)
        return running, running.stderr.readline()

    return start


def test_tools_are_listed_and_described(ak, scripted):
    def use(kernel):
        headings, *lines = ak("tools", "ls", kernel=kernel).stdout.splitlines()
        assert headings.split() == ["NAME", "CAPABILITY", "COST", "JAILED", "SOURCE", "DESCRIPTION"]
        assert ["calc", "compute", "1", "false", "builtin"] in [line.split()[:5] for line in lines]
        rows = json.loads(ak("tools", "ls", "--format", "json", kernel=kernel).stdout)
        assert len(rows) == len(lines)
        shown = ak("tools", "info", "python", kernel=kernel).stdout
        assert '"required": ["code"]' in shown
        assert ["limits.memory_mb", "128"] in [line.split() for line in shown.splitlines()]
        unknown = ak("tools", "info", "frobnicate", kernel=kernel)
        assert (unknown.returncode, "TOOL_NOT_FOUND" in unknown.stderr) == (66, True)

    scripted(use)


def test_a_tool_is_registered_called_and_forgotten(ak, scripted):
    (ak.folder / "greet.yaml").write_text(GREET)

    def use(kernel):
        added = ak("tools", "register", "greet.yaml", "--format", "json", kernel=kernel)
        assert json.loads(added.stdout) == {"name": "greet"}
        ran = ak("run", 'x\nTOOL:greet {"who": "Ada"}', "--tool", "greet", kernel=kernel)
        assert ran.stdout.endswith('\nYou said: hello Ada{"who": "Ada"}')
        again = ak("tools", "register", "-", kernel=kernel, stdin=GREET)
        assert (again.returncode, "TOOL_EXISTS" in again.stderr) == (73, True)
        assert ak("tools", "rm", "greet", kernel=kernel).returncode == 0
        assert ak("tools", "info", "greet", kernel=kernel).returncode == 66

    scripted(use)


def test_a_description_that_is_wrong_is_refused_with_its_line(ak, scripted):
    def use(kernel):
        result = ak("tools", "register", "-", kernel=kernel, stdin="name: greet\ncolour: blue\n")
        assert (result.returncode, result.stdout) == (65, "")
        assert "line 2: unknown key 'colour'" in result.stderr

    scripted(use)


def test_run_says_what_a_process_asks_and_goes_on_with_the_answer(ak, scripted, asking):
    def use(kernel):
        running, said = asking(kernel, "[[ASK: Which one?]]")
        assert said == "PID 1 asks: Which one? (agentkernel answer 1 TEXT)\n"
        assert ak("answer", "1", "the blue one", kernel=kernel).returncode == 0
        text, _ = running.communicate()
        assert text.endswith("You said: the blue one")

    scripted(use)


def test_calls_are_approved_or_denied(ak, scripted, asking):
    def use(kernel):
        running, said = asking(kernel, "[[CALC: 1+1]]", "--approve", "calc")
        wanted = 'calc {"expression":"1+1"}'
        assert said == f"PID 1 wants to call {wanted} (agentkernel approve 1 1, or deny 1 1)\n"
        assert "asks" in ak("ps", "--format", "jsonl", kernel=kernel).stdout
        headings, line = ak("ps", kernel=kernel).stdout.splitlines()
        assert headings.split()[-1] == "ASKS"
        assert line.endswith(f"1:{wanted}")
        assert json.dumps(wanted)[1:-1] in ak("why", "1", kernel=kernel).stdout
        approved = ak("approve", "1", "1", "--format", "json", kernel=kernel)
        assert json.loads(approved.stdout) == {"pid": 1, "call": 1, "status": "approved"}
        assert running.communicate()[0].endswith("You said: 2")

        running, _ = asking(kernel, "[[CALC: 1+1]]", "--approve", "*")
        assert ak("deny", "2", "1", "not on a Sunday", kernel=kernel).returncode == 0
        assert running.communicate()[0].endswith("You said: error: DENIED: not on a Sunday")
        late = ak("approve", "2", "1", kernel=kernel)
        assert (late.returncode, "PID_NOT_FOUND" in late.stderr) == (66, True)

    scripted(use)


def test_what_others_ask_is_not_said(ak, scripted, asking):
    def use(kernel):
        with Client(port=kernel.port) as client:
            other = client.exec("[[ASK: Who?]]")
            running, said = asking(kernel, "[[ASK: Which?]]")
            assert said.startswith("PID 2 asks: Which?")
            client.answer(2, "this")
            client.answer(other.pid, "me")
            _, errors = running.communicate()
            assert errors == ""

    scripted(use)


def test_a_question_is_one_line_for_people(ak, scripted):
    def use(kernel):
        with Client(port=kernel.port) as client:
            question = "\\n".join(["one", "2 Running", "\\u001b[2J" + "x" * 100])
            stream = client.exec(f'x\nTOOL:ask_human {{"question": "{question}"}}')
            events = client.events()
            while not client.process_status(stream.pid).asks:
                next(events)
            lines = ak("ps", kernel=kernel).stdout.splitlines()
            assert len(lines) == 2
            assert lines[1].endswith("…")
            why = ak("why", str(stream.pid), kernel=kernel).stdout
            assert (len(why.splitlines()), "\x1b" in why, "x" * 100 in why) == (1, False, True)
            client.kill(stream.pid)

    scripted(use)


def test_trust_that_no_jail_gives_is_refused_and_tools_that_are_not_there_too(ak, scripted):
    def use(kernel):
        ran = ak("run", "hi", "--trust", "untrusted", kernel=kernel)
        assert (ran.returncode, ran.stdout) == (0, "You said: hi")
        result = ak("run", "hi", "--tool", "frobnicate", kernel=kernel)
        assert (result.returncode, "TOOL_NOT_FOUND" in result.stderr) == (66, True)
        assert ak("run", "hi", "--trust", "blind", kernel=kernel).returncode == 2

    scripted(use)

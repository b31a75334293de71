"""Secrets: where they come from, who gets them, and where they are not shown."""

from __future__ import annotations

import base64
import json
import os
from urllib.parse import quote, quote_plus

import pytest

from agentkernel import config
from agentkernel.syscalls.secrets import Secrets, SecretsError, UnknownSecretError

VALUE = 'k/9"ü&+ \\x?>'


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "secrets"
    path.touch(0o600)
    return path


def error(file, environ=None):
    with pytest.raises(SecretsError) as caught:
        Secrets.load(file, environ or {})
    return str(caught.value)


def test_values_come_from_the_file_and_before_it_from_the_environment(file):
    file.write_text("A: from file\nB: 'b b'\n")
    environ = {"AGENTKERNEL_SECRET_A": "from environment", "AGENTKERNEL_SECRET_C": "c", "A": "no"}
    secrets = Secrets.load(file, environ)
    assert secrets.pick(["A", "B", "C"]) == {"A": "from environment", "B": "b b", "C": "c"}
    assert secrets.pick(["B"]) == {"B": "b b"}
    assert secrets.pick([]) == {}


def test_without_a_file_or_with_an_empty_one_there_are_those_of_the_environment(file):
    assert Secrets.load(file.with_name("missing"), {"AGENTKERNEL_SECRET_A": "a"}).pick(["A"]) == {"A": "a"}
    assert repr(Secrets.load(file, {"AGENTKERNEL_SECRET_A": ""})) == "Secrets()"


def test_a_secret_that_is_not_there_is_named():
    with pytest.raises(UnknownSecretError) as caught:
        Secrets({"A": "aaaa"}).pick(["A", "B"])
    assert (caught.value.name, str(caught.value)) == ("B", "no secret 'B'")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_can_use_is_refused(file, mode):
    file.chmod(mode)
    assert error(file) == f"tools.secrets: {file} may be read by others; chmod 600 it"


def test_a_file_of_somebody_else_is_refused(file, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert error(file) == f"tools.secrets: {file} is not yours"


def test_what_is_no_file_is_refused_without_waiting(file):
    file.unlink()
    os.mkfifo(file, 0o600)
    assert error(file) == f"tools.secrets: {file} is not a regular file"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("A: ok\nB: *hunter2", ":2: not YAML as it is taken here"),
        ("A: ok\nB: !hunter2 x", ":2: not YAML as it is taken here"),
        ("A: {hunter2", ":1: not YAML as it is taken here"),
        ("- hunter2", ": not a mapping of names to values"),
        ("A: ok\n\nB: [hunter2]", ":3: B is not text; quote it"),
        ("B: 0xhunter2\nA: 123456", ":2: A is not text; quote it"),
        ("A: ''", ":1: A is empty or holds NUL"),
        ('A: "hunter2\\0"', ":1: A is empty or holds NUL"),
        ("a: hunter2", ":1: a name has capital letters, digits and _ only"),
    ],
)
def test_a_fault_names_its_line_and_shows_no_value(file, text, place):
    file.write_text(text)
    assert error(file) == f"tools.secrets: {file}{place}"


def test_a_name_in_the_environment_is_checked_too(file):
    assert error(file, {"AGENTKERNEL_SECRET_a": "hunter2"}).startswith("environment AGENTKERNEL_SECRET_a: ")


def test_secrets_in_the_environment_are_no_settings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings, origins = config.load(environ={"AGENTKERNEL_SECRET_A": "a", "XDG_CONFIG_HOME": str(tmp_path)})
    assert (settings, origins) == (config.Config(), {})


def test_no_value_is_in_a_repr():
    secrets = Secrets({"KEY": "hunter2", "OTHER": "hunter3"})
    assert repr(secrets) == f"{secrets}" == "Secrets(KEY, OTHER)"


def in_base64(text):
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "form",
    [
        VALUE,
        in_base64(VALUE),
        base64.urlsafe_b64encode(VALUE.encode()).decode(),
        quote(VALUE),
        quote(VALUE, safe=""),
        quote_plus(VALUE),
        quote(VALUE, safe="").lower(),
        json.dumps(VALUE)[1:-1],
        json.dumps(VALUE, ensure_ascii=False)[1:-1],
        json.dumps(VALUE)[1:-1].replace("/", "\\/"),
    ],
)
def test_every_form_of_a_value_is_redacted_from_text_and_bytes(form):
    secrets = Secrets({"KEY": VALUE})
    assert secrets.redact(f"é <{form}> and {form}") == "é <[secret KEY]> and [secret KEY]"
    assert secrets.redact(f"é <{form}>".encode() + b"\xff") == "é <[secret KEY]>".encode() + b"\xff"


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "user:é"])
def test_a_value_inside_of_a_longer_text_s_base64_is_redacted(before):
    secrets = Secrets({"KEY": "correct horse"})
    shown = secrets.redact(in_base64(f"{before}correct horse, and more"))
    assert "[secret KEY]" in shown
    rest = [base64.b64decode(part + "=" * (-len(part) % 4)) for part in shown.split("[secret KEY]")[:1]]
    assert b"corr" not in b"".join(rest)


def test_the_longest_value_goes_first():
    secrets = Secrets({"SHORT": "pass", "LONG": "password"})
    assert secrets.redact("password pass") == "[secret LONG] [secret SHORT]"


def test_what_is_no_value_or_too_short_a_one_stays():
    secrets = Secrets({"PIN": "123", "KEY": "hunter2"})
    assert secrets.redact("123 hunter \ud800") == "123 hunter \ud800"
    assert Secrets({}).redact("hunter2") == "hunter2"


def test_a_logged_event_shows_no_value_wherever_it_is():
    secrets = Secrets({"KEY": "hunter2"})
    try:
        int("hunter2")
    except ValueError as fault:
        event = {"event": "a hunter2", "n": 2, "none": None, "deep": [{"hunter2": (b"hunter2", fault)}]}
        shown = secrets.redact_event(None, "info", {**event, "exc_info": True})
    assert "hunter2" not in repr(shown)
    assert "'[secret KEY]'" in shown["exception"]
    assert (shown["event"], shown["n"], shown["none"]) == ("a [secret KEY]", 2, None)
    assert shown["deep"] == [{"[secret KEY]": [b"[secret KEY]", shown["deep"][0]["[secret KEY]"][1]]}]


def test_without_secrets_an_event_is_left_as_it_is():
    event = {"event": "x", "exc_info": True}
    assert Secrets({}).redact_event(None, "info", event) is event

"""`agentkernel config show`: each source of settings overrides the next, and says so."""

from __future__ import annotations

import json

import pytest


def shown(ak, *arguments, **env):
    result = ak("config", "show", "--format", "json", *arguments, **env)
    assert result.returncode == 0, result.stderr
    return {row["key"]: row for row in json.loads(result.stdout)}


@pytest.fixture
def files(ak):
    """A user's settings file and one in the current directory."""
    user = ak.folder / ".config" / "agentkernel"
    user.mkdir(parents=True)
    (user / "config.yaml").write_text("server: {port: 1, max_connections: 11}\nengine: {threads: 1}\n")
    (ak.folder / "agentkernel.yaml").write_text("server: {port: 2}\n")
    return user / "config.yaml"


def test_each_value_comes_with_where_it_is_from(ak, files):
    rows = shown(ak, "--origin", AGENTKERNEL_ENGINE__THREADS="3")
    found = {key: (rows[key]["value"], rows[key]["origin"]) for key in rows}
    assert found["server.port"] == (2, "agentkernel.yaml")
    assert found["server.max_connections"] == (11, str(files))
    assert found["engine.threads"] == (3, "environment AGENTKERNEL_ENGINE__THREADS")
    assert found["server.host"] == ("127.0.0.1", "default")


@pytest.mark.usefixtures("files")
def test_a_file_that_is_named_takes_the_place_of_the_directory_s(ak):
    (ak.folder / "other.yaml").write_text("server: {port: 3}\n")
    rows = shown(ak, "--config", "other.yaml")
    assert rows["server.port"] == {"key": "server.port", "value": 3}


@pytest.mark.usefixtures("files")
def test_a_flag_is_above_the_environment(ak, unused_port):
    result = ak("ps", "--port", str(unused_port), AGENTKERNEL_SERVER__PORT="4")
    assert f"127.0.0.1:{unused_port}" in result.stderr


def test_for_people_it_is_a_line_a_key(ak):
    headings, *lines = ak("config", "show").stdout.splitlines()
    assert headings.split() == ["KEY", "VALUE"]
    assert ["server.port", "6380"] in [line.split() for line in lines]
    assert [line.split()[-1] for line in ak("config", "show", "--origin").stdout.splitlines()[1:2]] == [
        "default"
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("server: {prot: 1}", "server.prot: unknown key (from agentkernel.yaml)"),
        ("server: {port: x}", "server.port: Expected `int`, got `str` (from agentkernel.yaml)"),
        ("server: [", "agentkernel.yaml: while parsing"),
        ("- 1", "agentkernel.yaml: not a mapping"),
    ],
)
@pytest.mark.parametrize("command", [("config", "show"), ("ps",), ("serve",), ("doctor",), ("logs",)])
def test_a_wrong_setting_stops_every_command_with_one_line(ak, command, content, text):
    (ak.folder / "agentkernel.yaml").write_text(content)
    result = ak(*command)
    assert (result.returncode, result.stdout) == (78, "")
    [line] = result.stderr.splitlines()
    assert line.startswith(f"agentkernel: {text}")

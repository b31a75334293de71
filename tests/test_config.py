"""Settings: their sources, in order, and what is said of a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentkernel import config as configuration
from agentkernel.config import Config, ConfigError, flatten, load

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write one of the files `system`, `user`, `local` or `named` that settings are read from."""
    monkeypatch.setattr(configuration, "SYSTEM_FILE", tmp_path / "system.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    names = {"system": "system.yaml", "user": "home/agentkernel/config.yaml"}
    names |= {"local": "agentkernel.yaml", "named": "named.yaml"}

    def write(which: str, text: str) -> Path:
        path = tmp_path / names[which]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "home")}


def error(**arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(**arguments)
    return str(caught.value)


def test_without_sources_everything_has_its_default(write: Write, environ: dict[str, str]) -> None:
    config, origins = load(environ=environ)
    assert config == Config()
    assert origins == {}
    assert (config.server.host, config.server.port) == ("127.0.0.1", 6380)


def test_each_source_overrides_the_ones_below_it(write: Write, environ: dict[str, str]) -> None:
    port = "server: {port: %d}"
    seen = []

    def look(flags: dict[str, Any] | None = None, file: Path | None = None) -> None:
        config, origins = load(flags, file, environ)
        seen.append((config.server.port, origins["server.port"]))

    system = write("system", port % 1)
    look()
    user = write("user", port % 2)
    look()
    write("local", port % 3)
    look()
    named = write("named", port % 4)
    look(file=named)
    environ["AGENTIC_PORT"] = "5"
    look(file=named)
    environ["AGENTKERNEL_SERVER__PORT"] = "6"
    look(file=named)
    look({"server.port": "7", "server.host": None}, named)
    assert seen == [
        (1, str(system)),
        (2, str(user)),
        (3, "agentkernel.yaml"),
        (4, str(named)),
        (5, "environment AGENTIC_PORT"),
        (6, "environment AGENTKERNEL_SERVER__PORT"),
        (7, "the command line"),
    ]


def test_a_named_file_stands_in_for_the_local_one(write: Write, environ: dict[str, str]) -> None:
    write("local", "server: {port: 3}")
    config, _ = load(file=write("named", "model: x"), environ=environ)
    assert (config.server.port, config.model) == (6380, "x")


def test_sources_are_merged_key_by_key(write: Write, environ: dict[str, str]) -> None:
    write("user", "engine: {threads: 3, slots: 4}\nserver: {port: 1}")
    write("local", "engine:\n  slots: 5")
    environ["AGENTKERNEL_ENGINE__CONTEXT"] = "512"
    config, origins = load(environ=environ)
    assert (config.engine.threads, config.engine.slots, config.engine.context) == (3, 5, 512)
    assert origins["engine.slots"] == "agentkernel.yaml"
    assert origins["engine.context"] == "environment AGENTKERNEL_ENGINE__CONTEXT"


def test_text_from_flags_and_environment_becomes_each_settings_type(
    environ: dict[str, str], write: Write
) -> None:
    environ |= {"AGENTKERNEL_AUTH__REQUIRED": "true", "AGENTKERNEL_SERVER__BODY_TIMEOUT": "2.5"}
    config, _ = load({"generation.seed": "7", "log.level": "debug"}, environ=environ)
    assert (config.auth.required, config.server.body_timeout) == (True, 2.5)
    assert (config.generation.seed, config.log.level) == (7, "debug")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sever: {port: 1}", "sever: unknown key (from agentkernel.yaml)"),
        ("server: {prot: 1}", "server.prot: unknown key (from agentkernel.yaml)"),
        ("server: {port: {low: 1}}", "server.port: Expected `int`, got `object` (from agentkernel.yaml)"),
        ("server: {port: many}", "server.port: Expected `int`, got `str` (from agentkernel.yaml)"),
        ("server: {port: 65536}", "server.port: Expected `int` <= 65535 (from agentkernel.yaml)"),
        ("server: 5", "server: Expected `object`, got `int` (from agentkernel.yaml)"),
        ("model: [a]", "model: Expected `str`, got `array` (from agentkernel.yaml)"),
        (
            "server: {text_lists: html}",
            "server.text_lists: Invalid enum value 'html' (from agentkernel.yaml)",
        ),
        ("[1, 2]", "agentkernel.yaml: not a mapping"),
        ("port: 1: 2", "agentkernel.yaml: mapping values are not allowed here"),
    ],
)
def test_a_wrong_file_is_named_with_the_key(
    write: Write, environ: dict[str, str], text: str, said: str
) -> None:
    write("local", text)
    assert error(environ=environ).startswith(said)


def test_a_wrong_variable_or_flag_is_named(write: Write, environ: dict[str, str]) -> None:
    assert error(flags={"engine.slots": "-1"}, environ=environ) == (
        "engine.slots: Expected `int` >= 0 (from the command line)"
    )
    environ["AGENTKERNEL_ENGINE__THREAD"] = "2"
    assert error(environ=environ) == (
        "engine.thread: unknown key (from environment AGENTKERNEL_ENGINE__THREAD)"
    )
    write("local", "engine: 5")
    assert error(environ=environ) == (
        "engine.thread: engine is no section (from environment AGENTKERNEL_ENGINE__THREAD)"
    )


def test_a_seed_has_64_bits(write: Write, environ: dict[str, str]) -> None:
    assert load({"generation.seed": 2**64 - 1}, environ=environ)[0].generation.seed == 2**64 - 1
    assert "a seed has 64 bits at most" in error(flags={"generation.seed": 2**64}, environ=environ)


def test_a_named_file_must_be_readable(write: Write, environ: dict[str, str], tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    assert error(file=missing, environ=environ) == f"{missing}: No such file or directory"
    assert error(file=tmp_path, environ=environ) == f"{tmp_path}: Is a directory"
    binary = tmp_path / "named.yaml"
    binary.write_bytes(b"model: \xff")
    assert error(file=binary, environ=environ).startswith(f"{binary}: not UTF-8")


def test_an_empty_file_sets_nothing(write: Write, environ: dict[str, str]) -> None:
    write("local", "# nothing\n")
    assert load(environ=environ) == (Config(), {})


def test_directories_default_to_xdgs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    config = Config()
    assert (config.models, config.workspace) == ("/data/agentkernel/models", "/data/agentkernel/workspace")
    assert config.state == str(tmp_path / ".local/state/agentkernel")
    assert config.token_file == Path(config.state) / "tokens"


def test_the_token_file_can_be_set() -> None:
    config = msgspec.convert({"auth": {"token_file": "/run/tokens"}}, Config)
    assert config.token_file == Path("/run/tokens")


def test_flatten_names_every_setting_by_its_dotted_key() -> None:
    flat = flatten(Config())
    assert flat["server.port"] == 6380
    assert flat["generation.seed"] is None
    sections = {key.partition(".")[0] for key in flat}
    assert sections == set(Config.__struct_fields__)
    assert not any(isinstance(value, dict) for value in flat.values())

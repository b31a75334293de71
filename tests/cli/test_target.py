"""Which kernel a command talks to, and what it tells it."""

from __future__ import annotations

import pytest

from agentkernel import config as configuration
from agentkernel.cli.target import Target, find_target
from agentkernel.config import ConfigError

TOKEN = "a" * 64


@pytest.fixture
def target(tmp_path):
    """The target of these settings, where a local kernel keeps a token."""
    (tmp_path / "tokens").write_text(f"# made by the kernel\n\nadmin {TOKEN} admin\nother {'b' * 64}\n")

    def find(**settings):
        flags = {"state": str(tmp_path), **{key.replace("__", "."): value for key, value in settings.items()}}
        return find_target(configuration.load(flags, environ={"HOME": str(tmp_path)})[0])

    return find


def test_the_first_token_of_the_local_kernel_is_used(target):
    assert target() == Target("127.0.0.1", 6380, TOKEN)


@pytest.mark.parametrize("host", ["192.0.2.1", "kernel.example", "::2"])
def test_the_local_kernel_s_token_goes_to_no_other_machine(target, host):
    assert target(server__host=host).token == ""


def test_a_token_that_is_named_goes_wherever_it_is_to_go(target, tmp_path):
    (tmp_path / "mine").write_text(f"{TOKEN}\n")
    named = target(server__host="192.0.2.1", auth__token_file=str(tmp_path / "mine"))
    assert named == Target("192.0.2.1", 6380, TOKEN)


@pytest.mark.parametrize(("bound", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "::1")])
def test_a_kernel_that_listens_everywhere_is_reached_here(target, bound, reached):
    assert target(server__host=bound) == Target(reached, 6380, TOKEN)


def test_without_a_token_file_there_is_no_token(target, tmp_path):
    (tmp_path / "tokens").unlink()
    assert target().token == ""


def test_a_token_file_that_is_named_and_absent_is_an_error(target):
    with pytest.raises(ConfigError, match=r"auth.token_file: /absent: No such file"):
        target(auth__token_file="/absent")

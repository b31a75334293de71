"""Who a token belongs to, and the files and addresses that are refused."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from agentkernel.auth import LOCAL, Principals, load_principals
from agentkernel.config import Auth, Config, ConfigError, Server
from agentkernel.errors import KernelError
from agentkernel.process import Owner

A, B = "a" * 64, "0123456789abcdef" * 4


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Authentication required, with a token file that is not there yet."""
    return Config(
        workspace=str(tmp_path / "workspace"),
        state=str(tmp_path / "state"),
        auth=Auth(required=True),
    )


def write(config: Config, text: str, mode: int = 0o600) -> Path:
    path = config.token_file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def refusal(config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        load_principals(config)
    return str(caught.value)


def test_without_authentication_everybody_is_one_local_administrator() -> None:
    principals = load_principals(Config())
    assert principals.default is LOCAL
    assert principals.authenticate(b"anything") is LOCAL
    assert LOCAL.admin


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_authentication(host: str) -> None:
    assert not load_principals(Config(server=Server(host=host))).required


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "", "localhost.example.org"])
def test_any_other_address_is_refused_without_authentication(host: str) -> None:
    message = refusal(Config(server=Server(host=host)))
    assert message == f"server.host: {host} is not loopback; set auth.required to true"


def test_any_address_is_served_with_authentication(config: Config) -> None:
    open_to_all = msgspec.structs.replace(config, server=Server(host="0.0.0.0"))
    assert load_principals(open_to_all).required


def test_with_authentication_nobody_is_anybody_before_it(config: Config) -> None:
    assert load_principals(config).default is None


def test_a_missing_token_file_is_made_for_one_administrator(config: Config) -> None:
    principals = load_principals(config)
    path = config.token_file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    name, token, admin = path.read_text().split()
    assert (name, len(token), admin) == ("admin", 64, "admin")
    assert principals.authenticate(token.encode()) == Owner(1, "admin", admin=True)


def test_an_existing_token_file_is_kept(config: Config) -> None:
    load_principals(config)
    before = config.token_file.read_text()
    load_principals(config)
    assert config.token_file.read_text() == before


def test_each_line_is_a_principal(config: Config) -> None:
    write(config, f"# who may\n\nanna {A} admin\n  bert\t{B}  \n")
    principals = load_principals(config)
    assert principals.authenticate(A.encode()) == Owner(1, "anna", admin=True)
    assert principals.authenticate(B.encode()) == Owner(2, "bert", admin=False)


@pytest.mark.parametrize("token", [b"", b"b" * 64, A.upper().encode(), A[:-1].encode(), b"\xff" * 64])
def test_another_token_is_nobodys(config: Config, token: bytes) -> None:
    write(config, f"anna {A}\n")
    with pytest.raises(KernelError, match="AUTH_FAILED"):
        load_principals(config).authenticate(token)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused(config: Config, mode: int) -> None:
    path = write(config, f"anna {A}\n", mode)
    assert refusal(config) == f"auth.token_file: {path} may be read by others; chmod 600 it"


@pytest.mark.parametrize(
    "line",
    ["anna", f"{A}", f"anna {A[:-1]}", f"anna {A}0", f"anna {'g' * 64}", f"anna {A} root", f"{'n' * 65} {A}"],
)
def test_a_line_that_is_no_principal_is_named(config: Config, line: str) -> None:
    path = write(config, f"# first\nbert {B}\n{line}\n")
    assert refusal(config) == f"auth.token_file: {path}:3: not NAME TOKEN [admin]"


def test_a_token_stands_for_one_principal_only(config: Config) -> None:
    path = write(config, f"anna {A}\nbert {A}\n")
    assert refusal(config) == f"auth.token_file: {path}:2: the token is there twice"


def test_a_file_without_tokens_is_refused(config: Config) -> None:
    path = write(config, "# nobody\n\n")
    assert refusal(config) == f"auth.token_file: {path} holds no token"


def test_a_file_that_is_no_text_is_refused(config: Config) -> None:
    path = write(config, "")
    path.write_bytes(b"anna \xff\n")
    assert refusal(config) == f"auth.token_file: {path} is not UTF-8"


def test_a_token_file_inside_the_workspace_is_refused(config: Config, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (tmp_path / "link").symlink_to(workspace)
    for path in (workspace / "tokens", tmp_path / "link" / "deep" / "tokens", workspace / "x" / ".." / "t"):
        inside = msgspec.structs.replace(config, auth=Auth(required=True, token_file=str(path)))
        assert refusal(inside) == f"auth.token_file: {path} is inside the workspace"
    assert list(workspace.iterdir()) == []


def test_principals_need_no_file() -> None:
    principals = Principals({A: Owner(4, "x")}, required=True)
    assert principals.authenticate(A.encode()).id == 4

"""Who a token belongs to.

Rules
1. Without authentication every client is the owner `local`, who is an administrator.
2. The token file holds a line a principal: `NAME TOKEN [admin]`, tokens of 64 hexadecimal digits; it is
   0600 or refused, and made with one administrator when it is missing.
3. Tokens are compared in constant time, each with each.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from pathlib import Path

from agentkernel.config import Config, ConfigError, is_loopback
from agentkernel.errors import KernelError
from agentkernel.process import Owner

LOCAL = Owner(1, "local", admin=True)
_LINE = re.compile(r"(?P<name>\S{1,64})\s+(?P<token>[0-9a-f]{64})(?P<admin>\s+admin)?")


class Principals:
    """The owners that tokens stand for."""

    def __init__(self, tokens: dict[str, Owner], *, required: bool) -> None:
        self._tokens = [(token.encode(), owner) for token, owner in tokens.items()]
        self.required = required

    @property
    def default(self) -> Owner | None:
        """Who a client is before AUTH."""
        return None if self.required else LOCAL

    def authenticate(self, token: bytes) -> Owner:
        """The owner of the token. Raises AUTH_FAILED; without authentication everybody is `local`."""
        if not self.required:
            return LOCAL
        found = None
        for known, owner in self._tokens:
            if hmac.compare_digest(known, token):
                found = owner
        if found is None:
            raise KernelError("AUTH_FAILED")
        return found

    def known(self, owner: Owner) -> Owner:
        """Who has the name of a former kernel's owner: its id, the number of a line, may be another's by now.

        A name that is gone is nobody's: only administrators may what it might.
        """
        owners = [each for _, each in self._tokens] if self.required else [LOCAL]
        named = [each for each in owners if each.name == owner.name]
        return owner if owner in named else next(iter(named), Owner(0, owner.name))


def load_principals(config: Config) -> Principals:
    """The principals of the token file. Raises ConfigError where it, or the bind address, is unsafe."""
    if not config.auth.required:
        if not is_loopback(config.server.host):
            raise ConfigError(f"server.host: {config.server.host} is not loopback; set auth.required to true")
        return Principals({}, required=False)
    path = config.token_file
    if path.resolve().is_relative_to(Path(config.workspace).resolve()):
        raise ConfigError(f"auth.token_file: {path} is inside the workspace")
    if not path.exists():
        _create(path)
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"auth.token_file: {path} may be read by others; chmod 600 it")
    return Principals(_parse(path), required=True)


def _parse(path: Path) -> dict[str, Owner]:
    tokens: dict[str, Owner] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"auth.token_file: {path} is not UTF-8") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ConfigError(f"auth.token_file: {path}:{number}: not NAME TOKEN [admin]")
        if match["token"] in tokens:
            raise ConfigError(f"auth.token_file: {path}:{number}: the token is there twice")
        tokens[match["token"]] = Owner(len(tokens) + 1, match["name"], bool(match["admin"]))
    if not tokens:
        raise ConfigError(f"auth.token_file: {path} holds no token")
    return tokens


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"admin {secrets.token_hex(32)} admin\n")

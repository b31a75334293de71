"""Secrets that tools need: where they come from, who gets them, and that nobody else sees them.

Rules
1. A value comes from the environment (AGENTKERNEL_SECRET_NAME), else from the file; that is its owner's only,
   0600, or refused. No fault and no `repr` shows a value.
2. A tool gets the values that it names, nothing more.
3. In what is redacted, a value of 4 characters or more stands nowhere as it is, in base64 (also inside of a
   longer text), URL-quoted or JSON-escaped. Whoever runs a tool's program can still spell one out otherwise:
   this prevents accidents.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import quote, quote_plus

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from agentkernel.config import ConfigError
from agentkernel.syscalls.document import LONGEST, Document, Fault

PREFIX = "AGENTKERNEL_SECRET_"
SHORTEST = 4  # characters of a value that is looked for
_NAME = r"^[A-Z][A-Z0-9_]{0,63}\Z"
_NAMING = "a name has capital letters, digits and _ only"
_HEX = re.compile(r"%[0-9A-F]{2}")

SecretName = Annotated[str, msgspec.Meta(pattern=_NAME)]
_Text = TypeVar("_Text", str, bytes)


class SecretsError(ConfigError):
    """Secrets that can't be used; no value is in the text."""


class UnknownSecretError(KeyError):
    """A tool names a secret that there isn't; `name` says which."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"no secret {self.name!r}"


class Secrets:
    """Values by name."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)
        forms = {form: name for name, value in values.items() for form in _forms(value)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._names = forms
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first))) if forms else None

    @classmethod
    def load(cls, file: Path, environ: Mapping[str, str] | None = None) -> Secrets:
        """Those of the file, which may be missing, and of the environment. Raises SecretsError."""
        environ = os.environ if environ is None else environ
        given = {key.removeprefix(PREFIX): value for key, value in environ.items() if key.startswith(PREFIX)}
        for name in given:
            if not re.match(_NAME, name):
                raise SecretsError(f"environment {PREFIX}{name}: {_NAMING}")
        return cls({**_from_file(file), **{name: value for name, value in given.items() if value}})

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._values))})"

    def pick(self, names: Iterable[str]) -> dict[str, str]:
        """The values of these names, as a tool's environment. Raises UnknownSecretError."""
        try:
            return {name: self._values[name] for name in names}
        except KeyError as error:
            raise UnknownSecretError(error.args[0]) from None

    def redact(self, text: _Text) -> _Text:
        """The text with `[secret NAME]` where a value was."""
        if self._pattern is None:
            return text
        if isinstance(text, bytes):
            return self._pattern.sub(self._mark, text)
        hidden = self._pattern.sub(self._mark, text.encode("utf-8", "surrogatepass"))
        return hidden.decode("utf-8", "surrogatepass")

    def redact_event(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        """A structlog processor: no value is logged, not in a trace either."""
        if self._pattern is None:
            return event
        formatted = structlog.processors.format_exc_info(logger, name, event)
        return cast("EventDict", self._redact_all(formatted))

    def _redact_all(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, bytes):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {self._redact_all(key): self._redact_all(each) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._redact_all(each) for each in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.redact(repr(value))

    def _mark(self, found: re.Match[bytes]) -> bytes:
        return f"[secret {self._names[found[0]]}]".encode()


def _from_file(file: Path) -> dict[str, str]:
    try:
        data = _read(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SecretsError(f"tools.secrets: {file}: {error.strerror}") from error
    try:
        document = Document(data)
    except Fault as fault:  # what it says may be a part of a value
        raise SecretsError(f"tools.secrets: {file}:{fault.line}: not YAML as it is taken here") from None
    values = {} if document.value is None else document.value
    if not isinstance(values, dict):
        raise SecretsError(f"tools.secrets: {file}: not a mapping of names to values")
    for name, value in values.items():
        place = f"tools.secrets: {file}:{document.line((name,))}"
        if not re.match(_NAME, name):
            raise SecretsError(f"{place}: {_NAMING}")
        if not isinstance(value, str):
            raise SecretsError(f"{place}: {name} is not text; quote it")
        if not value or "\0" in value:
            raise SecretsError(f"{place}: {name} is empty or holds NUL")
    return values


def _read(file: Path) -> bytes:
    """The file's bytes. Raises OSError, or SecretsError where others could know or choose them."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would make it wait
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretsError(f"tools.secrets: {file} is not a regular file")
        if status.st_uid != os.geteuid():
            raise SecretsError(f"tools.secrets: {file} is not yours")
        if status.st_mode & 0o077:
            raise SecretsError(f"tools.secrets: {file} may be read by others; chmod 600 it")
        return opened.read(LONGEST + 1)


def _forms(value: str) -> Iterator[bytes]:
    """Every way in which the value is looked for."""
    if len(value) < SHORTEST:
        return
    texts = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    texts |= {text.replace("/", "\\/") for text in texts}
    quoted = {quote(value), quote(value, safe=""), quote_plus(value)}
    texts |= quoted | {_HEX.sub(lambda code: code[0].lower(), text) for text in quoted}
    yield from (text.encode("utf-8", "surrogatepass") for text in texts)
    yield from _in_base64(value.encode("utf-8", "surrogatepass"))


def _in_base64(data: bytes) -> Iterator[bytes]:
    """Its base64 in both alphabets, alone and in each of the three ways it can lie in a longer text's."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data)
        for before, shared in ((0, 0), (1, 2), (2, 3)):  # characters that hold bits of what stands before
            whole = (before + len(data)) * 8 // 6
            yield encode(bytes(before) + data)[shared:whole]

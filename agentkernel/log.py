"""One event a line: coloured on a terminal, JSON elsewhere; prompt text only at debug level.

Rules
1. Logging neither raises nor blocks: lines are written by threads of their own, from bounded queues.
2. What a queue has no room for is dropped, and the next line that is written says how many were.
3. Lines that come within some milliseconds are written together: each alone would cost as much as they do.
   While lines come, nobody wakes a thread: it would want the interpreter just when the kernel has work to do.
4. At exit what waits is written, for a bounded time.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import logging.handlers
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from agentkernel.config import Log

_FILE_BYTES, _OLD_FILES = 10_000_000, 3  # the youngest of the old ones ends in .1
_PARTS = 8  # that a file has at least: a part of it is never cut to fill it
_QUEUED_LINES = 10_000
_GATHER_SECONDS = 0.05  # from a line until it is written, with those that have come meanwhile
_ROUNDS = 4  # without a line, until the thread waits to be woken
_TOGETHER = 200  # lines
_FLUSH_SECONDS = 1.0  # at exit, for whoever doesn't read standard error, or a slow disk


def configure(settings: Log, file: Path | None = None, redact: Processor | None = None) -> None:
    """Set up structlog for this process: lines on standard error, and as JSON in the file.

    What `redact` takes out of an event is in neither.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    json = settings.format == "json" or (settings.format == "auto" and not terminal)
    last = _as_json if json else structlog.dev.ConsoleRenderer()
    if file is not None:
        last = _Tee(_Writer(_JsonFile(file).write), None if json else last)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([redact] if redact else []),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Writer(_to_standard_error()))),
        cache_logger_on_first_use=True,
    )
    logging.getLogger("asyncio").handlers = [_Foreign()]  # a fault in a callback is reported there


def get(name: str) -> Any:
    """A logger bound to the part of the kernel it speaks for."""
    return structlog.get_logger(part=name)


_render = structlog.processors.JSONRenderer()


def _as_json(logger: WrappedLogger, name: str, event: EventDict) -> str | bytes:
    return _render(logger, name, structlog.processors.format_exc_info(logger, name, event))


class _Writer:
    """A file of lines for loggers: written by a thread, with `write`, which gets whole lines."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lines: deque[str] = deque()
        self._dropped = self._told = 0
        self._idle = True  # the thread must be woken
        self._some, self._last = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self._finish)

    def write(self, line: str) -> None:
        """Have the line written, or count it."""
        if len(self._lines) >= _QUEUED_LINES:
            self._dropped += 1
            return
        self._lines.append(line)
        if self._idle:
            self._idle = False
            self._some.set()

    def flush(self) -> None:
        """Nothing: the thread flushes what it writes."""

    def _run(self) -> None:
        last = False
        while not last:
            self._some.wait()
            self._some.clear()
            rounds = _ROUNDS
            while rounds and not (last := self._last.wait(_GATHER_SECONDS)):
                rounds = _ROUNDS if self._write_some() else rounds - 1
            self._idle = True  # before the last look: whose line comes behind it wakes this thread
            self._write_some()

    def _write_some(self) -> bool:
        """Write what waits; whether there was any."""
        any_ = bool(self._lines)
        while self._lines:
            dropped = self._dropped
            lines = [self._lines.popleft() for _ in range(min(len(self._lines), _TOGETHER))]
            with contextlib.suppress(OSError, ValueError):  # nobody reads, a full disk
                self._write("".join((self._gap(dropped), *lines)))
                self._told = dropped
        return any_

    def _gap(self, dropped: int) -> str:
        """The line that says how many were dropped, if they were."""
        if dropped == self._told:
            return ""
        event = {"level": "warning", "part": "log", "event": "lines dropped", "count": dropped - self._told}
        return f"{_render(None, '', event)!s}\n"

    def _finish(self) -> None:
        self._last.set()
        self._some.set()
        self._thread.join(_FLUSH_SECONDS)


def _to_standard_error() -> Callable[[str], None]:
    """Write past Python's buffers: what they can't get rid of would be tried again at exit."""
    if sys.stderr is None:  # it was closed when the program began
        return lambda _line: None
    descriptor = sys.stderr.fileno()

    def write(line: str) -> None:
        data = line.encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(descriptor, data) :]

    return write


class _Tee:
    """The last processor: hands each event on to a writer as JSON, and renders it, or gives that JSON."""

    def __init__(self, writer: _Writer, render: Processor | None) -> None:
        self._writer, self._render = writer, render

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> Any:
        json = _as_json(logger, name, dict(event) if self._render else event)
        self._writer.write(f"{json!s}\n")
        return self._render(logger, name, event) if self._render else json


class _JsonFile(logging.handlers.RotatingFileHandler):
    """Lines in a file that only its owner may read."""

    terminator = ""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=_FILE_BYTES, backupCount=_OLD_FILES, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return os.fdopen(descriptor, "a", encoding=self.encoding)

    def write(self, lines: str) -> None:
        """Append the lines, beginning a new file where this one would be too long."""
        fits = len(lines) * _PARTS < self.maxBytes
        for part in (lines,) if fits else lines.splitlines(keepends=True):
            self.emit(logging.makeLogRecord({"msg": part}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nothing: there is nowhere to complain."""


class _Foreign(logging.Handler):
    """What the standard library logs, as events."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log it as ours."""
        get(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info)

"""One event a line: coloured on a terminal, JSON elsewhere; prompt text only at debug level.

Rules
1. Logging neither raises nor blocks: lines are written by threads of their own, from bounded queues.
2. What a queue has no room for is dropped, and the next line that is written says how many were.
3. At exit what waits is written, for a bounded time.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import logging.handlers
import os
import queue
import sys
import threading
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from agentkernel.config import Log

_FILE_BYTES, _OLD_FILES = 10_000_000, 3  # the youngest of the old ones ends in .1
_QUEUED_LINES = 10_000
_FLUSH_SECONDS = 1.0  # at exit, for whoever doesn't read standard error, or a slow disk


def configure(settings: Log, file: Path | None = None, redact: Processor | None = None) -> None:
    """Set up structlog for this process: lines on standard error, and as JSON in the file.

    What `redact` takes out of an event is in neither.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    json = settings.format == "json" or (settings.format == "auto" and not terminal)
    tee = [] if file is None else [_Tee(_Writer(_JsonFile(file).write))]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([redact] if redact else []),
            *tee,
            _as_json if json else structlog.dev.ConsoleRenderer(),
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
    """A file of lines for loggers: written by a thread, with `write`."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lines: queue.Queue[str | None] = queue.Queue(_QUEUED_LINES)
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self._finish)

    def write(self, line: str) -> None:
        """Have the line written, or count it."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Nothing: the thread flushes each line."""

    def _run(self) -> None:
        told = 0
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError, ValueError):  # nobody reads, a full disk
                if (dropped := self._dropped) > told:
                    event = {"level": "warning", "part": "log", "event": "lines dropped"}
                    self._write(f"{_render(None, '', {**event, 'count': dropped - told})!s}\n")
                    told = dropped
                self._write(line)

    def _finish(self) -> None:
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=_FLUSH_SECONDS)
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
    """A processor that hands each event on to a writer as JSON too."""

    def __init__(self, writer: _Writer) -> None:
        self._writer = writer

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        self._writer.write(f"{_as_json(logger, name, dict(event))!s}\n")
        return event


class _JsonFile(logging.handlers.RotatingFileHandler):
    """Lines in a file that only its owner may read."""

    terminator = ""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=_FILE_BYTES, backupCount=_OLD_FILES, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return os.fdopen(descriptor, "a", encoding=self.encoding)

    def write(self, line: str) -> None:
        """Append the line, beginning a new file when this one is full."""
        self.emit(logging.makeLogRecord({"msg": line}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nothing: there is nowhere to complain."""


class _Foreign(logging.Handler):
    """What the standard library logs, as events."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log it as ours."""
        get(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info)

"""One event a line: coloured on a terminal, JSON elsewhere; prompt text only at debug level."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from agentkernel.config import Log

_FILE_BYTES, _OLD_FILES = 10_000_000, 3  # the youngest of the old ones ends in .1


def configure(settings: Log, file: Path | None = None) -> None:
    """Set up structlog for this process: lines on standard error, and as JSON in the file."""
    json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    tee = [] if file is None else [_JsonFile(file)]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *tee,
            _as_json if json else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def get(name: str) -> Any:
    """A logger bound to the part of the kernel it speaks for."""
    return structlog.get_logger(part=name)


_render = structlog.processors.JSONRenderer()


def _as_json(logger: WrappedLogger, name: str, event: EventDict) -> str | bytes:
    return _render(logger, name, structlog.processors.format_exc_info(logger, name, event))


class _JsonFile(logging.handlers.RotatingFileHandler):
    """A processor that keeps each event in a file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=_FILE_BYTES, backupCount=_OLD_FILES, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return os.fdopen(descriptor, "a", encoding=self.encoding)

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        self.emit(logging.makeLogRecord({"msg": _as_json(logger, name, dict(event))}))
        return event

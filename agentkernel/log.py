"""One event a line: coloured on a terminal, JSON elsewhere; prompt text only at debug level."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from agentkernel.config import Log


def configure(settings: Log) -> None:
    """Set up structlog for this process; log lines go to standard error."""
    json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    shape: Any = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            shape,
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

"""How the mirror logs what is not a request: on stderr, a line for each record, as text or JSON."""

from __future__ import annotations

import json
import logging
import time
from typing import Any


def config(access_log: str, *, verbose: bool) -> dict[str, Any]:
    """The configuration of `logging` that goes with an access log. ``verbose``: with debug messages."""
    form = JSONFormatter if access_log == "json" else TextFormatter
    library = "DEBUG" if verbose else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": form}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}
        },
        "loggers": {
            "layercache": {"handlers": ["stderr"], "level": library, "propagate": False},
            "layercache.serve": {"level": "DEBUG" if verbose else "INFO"},
            "_granian": {"handlers": ["stderr"], "propagate": False},
        },
    }


class TextFormatter(logging.Formatter):
    """``2026-11-27T18:00:00.123Z warning message``; a traceback follows on separate lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(level)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.level = record.levelname.lower()
        return super().format(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002
        return timestamp(record.created)


class JSONFormatter(logging.Formatter):
    """An object with ``time``, ``level``, ``message`` and, if there is one, ``error``, a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def timestamp(seconds: float) -> str:
    """A time in seconds since 1970 as UTC, by ISO 8601, with milliseconds."""
    whole, fraction = divmod(seconds, 1)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int(fraction * 1000):03}Z"

"""Logs for machines: a JSON object a line, and nothing in it that says who somebody is.

Messages are fixed texts; what varies is in fields that are known to be harmless. Of an exception
only its type and the lines of code are written: its message may hold a name.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from typing import Any


class JsonFormatter(logging.Formatter):
    """``logger.info("request", extra={"fields": {...}})`` -> a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line |= trace(record.exc_info[1])
        return json.dumps(line)


def trace(error: BaseException) -> dict[str, Any]:
    """Type and place of an exception and of what caused it, without their messages."""
    chain: list[str] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 5:
        chain.append(type(current).__name__)
        current = current.__cause__ or current.__context__
    frames = traceback.extract_tb(error.__traceback__)[-15:]
    return {
        "error": " < ".join(chain),
        "trace": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }

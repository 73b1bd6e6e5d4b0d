"""Structured log: constant messages, fields by keyword, one JSON object a line.

The names of fields are constants here, so that nothing is logged under two names. Key material and file contents are
never logged. An event is logged once, where it is handled.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Final

KEY: Final = "key"
BUCKET: Final = "bucket"
VERSION_ID: Final = "version_id"
FILE_ID: Final = "file_id"
EXECUTION: Final = "execution"
STATE: Final = "state"
ERROR_CODE: Final = "error_code"
REASON: Final = "reason"
DURATION_SECONDS: Final = "duration_seconds"
COUNT: Final = "count"
WORKER: Final = "worker"

FIELDS_ATTRIBUTE: Final = "contentplatform_fields"
"""Where a log record carries the fields of its event."""


def event(logger: logging.Logger, level: int, message: str, **fields: Any) -> None:
    """Log one event: a constant ``message`` and its fields."""
    logger.log(level, message, extra={FIELDS_ATTRIBUTE: fields})


class JsonFormatter(logging.Formatter):
    """One JSON object a line; control characters in values are escaped, so a file name can't forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS_ATTRIBUTE, {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, sort_keys=False)


def configure(level: int) -> None:
    """Send the platform's log to stderr as JSON lines. Called by entry points, never at import."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger("contentplatform")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False

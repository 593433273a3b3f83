"""One JSON object a line on stderr. JSON escapes line breaks, so that no text can forge a line."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

LOG = logging.getLogger("loramix.serve")


class JsonLines(logging.Formatter):
    """A record as one JSON object; `extra={"fields": {…}}` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def log(
    event: str,
    fields: Mapping[str, Any] | None = None,
    *,
    level: int = logging.INFO,
    cause: BaseException | None = None,
) -> None:
    """Write one line.

    Args:
        cause: an exception whose traceback belongs to it.
    """
    LOG.log(level, event, extra={"fields": dict(fields or {})}, exc_info=cause)


def set_up() -> None:
    """Have ours and uvicorn's lines written as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (
        (LOG.name, logging.INFO),
        ("uvicorn", logging.WARNING),
        ("opentelemetry", logging.WARNING),
        ("loramix", logging.WARNING),
    ):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)

"""One JSON object a line, so that log stores can index them and nothing can forge a line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

# A record has a `name` of its own, so an object goes by its whole name.
FIELDS: Final = ("kind", "object")
WATCHES: Final = ("kopf._core.reactor.orchestration", "kopf._core.reactor.running")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {field: value for field in FIELDS if (value := getattr(record, field, None))}
        line |= getattr(record, "audit", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _brief(record: logging.LogRecord) -> bool:
    """Drops kopf's tracebacks of watches that failed: they are begun again, and it was no bug."""
    if record.name == "asyncio" and "infinite_watch" in record.getMessage():
        return False  # kopf swallows a cancellation while this process ends anyway.
    if record.name in WATCHES or "name='watcher for " in record.getMessage():
        record.exc_info = None
    return True


def configure(level: str) -> None:
    """Sends all logs to stdout as JSON. kopf tells of every event; only its warnings matter."""
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_brief)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("kopf", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

"""What was judged, kept beside the captured requests, so that a restart repeats and loses nothing.

A window is judged once, when its labels have had their time, and then recorded before it is told.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import Field, ValidationError

from loopwright.api.base import StatusModel
from loopwright.api.monitoring import Monitor
from loopwright.api.monitoring_status import WindowVerdict
from loopwright.api.quality_report import UPLOAD_SECONDS, QualityConfig
from loopwright.serving.capture.storage import Storage

logger = logging.getLogger(__name__)

# Of a variant. Readers of partitions leave alone what begins with an underscore.
MAX_REVISIONS: Final = 4


class State(StatusModel):
    """One monitor's."""

    asked: str = ""
    """What it was asked; another question begins anew."""
    until: datetime | None = None
    """Windows that ended by then are done."""
    verdicts: Annotated[list[WindowVerdict], Field(default_factory=list, max_length=64)]
    """The newest of each revision."""
    seen: Annotated[dict[str, datetime], Field(default_factory=dict, max_length=64)]
    """By variant/revision: the end of the newest window in which it had requests."""


def path(endpoint: str, monitor: str) -> str:
    """Where a state is."""
    return f"{endpoint}/_quality/{monitor}.json"


def recall(storage: Storage, config: QualityConfig, monitor: Monitor) -> State:
    """What was recorded; a new state if nothing was, or of another question.

    Raises:
        CannotStore: the storage refuses.
    """
    anew = State(asked=asked(config, monitor))
    content = storage.read(path(config.endpoint, monitor.name))
    try:
        known = State.model_validate_json(content) if content else anew
    except ValidationError:
        logger.warning(
            "what was recorded of monitor %s makes no sense; it begins anew", monitor.name
        )
        return anew
    return known if known.asked == anew.asked else anew


def record(storage: Storage, config: QualityConfig, monitor: Monitor, state: State) -> None:
    """Keeps a state.

    Raises:
        CannotStore: it is not kept.
    """
    content = state.model_dump_json(by_alias=True, exclude_none=True).encode()
    storage.put(path(config.endpoint, monitor.name), content)


def asked(config: QualityConfig, monitor: Monitor) -> str:
    """What a verdict depends on; whoever reacts to it, and with which key labels are read, does not
    matter."""
    told = monitor.wire()
    told.pop("onViolation")
    told["quality"]["labels"].pop("secretRef", None)
    text = json.dumps([config.uid, told], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def due(monitor: Monitor, last: datetime, state: State) -> list[datetime]:
    """Ends of windows that are to be judged, the oldest first: of those that were missed no more
    than are remembered, and at first the newest.

    Args:
        last: The end of the newest that can be.
    """
    every = timedelta(seconds=monitor.every_seconds)
    if state.until is None:
        return [last]
    missed = max(0, (last - state.until) // every)
    return [last - every * n for n in reversed(range(min(missed, monitor.of_windows)))]


def newest(config: QualityConfig, monitor: Monitor, now: datetime) -> datetime:
    """The end of the newest window whose labels have had their time."""
    delay = monitor.measures.labels.delay_seconds + config.flush_seconds + UPLOAD_SECONDS
    ready = now.timestamp() - delay
    return datetime.fromtimestamp(ready // monitor.every_seconds * monitor.every_seconds, UTC)


def kept(seen: Mapping[str, datetime]) -> dict[str, datetime]:
    """The newest revisions of each variant."""
    found: dict[str, datetime] = {}
    numbers: dict[str, int] = {}
    for key, end in sorted(seen.items(), key=lambda one: one[1], reverse=True):
        variant = key.partition("/")[0]
        numbers[variant] = numbers.get(variant, 0) + 1
        if numbers[variant] <= MAX_REVISIONS:
            found[key] = end
    return found

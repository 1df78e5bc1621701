"""`python -m loopwright.serving.capture.retention` deletes what an endpoint has kept for too long.

It runs once for an endpoint, beside its monitor, and deletes nothing but files that are named as
model servers name them, below the endpoint's own folder. Each is of an hour that was over before.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import ValidationError

from loopwright import logs
from loopwright.api import names
from loopwright.api.capture import CaptureConfig
from loopwright.serving.capture.storage import CannotStore, Storage, open_storage

logger = logging.getLogger(__name__)

PERIOD_SECONDS: Final = 3600
# Of one round; what is left is for the next.
MAX_FILES: Final = 20_000
_BATCH: Final = 500


def sweep(storage: Storage, endpoint: str, before: datetime) -> int:
    """Deletes an endpoint's files of hours that were over by then; returns how many.

    Raises:
        CannotStore: the storage refuses.
    """
    found = itertools.islice(storage.expired(endpoint, before), MAX_FILES)
    deleted = 0
    # All of a batch are known before the first is deleted, or a listing would lose its place.
    while batch := list(itertools.islice(found, _BATCH)):
        storage.delete(batch)
        deleted += len(batch)
    return deleted


def turn(config: CaptureConfig, now: datetime) -> None:
    """One round."""
    days = config.capture.retention_days
    if days is None:
        return
    try:
        storage = open_storage(config.capture.destination)
        deleted = sweep(storage, config.endpoint, now - timedelta(days=days))
    except CannotStore as error:
        logger.warning("captured requests cannot be deleted: %s", error)
        return
    if deleted:
        logger.info("%d files of captured requests were older than %d days", deleted, days)


def main() -> int:
    """Entry point."""
    logs.configure("INFO")
    # The first process of a container is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        config = CaptureConfig.model_validate_json(os.environ.get(names.ENV_CAPTURE, ""))
    except ValidationError as error:
        logger.error("%s is malformed: %s", names.ENV_CAPTURE, error.errors()[0]["msg"])
        return 2
    while True:
        turn(config, datetime.now(UTC))
        time.sleep(PERIOD_SECONDS)


if __name__ == "__main__":
    sys.exit(main())

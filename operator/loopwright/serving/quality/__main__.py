"""`python -m loopwright.serving.quality` judges answers by labels, and tells the monitor beside it.

It runs once for an endpoint. What it found it writes into a folder that only the two share.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from loopwright import logs
from loopwright.api import names
from loopwright.api.monitoring_status import WindowVerdict
from loopwright.api.quality_report import (
    REPORT_FILE,
    ROUND_SECONDS,
    QualityConfig,
    QualityReport,
)
from loopwright.serving.quality.rounds import Rounds

logger = logging.getLogger("loopwright.serving.quality")

# Whoever else is in the pod comes first.
_NICE = 10


def tell(folder: Path, uid: str, verdicts: Sequence[WindowVerdict], now: datetime) -> None:
    """Replaces the report, as a whole."""
    report = QualityReport(uid=uid, time=now, verdicts=list(verdicts))
    new = folder / f"{REPORT_FILE}.new"
    new.write_text(report.model_dump_json(by_alias=True, exclude_none=True))
    new.replace(folder / REPORT_FILE)


def main() -> int:
    """Entry point."""
    logs.configure("INFO")
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    # The first process of a container is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        config = QualityConfig.model_validate_json(os.environ.get(names.ENV_QUALITY, ""))
    except ValidationError as error:
        logger.error("%s is malformed: %s", names.ENV_QUALITY, error.errors()[0]["msg"])
        return 2
    folder = Path(os.environ.get(names.ENV_QUALITY_DIR, names.QUALITY_DIR))
    rounds = Rounds(config)
    while True:
        tell(folder, config.uid, rounds.turn(datetime.now(UTC)), datetime.now(UTC))
        time.sleep(ROUND_SECONDS)


if __name__ == "__main__":
    sys.exit(main())

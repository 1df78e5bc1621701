"""`python -m loopwright.serving`: verifies a model, loads it and serves it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from loopwright import logs
from loopwright.serving.errors import CannotServe
from loopwright.serving.settings import Settings

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Runs the server until it is told to stop (0), or finds that it must not serve (1)."""
    logs.configure("INFO")
    try:
        settings = Settings.load(argv)
        logs.configure(settings.log_level)
        _serve(settings)
    except CannotServe as error:
        tell(str(error))
        return 1
    return 0


def _serve(settings: Settings) -> None:
    # Imported now, so that wrong settings are told at once.
    import uvloop

    from loopwright.serving.loading import load
    from loopwright.serving.server import serve
    from loopwright.serving.service import Service

    uvloop.run(serve(Service.of(settings, load(settings))))


def tell(why: str) -> None:
    """Leaves the reason where Kubernetes shows it: the container's termination message."""
    logger.error("%s", why)
    path = Path(os.environ.get("LOOPWRIGHT_TERMINATION_LOG", "/dev/termination-log"))
    if path.exists():
        path.write_text(why)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

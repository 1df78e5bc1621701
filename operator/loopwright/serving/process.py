"""What the processes of this package share: how they begin, and how they say why they cannot."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from loopwright import logs
from loopwright.serving.errors import CannotServe

logger = logging.getLogger(__name__)


class Logging(Protocol):
    """Settings that say what to log."""

    @property
    def log_level(self) -> str:
        """The least level."""


S = TypeVar("S", bound=Logging)


def run(argv: Sequence[str], load: Callable[[Sequence[str]], S], serve: Callable[[S], None]) -> int:
    """Serves until told to stop (0), or until it is found that this must not be (1).

    Args:
        load: Reads the settings from the arguments.
        serve: Serves as they say.
    """
    logs.configure("INFO")
    try:
        settings = load(argv)
        logs.configure(settings.log_level)
        serve(settings)
    except CannotServe as error:
        _tell(str(error))
        return 1
    return 0


def _tell(why: str) -> None:
    """Leaves the reason where Kubernetes shows it: the container's termination message."""
    logger.error("%s", why)
    path = Path(os.environ.get("LOOPWRIGHT_TERMINATION_LOG", "/dev/termination-log"))
    if path.exists():
        path.write_text(why)

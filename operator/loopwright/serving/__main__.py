"""`python -m loopwright.serving`: verifies a model, loads it and serves it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from loopwright.serving.process import run
from loopwright.serving.settings import Settings


def main(argv: Sequence[str]) -> int:
    """Runs the server until it is told to stop (0), or finds that it must not serve (1)."""
    return run(argv, Settings.load, _serve)


def _serve(settings: Settings) -> None:
    # Imported now, so that wrong settings are told at once.
    import uvloop

    from loopwright.serving.loading import load
    from loopwright.serving.server import serve
    from loopwright.serving.service import Service

    uvloop.run(serve(Service.of(settings, load(settings))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

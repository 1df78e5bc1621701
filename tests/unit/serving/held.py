"""The server, with predictions that wait until the file GATE is there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from loopwright.serving.__main__ import main
from loopwright.serving.model import Model

GATE = Path(os.environ["GATE"])
_run = Model.run


def held(self: Model, *args: Any) -> Any:
    """Waits, then predicts."""
    while not GATE.exists():
        time.sleep(0.01)
    return _run(self, *args)


Model.run = held  # type: ignore[method-assign]
sys.exit(main(sys.argv[1:]))

"""`python -m loopwright.serving.capture` keeps the requests that the model server hands to it.

It ends with its standard input, once all is written. What becomes of requests it tells in lines of
JSON on its standard output.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import Any, Final

import orjson
from pydantic import TypeAdapter

from loopwright.api import names
from loopwright.api.capture import DataCapture
from loopwright.serving.capture.frames import Unpacker
from loopwright.serving.capture.layout import Origin
from loopwright.serving.capture.storage import open_storage
from loopwright.serving.capture.writer import Writer

_CHUNK: Final = 1 << 16
# Requests come first when there is not enough CPU for both.
_NICE: Final = 10


def main() -> int:
    """Entry point."""
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    given = orjson.loads(os.environ[names.ENV_CAPTURE])
    origin = TypeAdapter(Origin).validate_python(given["origin"])
    capture = DataCapture.model_validate(given["capture"])
    writer = Writer(origin, capture, lambda: open_storage(capture.destination), _tell)
    unpacker, source = Unpacker(), sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([source], [], [], writer.wait)
        data = os.read(source, _CHUNK) if ready else b""
        for record in unpacker.feed(data):
            writer.take(record)
        ended = ready and not data
        if ended or writer.wait == 0:
            writer.flush()
        if ended:
            return 0


def _tell(what: dict[str, Any]) -> None:
    # The server may be gone; the rest is to be written all the same.
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), orjson.dumps(what) + b"\n")


if __name__ == "__main__":
    sys.exit(main())

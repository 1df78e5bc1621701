"""`python -m loopwright.serving.capture.collector` keeps what KServe's inference logger sends.

It serves one InferenceService whose model server is somebody else's. What becomes of requests is
the business of the same code as in our own server: sample, redaction, files, retention.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson
import uvloop
from pydantic import ValidationError

from loopwright.api import serving
from loopwright.api.capture import CaptureConfig
from loopwright.serving.asgi import (
    JSON_HEADERS,
    TEXT_HEADERS,
    Gone,
    Headers,
    Message,
    Receive,
    Send,
    error_body,
    read_body,
    respond,
)
from loopwright.serving.capture import events, retention
from loopwright.serving.capture.events import Owner
from loopwright.serving.capture.pairing import Pairs
from loopwright.serving.capture.sampler import Capture, chosen, kept, pod
from loopwright.serving.errors import CannotServe, Refused
from loopwright.serving.metrics import CollectorMetrics
from loopwright.serving.process import run
from loopwright.serving.server import HttpServer, listener
from loopwright.serving.settings import INVALID, CollectorSettings

logger = logging.getLogger(__name__)

PATH: Final = "/"
"""Where events are sent to."""
# Bodies that are being read; each may be as large as max_body_bytes.
MAX_READING: Final = 32
EXPIRE_SECONDS: Final = 1.0
# KServe's logger logs an error for any other code, also of 2xx, with what is said then. Of this it
# reads nothing, so a body would cost the connection.
TAKEN: Final = (200, b"")


class Collector:
    """An ASGI application that takes events.

    Args:
        config: What to keep when it begins; later the file of the settings says so.
    """

    def __init__(self, settings: CollectorSettings, config: CaptureConfig) -> None:
        self.settings, self.ready = settings, True
        self.metrics = CollectorMetrics((config.endpoint, settings.component))
        origin = {
            "variant": settings.component, "revision": "", "model_version": "", "model_digest": "",
            "pod": pod(), "resource": "inferenceservices",
        }  # fmt: skip
        self._capture = Capture(Path(settings.capture_config), origin, self.metrics.capture)
        self._pairs = Pairs(self._capture.give, self.metrics.unpaired, settings.wait_seconds)
        self._reading = 0
        self._told: set[int] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins."""
        await self._capture.start()
        self._tasks = [asyncio.create_task(one) for one in (self._expire(), self._tidy())]

    async def close(self) -> None:
        """Ends, once all that was taken is stored or that takes too long."""
        for task in self._tasks:
            task.cancel()
        self._pairs.end()
        await self._capture.close()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request."""
        method, path, more = scope["method"], scope["path"], JSON_HEADERS
        if (method, path) == ("POST", PATH):
            try:
                status, body = await self._take(dict(scope["headers"]), receive)
            except Gone:
                return
        elif (method, path) == ("GET", "/metrics"):
            status, body, more = 200, self.metrics.text(), TEXT_HEADERS
        elif method == "GET" and path in (serving.LIVE_PATH, serving.READY_PATH):
            fine = self.ready or path == serving.LIVE_PATH
            status, body = 200 if fine else 503, orjson.dumps({path.rpartition("/")[2]: fine})
        else:
            status, body = 404, error_body(f"send events by POST to {PATH}")
        await respond(send, status, body, more, stays=self.ready)

    async def _take(self, headers: Headers, receive: Receive) -> tuple[int, bytes]:
        """Takes an event, or says why not."""
        try:
            await self._event(headers, receive)
        except Refused as refusal:
            self.metrics.refused[refusal.status].inc()
            if refusal.status not in self._told:
                self._told.add(refusal.status)
                logger.warning("refused, and others will be counted alone: %s", refusal.message)
            return refusal.status, error_body(refusal.message)
        self.metrics.events.inc()
        return TAKEN

    async def _event(self, headers: Headers, receive: Receive) -> None:
        config = self._capture.config
        if config is None:
            raise Refused("nothing is to be kept now; see capture_config and the log", 503)
        owner = Owner(config.endpoint, config.namespace, self.settings.component)
        event = events.read(headers, owner, time.time())
        if not chosen(event.id, config.capture.sample_percent):
            return
        if self._reading >= MAX_READING:
            raise Refused("too many events at once", 503)
        self._reading += 1
        try:
            content = await read_body(headers, receive, self.settings.max_body_bytes)
        finally:
            self._reading -= 1
        unwanted = "Response" if event.type == events.REQUEST else "Request"
        self._pairs.take(event, kept(config.capture, content, None, unwanted))

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_SECONDS)
            self._pairs.expire()

    async def _tidy(self) -> None:
        """Deletes what is too old, which for an endpoint a container beside its monitor does."""
        while True:
            if (config := self._capture.config) is not None:
                await asyncio.to_thread(retention.turn, config, datetime.now(UTC))
            await asyncio.sleep(retention.PERIOD_SECONDS)


def configured(file: Path) -> CaptureConfig:
    """What to keep, and of which InferenceService.

    Raises:
        CannotServe: the file does not say so.
    """
    try:
        return CaptureConfig.model_validate_json(file.read_bytes())
    except OSError as error:
        text = f"--capture_config={file}: {error.strerror}; mount a ConfigMap there"
        raise CannotServe(INVALID, text) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        text = f"--capture_config={file}: {where}: {first['msg']}"
        raise CannotServe(INVALID, text) from error


async def serve(collector: Collector) -> None:
    """Takes events until a signal comes, and stores what it has.

    Raises:
        CannotServe: the port is taken.
    """
    socket = listener(collector.settings.http_port)
    await collector.start()
    await HttpServer(collector, collector).serve([socket])
    await collector.close()


def main(argv: Sequence[str]) -> int:
    """Runs the collector until it is told to stop (0), or finds that it cannot (1)."""

    def begin(settings: CollectorSettings) -> None:
        uvloop.run(serve(Collector(settings, configured(Path(settings.capture_config)))))

    return run(argv, CollectorSettings.load, begin)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The server's part of data capture: chooses requests, and hands them over without ever waiting."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from loopwright.api import names
from loopwright.api.capture import CaptureConfig, DataCapture
from loopwright.serving.capture import bodies
from loopwright.serving.capture.frames import NOTHING, Body, Record, pack
from loopwright.serving.capture.layout import Origin
from loopwright.serving.metrics import CaptureMetrics, Metrics
from loopwright.serving.settings import Settings

logger = logging.getLogger(__name__)

# Of what waits to be read by the other process; beyond that requests are dropped.
QUEUE_BYTES: Final = 8 << 20
# Requests are handed over together: to wake the other process for each costs more than to store it.
GATHER_SECONDS: Final = 0.01
# How often to look whether what is to be kept has changed, and the process is still there.
POLL_SECONDS: Final = 2.0
# Between two beginnings of it.
RESTART_SECONDS: Final = 20.0
# For what has been kept to be stored when the server ends. Its pod has more than twice as long for
# all, of which requests get the first half.
CLOSE_SECONDS: Final = 10.0
_WHOLE: Final = 2**32


def chosen(id: str, percent: int) -> bool:
    """Whether a request belongs to the sample; the same wherever and whenever it is asked.

    The first four bytes of the id's SHA-256 are a number that is evenly distributed, so a larger
    sample has all of a smaller one.
    """
    number = int.from_bytes(hashlib.sha256(id.encode()).digest()[:4])
    return number * 100 < percent * _WHOLE


def pod() -> str:
    """The name of this pod."""
    return os.environ.get("HOSTNAME") or socket.gethostname()


def kept(capture: DataCapture, content: bytes, json_length: bytes | None, unwanted: str) -> Body:
    """A body, with its content if that is to be kept.

    Args:
        json_length: What its header says of a body that is not only JSON.
        unwanted: The mode in which it is not.
    """
    found = content if _wanted(capture, len(content), unwanted) else None
    if json_length is None:
        return Body(bodies.JSON, len(content), found)
    length = int(json_length) if json_length.isdigit() else 0
    return Body(bodies.BINARY, len(content), found, length)


def _wanted(capture: DataCapture, size: int, unwanted: str) -> bool:
    return capture.mode != unwanted and size <= capture.max_body_bytes


@dataclass
class Taken:
    """A request that is to be kept."""

    capture: Capture
    config: CaptureConfig
    id: str
    protocol: str
    arrived: float = field(default_factory=time.time)
    start: float = field(default_factory=time.perf_counter)
    asked: Body = NOTHING

    def request(self, body: bytes, json_length: bytes | None) -> None:
        """It has this body.

        Args:
            json_length: What its header says of a body that is not only JSON.
        """
        self.asked = kept(self.config.capture, body, json_length, "Response")

    def answered(self, status: int, body: bytes, json_length: bytes | None) -> None:
        """It has this answer, and is handed over."""
        self._end(status, kept(self.config.capture, body, json_length, "Request"))

    def called(self, request: Any, status: int, answer: Any) -> None:
        """It was a gRPC call with this answer, or this message of an error."""
        self.asked = self._message(request, bodies.GRPC_REQUEST, "Response")
        if isinstance(answer, str):
            self.answered(status, orjson.dumps({"error": answer}), None)
        else:
            self._end(status, self._message(answer, bodies.GRPC_RESPONSE, "Request"))

    def _end(self, status: int, answer: Body) -> None:
        seconds = time.perf_counter() - self.start
        self.capture.give(
            Record(self.id, self.arrived, self.protocol, status, seconds, self.asked, answer)
        )

    def _message(self, message: Any, kind: str, unwanted: str) -> Body:
        size = message.ByteSize()
        wanted = _wanted(self.config.capture, size, unwanted)
        return Body(kind, size, message.SerializeToString() if wanted else None)


class Keeper:
    """The process that stores requests."""

    def __init__(self, process: asyncio.subprocess.Process, metrics: CaptureMetrics) -> None:
        self._process, self._metrics = process, metrics
        self._input, self._output = process.stdin, process.stdout
        # Requests that it has or is about to get, and has told nothing of yet.
        self._open = 0
        self._gathered: list[bytes] = []
        self._bytes = 0
        self._heard = asyncio.create_task(self._listen())

    @classmethod
    async def begun(cls, config: CaptureConfig, origin: Origin, metrics: CaptureMetrics) -> Keeper:
        """A new one.

        Raises:
            OSError: the system has no room for it.
        """
        told = {"origin": asdict(origin), "capture": config.capture.wire()}
        env = {**os.environ, names.ENV_CAPTURE: json.dumps(told)}
        if config.capture.destination.secret_ref is not None:
            # Those of the model must not mix with the Secret's.
            env = {key: value for key, value in env.items() if not key.startswith("AWS_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loopwright.serving.capture",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=env,
            # A signal from a terminal is the server's, which then closes this one's input.
            start_new_session=True,
        )  # fmt: skip
        return cls(process, metrics)

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return not self._heard.done()

    def give(self, record: Record) -> str | None:
        """Hands a request over; or says why not."""
        if not self.alive or self._input is None or self._input.is_closing():
            return "writer_down"
        frame = pack(record)
        unread = self._input.transport.get_write_buffer_size() + self._bytes
        if unread + len(frame) > QUEUE_BYTES:
            return "queue_full"
        if not self._gathered:
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self._hand_over)
        self._gathered.append(frame)
        self._bytes += len(frame)
        self._open += 1
        return None

    async def end(self) -> None:
        """Lets it store what it has, and counts what it did not."""
        self._hand_over()
        if self._input is not None:
            self._input.close()
        try:
            await asyncio.wait_for(asyncio.shield(self._heard), CLOSE_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._heard
        self._metrics.dropped["writer_lost"].inc(max(0, self._open))

    def _hand_over(self) -> None:
        """Also late, when it has ended: what is lost then is counted at the end."""
        if self._gathered and self._input is not None and not self._input.is_closing():
            self._input.write(b"".join(self._gathered))
        self._gathered, self._bytes = [], 0

    async def _listen(self) -> None:
        """Counts what it tells, until it ends."""
        assert self._output is not None
        async for line in self._output:
            self._told(orjson.loads(line))
        await self._process.wait()

    def _told(self, what: Mapping[str, Any]) -> None:
        metrics = self._metrics
        stored, dropped = what.get("stored", 0), what.get("dropped", 0)
        self._open -= stored + dropped
        metrics.stored.inc(stored)
        metrics.dropped["upload_failed"].inc(dropped)
        metrics.uploads["ok"].inc(what.get("uploaded", 0))
        metrics.uploads["failed"].inc(what.get("failed", 0))
        if "failing" in what:
            metrics.failing.set(what["failing"])
        if "error" in what:
            logger.warning("captured requests cannot be stored: %s", what["error"])


class Capture:
    """Chooses requests, and keeps a process that stores them.

    Args:
        file: Says what to keep. While it says nothing, or is not there, nothing is kept.
        origin: What is the same for all, besides the endpoint.
    """

    def __init__(self, file: Path, origin: Mapping[str, str], metrics: CaptureMetrics) -> None:
        self._file, self._origin, self._metrics = file, origin, metrics
        self._text = ""
        self._config: CaptureConfig | None = None
        self._keeper: Keeper | None = None
        self._begun = -RESTART_SECONDS
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics, digest: str) -> Capture | None:
        """What the settings ask for."""
        if not settings.capture_config:
            return None
        origin = {
            "variant": settings.variant or "default",
            "revision": settings.revision,
            "model_version": settings.registered_version,
            "model_digest": digest,
            "pod": pod(),
        }
        return cls(Path(settings.capture_config), origin, metrics.capture())

    @property
    def config(self) -> CaptureConfig | None:
        """What to keep now; None for nothing."""
        return self._config

    def begin(self, id: str, protocol: str) -> Taken | None:
        """A request begins; None if it does not belong to the sample."""
        config = self._config
        if config is None or not chosen(id, config.capture.sample_percent):
            return None
        return Taken(self, config, id, protocol)

    def give(self, record: Record) -> None:
        """Hands a request over, or drops it."""
        why = "writer_down" if self._keeper is None else self._keeper.give(record)
        if why is not None:
            self._metrics.dropped[why].inc()

    async def start(self) -> None:
        """Begins."""
        await self._look()
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Ends, once what was handed over is stored or that takes too long."""
        if self._watching is not None:
            self._watching.cancel()
        self._config = None
        if self._keeper is not None:
            await self._keeper.end()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self._look()

    async def _look(self) -> None:
        """Reads what is to be kept, and sees to the process. Whatever happens, requests are
        served."""
        try:
            text = self._file.read_text() if self._file.is_file() else ""
            if text != self._text:
                await self._change(text)
            elif self._config is not None and not (self._keeper and self._keeper.alive):
                await self._again(self._config)
        except Exception as error:
            logger.warning("nothing can be kept of requests: %s", " ".join(str(error).split()))
            self._metrics.failing.set(1)

    async def _change(self, text: str) -> None:
        self._text, self._config = text, None
        if self._keeper is not None:
            await self._keeper.end()
            self._keeper = None
        self._metrics.failing.set(0)
        if text:
            config = CaptureConfig.model_validate_json(text)
            self._begun = -RESTART_SECONDS
            self._config = config
            await self._again(config)

    async def _again(self, config: CaptureConfig) -> None:
        """Begins the process, unless that was done a moment ago."""
        if time.monotonic() - self._begun < RESTART_SECONDS:
            return
        self._begun = time.monotonic()
        if self._keeper is not None:
            logger.warning("the process that keeps requests has ended; it is begun anew")
            self._metrics.failing.set(1)
            await self._keeper.end()
        origin = Origin(endpoint=config.endpoint, namespace=config.namespace, **self._origin)
        self._keeper = await Keeper.begun(config, origin, self._metrics)

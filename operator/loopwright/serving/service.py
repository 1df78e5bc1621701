"""What both front ends, REST and gRPC, work with."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from loopwright import __version__
from loopwright.serving.asgi import Gone
from loopwright.serving.batching import Batcher
from loopwright.serving.capture.sampler import Capture, Taken
from loopwright.serving.counting import Counting
from loopwright.serving.errors import CannotServe, Refused
from loopwright.serving.feedback import Feedback
from loopwright.serving.metrics import Metrics
from loopwright.serving.model import Model
from loopwright.serving.running import Direct, Runner
from loopwright.serving.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")

REQUEST_ID: Final = "x-request-id"
# What may stand in a log line and in a header. Others are replaced, not refused.
_REQUEST_ID = re.compile(r"[!-~]{1,128}")
BAD_REQUEST: Final = 400
_EXTENSIONS: Final = ["binary_tensor_data"]


@dataclass
class Service:
    """A model, how it is run, and what is counted."""

    settings: Settings
    model: Model
    metrics: Metrics
    direct: Direct
    runner: Runner
    feedback: Feedback
    counting: Counting | None = None
    """What counts for drift monitors."""
    capture: Capture | None = None
    """What keeps requests, if any are to be kept."""
    ready: bool = True
    """False from SIGTERM on; requests are served until the end all the same."""
    in_flight: int = field(default=0, init=False)

    @classmethod
    def of(cls, settings: Settings, model: Model) -> Service:
        """The service that the settings describe.

        Raises:
            CannotServe: the model's rows cannot be batched, though the settings say so.
        """
        metrics = Metrics(settings, model)
        counting = Counting.of(model)
        direct = Direct(model, settings.threads, counting)
        runner: Runner = direct
        if (size := settings.max_batch_size) > 1:
            if not model.signature.batched:
                raise CannotServe(
                    "NotBatchable",
                    "max_batch_size needs a first dimension of any size in all inputs and outputs;"
                    f" the model takes {model.signature}; export it with a free batch dimension, or"
                    " do without batching",
                )
            seconds = settings.max_latency_ms / 1000
            runner = Batcher(runner, size, seconds, metrics.batch_rows.observe)
        feedback = Feedback(settings.variant, model.digest)
        capture = Capture.of(settings, metrics, model.digest)
        return cls(settings, model, metrics, direct, runner, feedback, counting, capture)

    def taken(self, id: str, protocol: str) -> Taken | None:
        """What is to be kept of a request that begins; None if nothing is."""
        return self.capture.begin(id, protocol) if self.capture is not None else None

    def metadata(self) -> dict[str, Any]:
        """As the Open Inference Protocol describes a server."""
        return {"name": "loopwright", "version": __version__, "extensions": _EXTENSIONS}

    def check_model(self, name: str, version: str = "") -> None:
        """Whether a request means this model.

        Raises:
            Refused: it does not.
        """
        if name != self.model.name or version not in ("", self.model.version):
            asked = f"{name} in version {version}" if version else name
            own = f" in version {self.model.version}" if self.model.version else ""
            message = f"there is no model {asked}; this server has {self.model.name}{own}"
            raise Refused(message[:1000], 404)

    async def answer(
        self, protocol: str, id: str, work: Callable[[], Awaitable[T]]
    ) -> tuple[int, T | str]:
        """Does a request's work, and counts it; returns 200 and the answer, or a code and why.

        Raises:
            Gone: nobody waits for the answer.
        """
        code, start = 500, time.perf_counter()
        self.in_flight += 1
        self.metrics.begin()
        try:
            if self.in_flight > self.settings.max_in_flight:
                raise Refused("too many requests at once; try again later", 503)
            answer: T | str = await work()
            code = 200
        except Refused as refusal:
            code, answer = refusal.status, refusal.message
            if code == BAD_REQUEST and self.counting is not None:
                self.counting.refuse()
        except Gone:
            code = 499
            raise
        except Exception:
            logger.exception("request %s failed", id)
            answer = f"the model failed; the server's log says why, at request {id}"
        finally:
            self.in_flight -= 1
            self.metrics.end(protocol, code, time.perf_counter() - start)
        return code, answer


def request_id(given: str | None) -> str:
    """The client's, if it is fit to be logged, or a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return os.urandom(16).hex()

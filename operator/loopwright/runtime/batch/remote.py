"""Asks an endpoint in place of a model: the Open Inference Protocol (v2) over HTTP, as JSON.

Who answers may be any server, and several ones behind a Gateway. An answer that may be another one
in a moment (no connection, 408, 429, 5xx, and 404 while a route is changed) is asked for again with
longer and longer pauses. Of the others 400, 413 and 422 are about the records; the rest is about
the endpoint, and no record is blamed for it.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import orjson
import urllib3

from loopwright.api.baseline import Baseline
from loopwright.api.batchconfig import BatchConfig
from loopwright.api.batchtransform_status import BatchEndpoint
from loopwright.api.serving import FEEDBACK_ID
from loopwright.api.trainingjob_status import Cause
from loopwright.runtime.batch.records import Array
from loopwright.runtime.errors import RunError, wrong
from loopwright.serving.errors import Refused
from loopwright.serving.signature import Signature
from loopwright.serving.tensors import DATATYPES, MAX_DIMENSIONS, Tensor, to_json

# From the first failure of a request on.
PATIENCE: Final = 120.0
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 15.0
TIMEOUT: Final = urllib3.Timeout(connect=5, read=300)
DEFAULT_CONCURRENT: Final = 4

OF_RECORDS: Final = frozenset({400, 413, 422})
PASSING: Final = frozenset({404, 408, 425, 429})
OK: Final = 200
SERVER_ERRORS: Final = 500
# Of an answer's words.
MAX_SAID: Final = 300
# Models that have answered, as a shard remembers them.
MAX_ANSWERED: Final = 16

_DTYPES: Final = {datatype: name for name, datatype in DATATYPES.items()}
# Variant, and the beginning of the model's digest; see `serving.feedback`.
_ABOUT: Final = re.compile(r"([a-z][-a-z0-9]{0,15}|-)\.([0-9a-f]{8}|-)\.")


def rest(given_up: threading.Event, seconds: float) -> None:
    """Between two tries; not when nobody tries any more."""
    given_up.wait(seconds)


def concurrent(config: BatchConfig) -> int:
    """Requests that a process has under way; a model that is here computes one at a time."""
    if config.endpoint is None:
        return 1
    return config.spec.batching.max_concurrent or DEFAULT_CONCURRENT


class RemoteModel:
    """An endpoint with the face of a model that is loaded here; several threads may use it."""

    digest = ""
    baseline: Baseline | None = None

    def __init__(self, endpoint: BatchEndpoint, concurrent: int = DEFAULT_CONCURRENT) -> None:
        self._url = f"{endpoint.url.rstrip('/')}/v2/models/{quote(endpoint.name)}"
        self._pool = urllib3.PoolManager(maxsize=concurrent, retries=False, timeout=TIMEOUT)
        self._given_up, self._why = threading.Event(), ""
        self.answered: set[str] = set()
        """Variants and models that have answered, where the server tells."""
        self.signature = self._signature()

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """What the endpoint answers.

        Raises:
            Refused: the records are none for its model.
            RunError: it does not answer, or not as it should.
        """
        asked = {
            "inputs": [
                {
                    "name": name, "shape": array.shape, "data": to_json(array.ravel()),
                    "datatype": self.signature.inputs[name].datatype,
                }
                for name, array in inputs.items()
            ],
            "outputs": [{"name": name} for name in outputs],
        }  # fmt: skip
        body = orjson.dumps(asked, option=orjson.OPT_SERIALIZE_NUMPY)
        answer = self._ask("POST", f"{self._url}/infer", body)
        told = answer.headers.get(FEEDBACK_ID, "")
        if (about := _ABOUT.match(told)) and len(self.answered) < MAX_ANSWERED:
            self.answered.add(about[0].rstrip("."))
        found = {one.get("name"): one for one in self._list(answer, "outputs")}
        try:
            return [_array(found[name]) for name in outputs]
        except (KeyError, TypeError, ValueError, Refused) as error:
            text = f"{type(error).__name__}: {error}"[:MAX_SAID]
            raise self._odd(f"has no outputs as it describes them: {text}") from error

    def _signature(self) -> Signature:
        try:
            answer = self._ask("GET", self._url)
            # Whether NaN may stand for a missing value, it does not say: it refuses what it must.
            inputs = {
                one["name"]: _tensor(one, missing=True) for one in self._list(answer, "inputs")
            }
            outputs = {one["name"]: _tensor(one) for one in self._list(answer, "outputs")}
        except Refused as error:
            raise self._odd(f"answers {error.message}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise self._odd(f"describes no tensors: {error!r}"[:MAX_SAID]) from error
        if not inputs or not outputs:
            raise self._odd("does not say what inputs and outputs its model has")
        return Signature(inputs, outputs)

    def _ask(self, method: str, url: str, body: bytes | None = None) -> urllib3.BaseHTTPResponse:
        """An answer with 200, sooner or later."""
        headers = {"content-type": "application/json"} if body is not None else {}
        deadline, pause = None, FIRST_PAUSE
        while not self._given_up.is_set():
            after = 0.0
            try:
                answer = self._pool.request(method, url, body=body, headers=headers, redirect=False)
            except urllib3.exceptions.HTTPError as error:
                said = f"{type(error).__name__}: {error}"[:MAX_SAID]
            else:
                if answer.status == OK:
                    return answer
                said = self._judged(answer, url)
                after = _retry_after(answer)
            now = time.monotonic()
            deadline = deadline or now + PATIENCE
            if now >= deadline:
                self._why = f"{url} has not answered for {PATIENCE:g} s; at last: {said}"
                self._given_up.set()
                break
            # By chance, so that not all who were refused at once come again at once.
            seconds = max(after, pause * random.uniform(0.5, 1.0))  # noqa: S311
            rest(self._given_up, min(seconds, deadline - now))
            pause = min(2 * pause, LONGEST_PAUSE)
        # For one request that is given up all are.
        raise RunError("EndpointUnavailable", self._why, Cause.INFRASTRUCTURE)

    def _judged(self, answer: urllib3.BaseHTTPResponse, url: str) -> str:
        """What an answer that may pass says.

        Raises:
            Refused: it is about the records.
            RunError: it will be the same the next time.
        """
        said = f"HTTP {answer.status}: {_words(answer.data)}"
        if answer.status in OF_RECORDS:
            raise Refused(said, answer.status)
        if answer.status in PASSING or answer.status >= SERVER_ERRORS:
            return said
        raise wrong("EndpointRefused", f"{url} answers {said}")

    def _list(self, answer: urllib3.BaseHTTPResponse, name: str) -> list[dict[str, Any]]:
        try:
            found = orjson.loads(answer.data)
            listed = found[name]
        except (ValueError, KeyError, TypeError) as error:
            raise self._odd(f"has no {name}: {_words(answer.data)}") from error
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise self._odd(f"has {name} that are no list of tensors")
        return listed

    def _odd(self, what: str) -> RunError:
        text = f"{self._url} {what}; it must speak the Open Inference Protocol (v2)"
        return wrong("EndpointRefused", text)


def _tensor(found: Mapping[str, Any], *, missing: bool = False) -> Tensor:
    shape = tuple(int(size) for size in found["shape"])
    return Tensor(str(found["name"]), _DTYPES[found["datatype"]], shape, missing)


def _array(found: Mapping[str, Any]) -> Array:
    """An output in the shape that it says it has."""
    shape = found["shape"]
    sizes = isinstance(shape, list) and all(type(one) is int and one >= 0 for one in shape)
    if not sizes or not 0 < len(shape) <= MAX_DIMENSIONS:
        raise ValueError(f"a shape of {shape}")
    dtype, data = _DTYPES[found["datatype"]], found["data"]
    if 0 in shape:
        return np.empty(shape, object if dtype == "str" else dtype)
    # What is not finite is null in JSON.
    return Tensor(str(found["name"]), dtype, (-1,) * len(shape), True).from_json(data, shape)


def _retry_after(answer: urllib3.BaseHTTPResponse) -> float:
    """Seconds that the server asks to wait."""
    try:
        return max(0.0, urllib3.Retry().get_retry_after(answer) or 0.0)
    except urllib3.exceptions.InvalidHeader:
        return 0.0


def _words(body: bytes) -> str:
    """A server's words for a refusal."""
    try:
        said = str(orjson.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        said = body[:MAX_SAID].decode(errors="replace")
    return " ".join(said.split())[:MAX_SAID]

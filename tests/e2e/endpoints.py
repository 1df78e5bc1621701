"""What tests of endpoints do in a space: serve a model, and ask it under load."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Self

import httpx
import yaml
from install import LOCAL_RUNTIME
from space import PATIENCE, Space

from eventually import eventually

SMALL = {"cpu": "200m", "memory": "384Mi"}
# Named in every answer by the Gateway, so that tests see who gave it.
STICKY = {"sticky": {"header": "x-variant"}}
# How long a request may take that is not about time.
SECONDS = 60

# A server of somebody's own, with the metrics that the monitor knows: it answers late, or with
# errors.
SERVER = """
import http.server, os, time
code, seconds, count, start = int(os.environ["CODE"]), float(os.environ["SECONDS"]), 0, time.time()
names = (os.environ["LOOPWRIGHT_ENDPOINT"], os.environ["LOOPWRIGHT_VARIANT"])
own, prefix = 'endpoint="%s",variant="%s"' % names, "loopwright_serving_"

def metrics():
    yield '%srequests_total{%s,protocol="v2",code="%d"} %d' % (prefix, own, code, count)
    for bound in ("0.001", "0.01", "0.1", "1", "10", "+Inf"):
        inside = count if float(bound) >= seconds else 0
        yield '%srequest_seconds_bucket{%s,le="%s"} %d' % (prefix, own, bound, inside)
    yield '%srequest_seconds_count{%s} %d' % (prefix, own, count)
    yield '%srequest_seconds_sum{%s} %f' % (prefix, own, count * seconds)
    yield '%sin_flight{%s} 0' % (prefix, own)
    yield "process_start_time_seconds %f" % start

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        lines = [line + chr(10) for line in metrics()]
        self.answer(200, "".join(lines) if self.path == "/metrics" else "{}")
    def do_POST(self):
        global count
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(seconds)
        count += 1
        self.answer(code, "{}")
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def odd_server(code: int = 200, seconds: float = 0.0) -> dict[str, Any]:
    """A variant's runtime that answers so."""
    env = [{"name": "CODE", "value": str(code)}, {"name": "SECONDS", "value": str(seconds)}]
    return {"image": LOCAL_RUNTIME, "command": ["python", "-c", SERVER], "env": env}


@dataclass
class Endpoint:
    """A ModelEndpoint in a space."""

    space: Space
    name: str

    def apply(self, *variants: dict[str, Any], **spec: Any) -> Self:
        """Applies it."""
        self.space.apply(
            {
                "apiVersion": "loopwright.io/v1alpha1",
                "kind": "ModelEndpoint",
                "metadata": {"name": self.name},
                "spec": {"routing": STICKY, **spec, "variants": list(variants)},
            }
        )
        return self

    def status(self) -> dict[str, Any]:
        """What the operator says."""
        found = self.space.kubectl.get("modelendpoint", self.name, self.space.name) or {}
        status: dict[str, Any] = found.get("status", {})
        return status

    def condition(self, name: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        told = {one["type"]: one for one in self.status().get("conditions", [])}
        return told.get(name, {}).get("status", ""), told.get(name, {}).get("reason", "")

    def until(
        self, what: str, check: Callable[[dict[str, Any]], bool], timeout: float = PATIENCE
    ) -> dict[str, Any]:
        """Waits until something can be said of its status."""
        deadline = time.monotonic() + timeout
        while not check(status := self.status()):
            assert time.monotonic() < deadline, self._explain(what, status)
            time.sleep(0.5)
        return status

    def _explain(self, what: str, status: dict[str, Any]) -> str:
        pods = self.space.kubectl.run("get", "pods", "-n", self.space.name, check=False)
        return f"{what}: {yaml.safe_dump(status)}\n{pods}"

    def ready(self) -> dict[str, Any]:
        """Waits until it serves what its spec says, and the Gateway sends requests there.

        To all variants with a weight: a Gateway learns of their pods and of the route by and by.
        """
        generation = (self.space.kubectl.get("mep", self.name, self.space.name) or {})["metadata"]

        def check(status: dict[str, Any]) -> bool:
            told = {one["type"]: one["status"] for one in status.get("conditions", [])}
            fresh = status.get("observedGeneration") == generation["generation"]
            return fresh and told.get("Ready") == "True"

        status = self.until("to be Ready", check)
        url = f"{status['url']}/v2/models/{self.name}"
        weighted = {one.partition(":")[0] for one in status["weights"].split(",")}
        eventually("the Gateway", lambda: answering(url) in ({""}, weighted))
        return status

    def url(self) -> str:
        """The URL that describes its model, once it is Ready."""
        return f"{self.status()['url']}/v2/models/{self.name}"

    def infer(self) -> str:
        """The URL that takes requests, once it is Ready."""
        return f"{self.url()}/infer"

    def load(self, **more: Any) -> Load:
        """Load on it, once it is Ready."""
        return Load(self.infer(), self.request(), **more)

    def request(self) -> dict[str, Any]:
        """A request that the model takes."""
        described = httpx.get(self.url(), trust_env=False, timeout=SECONDS).json()
        inputs = []
        for one in described["inputs"]:
            shape = [max(1, size) for size in one["shape"]]
            data = [0.0] * prod(shape)
            inputs.append({**one, "shape": shape, "data": data})
        return {"inputs": inputs}

    def ask(self, row: Sequence[float], ids: Iterable[str]) -> dict[str, list[Any]]:
        """Sends a row under each id, all of which must be answered; the first outputs."""
        found, url = {}, self.url()
        with httpx.Client(trust_env=False, timeout=SECONDS) as http:
            [one] = http.get(url).json()["inputs"]
            body = {"inputs": [{**one, "shape": [1, len(row)], "data": list(row)}]}
            for id in ids:
                answer = http.post(f"{url}/infer", json=body, headers={"X-Request-Id": id})
                assert answer.status_code == 200, answer.text
                assert answer.headers["x-request-id"] == id
                found[id] = answer.json()["outputs"][0]["data"]
        return found


def answering(url: str, number: int = 20) -> set[str]:
    """Which variants answer a few requests; nobody when one of these fails.

    A route that does not say who answered gives one without a name.
    """
    found = set()
    with httpx.Client(trust_env=False, timeout=SECONDS) as http:
        for _ in range(number):
            try:
                answer = http.get(url)
            except httpx.TransportError:
                return set()
            if answer.status_code != 200:
                return set()
            found.add(answer.headers.get("x-variant", ""))
    return found


@dataclass
class Load:
    """Asks an endpoint all the time, from several connections."""

    url: str
    body: dict[str, Any]
    connections: int = 4
    pause: float = 0.0
    codes: Counter[int] = field(default_factory=Counter)
    variants: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._end = threading.Event()
        self._answered = [0] * self.connections
        self._threads = [
            threading.Thread(target=self._ask, args=(one,)) for one in range(self.connections)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, connection: int) -> None:
        with httpx.Client(trust_env=False, timeout=20) as http:
            while not self._end.wait(self.pause):
                self._one(http)
                self._answered[connection] += 1

    def _one(self, http: httpx.Client) -> None:
        try:
            answer = http.post(self.url, json=self.body)
        except httpx.TransportError as error:
            self.failures.append(repr(error))
            return
        self.codes[answer.status_code] += 1
        self.variants[answer.headers.get("x-variant", "")] += 1
        if answer.status_code >= 500:
            self.failures.append(f"{answer.status_code} {answer.text[:200]}")

    def seen(self, number: int) -> None:
        """Waits until so many more answers came."""
        goal = sum(self.codes.values()) + number
        eventually("answers", lambda: sum(self.codes.values()) >= goal, timeout=PATIENCE)

    def split(self, number: int) -> Counter[str]:
        """Who gave the next so many answers."""
        before = self.variants.copy()
        self.seen(number)
        return self.variants.copy() - before

    def well(self, number: int = 100) -> None:
        """Waits until so many answers in a row were none of a failing pod.

        A gateway follows its routes with a delay that nobody promises, so that a test which counts
        failures from the moment of a status on would count those, too. By chance a pod that gets
        a fifth of all requests is passed over 100 times in a row once in 5 * 10^9.
        """

        def check() -> bool:
            bad = len(self.failures)
            self.seen(number)
            self._settled()
            return len(self.failures) == bad

        eventually("answers without a failure", check, timeout=PATIENCE)

    def _settled(self) -> None:
        """Waits until all that was asked by now is answered."""
        before = self._answered.copy()
        eventually(
            "what is under way",
            lambda: all(map(int.__gt__, self._answered, before)),
            timeout=PATIENCE,
        )


# Fits a small model in the head pod, in a moment.
SCRIPT = """
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from loopwright import train

x, y = load_digits(return_X_y=True)
x = x.astype(np.float32)
train.save_model(LogisticRegression(C=0.01, max_iter=500).fit(x, y), x[:1])
"""


def train_digits(space: Space) -> str:
    """Trains and registers a small model; returns its URI."""
    space.train("digits", SCRIPT, register={"model": "digits", "aliases": ["live"]})
    space.phase("digits", "Succeeded")
    [version] = eventually("the version", lambda: space.kubectl.list("modelversions", space.name))
    return str(version["spec"]["uri"])


def variant(name: str = "main", **more: Any) -> dict[str, Any]:
    """A small variant that serves version v1 of digits."""
    base = {"model": {"modelRef": {"name": "digits", "version": "v1"}}, "resources": SMALL}
    return {"name": name, **base, **more}

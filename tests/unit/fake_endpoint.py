"""A server of a linear model on this machine that answers as it is told."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from model_folders import WEIGHTS

from loopwright.api.serving import FEEDBACK_ID

NAME = "scores"
DESCRIBED = {
    "name": NAME,
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}
Rows = list[list[float]]
Reply = tuple[int, dict[str, str], Any]
"""Status, headers, body."""


def answer(rows: Rows) -> Reply:
    """What the model says of rows."""
    found = np.asarray(rows, np.float32) @ WEIGHTS
    data = [float(value) for value in found.ravel()]
    output = {"name": "y", "datatype": "FP32", "shape": list(found.shape), "data": data}
    return 200, {FEEDBACK_ID: "main.0123abcd.r1"}, {"outputs": [output]}


@dataclass
class Endpoint:
    """What was asked, and what is answered."""

    url: str = ""
    described: Any = field(default_factory=lambda: DESCRIBED)
    reply: Callable[[int, Rows], Reply] = field(default=lambda _, rows: answer(rows))
    """From the number of a request, from 1, and its rows."""
    asked: list[Rows] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, body: bytes) -> Reply:
        """Answers a request."""
        [given] = json.loads(body)["inputs"]
        rows = np.reshape(given["data"], given["shape"]).tolist()
        with self.lock:
            self.asked.append(rows)
            number = len(self.asked)
        return self.reply(number, rows)


@contextmanager
def serving() -> Iterator[Endpoint]:
    """Serves until the end."""
    endpoint = Endpoint()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            there = self.path == f"/v2/models/{NAME}"
            self.send(200 if there else 404, {}, endpoint.described if there else {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send(*endpoint.take(body))

        def send(self, status: int, headers: dict[str, str], body: Any) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()

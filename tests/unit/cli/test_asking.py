"""`predict` and `report`: what is asked of whom, and what is said when it fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cli_runs import run
from cli_worlds import batch, endpoint, failed
from recorded import Recorded

from loopwright.cli import report as reporting
from loopwright.desired import monitor
from loopwright.view.errors import Trouble
from loopwright.view.report import MONITOR_PORT

PROXY = "/api/v1/namespaces/n/services/http:digits:80/proxy/v1/models/digits:predict"
PAGE = f"/api/v1/namespaces/n/pods/digits-monitor-0:{MONITOR_PORT}/proxy/"
ROWS = "[[5.1, 3.5, 1.4, 0.2]]"


class Gateway(BaseHTTPRequestHandler):
    """Answers as a Gateway with a model server behind it."""

    seen: ClassVar[list[tuple[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, body))
        fits = body.get("instances") != [[1]]
        answer = {"predictions": [0]} if fits else {"error": "its shape is [1,1]"}
        text = json.dumps(answer).encode() if "html" not in body else b"<html>"
        self.send_response(200 if fits else 400)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def world() -> Iterator[Recorded]:
    """An endpoint whose URL answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Gateway.seen.clear()
    found = endpoint()
    found.objects[0]["status"]["url"] = f"http://127.0.0.1:{server.server_port}/n/digits"
    yield found
    server.shutdown()
    server.server_close()


def without_url() -> Recorded:
    """An endpoint that only the cluster reaches."""
    found = endpoint()
    del found.objects[0]["status"]["url"]
    found.pages[PROXY] = b'{"predictions": [7]}'
    return found


def test_rows_become_a_request_of_v1(world: Recorded) -> None:
    shown = run(world, "predict", "digits", "-d", ROWS)
    assert json.loads(shown.stdout) == {"predictions": [0]}
    assert Gateway.seen == [("/n/digits/v1/models/digits:predict", {"instances": json.loads(ROWS)})]


def test_a_request_of_v2_goes_there(world: Recorded) -> None:
    run(world, "predict", "mep/digits", "-d", '{"inputs": []}')
    assert Gateway.seen == [("/n/digits/v2/models/digits/infer", {"inputs": []})]


def test_data_from_a_file_and_from_standard_input(world: Recorded, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(ROWS)
    assert run(world, "predict", "digits", "-d", str(file)).exit_code == 0
    assert run(world, "predict", "digits", "-d", "-", stdin=ROWS).exit_code == 0
    assert Gateway.seen[0] == Gateway.seen[1]


def test_a_refusal_says_what_the_model_takes(world: Recorded) -> None:
    shown = run(world, "predict", "digits", "-d", "[[1]]")
    assert (shown.exit_code, shown.stderr) == (
        1, "loopwright: its shape is [1,1]; the model takes input float32[any, 4]\n",
    )  # fmt: skip


def test_an_answer_that_is_none(world: Recorded) -> None:
    shown = run(world, "predict", "digits", "-d", '{"instances": [], "html": 1}')
    assert "answered with no JSON; see what the Gateway sends there" in shown.stderr


def test_without_a_url_the_api_server_is_asked() -> None:
    shown = run(without_url(), "predict", "digits", "-d", ROWS)
    assert json.loads(shown.stdout) == {"predictions": [7]}
    assert "only the variant with the greatest weight is asked" in shown.stderr


def test_a_url_that_does_not_answer_from_here() -> None:
    world = without_url()
    world.objects[0]["status"]["url"] = "http://127.0.0.1:1/n/digits"
    shown = run(world, "predict", "digits", "-d", ROWS)
    assert json.loads(shown.stdout) == {"predictions": [7]}
    assert "does not answer from here" in shown.stderr


def test_a_refusal_through_the_api_server() -> None:
    world = without_url()
    world.pages[PROXY] = Trouble("expected FP32")
    shown = run(world, "predict", "digits", "-d", ROWS).stderr.splitlines()
    assert shown[-1] == "loopwright: expected FP32; the model takes input float32[any, 4]"


def test_an_endpoint_that_serves_nothing() -> None:
    world = without_url()
    for one in world.objects[0]["status"]["variants"]:
        one["ready"] = False
    shown = run(world, "predict", "digits", "-d", ROWS)
    assert shown.stderr == (
        "loopwright: mep/digits serves nothing yet; loopwright explain mep/digits\n"
    )


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("no-such-file", "cannot read no-such-file: No such file or directory; -d takes a file,"
         " - or JSON"),
        ("{", "the data are no JSON: Expecting property name enclosed in double quotes: line 1"
         " column 2 (char 1); for example [[5.1, 3.5, 1.4, 0.2]]"),
        ('{"rows": []}', 'the data are no request; give rows, or an object with "instances" (v1)'
         ' or "inputs" (v2)'),
    ],
)  # fmt: skip
def test_data_that_are_none(data: str, line: str) -> None:
    shown = run(endpoint(), "predict", "digits", "-d", data)
    assert (shown.exit_code, shown.stderr) == (1, f"loopwright: {line}\n")


def test_the_report_of_an_endpoint(tmp_path: Path) -> None:
    world, file = endpoint(), tmp_path / "page.html"
    world.pages = {f"{PAGE}report": b"<html>drift", f"{PAGE}experiment": b"<html>a/b"}
    assert run(world, "report", "mep/digits", "-o", str(file)).stdout.split() == [str(file)]
    assert file.read_bytes() == b"<html>drift"
    assert run(world, "report", "mep/digits", "--experiment", "-o", "-").stdout == "<html>a/b"


def test_the_monitor_answers_where_it_is_asked() -> None:
    assert MONITOR_PORT == monitor.PORT


def test_a_monitor_that_is_not_ready() -> None:
    world = endpoint()
    [watcher] = [one for one in world.objects if one["metadata"]["name"] == "digits-monitor-0"]
    watcher["status"]["conditions"] = []
    shown = run(world, "report", "mep/digits")
    assert shown.stderr == (
        "loopwright: no pod of the monitor of mep/digits is ready; loopwright explain says why\n"
    )
    world.objects.remove(watcher)
    assert "has no monitor; it begins" in run(world, "report", "mep/digits").stderr


def test_reports_in_storage_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetched(_: Any, uri: str, secret: str | None) -> bytes:
        asked.append((uri, secret))
        return b"<html>"

    monkeypatch.setattr(reporting, "fetch", fetched)
    world = batch()
    uri = "s3://lake/out/quality.html"
    world.objects[0]["status"]["validation"] = {"name": "input", "passed": True, "reportUri": uri}
    assert run(world, "report", "bt/digits", "-o", "-").stdout == "<html>"
    assert asked == [(uri, None)]


def test_what_has_no_report() -> None:
    shown = run(failed(), "report", "tj/digits")
    assert shown.stderr.startswith("loopwright: tj/digits has no report; sweeps have one,")
    assert "is for endpoints" in run(failed(), "report", "tj/digits", "--experiment").stderr


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    world = endpoint()
    world.pages = {f"{PAGE}report": b""}
    shown = run(world, "report", "mep/digits", "-o", str(tmp_path / "no" / "page.html"))
    assert "No such file or directory; choose another file: -o" in shown.stderr

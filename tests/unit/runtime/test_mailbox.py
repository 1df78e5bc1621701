"""The mailbox against a real HTTPS server: throttled, and the final report surely stored."""

from __future__ import annotations

import http.server
import json
import queue
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loopwright.api import names
from loopwright.api.model import Signature, TensorSpec
from loopwright.api.report import MAX_REPORT_BYTES, ModelReport, Report, RunError, RunState
from loopwright.api.runconfig import RunConfig
from loopwright.api.trainingjob import KIND
from loopwright.api.trainingjob_status import (
    Artifacts,
    Cause,
    CheckpointStatus,
    DataLineage,
    MetricValue,
)
from loopwright.runtime import console, mailbox
from loopwright.runtime.errors import RunError as Failure
from loopwright.runtime.mailbox import Mailbox, bounded
from loopwright.runtime.state import fewer

pytestmark = pytest.mark.timeout(30)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = RunConfig.model_validate(
    {
        "name": "digits", "namespace": "team", "uid": "u", "spec": {"function": "a:b"},
        "image": "i", "outputUri": "s3://b/o", "checkpointUri": "s3://b/o/checkpoints",
    }
)  # fmt: skip
SOON = 10.0
GARBLED = -1
CUT = -2


def report(number: int, state: RunState = RunState.RUNNING) -> Report:
    """A report that is told from others by its metric."""
    metric = MetricValue(name="number", value=f"{number}")
    return Report(attempt=1, run_id="r", state=state, time=NOW, metrics=[metric])


@dataclass(frozen=True)
class Request:
    """One that the server got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def number(self) -> int:
        """Of its report."""
        text = json.loads(self.body)["data"][names.REPORT_KEY]
        return int(Report.model_validate_json(text).metrics[0].value)


class Server(http.server.ThreadingHTTPServer):
    """The API server: answers with `answers` in turn, then with 200."""

    daemon_threads = True

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.answers: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self.stored: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.hold: Callable[[Request], object] = lambda _: None

    def next(self, timeout: float = SOON) -> Request:
        """The next request; fails when there is none soon."""
        return self.requests.get(timeout=timeout)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust the certificate hangs up; that is its right."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Notes the request, then answers."""

    server: Server

    def do_PATCH(self) -> None:
        """A write of the ConfigMap."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        got = Request(self.command, self.path, dict(self.headers.items()), body)
        self.server.requests.put(got)
        self.server.hold(got)
        status = 200 if self.server.answers.empty() else self.server.answers.get()
        if status == GARBLED:
            self.wfile.write(b"nonsense\r\n\r\n")
            return
        if status < 300:
            self.server.stored.put(got.number)
        self.send_response(200 if status == CUT else status)
        self.send_header("Content-Length", "100" if status == CUT else "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class Clock:
    """Time that passes when somebody sleeps. Sleeping for `gated` seconds waits for a ticket."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.gated: float | None = None
        self.asleep, self.tickets = threading.Semaphore(0), threading.Semaphore(0)

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Passes at once, unless gated."""
        self.slept.append(seconds)
        self.now += seconds
        if seconds == self.gated:
            self.asleep.release()
            self.tickets.acquire()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("pki")
    crt, key = folder / "ca.crt", folder / "ca.key"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*words, "-keyout", key, "-out", crt], check=True, capture_output=True)
    return crt, key


@pytest.fixture
def account(
    certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The mounted ServiceAccount."""
    shutil.copy(certificate[0], tmp_path / "ca.crt")
    (tmp_path / "token").write_text("first")
    monkeypatch.setenv(names.ENV_ACCOUNT, str(tmp_path))
    return tmp_path


@pytest.fixture
def server(
    certificate: tuple[Path, Path], account: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """The API server that the environment points to."""
    made = Server(*certificate)
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(made.server_port))
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The mailbox's time."""
    made = Clock()
    monkeypatch.setattr(mailbox, "time", made)
    monkeypatch.setattr(console, "_container", lambda: None)
    return made


def test_a_report_is_applied_as_its_configmap(server: Server, clock: Clock) -> None:
    Mailbox(KIND, CONFIG, fewer).put(report(1))
    got = server.next()
    assert (got.method, got.path) == (
        "PATCH",
        "/api/v1/namespaces/team/configmaps/digits-report?fieldManager=loopwright-runtime&force=true",
    )
    assert got.headers["Content-Type"] == "application/apply-patch+yaml"
    body = json.loads(got.body)
    assert (body["kind"], body["metadata"]["name"]) == ("ConfigMap", "digits-report")
    assert body["metadata"]["ownerReferences"][0]["uid"] == "u"
    assert body["metadata"]["labels"][names.LABEL_NAME] == "digits"
    assert got.headers["Authorization"] == "Bearer first"
    assert got.number == 1


def test_a_new_token_is_used(server: Server, account: Path, clock: Clock) -> None:
    box = Mailbox(KIND, CONFIG, fewer)
    assert box.put_last(report(1))
    (account / "token").write_text("second")
    assert box.put_last(report(2))
    found = [server.next().headers["Authorization"] for _ in range(2)]
    assert found == ["Bearer first", "Bearer second"]


def test_reports_are_coalesced(server: Server, clock: Clock) -> None:
    clock.gated = mailbox.INTERVAL
    box = Mailbox(KIND, CONFIG, fewer)
    box.put(report(1))
    assert server.next().number == 1
    assert clock.asleep.acquire(timeout=SOON)
    for number in (2, 3, 4):
        box.put(report(number))
    clock.tickets.release()
    assert server.next().number == 4
    assert clock.asleep.acquire(timeout=SOON)
    assert server.requests.empty()
    assert clock.slept == [5.0, 5.0]
    clock.tickets.release()


def test_putting_does_not_wait_for_the_server(server: Server, clock: Clock) -> None:
    release = threading.Event()
    server.hold = lambda _: release.wait(SOON)
    box = Mailbox(KIND, CONFIG, fewer)
    box.put(report(1))
    server.next()
    box.put(report(2))  # Returns although the first is not answered.
    release.set()
    assert server.next().number == 2


def test_a_refused_report_does_not_stop_later_ones(server: Server, clock: Clock) -> None:
    clock.gated = mailbox.INTERVAL
    server.answers.put(500)
    box = Mailbox(KIND, CONFIG, fewer)
    box.put(report(1))
    assert clock.asleep.acquire(timeout=SOON)
    clock.tickets.release()
    box.put(report(2))
    assert clock.asleep.acquire(timeout=SOON)
    assert server.stored.get(timeout=SOON) == 2
    clock.tickets.release()


def test_the_last_is_written_until_it_is_stored(
    server: Server, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for status in (500, 409, 503):
        server.answers.put(status)
    assert Mailbox(KIND, CONFIG, fewer).put_last(report(7, RunState.SUCCEEDED))
    assert [server.next().number for _ in range(4)] == [7] * 4
    assert server.stored.get(timeout=SOON) == 7
    assert clock.slept == [0.5, 1.0, 2.0]
    assert "report not stored: HTTP 503" in capsys.readouterr().out


def test_a_refused_first_report_ends_the_run_before_it_costs_anything(
    server: Server, clock: Clock
) -> None:
    for _ in range(50):
        server.answers.put(403)
    box = Mailbox(KIND, CONFIG, fewer)
    with pytest.raises(Failure, match="the report cannot be stored: HTTP 403"):
        box.put_first(report(1))
    assert clock.now <= mailbox.REFUSAL_PATIENCE + 2
    before = clock.now
    assert not box.put_last(report(2, RunState.FAILED))
    assert clock.now == before


@pytest.mark.parametrize("answer", [GARBLED, 500, 429])
def test_a_first_report_that_is_merely_not_stored_holds_up_nothing(
    server: Server, clock: Clock, answer: int
) -> None:
    server.answers.put(answer)
    Mailbox(KIND, CONFIG, fewer).put_first(report(1))
    assert clock.slept == []


def test_a_right_that_comes_late_is_waited_for(server: Server, clock: Clock) -> None:
    for _ in range(3):
        server.answers.put(403)
    Mailbox(KIND, CONFIG, fewer).put_first(report(1))
    assert server.stored.get(timeout=SOON) == 1


def test_it_gives_up_in_the_end(server: Server, clock: Clock) -> None:
    for _ in range(50):
        server.answers.put(500)
    assert not Mailbox(KIND, CONFIG, fewer).put_last(report(7, RunState.SUCCEEDED))
    assert max(clock.slept) == 10.0
    assert mailbox.PATIENCE < clock.now <= mailbox.PATIENCE + 10


def test_a_server_that_is_not_there_is_tried_again(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = server.server_port
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    sleep = clock.sleep

    def back(seconds: float) -> None:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        sleep(seconds)

    monkeypatch.setattr(clock, "sleep", back)
    assert Mailbox(KIND, CONFIG, fewer).put_last(report(7))
    assert clock.slept == [0.5]


def test_an_unknown_server_gets_no_token(
    server: Server, clock: Clock, account: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its certificate is for 127.0.0.1, not for this name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBERNETES_SERVICE_HOST", "localhost")
        assert not Mailbox(KIND, CONFIG, fewer).put_last(report(7))
    assert server.requests.empty()
    assert "CERTIFICATE_VERIFY_FAILED" in capsys.readouterr().out


@pytest.mark.parametrize("answer", [GARBLED, CUT])
def test_a_broken_answer_is_tried_again(server: Server, clock: Clock, answer: int) -> None:
    """An API server that is killed cuts its answers off."""
    server.answers.put(answer)
    assert Mailbox(KIND, CONFIG, fewer).put_last(report(7))
    assert [server.next().number for _ in range(2)] == [7, 7]


def test_nothing_overtakes_the_last(server: Server, clock: Clock) -> None:
    release, last = threading.Event(), threading.Event()
    server.hold = lambda got: release.wait(SOON) if got.number == 1 else last.set()
    box = Mailbox(KIND, CONFIG, fewer)
    box.put(report(1))
    assert server.next().number == 1
    final = threading.Thread(target=box.put_last, args=(report(2, RunState.SUCCEEDED),))
    final.start()
    last.wait(0.3)  # It either comes at once, or waits for the first.
    if last.is_set():
        final.join(SOON)
    release.set()
    final.join(SOON)
    assert [server.stored.get(timeout=SOON) for _ in range(2)] == [1, 2]


def test_nothing_follows_the_last(server: Server, clock: Clock) -> None:
    """Messages of the training code may still be on their way."""
    box = Mailbox(KIND, CONFIG, fewer)
    assert box.put_last(report(2, RunState.SUCCEEDED))
    box.put(report(1))
    deadline = time.monotonic() + 0.3
    while server.requests.qsize() < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert server.next().number == 2
    assert server.requests.empty()


def full(letter: str = "x") -> Report:
    """As large as the fields' bounds allow."""
    inputs = [DataLineage(name=f"{n:063d}", uri=letter * 2048, digest="d" * 71) for n in range(20)]
    metrics = [
        MetricValue(name=f"{'m' * 60}{n}", value="1" * 32, step=n, min="2" * 32, max="3" * 32)
        for n in range(64)
    ]
    long = "r" * 2048
    artifacts = Artifacts(model_uri=long, logs_uri=long)
    error = RunError(cause=Cause.APPLICATION, reason="Failed", message="e" * 1024)
    return Report(
        attempt=1, run_id="r", state=RunState.FAILED, time=NOW, metrics=metrics, inputs=inputs,
        checkpoint=CheckpointStatus(uri=long), resumed_from=long, artifacts=artifacts, error=error,
    )  # fmt: skip


def test_a_small_report_is_whole() -> None:
    text = bounded(report(1), fewer)
    assert Report.model_validate_json(text) == report(1)
    assert '"runId"' in text
    assert "null" not in text


def test_a_full_mailbox_loses_the_last_metrics() -> None:
    whole = full()
    assert len(whole.model_dump_json(by_alias=True).encode()) > MAX_REPORT_BYTES
    text = bounded(whole, fewer)
    assert len(text.encode()) <= MAX_REPORT_BYTES
    kept = Report.model_validate_json(text)
    assert kept.metrics == whole.metrics[: len(kept.metrics)]
    assert kept.metrics
    assert kept.inputs == whole.inputs
    assert len(whole.metrics) == 64


def test_a_full_mailbox_loses_the_signature_first() -> None:
    tensor = TensorSpec(name="x" * 128, dtype="float32", shape=[-1] * 16)
    signature = Signature(inputs=[tensor] * 512, outputs=[])
    whole = report(1).model_copy(update={"model": ModelReport(signature=signature)})
    assert Report.model_validate_json(bounded(whole, fewer)) == report(1)


def test_wide_characters_fit_too() -> None:
    """An input's URI may come from the training code; too large a report is ignored as a whole."""
    text = bounded(full("\N{SNOWMAN}"), fewer)
    assert len(text.encode()) <= MAX_REPORT_BYTES

"""The collector of KServe's events: what is refused, and what reaches the files."""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import yaml
from doc_pages import blocks
from kserve_events import BODIES, configuration, headers, start
from pod_security import violations

from eventually import eventually
from loopwright.api import names, serving
from loopwright.api.capture import CaptureConfig
from loopwright.serving.capture import collector as module
from loopwright.serving.capture.collector import Collector, configured
from loopwright.serving.capture.events import REQUEST, RESPONSE
from loopwright.serving.capture.sampler import chosen
from loopwright.serving.errors import CannotServe
from loopwright.serving.settings import CollectorSettings
from ports import free_port

ROOT = Path(__file__).parents[3]


# The application


class Calls(httpx.AsyncClient):
    """A client of a collector that runs in this process."""

    def __init__(self, collector: Collector, claim: Path) -> None:
        super().__init__(transport=httpx.ASGITransport(collector), base_url="http://collector")
        self.collector, self._claim = collector, claim

    async def send_event(
        self, id: str, type: str = REQUEST, content: Any = None, **changed: Any
    ) -> httpx.Response:
        """One event; headers with _ for -."""
        more = {name.replace("_", "-"): value for name, value in changed.items() if name != "at"}
        sent = headers(id, type, changed.get("at", time.time()), **more)
        return await self.post("/", content=content or BODIES[type], headers=sent)

    def counted(self, name: str, **labels: str) -> float:
        """A counter of the collector's."""
        own = {"endpoint": "loans", "variant": "predictor", **labels}
        return self.collector.metrics.registry.get_sample_value(name, own) or 0.0

    def refused(self, code: int) -> float:
        return self.counted("loopwright_collector_refused_total", code=str(code))

    async def rows(self, number: int) -> dict[str, dict[str, Any]]:
        """Rows that are stored, by id, once there are so many."""
        async with asyncio.timeout(120):
            while len(found := stored(self._claim)) < number:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert len(found) == number
        return {row["request_id"]: row for row in found}


def stored(claim: Path) -> list[dict[str, Any]]:
    """All rows on the claim."""
    files = sorted((claim / "team/loans/predictor").rglob("*.parquet"))
    return [row for one in files for row in pq.read_table(io.BytesIO(one.read_bytes())).to_pylist()]


Collecting = Callable[..., Any]


@pytest.fixture
def collecting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Collecting:
    """Begins a collector that stores into a folder; what to keep as keywords."""
    monkeypatch.setenv("LOOPWRIGHT_CAPTURE_DIR", str(tmp_path / "claim"))
    monkeypatch.setenv("HOSTNAME", "collector-1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "operator"))
    file = tmp_path / "capture.json"

    @asynccontextmanager
    async def begin(settings: dict[str, Any] | None = None, **more: Any) -> AsyncIterator[Calls]:
        file.write_text(configuration(**more))
        chosen = CollectorSettings(capture_config=str(file), **(settings or {}))
        collector = Collector(chosen, configured(file))
        await collector.start()
        async with Calls(collector, tmp_path / "claim") as client:
            try:
                yield client
            finally:
                await collector.close()

    return begin


async def test_a_pair_is_a_row_without_what_is_redacted(collecting: Collecting) -> None:
    async with collecting(redact=["$.instances[*].email"]) as client:
        at = time.time()
        answers = [
            await client.send_event("a", RESPONSE, at=at + 0.5),
            await client.send_event("a", REQUEST, at=at),
        ]
        assert [(one.status_code, one.content) for one in answers] == [(200, b"")] * 2
        row = (await client.rows(1))["a"]
    assert row.pop("time").timestamp() == pytest.approx(at, abs=1e-5)
    assert row.pop("latency_seconds") == pytest.approx(0.5, abs=1e-5)
    assert json.loads(row.pop("request")) == {"instances": [{"email": "[redacted]", "age": 3}]}
    assert row == {
        "request_id": "a", "endpoint": "loans", "variant": "predictor", "revision": "",
        "model_version": "", "model_digest": "", "protocol": "http", "status": 200,
        "request_bytes": len(BODIES[REQUEST]), "response": '{"predictions":[2]}',
        "response_bytes": len(BODIES[RESPONSE]), "ce_id": "a", "ce_specversion": "1.0",
        "ce_source": "/namespaces/n/inferenceservices/loans/predictor",
        "ce_type": "io.loopwright.inference",
    }  # fmt: skip
    assert client.counted("loopwright_collector_events_total") == 2


async def test_the_sample_is_that_of_our_own_server(collecting: Collecting) -> None:
    ids = [f"request-{number}" for number in range(60)]
    events = [(id, type) for id in ids for type in (REQUEST, RESPONSE)] * 2
    random.Random(7).shuffle(events)  # noqa: S311
    at = time.time()
    expected = {id for id in ids if chosen(id, 30)}
    assert 0 < len(expected) < len(ids)
    async with collecting(samplePercent=30) as client:
        tasks = [client.send_event(id, type, at=at) for id, type in events]
        assert {one.status_code for one in await asyncio.gather(*tasks)} <= {200}
        assert (await client.rows(len(expected))).keys() == expected
    assert client.counted("loopwright_collector_events_total") == len(events)
    assert client.counted("loopwright_capture_records_total") == len(expected)


async def test_what_came_is_stored_when_it_ends(collecting: Collecting, tmp_path: Path) -> None:
    async with collecting(flushSeconds=3600) as client:
        await client.send_event("pair", REQUEST)
        await client.send_event("pair", RESPONSE)
        await client.send_event("refused", REQUEST)
        await client.send_event("answer", RESPONSE)
        assert stored(tmp_path / "claim") == []
    rows = {row["request_id"]: row for row in stored(tmp_path / "claim")}
    told = {id: (row["status"], row["latency_seconds"] is None) for id, row in rows.items()}
    assert told == {"pair": (200, False), "refused": (None, True), "answer": (200, True)}
    assert (rows["refused"]["response"], rows["refused"]["response_bytes"]) == (None, 0)
    assert (rows["answer"]["request"], rows["answer"]["request_bytes"]) == (None, 0)
    assert client.counted("loopwright_collector_unpaired_total", event="request") == 1


async def test_an_answer_is_not_waited_for_for_ever(collecting: Collecting) -> None:
    async with collecting({"wait_seconds": 1.0}) as client:
        await client.send_event("a", REQUEST)
        assert (await client.rows(1))["a"]["status"] is None


async def test_large_bodies_and_unwanted_ones_are_left_out(collecting: Collecting) -> None:
    async with collecting(mode="Request", maxBodyBytes=256) as client:
        for id, size in (("small", 10), ("large", 1000)):
            await client.send_event(id, REQUEST, b'"%s"' % (b"x" * size))
            await client.send_event(id, RESPONSE)
        rows = await client.rows(2)
    assert (rows["large"]["request"], rows["large"]["request_bytes"]) == (None, 1002)
    assert rows["small"]["request"] == f'"{"x" * 10}"'
    assert {(row["response"], row["response_bytes"] > 0) for row in rows.values()} == {(None, True)}


@pytest.mark.parametrize(
    ("changed", "code", "told"),
    [
        ({"Ce_Inferenceservicename": "cards"}, 403,
         "this collector is for predictor of InferenceService n/loans,"
         " not for predictor of InferenceService n/cards"),
        ({"Ce_Namespace": "m"}, 403, "not for predictor of InferenceService m/loans"),
        ({"Ce_Component": "transformer"}, 403, "not for transformer of"),
        ({"Ce_Id": None}, 400, "there is no header Ce-Id"),
        ({"Ce_Id": "a b"}, 400, "expected Ce-Id"),
        ({"Ce_Id": "a" * 129}, 400, "expected Ce-Id"),
        ({"Ce_Type": "io.loopwright.inference"}, 400, "expected Ce-Type"),
        ({"Ce_Specversion": "0.3"}, 400, "expected CloudEvents 1.0"),
        ({"Ce_Namespace": None}, 400, "there is no header Ce-Namespace"),
        ({"Ce_Time": "2026-12-01"}, 400, "expected Ce-Time"),
        ({"Ce_Time": "2026-13-01T00:00:00Z"}, 400, "expected Ce-Time"),
        ({"Ce_Time": "2016-12-01T00:00:00Z"}, 400, "compare the clocks"),
        ({"Ce_Time": "9999-12-31T23:59:59Z"}, 400, "compare the clocks"),
        ({"Content_Type": "application/cloudevents+json"}, 415, "binary mode"),
        ({"Content_Type": "application/cloudevents-batch+json"}, 415, "binary mode"),
    ],
)  # fmt: skip
async def test_what_is_refused(
    collecting: Collecting, changed: dict[str, Any], code: int, told: str
) -> None:
    async with collecting() as client:
        answer = await client.send_event("a", **changed)
        assert answer.status_code == code
        assert told in answer.json()["error"]
        assert client.refused(code) == 1
        assert client.counted("loopwright_collector_events_total") == 0


async def test_bodies_are_bounded(collecting: Collecting, monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting({"max_body_bytes": 64}) as client:
        answer = await client.send_event("a", content=b" " * 65)
        assert (answer.status_code, client.refused(413)) == (413, 1)
        monkeypatch.setattr(module, "MAX_READING", 0)
        answer = await client.send_event("b")
        assert (answer.status_code, client.refused(503)) == (503, 1)


async def test_probes_and_metrics(collecting: Collecting) -> None:
    async with collecting() as client:
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
        assert (await client.get("/")).status_code == 404
        text = (await client.get("/metrics")).text
        assert 'loopwright_collector_refused_total{code="403",endpoint="loans"' in text
        assert 'loopwright_capture_failing{endpoint="loans",variant="predictor"} 0.0' in text
        client.collector.ready = False
        answer = await client.get("/v2/health/ready")
        assert (answer.status_code, answer.headers["connection"]) == (503, "close")
        assert (await client.get("/v2/health/live")).status_code == 200


async def test_while_nothing_is_to_be_kept_events_are_refused(
    collecting: Collecting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loopwright.serving.capture.sampler.POLL_SECONDS", 0.05)
    async with collecting() as client:
        (tmp_path / "capture.json").write_text("no JSON")
        async with asyncio.timeout(60):
            while (await client.send_event("a")).status_code != 503:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while not client.counted("loopwright_capture_failing"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_what_is_old_is_deleted(collecting: Collecting, tmp_path: Path) -> None:
    hour = tmp_path / "claim/team/loans/predictor/year=2020/month=01/day=01/hour=00"
    hour.mkdir(parents=True)
    old = hour / "pod-1577836800000000.parquet"
    old.touch()
    async with collecting(retentionDays=1), asyncio.timeout(60):
        while old.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


# The process


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file or directory; mount a ConfigMap there"),
        ("{", "all of it: Invalid JSON"),
        ('{"endpoint": "loans", "namespace": "n"}', "capture: Field required"),
        (configuration(samplePercent=0), "capture.samplePercent: Input should be greater"),
        (configuration(samplePercnt=1), "capture.samplePercnt: Extra inputs"),
    ],
)
def test_a_file_that_makes_no_sense(tmp_path: Path, text: str | None, told: str) -> None:
    file = tmp_path / "capture.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(CannotServe, match=re.escape(told)) as caught:
        configured(file)
    assert caught.value.reason == "SettingsInvalid"


@pytest.mark.parametrize(
    ("argv", "told"),
    [(["--component=pod"], "use predictor, transformer, explainer"),
     (["--wait_seconds=0"], "--wait_seconds must not be 0.0"),
     (["--model_name=m"], "unrecognized arguments: --model_name=m")],
)  # fmt: skip
def test_wrong_settings(argv: list[str], told: str) -> None:
    with pytest.raises(CannotServe, match=told):
        CollectorSettings.load(argv, {})


def test_a_process_stores_all_when_it_is_told_to_end(tmp_path: Path) -> None:
    (tmp_path / "capture.json").write_text(configuration(flushSeconds=3600))
    port = free_port()
    process = start(tmp_path, http_port=port)
    with process, httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        try:
            eventually("it to listen", lambda: process.poll() is not None or _ready(http))
            for number in range(20):
                for type in (REQUEST, RESPONSE):
                    sent = headers(str(number), type, time.time())
                    assert http.post("/", content=BODIES[type], headers=sent).status_code == 200
            assert stored(tmp_path / "claim") == []
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()
    rows = stored(tmp_path / "claim")
    assert sorted(int(row["request_id"]) for row in rows) == list(range(20))
    assert {row["status"] for row in rows} == {200}


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/v2/health/ready").is_success
    except httpx.TransportError:
        return False


def test_a_process_that_has_nothing_to_go_by_says_why(tmp_path: Path) -> None:
    (tmp_path / "termination").touch()
    with start(tmp_path) as process:
        assert process.wait(60) == 1
    told = (tmp_path / "termination").read_text()
    assert told.startswith("SettingsInvalid: --capture_config=")
    assert len(told.splitlines()) == 1


# The guide


def test_the_guides_manifest_fits_the_collector() -> None:
    page = ROOT / "docs/guides/capture.md"
    objects = {
        one["kind"]: one for text in blocks(page, "yaml") for one in yaml.safe_load_all(text)
    }
    told = CaptureConfig.model_validate_json(objects["ConfigMap"]["data"][names.CAPTURE_KEY])
    service = objects["InferenceService"]
    assert (told.endpoint, told.namespace) == tuple(service["metadata"].values())
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert list(violations(pod)) == []
    [container] = pod["containers"]
    assert container["command"] == ["python", "-m", CollectorSettings.program]
    assert [one["containerPort"] for one in container["ports"]] == [CollectorSettings().http_port]
    paths = [container[f"{one}Probe"]["httpGet"]["path"] for one in ("readiness", "liveness")]
    assert paths == [serving.READY_PATH, serving.LIVE_PATH]
    secret = told.capture.destination.secret_ref
    assert secret is not None
    mounted = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounted == {
        "capture": names.CAPTURE_CONFIG_DIR, "keys": f"{names.SECRETS_DIR}/{secret.name}",
    }  # fmt: skip
    collector = objects["Service"]["metadata"]
    url = f"http://{collector['name']}.{collector['namespace']}/"
    assert service["spec"]["predictor"]["logger"] == {"mode": "all", "url": url}

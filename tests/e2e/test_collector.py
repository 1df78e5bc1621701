"""KServe's own logger and the collector of the guide: from requests to a server that is not ours
to rows in the bucket."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import httpx
import pytest
import yaml
from captures import Captures
from conftest import cluster_tool, one_at_a_time
from inference import SECONDS, inference_service, until_ready
from kubectl import ROOT, Kubectl
from objects import s3_folder
from prometheus_client.parser import text_string_to_metric_families
from space import Space

from eventually import eventually
from loopwright.serving.capture.sampler import chosen

pytestmark = [pytest.mark.e2e, pytest.mark.extended]

GUIDE = ROOT / "docs" / "guides" / "capture.md"
IMAGE = "localhost/loopwright/serving:dev"
COLLECTOR, SERVICE = "loans-collector", "sklearn-loans"
REQUESTS = 50
# Of the sample, what the server refuses: the logger tells of the request alone.
REFUSED = next(id for id in (f"refused-{number}" for number in range(100)) if chosen(id, 10))
# Answers how many instances there were, and refuses those that say so.
SERVER = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.answer(200, {})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
        refused = any(one.get("refuse") for one in asked)
        self.answer(400 if refused else 200, {"predictions": [one["age"] for one in asked]})
    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


@pytest.fixture
def logger(kubectl: Kubectl) -> None:
    """KServe can put its logger beside servers."""
    with one_at_a_time("e2e"):
        cluster_tool("kserve-logger-up")


def of_guide(namespace: str, uri: str) -> dict[str, dict[str, Any]]:
    """The guide's objects by kind, in another namespace and with another destination."""
    text = GUIDE.read_text().partition("## Servers of others")[2]
    text = text.replace("namespace: team", f"namespace: {namespace}")
    text = text.replace('"namespace": "team"', f'"namespace": "{namespace}"')
    text = text.replace(f"{COLLECTOR}.team/", f"{COLLECTOR}.{namespace}/")
    text = text.replace("s3://lake/captures", uri)
    text = re.sub(r"ghcr\.io/loopwright/serving:[\w.]+", IMAGE, text)
    blocks = [one.partition("```")[0] for one in text.split("```yaml\n")[1:]]
    return {one["kind"]: one for block in blocks for one in yaml.safe_load_all(block)}


def hurried(objects: dict[str, dict[str, Any]]) -> None:
    """What the guide leaves at minutes takes seconds."""
    data = objects["ConfigMap"]["data"]
    config = json.loads(data["capture.json"])
    config["capture"]["flushSeconds"] = 2
    data["capture.json"] = json.dumps(config)
    [container] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "LOOPWRIGHT_WAIT_SECONDS", "value": "10"}]


def address(space: Space, service: str) -> str:
    """URL of a Service."""
    found = space.kubectl.get("service", service, space.name)
    assert found is not None
    ip = found["spec"]["clusterIP"]
    # The node's proxy learns of ready pods by and by. A request would be one more to count.
    eventually(f"Service {service}", lambda: connects(ip))
    return f"http://{ip}"


def connects(ip: str) -> bool:
    """Whether somebody listens at port 80."""
    try:
        socket.create_connection((ip, 80), timeout=5).close()
    except OSError:
        return False
    return True


def counted(url: str) -> dict[tuple[str, ...], float]:
    """The collector's counters, by name and labels without those that are the same for all."""
    text = httpx.get(f"{url}/metrics", trust_env=False, timeout=SECONDS).text
    found = {}
    for one in (one for family in text_string_to_metric_families(text) for one in family.samples):
        own = [value for name, value in one.labels.items() if name not in ("endpoint", "variant")]
        found[one.name, *own] = one.value
    return found


@pytest.mark.usefixtures("logger")
def test_what_kserves_logger_sends_ends_up_in_the_bucket(space: Space, s3: dict[str, str]) -> None:
    root = f"loopwright/{space.name}/captures"
    captures = Captures(s3_folder(s3, space.kubectl), root, SERVICE)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3-credentials"}}
    space.apply({**secret, "stringData": s3})
    objects = of_guide(space.name, f"s3://{root}")
    hurried(objects)
    shown = objects.pop("InferenceService")
    space.apply(*objects.values())
    space.kubectl.run(
        "-n", space.name, "rollout", "status", f"deployment/{COLLECTOR}", "--timeout=600s"
    )

    service = inference_service(SERVICE)
    predictor = service["spec"]["predictor"]
    predictor["containers"][0]["command"] = ["python", "-c", SERVER]
    predictor["logger"] = shown["spec"]["predictor"]["logger"]
    space.apply(service)
    until_ready(space, SERVICE)
    url = f"{address(space, f'{SERVICE}-predictor')}/v1/models/{SERVICE}:predict"

    ids = [f"request-{number}" for number in range(REQUESTS)]
    with httpx.Client(trust_env=False, timeout=SECONDS) as http:
        for number, id in enumerate(ids):
            body = {"instances": [{"email": f"{id}@example.com", "age": number}]}
            answer = http.post(url, json=body, headers={"Ce-Id": id})
            assert answer.json() == {"predictions": [number]}
        body = {"instances": [{"email": "no@example.com", "age": 0, "refuse": True}]}
        assert http.post(url, json=body, headers={"Ce-Id": REFUSED}).status_code == 400

    expected = {id for id in ids if chosen(id, 10)}
    assert 2 <= len(expected) < REQUESTS / 2
    eventually("all rows", lambda: len(captures.all()) >= len(expected) + 1)
    rows = captures.rows()
    assert rows.keys() == expected | {REFUSED}
    assert len(captures.all()) == len(rows)
    for id in expected:
        number, row = int(id.rpartition("-")[2]), rows[id]
        asked = {"instances": [{"email": "[redacted]", "age": number}]}
        assert json.loads(row["request"]) == asked
        assert json.loads(row["response"]) == {"predictions": [number]}
        assert (row["endpoint"], row["variant"], row["status"]) == (SERVICE, "predictor", 200)
        assert 0 < row["latency_seconds"] < SECONDS
    assert (rows[REFUSED]["status"], rows[REFUSED]["response"]) == (None, None)

    told = counted(address(space, COLLECTOR))
    assert told["loopwright_collector_events_total",] == 2 * REQUESTS + 1
    assert told["loopwright_collector_unpaired_total", "request"] == 1
    lost = ("loopwright_collector_refused_total", "loopwright_capture_dropped_total")
    assert {value for (name, *_), value in told.items() if name in lost} == {0}

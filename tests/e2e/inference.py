"""Plain InferenceServices and routes to them, as a person would write them by hand."""

from __future__ import annotations

import re
from typing import Any

import httpx
from install import LOCAL_RUNTIME
from space import PATIENCE, Space

from eventually import eventually

# How long a request may take that is not about time.
SECONDS = 60
# Answers its name and how many requests it has had; what starts with /probe does not count.
SERVER = """
import http.server, itertools, json, os
requests = itertools.count(1)
seen = 0
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global seen
        if not self.path.startswith("/probe"):
            seen = next(requests)
        body = json.dumps({"name": os.environ["NAME"], "seen": seen}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def inference_service(name: str) -> dict[str, Any]:
    """An InferenceService that runs a container of its own."""
    container = {
        "name": "kserve-container",
        "image": LOCAL_RUNTIME,
        "command": ["python", "-c", SERVER],
        "env": [{"name": "NAME", "value": name}],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/probe", "port": 8080}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "annotations": {"serving.kserve.io/autoscalerClass": "none"},
        },
        "spec": {"predictor": {"securityContext": security, "containers": [container]}},
    }


def of_format(name: str, format: str, uri: str, **more: Any) -> dict[str, Any]:
    """An InferenceService that leaves it to KServe to find a ServingRuntime for a format."""
    model = {"modelFormat": {"name": format}, "storageUri": uri, **more}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "annotations": {
                "serving.kserve.io/deploymentMode": "Standard",
                "serving.kserve.io/autoscalerClass": "none",
            },
        },
        "spec": {"predictor": {"model": model}},
    }


def pod_of(space: Space, service: str) -> str:
    """URL of an InferenceService's only pod."""
    selector = f"app=isvc.{service}-predictor"
    [pod] = [
        one
        for one in space.kubectl.list("pods", space.name, selector)
        if "deletionTimestamp" not in one["metadata"]
    ]
    return f"http://{pod['status']['podIP']}:8080"


def ask(url: str, model: str, row: list[float]) -> list[float]:
    """What a model answers to a row of numbers, by v1."""
    body = {"instances": [row]}
    path = f"/v1/models/{model}:predict"
    answer = httpx.post(f"{url}{path}", json=body, trust_env=False, timeout=SECONDS)
    [found] = answer.json()["predictions"]
    return list(found)


def predictions(space: Space, service: str) -> int:
    """How many requests Loopwright's own server has answered in an InferenceService's only pod."""
    url = f"{pod_of(space, service)}/metrics"
    text = httpx.get(url, trust_env=False, timeout=SECONDS).text
    counts = re.findall(r"^loopwright_serving_requests_total\{.*\} (\S+)$", text, re.MULTILINE)
    return int(sum(map(float, counts)))


def http_route(gateway: str, host: str, weights: dict[str, int]) -> dict[str, Any]:
    """A route of a host to InferenceServices by weight, through a Gateway."""
    backends = [
        {"name": f"{name}-predictor", "port": 80, "weight": weight}
        for name, weight in weights.items()
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": gateway},
        "spec": {
            "parentRefs": [{"name": gateway, "namespace": "gateway"}],
            "hostnames": [host],
            "rules": [{"backendRefs": backends}],
        },
    }


def condition(conditions: list[dict[str, Any]], kind: str) -> str | None:
    """The status of one condition."""
    return next((one["status"] for one in conditions if one["type"] == kind), None)


def until_ready(space: Space, *names: str) -> None:
    """Waits until InferenceServices are Ready."""

    def ready() -> bool:
        found = space.kubectl.list("inferenceservices", space.name)
        states = {i["metadata"]["name"]: i.get("status", {}).get("conditions", []) for i in found}
        return all(condition(states.get(name, []), "Ready") == "True" for name in names)

    eventually("the InferenceServices to be Ready", ready, timeout=PATIENCE)


def until_accepted(space: Space, route: str) -> None:
    """Waits until a Gateway has accepted a route and found all that it names."""

    def accepted() -> bool:
        found = space.kubectl.get("httproute", route, space.name) or {}
        parents = found.get("status", {}).get("parents", [])
        return any(
            condition(one["conditions"], "Accepted") == "True"
            and condition(one["conditions"], "ResolvedRefs") == "True"
            for one in parents
        )

    eventually(f"the route {route} to be accepted", accepted)

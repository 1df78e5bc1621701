"""Kinds of other projects that Loopwright writes are served with their real schemas."""

from __future__ import annotations

from typing import Any

import pytest
from specs import Judge

OBJECTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "InferenceService": (
        "serving.kserve.io/v1beta1",
        "inferenceservices",
        {"predictor": {"containers": [{"name": "kserve-container", "image": "x"}]}},
    ),
    "ServingRuntime": (
        "serving.kserve.io/v1alpha1",
        "servingruntimes",
        {"containers": [{"name": "kserve-container", "image": "x"}]},
    ),
    "HTTPRoute": (
        "gateway.networking.k8s.io/v1",
        "httproutes",
        {"rules": [{"backendRefs": [{"name": "a", "port": 80, "weight": 80}]}]},
    ),
    "Gateway": (
        "gateway.networking.k8s.io/v1",
        "gateways",
        {"gatewayClassName": "x", "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}]},
    ),
    "ScaledObject": (
        "keda.sh/v1alpha1",
        "scaledobjects",
        {
            "scaleTargetRef": {"name": "a"},
            "triggers": [{"type": "cpu", "metadata": {"value": "50"}}],
        },
    ),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_right_ones_are_taken_and_wrong_ones_are_not(judge: Judge, kind: str) -> None:
    version, plural, spec = OBJECTS[kind]
    obj = {"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": spec}
    taken = judge.send(obj, f"{version}/{plural}")
    assert taken.status_code == 201, taken.text
    refused = judge.send({**obj, "spec": {**spec, "noSuchField": 1}}, f"{version}/{plural}")
    assert refused.status_code == 400, refused.text
    assert "noSuchField" in refused.text

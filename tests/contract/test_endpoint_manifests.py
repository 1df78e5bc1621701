"""What an endpoint consists of, as the API server takes it and as it stores it."""

from __future__ import annotations

from typing import Any

import pytest
from specs import Judge

from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.modelendpoint_status import Served
from loopwright.api.resources import resource_of
from loopwright.desired import autoscaling, httproute
from loopwright.desired import inferenceservice as isvc
from loopwright.desired.capture import configmap
from loopwright.desired.endpoint import EndpointContext, ModelSource
from loopwright.reconcile.children import right

Manifest = dict[str, Any]

MODEL = {"modelVersionRef": {"name": "m-v1"}}
OTHERS: Manifest = {
    "labels": {"team": "vision"},
    "annotations": {"example.com/a": "b"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "imagePullSecrets": [{"name": "registry"}],
    "volumes": [{"name": "scratch", "emptyDir": {}}],
    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    "affinity": {"podAntiAffinity": {}},
}
CAPTURES: dict[str, Manifest] = {
    "claim": {"destination": {"uri": "pvc://models/captures"}},
    "bucket": {"destination": {"uri": "s3://lake/c", "secretRef": {"name": "keys.lake"}}},
}
VARIANTS: dict[str, Manifest] = {
    "own": {"resources": {"cpu": "0.5", "memory": "1.5Gi", "shmSize": "0.5Gi"}, "pod": OTHERS},
    "gpu": {"resources": {"gpu": 1, "ephemeralStorage": "1000Mi"}},
    "image": {
        "runtime": {
            "image": "registry.example.com/server:1", "command": ["serve"], "args": ["--fast"],
            "protocol": "v1", "env": [{"name": "A", "value": "b"}],
        },
    },
    "stock": {"runtime": {"format": "sklearn", "formatVersion": "1", "protocol": "v1"}},
    "triton": {"runtime": {"servingRuntime": "kserve-tritonserver"}},
}  # fmt: skip
IMAGES = {"onnx": "serving:1", "safetensors": "serving-torch:1"}
SERVED = Served(revision="abc234", inference_service="ep-main-abc234", uri="pvc://models/m")
SOURCES = [
    ModelSource("pvc://models/m", "onnx", "sha256:" + "0" * 64),
    ModelSource("s3://models/m", "onnx", "sha256:" + "0" * 64, "keys", "m-v1"),
]


def context(**spec: Any) -> EndpointContext:
    """An endpoint with one variant."""
    variant = {"name": "main", "model": MODEL, **spec.pop("variant", {})}
    parsed = ModelEndpointSpec.model_validate({"variants": [variant], **spec})
    return EndpointContext("ep", "default", "u-i-d", parsed, IMAGES, "http://prometheus:9090")


def stored(judge: Judge, manifest: Manifest) -> Manifest:
    """What the API server makes of a manifest, which it must accept as it is."""
    resource = resource_of(manifest)
    answer = judge.send(manifest, f"{resource.api_version}/{resource.plural}")
    assert answer.status_code == 201, answer.text
    found: Manifest = answer.json()
    assert right(found, manifest), differences(found, manifest)
    return found


def differences(found: Any, wanted: Any) -> str:
    return f"stored {found}\nwanted {wanted}"


@pytest.mark.parametrize("model", SOURCES, ids=["claim", "bucket"])
@pytest.mark.parametrize("name", VARIANTS)
def test_inference_services(judge: Judge, name: str, model: ModelSource) -> None:
    ctx = context(variant=VARIANTS[name], batcher={"maxLatencyMs": 3})
    made = isvc.predictor(ctx, ctx.spec.variants[0], model)
    stored(judge, isvc.inference_service(ctx, "main", SERVED, made))
    assert stored(judge, isvc.record(ctx, "main", SERVED, made))["data"]["predictor"] == made


@pytest.mark.parametrize("place", CAPTURES)
def test_inference_services_that_capture(judge: Judge, place: str) -> None:
    ctx = context(dataCapture={**CAPTURES[place], "redact": ["$.inputs[?@.name=='it'].data"]})
    made = isvc.predictor(ctx, ctx.spec.variants[0], SOURCES[0])
    stored(judge, isvc.inference_service(ctx, "main", SERVED, made))
    assert stored(judge, isvc.record(ctx, "main", SERVED, made))["data"]["predictor"] == made
    stored(judge, configmap(ctx))
    stored(judge, configmap(context()) | {"metadata": ctx.metadata("other")})


@pytest.mark.parametrize("name", ["own", "gpu", "image"])
def test_its_pods_are_restricted(judge: Judge, name: str) -> None:
    """The API server's own Pod Security admission looks at what KServe would make."""
    ctx = context(variant=VARIANTS[name])
    made = isvc.predictor(ctx, ctx.spec.variants[0], SOURCES[0])
    spec = {
        k: v for k, v in made.items() if k not in ("labels", "annotations", "deploymentStrategy")
    }
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    space = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "strict", "labels": labels},
    }
    judge.client.post("/api/v1/namespaces", json=space)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    answer = judge.client.post("/api/v1/namespaces/strict/pods", params={"dryRun": "All"}, json=pod)
    # No controller makes the account that pods want.
    assert answer.status_code == 201 or "serviceaccount" in answer.text, answer.text


SCALING: dict[str, Manifest] = {
    "cpu": {},
    "memory": {"min": 2, "metrics": [{"memory": {"average": "1.5Gi"}}, {"cpu": {}}]},
    "keda": {
        "mode": "KEDA",
        "metrics": [
            {"cpu": {}}, {"memory": {"average": "1Gi"}}, {"rps": {"perReplica": 50}},
            {"prometheus": {"query": "sum(x{a='{{endpoint}}'})", "threshold": "2.5"}},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("scaling", SCALING.values(), ids=list(SCALING))
def test_autoscalers(judge: Judge, scaling: Manifest) -> None:
    ctx = context(autoscaling=scaling)
    policy = ctx.spec.scaling(ctx.spec.variants[0])
    made = autoscaling.autoscaler(ctx, "main", SERVED, policy, policy.min)
    assert made is not None
    stored(judge, made)


def test_the_other_children(judge: Judge) -> None:
    ctx = context()
    stored(judge, autoscaling.disruption_budget(ctx, "main", SERVED))
    stored(judge, httproute.service(ctx, "ep-main-abc234"))


ROUTING: dict[str, Manifest] = {
    "plain": {},
    "all": {
        "gatewayRef": {"name": "gw", "namespace": "gateways", "sectionName": "web"},
        "hostnames": ["models.example.com", "*.example.org"],
        "path": "/a/b",
        "sticky": {"cookie": "arm"},
        "rules": [{"name": "beta", "variant": "main", "headers": [{"name": "x-b", "value": "1"}]}],
        "timeoutSeconds": 3600,
    },
    "header": {"path": "/", "sticky": {"header": "x-variant"}},
}


@pytest.mark.parametrize("routing", ROUTING.values(), ids=list(ROUTING))
@pytest.mark.parametrize("mirror", [None, ("ep-shadow-r1", 10), ("ep-shadow-r1", 100)])
def test_routes(judge: Judge, routing: Manifest, mirror: tuple[str, int] | None) -> None:
    ctx = context(routing=routing)
    asked = ctx.spec.routing
    targets = [
        httproute.Target("main", "ep-main-a", 9000),
        httproute.Target("main", "ep-main-b", 1),
    ]
    route = httproute.RouteContext(
        gateway=asked.gateway_ref or httproute.GatewayRef(name="gw"),
        path=asked.path or "/default/ep",
        targets=targets,
        of_variant={"main": targets},
        hostnames=asked.hostnames,
        rules=asked.rules,
        sticky=asked.sticky,
        mirror=mirror,
        timeout_seconds=asked.timeout_seconds,
    )
    stored(judge, httproute.httproute(ctx, route))


def test_the_largest_route(judge: Judge) -> None:
    """Eight variants, each in a rollout, seven rules, stickiness and a copy."""
    variants = [{"name": f"v{number}", "model": MODEL} for number in range(8)]
    rules = [
        {"name": f"r{n}", "variant": f"v{n}", "headers": [{"name": f"h{n}", "value": "1"}]}
        for n in range(7)
    ]
    spec = {"variants": variants, "routing": {"sticky": {"header": "x"}, "rules": rules}}
    parsed = ModelEndpointSpec.model_validate(spec)
    ctx = EndpointContext("ep", "default", "u-i-d", parsed, IMAGES)
    of = {
        f"v{n}": [httproute.Target(f"v{n}", f"ep-v{n}-{rev}", 50_000) for rev in "ab"]
        for n in range(8)
    }
    route = httproute.RouteContext(
        gateway=httproute.GatewayRef(name="gw"),
        path="/default/ep",
        targets=[one for targets in of.values() for one in targets],
        of_variant=of,
        rules=parsed.routing.rules,
        sticky=parsed.routing.sticky,
        mirror=("ep-shadow", 50),
        timeout_seconds=30,
    )
    stored(judge, httproute.httproute(ctx, route))

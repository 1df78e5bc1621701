"""What an endpoint is made of: pure, and the same until something that matters changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loopwright.api import names
from loopwright.api.delivery import GatewayRef, Sticky
from loopwright.api.modelendpoint import ModelEndpointSpec, Variant
from loopwright.api.modelendpoint_status import Served
from loopwright.desired import autoscaling, httproute
from loopwright.desired import inferenceservice as isvc
from loopwright.desired.endpoint import EndpointContext, ModelSource
from loopwright.desired.httproute import RouteContext, Target

DIGEST = "sha256:" + "1" * 64
CLAIM = ModelSource("pvc://models/digits/v1", "onnx", DIGEST, version="m-v1")
BUCKET = ModelSource("s3://models/digits", "onnx", DIGEST, "keys")
SKLEARN = ModelSource("pvc://models/digits", "sklearn", version="m-v1")


def context(image: str = "serving:1", **spec: Any) -> EndpointContext:
    variant = {"name": "main", "model": {"modelVersionRef": {"name": "m-v1"}}}
    variant |= spec.pop("variant", {})
    parsed = ModelEndpointSpec.model_validate({"variants": [variant], **spec})
    images = {"onnx": image, "safetensors": "serving-torch:1"}
    return EndpointContext("ep", "n", "u", parsed, images, "http://prometheus")


def variant(**more: Any) -> Variant:
    return context(variant=more).spec.variants[0]


def revision(source: ModelSource, batcher: Any = None, **more: Any) -> str:
    ctx = context(variant=more, **({} if batcher is None else {"batcher": batcher}))
    return isvc.digest(ctx, ctx.spec.variants[0], source)


def env(made: dict[str, Any]) -> dict[str, str]:
    [container] = made["containers"]
    return {one["name"]: one.get("value", "from a Secret") for one in container["env"]}


def test_our_own_server_is_told_what_to_serve() -> None:
    ctx = context(batcher={"maxBatchSize": 8})
    made = isvc.predictor(ctx, ctx.spec.variants[0], CLAIM)
    assert env(made) == {
        "LOOPWRIGHT_ENDPOINT": "ep",
        "LOOPWRIGHT_VARIANT": "main",
        "LOOPWRIGHT_MODEL_NAME": "ep",
        "LOOPWRIGHT_MODEL_URI": "pvc://models/digits/v1",
        "LOOPWRIGHT_MODEL_DIGEST": DIGEST,
        "LOOPWRIGHT_MAX_BATCH_SIZE": "8",
        "LOOPWRIGHT_MAX_LATENCY_MS": "5",
    }
    [container] = made["containers"]
    claims = [one for one in made["volumes"] if "persistentVolumeClaim" in one]
    assert claims[0]["persistentVolumeClaim"] == {"claimName": "models"}
    mount = next(one for one in container["volumeMounts"] if one["name"] == claims[0]["name"])
    assert (mount["mountPath"], mount["readOnly"]) == (f"{names.PVC_DIR}/models", True)
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not made["automountServiceAccountToken"]


def test_safetensors_have_the_server_with_torch() -> None:
    network = ModelSource("pvc://models/nets/v1", "safetensors", DIGEST, version="m-v1")
    assert isvc.own_server(variant(), network)
    made = isvc.predictor(context(), variant(), network)
    assert made["containers"][0]["image"] == "serving-torch:1"
    assert env(made)["LOOPWRIGHT_MODEL_DIGEST"] == DIGEST
    other = variant(runtime={"servingRuntime": "huggingface"})
    assert not isvc.own_server(other, network)


def test_credentials_come_key_by_key() -> None:
    made = isvc.predictor(context(), variant(), BUCKET)
    [container] = made["containers"]
    keys = {
        one["name"]: one["valueFrom"]["secretKeyRef"]
        for one in container["env"]
        if "valueFrom" in one
    }
    assert {one["name"] for one in keys.values()} == {"keys"}
    assert [name for name, ref in keys.items() if not ref["optional"]] == list(keys)[:2]
    assert list(keys)[:2] == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]


def test_other_formats_go_to_kserve() -> None:
    made = isvc.predictor(context(), variant(), SKLEARN)
    assert made["model"]["modelFormat"] == {"name": "sklearn"}
    assert made["model"]["storageUri"] == SKLEARN.uri
    assert made["model"]["args"] == ["--model_name=ep"]
    own = variant(runtime={"servingRuntime": "triton", "args": ["--x"]})
    made = isvc.predictor(context(), own, CLAIM)
    assert (made["model"]["runtime"], made["model"]["args"]) == ("triton", ["--x"])


def test_an_image_is_run_as_it_is() -> None:
    own = variant(runtime={"image": "r/s:1", "command": ["serve"], "protocol": "v1"})
    [container] = isvc.predictor(context(), own, SKLEARN)["containers"]
    assert (container["image"], container["command"]) == ("r/s:1", ["serve"])
    assert container["readinessProbe"]["tcpSocket"] == {"port": 8080}
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}
    assert "livenessProbe" not in container


CHANGES: dict[str, tuple[dict[str, Any], ModelSource]] = {
    "model": ({}, ModelSource("pvc://models/digits/v1", "onnx", "sha256:" + "2" * 64)),
    "place": ({}, ModelSource("pvc://models/elsewhere", "onnx", DIGEST)),
    "resources": ({"resources": {"cpu": "2"}}, CLAIM),
    "server": ({"runtime": {"env": [{"name": "A", "value": "b"}]}}, CLAIM),
    "pod": ({"pod": {"annotations": {"restarted": "1"}}}, CLAIM),
}


@pytest.mark.parametrize(("more", "model"), CHANGES.values(), ids=list(CHANGES))
def test_what_matters_makes_another_revision(more: dict[str, Any], model: ModelSource) -> None:
    assert revision(CLAIM) != revision(model, **more)


@pytest.mark.parametrize(
    "more",
    [
        {"weight": 7}, {"replicas": 3}, {"autoscaling": {}},
        {"model": {"modelRef": {"name": "m", "alias": "live"}}},
        # Said or not, a default is a default.
        {"resources": {"cpu": "1"}, "runtime": {"protocol": "v2"}, "pod": {"labels": {}}},
    ],
)  # fmt: skip
def test_what_does_not_matter_makes_none(more: dict[str, Any]) -> None:
    assert revision(CLAIM, **more) == revision(CLAIM)
    same = ModelSource(CLAIM.uri, CLAIM.format, CLAIM.digest, version="m-v1-again")
    assert revision(same) == revision(CLAIM)


def test_revisions_keep_their_names() -> None:
    """A change here would replace the pods of every endpoint with the operator's next version."""
    assert revision(CLAIM) == "el6iej"
    rich = {"runtime": {"env": [{"name": "A", "value": "b"}]}, "resources": {"cpu": "2"}}
    assert revision(BUCKET, {}, **rich) == "i75lt5"


def test_batching_makes_another_revision_of_our_own_server_only() -> None:
    assert revision(CLAIM, {}) != revision(CLAIM)
    assert revision(SKLEARN, {}) == revision(SKLEARN)


def test_variants_never_share_a_revision() -> None:
    """Endpoint a-b with variant c, and a with b-c, would share its name as well."""
    assert revision(CLAIM, name="c") != revision(CLAIM)


def test_labels_of_the_operator_are_its_own() -> None:
    ctx = context(variant={"pod": {"labels": {"team": "a"}}})
    served = Served(revision="r", inference_service="ep-main-r", uri=CLAIM.uri)
    made = isvc.predictor(ctx, ctx.spec.variants[0], CLAIM)
    # As a record of a time may say when specs were not refused for it.
    made["labels"][names.LABEL_VARIANT] = "other"
    manifest = isvc.inference_service(ctx, "main", served, made)
    labels = manifest["spec"]["predictor"]["labels"]
    assert labels["team"] == "a"
    assert labels[names.LABEL_VARIANT] == "main"
    assert manifest["metadata"]["labels"]["networking.kserve.io/visibility"] == "cluster-local"
    # Built twice it is the same, to the letter.
    again = isvc.inference_service(ctx, "main", served, made)
    assert json.dumps(again) == json.dumps(manifest)


@pytest.mark.parametrize("namespace", ["n", "n" * 20, "n" * 38])
@pytest.mark.parametrize("endpoint", ["e", "e" * 30])
def test_names_fit_kserve(namespace: str, endpoint: str) -> None:
    found = {
        names.inference_service_name(namespace, endpoint, variant, revision)
        for variant in ("a", "v" * 10)
        for revision in ("r23456", "r23457")
    }
    assert len(found) == 4
    for name in found:
        assert len(f"{names.predictor_name(name)}-{namespace}") <= 63
        assert len(f"isvc.{names.predictor_name(name)}") <= 63
        assert not name.endswith("-")


TARGETS = [Target("a", "ep-a-1", 90), Target("b", "ep-b-1", 10)]


def route(**more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"gateway": GatewayRef(name="gw"), "path": "/n/ep", "targets": TARGETS}
    found: dict[str, Any] = httproute.httproute(context(), RouteContext(**{**base, **more}))
    return found["spec"]


def test_feedback_does_not_take_turns_with_predictions() -> None:
    targets = [Target("a", "ep-a", 50), Target("b", "ep-b", 50)]
    feedback, predictions = route(targets=targets, feedback=True)["rules"]
    [match] = feedback["matches"]
    path = predictions["matches"][0]["path"]["value"]
    assert match == {"path": {"type": "PathPrefix", "value": f"{path}/loopwright/feedback"}}
    [rewrite] = feedback["filters"]
    assert rewrite["urlRewrite"]["path"]["replacePrefixMatch"] == "/loopwright/feedback"
    assert [one["weight"] for one in feedback["backendRefs"]] == [50, 50]
    [feedback, _] = route(targets=targets, feedback=True, path="/")["rules"]
    assert feedback["matches"][0]["path"]["value"] == "/loopwright/feedback"
    assert "filters" not in feedback


def test_a_route_divides_and_hides_its_path() -> None:
    [rule] = route()["rules"]
    assert [ref["weight"] for ref in rule["backendRefs"]] == [90, 10]
    assert rule["backendRefs"][0]["name"] == "ep-a-1-predictor"
    assert rule["filters"][0]["urlRewrite"]["path"]["replacePrefixMatch"] == "/"
    [rule] = route(path="/")["rules"]
    assert "filters" not in rule


def test_those_who_choose_come_before_those_who_do_not() -> None:
    of = {"a": TARGETS[:1], "b": TARGETS[1:]}
    spec = ModelEndpointSpec.model_validate(
        {
            "variants": [
                {"name": name, "model": {"modelVersionRef": {"name": "m"}}} for name in "ab"
            ],
            "routing": {
                "rules": [
                    {"name": n, "variant": v, "headers": [{"name": "x", "value": n}]}
                    for n, v in (("one", "a"), ("two", "b"))
                ]
            },
        }
    )
    found = route(of_variant={"b": of["b"]}, rules=spec.routing.rules)["rules"]
    # The one whose variant takes no traffic falls through to the last.
    assert [len(rule["backendRefs"]) for rule in found] == [1, 2]
    found = route(of_variant=of, sticky=Sticky(header="x-arm"))["rules"]
    assert [rule["matches"][0].get("headers", [{}])[0].get("value") for rule in found] == [
        "a", "b", None,
    ]  # fmt: skip


def test_answers_name_their_variant() -> None:
    [*_, last] = route(sticky=Sticky(cookie="arm"))["rules"]
    [header] = last["backendRefs"][1]["filters"][0]["responseHeaderModifier"]["add"]
    assert header["name"] == "Set-Cookie"
    assert header["value"].startswith("arm=b; ")


def test_copies_may_be_a_part() -> None:
    [rule] = route(path="/", mirror=("ep-s-1", 25))["rules"]
    assert rule["filters"][0]["requestMirror"]["percent"] == 25
    [rule] = route(path="/", mirror=("ep-s-1", 100))["rules"]
    assert "percent" not in rule["filters"][0]["requestMirror"]


def test_queries_know_their_names() -> None:
    text = "x{v='{{variant}}',r='{{revision}}',n='{{namespace}}',e='{{endpoint}}'}[{{window}}]"
    assert autoscaling.filled(text, context(), "main", "r1", 30) == (
        "x{v='main',r='r1',n='n',e='ep'}[30s]"
    )

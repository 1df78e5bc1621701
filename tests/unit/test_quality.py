"""Kind ModelQuality as the operator sees it: specs, the monitor's pod, and what follows."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from endpoint_worlds import EndpointWorld, variant
from pydantic import ValidationError

from loopwright.api import names
from loopwright.api.endpoint_report import MonitorConfig
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.quality_report import QualityConfig
from loopwright.api.resources import Key
from loopwright.desired import capture, quality
from loopwright.desired.endpoint import EndpointContext, ModelSource
from loopwright.desired.monitor import MonitorContext, deployment
from loopwright.kube.cache import Cache
from loopwright.reconcile.monitoring import measured

CAPTURE = {"destination": {"uri": "s3://lake/captures", "secretRef": {"name": "keys"}}}
LABELS = {"uri": "pvc://lake/labels"}


def monitor(**more: Any) -> dict[str, Any]:
    """A monitor of answers with windows of a minute, whose labels are there at once."""
    own = {"labels": {**LABELS, "delaySeconds": 0}, **more.pop("quality", {})}
    return {
        "name": "answers", "kind": "ModelQuality", "threshold": "0.9", "everySeconds": 60,
        "quality": own, **more,
    }  # fmt: skip


def spec(monitor: dict[str, Any], capture: dict[str, Any] | None = CAPTURE) -> ModelEndpointSpec:
    more = {"dataCapture": capture} if capture is not None else {}
    return ModelEndpointSpec.model_validate(
        {"variants": [variant()], "monitors": [monitor], **more}
    )


def context(*monitors: dict[str, Any], **more: Any) -> EndpointContext:
    found = {"variants": [variant()], "monitors": monitors, "dataCapture": CAPTURE, **more}
    return EndpointContext(
        "ep", "n", "u", ModelEndpointSpec.model_validate(found), {"onnx": "serving:1"}
    )


def watched(**more: Any) -> EndpointWorld:
    return EndpointWorld(variant(), monitors=[monitor(**more)], dataCapture=CAPTURE).up()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (monitor(kind="DataDrift"), "quality goes with kind ModelQuality"),
        ({"name": "a", "kind": "ModelQuality", "threshold": "0.9"}, "which needs it"),
        (monitor(threshold=None), "needs either a threshold"),
        (monitor(quality={"worseThanBaseline": {"metric": "a"}}), "needs either a threshold"),
        (monitor(threshold="1.5"), "at most 1"),
        (monitor(method="PSI"), "method and features are about distributions"),
        (monitor(features=[{"name": "x"}]), "method and features are about distributions"),
        (monitor(driftShare="0.5"), "driftShare goes with kind DataDrift"),
        (monitor(quality={"metric": "F1"}), "name it in positive"),
        (monitor(quality={"bias": {"column": "a", "privileged": "b", "minRatio": "0.8"}}),
         "name it in positive"),
        (monitor(quality={"positive": "1", "bias": {"column": "a", "privileged": "b"}}),
         "bias takes a bound"),
        (monitor(quality={"metric": "MAE", "positive": "1"}), "MAE and RMSE are about numbers"),
        (monitor(quality={"metric": "RMSE", "answer": {"cutoff": "1"}}), "are about numbers"),
        (monitor(quality={"labels": {**LABELS, "secretRef": {"name": "k"}}}),
         "secretRef goes with s3://"),
        (monitor(quality={"slices": [{"column": "a"}, {"column": "a"}]}), "must not repeat"),
    ],
)  # fmt: skip
def test_specs_that_make_no_sense(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        spec(wrong)


def test_errors_may_be_larger_than_one() -> None:
    assert spec(monitor(threshold="12.5", quality={"metric": "MAE"})).monitors[0].threshold


def test_answers_must_be_kept_until_labels_have_come() -> None:
    with pytest.raises(ValidationError, match="needs dataCapture with a mode that keeps answers"):
        spec(monitor(), None)
    with pytest.raises(ValidationError, match="needs dataCapture with a mode that keeps answers"):
        spec(monitor(), {**CAPTURE, "mode": "Request"})
    late = {"labels": {**LABELS, "delaySeconds": 86_400}}
    with pytest.raises(ValidationError, match="retentionDays must exceed"):
        spec(monitor(quality=late), {**CAPTURE, "retentionDays": 1})
    assert spec(monitor(quality=late), {**CAPTURE, "retentionDays": 2, "mode": "Response"})


def test_batches_have_no_labels_to_come() -> None:
    from loopwright.api.monitoring import Watch

    with pytest.raises(ValidationError, match="DataQuality"):
        Watch.model_validate({"name": "answers", "kind": "ModelQuality"})


def test_one_container_joins_for_all_monitors() -> None:
    second = monitor(name="more", quality={
        "labels": {"uri": "s3://lake/labels", "secretRef": {"name": "others"}},
    })  # fmt: skip
    ctx = context(monitor(), monitor(name="again"), second, {"name": "d", "kind": "DataDrift"})
    beside = quality.joiner(ctx)
    assert beside is not None
    config = MonitorConfig(endpoint="ep", namespace="n", uid="u", report="ep-observed")
    pod = deployment(MonitorContext(config, "operator:1", [beside]))["spec"]["template"]["spec"]
    [watcher, joiner] = pod["containers"]
    assert (joiner["image"], joiner["command"][-1]) == ("serving:1", "loopwright.serving.quality")
    mounts = {one["mountPath"]: one for one in joiner["volumeMounts"]}
    assert set(mounts) == {
        names.QUALITY_DIR, f"{names.LABELS_DIR}/lake", f"{names.SECRETS_DIR}/keys",
        f"{names.SECRETS_DIR}/others",
    }  # fmt: skip
    assert mounts[f"{names.LABELS_DIR}/lake"]["readOnly"]
    told = QualityConfig.model_validate(json.loads(joiner["env"][0]["value"]))
    assert [one.name for one in told.monitors] == ["answers", "again", "more"]
    # Each has only its own of the account and the keys.
    paths = [one["mountPath"] for one in watcher["volumeMounts"]]
    assert paths[1:] == [names.QUALITY_DIR]
    assert watcher["volumeMounts"][0] not in joiner["volumeMounts"]
    assert len({one["name"] for one in pod["volumes"]}) == len(pod["volumes"])


def test_what_versions_reached_is_told_beside_what_is_captured() -> None:
    asked = monitor(threshold=None, quality={"worseThanBaseline": {"metric": "accuracy"}})
    reached = {"m-v1": {"accuracy": "0.93"}}
    ctx = replace(context(asked), metrics=reached)
    told = capture.configmap(ctx)["data"]
    assert json.loads(told[names.METRICS_KEY]) == reached
    beside = quality.joiner(ctx)
    assert beside is not None
    container, volumes = beside
    paths = [one["mountPath"] for one in container["volumeMounts"]]
    assert names.CAPTURE_CONFIG_DIR in paths
    assert {"name": "ep-capture", "optional": True} in [one.get("configMap") for one in volumes]
    assert set(capture.configmap(context(monitor()))["data"]) == {names.CAPTURE_KEY}


def test_no_container_without_such_a_monitor_or_without_pods() -> None:
    assert quality.joiner(context({"name": "d", "kind": "DataDrift"})) is None
    assert quality.joiner(context(monitor(), suspend=True)) is None


def test_retention_and_labels_share_a_claim() -> None:
    own = {"destination": {"uri": "pvc://lake/captures"}, "retentionDays": 30}
    ctx = context(monitor(), dataCapture=own)
    beside = [one for one in (capture.retention(ctx), quality.joiner(ctx)) if one]
    config = MonitorConfig(endpoint="ep", namespace="n", uid="u", report="ep-observed")
    pod = deployment(MonitorContext(config, "operator:1", beside))["spec"]["template"]["spec"]
    assert [one["name"] for one in pod["containers"]] == ["monitor", "retention", "quality"]
    claims = [one["persistentVolumeClaim"] for one in pod["volumes"] if len(one) == 2
              and "persistentVolumeClaim" in one]  # fmt: skip
    assert claims == [{"claimName": "lake"}, {"claimName": "lake", "readOnly": True}]


def test_it_has_a_condition_and_events_of_its_own() -> None:
    world = watched()
    assert world.condition("ModelQualityOK") == ("Unknown", "FirstWindow")
    world.window("OK")
    assert world.condition("ModelQualityOK") == ("True", "AsExpected")
    world.window("Violated", message="Accuracy is 0.7, beyond 0.9")
    assert world.condition("ModelQualityOK")[0] == "False"
    assert world.told[-1] == "ModelQualityViolated"
    world.window("NoData", reason="TooFewLabels")
    assert world.condition("ModelQualityOK") == ("Unknown", "TooFewLabels")
    assert world.condition("Ready") == ("True", "Serving")
    assert "DriftDetected" not in {one.type for one in world.status.conditions}


def test_a_bad_new_revision_is_given_up() -> None:
    world = EndpointWorld(
        variant(), monitors=[monitor(onViolation={"rollback": True})], dataCapture=CAPTURE,
        rollout={"bakeSeconds": 0, "checks": [], "keepPreviousSeconds": 3600},
    ).up()  # fmt: skip
    world.wants("main", "r2").step().kserve().step(1).step(1)
    assert world.revision == "r2"
    world.window("Violated", "r2", message="Accuracy is 0.7")
    assert world.revision == "r1"
    assert world.told.count("RolledBack") == 1


def test_silence_begins_after_labels_had_their_time() -> None:
    late = {"labels": {**LABELS, "delaySeconds": 864_000}}
    world = watched(quality=late).window("OK")
    assert world.decision.requeue is not None
    assert world.decision.requeue > 864_000
    world.step(864_000)
    assert world.condition("ModelQualityOK") == ("True", "AsExpected")
    assert world.decision.requeue is not None
    world.step(world.decision.requeue + 1)
    assert world.condition("ModelQualityOK") == ("Unknown", "Silent")


def registered(name: str, model: str = "m", **metrics: str) -> dict[str, Any]:
    told = [{"name": key, "value": value} for key, value in metrics.items()]
    spec = {
        "modelRef": {"name": model}, "version": name, "uri": "pvc://models/x", "format": "onnx",
        "digest": "sha256:" + "0" * 64, "metrics": told,
    }  # fmt: skip
    meta = {"name": f"{model}-{name}", "namespace": "n", "uid": name, "resourceVersion": "1"}
    head = {"apiVersion": "loopwright.io/v1alpha1", "kind": "ModelVersion"}
    return {**head, "metadata": meta, "spec": spec}


def test_versions_whose_answers_may_still_be_judged_are_told_of() -> None:
    cache = Cache()
    for one in (
        registered("v1", accuracy="0.9", loss="0.2"), registered("v2", accuracy="0.8"),
        registered("v3"), registered("v1", "other", accuracy="0.7"),
    ):  # fmt: skip
        cache.observe("ADDED", one)
    ctx: Any = SimpleNamespace(cache=cache)
    key, models = Key("ModelEndpoint", "n", "ep"), {
        "main": ModelSource("pvc://models/x", "onnx", version="m-v2"),
        "plain": ModelSource("pvc://models/y", "onnx"),
        "gone": ModelSource("pvc://models/z", "onnx", version="m-v9"),
    }  # fmt: skip
    asked = monitor(threshold=None, quality={"worseThanBaseline": {"metric": "accuracy"}})
    assert measured(ctx, key, spec(asked), models) == {
        "m-v1": {"accuracy": "0.9"}, "m-v2": {"accuracy": "0.8"}, "m-v3": {},
    }  # fmt: skip
    assert measured(ctx, key, spec(monitor()), models) == {}

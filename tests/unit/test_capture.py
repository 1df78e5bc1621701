"""Data capture as the operator sees it: specs, pods, the condition and its Events."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from endpoint_worlds import START, EndpointWorld, variant
from pydantic import ValidationError

from loopwright.api import names
from loopwright.api.capture import CaptureConfig
from loopwright.api.capture_report import REPEAT, STALE, CaptureReport
from loopwright.api.conditions import Truth
from loopwright.api.endpoint_report import MonitorConfig
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.desired import capture
from loopwright.desired import inferenceservice as isvc
from loopwright.desired.endpoint import EndpointContext, ModelSource
from loopwright.desired.monitor import MonitorContext, deployment

MODEL = ModelSource("pvc://models/m", "onnx", "sha256:" + "1" * 64, version="m-v1")
FOREIGN = ModelSource("pvc://models/m", "sklearn", version="m-v1")
IMAGES = {"onnx": "serving:1", "safetensors": "serving-torch:1"}
BUCKET = {"uri": "s3://lake/captures", "secretRef": {"name": "keys"}}
CLAIM = {"uri": "pvc://models/captures"}


def context(**wanted: Any) -> EndpointContext:
    spec: dict[str, Any] = {"variants": [variant()]}
    if wanted:
        spec["dataCapture"] = {"destination": BUCKET, **wanted}
    return EndpointContext("ep", "n", "u", ModelEndpointSpec.model_validate(spec), IMAGES)


def revision(model: ModelSource = MODEL, **wanted: Any) -> str:
    ctx = context(**wanted)
    return isvc.digest(ctx, ctx.spec.variants[0], model)


def made(model: ModelSource = MODEL, **wanted: Any) -> dict[str, Any]:
    ctx = context(**wanted)
    return isvc.predictor(ctx, ctx.spec.variants[0], model)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"samplePercent": 0}, "greater than or equal to 1"),
        ({"samplePercent": 101}, "less than or equal to 100"),
        ({"destination": {"uri": "https://x/y"}}, "must be a URI with one of the schemes"),
        ({"destination": {**CLAIM, "secretRef": {"name": "k"}}}, "secretRef goes with s3://"),
        ({"redact": ["email"]}, "must be a JSONPath of names"),
        ({"mode": "Some"}, "'All', 'Request' or 'Response'"),
        ({"format": "csv"}, "Extra inputs are not permitted"),
    ],
)
def test_specs_that_make_no_sense(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        context(**wrong)


def test_pods_are_told_by_a_file_that_may_change() -> None:
    found = made(samplePercent=20)
    [container] = found["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert env["LOOPWRIGHT_CAPTURE_CONFIG"] == "/etc/loopwright/capture/capture.json"
    assert env["LOOPWRIGHT_REVISION"] == revision(samplePercent=20)
    assert env["LOOPWRIGHT_REGISTERED_VERSION"] == "m-v1"
    volumes = {one["name"]: one for one in found["volumes"]}
    assert volumes["loopwright-capture"]["configMap"] == {"name": "ep-capture", "optional": True}
    assert volumes["loopwright-secret-keys"]["secret"] == {"secretName": "keys", "optional": True}
    text = capture.configmap(context(samplePercent=20))["data"][names.CAPTURE_KEY]
    config = CaptureConfig.model_validate_json(text)
    assert (config.endpoint, config.capture.sample_percent) == ("ep", 20)


def test_the_claim_of_the_model_is_written_at_another_place_only() -> None:
    found = made(destination=CLAIM)
    [container] = found["containers"]
    claims = [one for one in found["volumes"] if "persistentVolumeClaim" in one]
    assert len(claims) == 1
    mounts = {
        one["mountPath"]: one.get("readOnly", False)
        for one in container["volumeMounts"]
        if one["name"] == claims[0]["name"]
    }
    assert mounts == {f"{names.PVC_DIR}/models": True, names.CAPTURE_DIR: False}


def test_what_pods_can_be_told_makes_no_revision() -> None:
    first = revision(samplePercent=1)
    assert first != revision()
    for same in (
        {"samplePercent": 100}, {"redact": ["$.a"]}, {"mode": "Request"}, {"maxBodyBytes": 1000},
        {"retentionDays": 3}, {"flushSeconds": 5},
        {"destination": {**BUCKET, "uri": "s3://elsewhere/x"}},
    ):  # fmt: skip
        assert revision(**same) == first
    assert revision(destination={**BUCKET, "secretRef": {"name": "others"}}) != first
    assert revision(destination=CLAIM) != first
    assert revision(destination=CLAIM) == revision(destination={"uri": "pvc://models/x"})


def test_servers_of_others_are_left_alone() -> None:
    assert revision(FOREIGN) == revision(FOREIGN, samplePercent=1)
    assert made(FOREIGN) == made(FOREIGN, samplePercent=1)


def test_pods_that_are_not_to_capture_any_more_are_told_so() -> None:
    assert capture.configmap(context())["data"] == {names.CAPTURE_KEY: ""}


def test_what_is_old_is_deleted_by_one_container() -> None:
    assert capture.retention(context(samplePercent=1)) is None
    config = MonitorConfig(endpoint="ep", namespace="n", uid="u", report="ep-observed")
    beside = capture.retention(context(retentionDays=30, destination=CLAIM))
    assert beside is not None
    wanted = deployment(MonitorContext(config, "operator:1", [beside]))["spec"]
    pod = wanted["template"]["spec"]
    assert (wanted["replicas"], wanted["strategy"]) == (1, {"type": "Recreate"})
    [monitor, keeper] = pod["containers"]
    assert (monitor["image"], keeper["image"]) == ("operator:1", "serving:1")
    assert [one["mountPath"] for one in keeper["volumeMounts"]] == [names.CAPTURE_DIR]
    assert keeper["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 1000
    assert names.CAPTURE_DIR not in str(monitor["volumeMounts"])


def capturing(**more: Any) -> EndpointWorld:
    """An endpoint that serves and captures."""
    wanted = {"destination": BUCKET, **more}
    return EndpointWorld(variant(), dataCapture=wanted).up()


def says(world: EndpointWorld, reason: str, state: str, revision: str = "r1") -> None:
    """The monitor reports this, and the operator looks."""
    found = {"name": "main", "revision": revision, "state": state, "message": "what it is"}
    if reason:
        found["reason"] = reason
    world.capture = CaptureReport.model_validate(
        {"uid": "u", "time": world.now, "variants": [found]}
    )
    world.step()


def condition(world: EndpointWorld) -> tuple[Truth, str]:
    [one] = [one for one in world.status.conditions if one.type == "CaptureHealthy"]
    return one.status, one.reason


def test_nothing_is_said_where_nothing_is_captured() -> None:
    world = EndpointWorld(variant()).up()
    assert "CaptureHealthy" not in {one.type for one in world.status.conditions}


def test_trouble_is_told_once_and_so_is_its_end() -> None:
    world = capturing()
    assert condition(world) == (Truth.UNKNOWN, "NotWatched")
    says(world, "", "OK")
    assert condition(world) == (Truth.TRUE, "AsExpected")
    says(world, "UploadsFailing", "Violated")
    says(world, "UploadsFailing", "Violated")
    assert condition(world) == (Truth.FALSE, "UploadsFailing")
    says(world, "", "OK")
    assert [one for one in world.told if one.startswith("Capture")] == [
        "CaptureDegraded", "CaptureRecovered",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "state"),
    [("NoPods", "NoData"), ("PodsUnreachable", "Unknown"), ("NotCapturing", "Unknown")],
)
def test_what_is_not_known_is_never_called_well(reason: str, state: str) -> None:
    world = capturing()
    says(world, reason, state)
    assert condition(world) == (Truth.UNKNOWN, reason)
    assert not [one for one in world.told if one.startswith("Capture")]


def test_a_report_is_about_one_revision() -> None:
    world = capturing()
    says(world, "", "OK", revision="r0")
    assert condition(world) == (Truth.UNKNOWN, "NotWatched")


def test_a_silent_monitor_is_no_good_news() -> None:
    world = capturing()
    says(world, "", "OK")
    assert world.decision.requeue is not None
    assert world.decision.requeue <= STALE.total_seconds()
    world.step(STALE.total_seconds())
    assert condition(world) == (Truth.UNKNOWN, "Silent")
    assert REPEAT * 2 < STALE < timedelta(hours=1)
    assert world.now > START

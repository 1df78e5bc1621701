"""An endpoint that captures, on a real API server: what pods are told, and what is said of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from fake_world import Object
from kubectl import Kubectl
from replicas import Replicas
from scenes import SETTINGS, Scene, condition, scene, serving, there, variants

CAPTURE = {
    "destination": {"uri": "s3://lake/captures", "secretRef": {"name": "keys"}},
    "samplePercent": 10,
    "retentionDays": 30,
}


async def told(it: Scene) -> Any:
    """What the pods are told to keep."""
    found = await it.namespace.get("ConfigMap", "ep-capture")
    text = (found or {}).get("data", {}).get("capture.json")
    return json.loads(text)["capture"] if text else text


async def report(it: Scene, state: str, reason: str = "") -> None:
    """The monitor says this of what serves."""
    found = await it.namespace.get("ModelEndpoint", "ep")
    assert found is not None
    [one] = variants(found["status"])
    variant = {"name": "main", "revision": one["serving"]["revision"], "state": state}
    text = json.dumps(
        {
            "uid": found["metadata"]["uid"], "time": datetime.now(UTC).isoformat(),
            "variants": [{**variant, "reason": reason, "message": "see the log"}],
        }
    )  # fmt: skip
    await it.namespace.patch("ConfigMap", "ep-observed", data={"capture.json": text})


def healthy(state: str, reason: str) -> Any:
    return lambda status: condition(status, "CaptureHealthy") == (state, reason)


async def test_capture_from_first_to_last(api: Kubectl, replicas: Replicas) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig, replicas.namespaces) as it:
        status = await serving(it, dataCapture=CAPTURE)
        revision = variants(status)[0]["serving"]["revision"]
        assert (await told(it))["samplePercent"] == 10
        # The fake's reports would come between those of the test, at any time.
        it.fake.blind = True
        for kind, name in (("Deployment", "ep-monitor"), ("ConfigMap", "ep-observed")):
            await it.until(name, lambda _, a=(kind, name): there(it, *a))
        monitor: Object = await it.namespace.get("Deployment", "ep-monitor") or {}
        pod = monitor["spec"]["template"]["spec"]
        assert [one["name"] for one in pod["containers"]] == ["monitor", "retention"]

        await report(it, "OK")
        await it.until("health", healthy("True", "AsExpected"))
        await report(it, "Violated", "UploadsFailing")
        await it.until("trouble", healthy("False", "UploadsFailing"))

        # Pods that run are told of a change.
        await it.namespace.patch(
            "ModelEndpoint", "ep", spec={"dataCapture": {**CAPTURE, "samplePercent": 20}}
        )

        async def changed(_: Object) -> bool:
            found: Any = await told(it)
            return bool(found["samplePercent"] == 20)

        await it.until("the change", changed)
        assert variants(await it.status())[0]["serving"]["revision"] == revision

        it.fake.blind = False
        # An end of it takes another revision, and nobody keeps anything meanwhile.
        await it.namespace.patch("ModelEndpoint", "ep", spec={"dataCapture": None})

        async def ended(status: Object) -> bool:
            other = variants(status)[0]["serving"]["revision"] != revision
            return other and condition(status, "CaptureHealthy") == ("", "")

        await it.until("the end", ended)

        async def silent(_: Object) -> bool:
            return await told(it) == ""

        await it.until("an end for all", silent)

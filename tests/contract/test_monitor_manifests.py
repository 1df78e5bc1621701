"""What a monitor is made of, as the API server takes and stores it."""

from __future__ import annotations

import json

import pytest
import yaml
from kubectl import Kubectl

from loopwright.api import names
from loopwright.api.endpoint_report import MonitorConfig
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.desired.capture import configmap, retention
from loopwright.desired.endpoint import EndpointContext
from loopwright.desired.monitor import MonitorContext, deployment, monitor, monitor_access
from loopwright.desired.quality import joiner
from loopwright.reconcile.children import covers

NAMESPACE = "watched"
CONFIG = MonitorConfig(
    endpoint="digits", namespace=NAMESPACE, uid="u", report=names.observed_name("digits")
)
CONTEXT = MonitorContext(CONFIG, "ghcr.io/loopwright/operator:0.1.0")
SPEC = {
    "variants": [{"name": "main", "model": {"modelVersionRef": {"name": "m-v1"}}}],
    "dataCapture": {"destination": {"uri": "pvc://captures/x"}, "retentionDays": 30},
    "monitors": [
        {
            "name": "quality", "kind": "ModelQuality", "threshold": "0.9",
            "quality": {"labels": {"uri": "pvc://captures/labels"}},
        }
    ],
}  # fmt: skip
ENDPOINT = EndpointContext(
    "digits", NAMESPACE, "u", ModelEndpointSpec.model_validate(SPEC), {"onnx": "serving:1"}
)
BESIDE = [one for one in (retention(ENDPOINT), joiner(ENDPOINT)) if one]
CAPTURING = MonitorContext(CONFIG, CONTEXT.image, BESIDE)


def test_what_is_stored_is_what_was_wanted(api: Kubectl) -> None:
    """Or the operator would mend it for ever."""
    api.run("create", "namespace", NAMESPACE)
    wanted = [*monitor_access(NAMESPACE), *monitor(CAPTURING), configmap(ENDPOINT)]
    api.apply(text=yaml.safe_dump_all(wanted), namespace=NAMESPACE)
    for manifest in wanted:
        stored = api.get(manifest["kind"], manifest["metadata"]["name"], NAMESPACE)
        assert stored is not None
        assert covers(stored, manifest), manifest["kind"]


@pytest.mark.parametrize("context", [CONTEXT, CAPTURING], ids=["plain", "capturing"])
def test_its_pod_may_run_where_pods_are_restricted(api: Kubectl, context: MonitorContext) -> None:
    if api.get("namespace", "guarded") is None:
        api.run("create", "namespace", "guarded")
    api.run(
        "label",
        "--overwrite",
        "namespace",
        "guarded",
        "pod-security.kubernetes.io/enforce=restricted",
    )
    template = deployment(context)["spec"]["template"]
    api.apply(text=yaml.safe_dump_all(monitor_access("guarded")), namespace="guarded")
    meta = {**template["metadata"], "name": f"digits-{len(template['spec']['containers'])}"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}
    api.run("create", "-n", "guarded", "-f", "-", stdin=json.dumps(pod))


def test_its_configuration_reaches_it() -> None:
    env = deployment(CONTEXT)["spec"]["template"]["spec"]["containers"][0]["env"]
    given = {one["name"]: one["value"] for one in env}
    assert MonitorConfig.model_validate_json(given[names.ENV_MONITOR]) == CONFIG

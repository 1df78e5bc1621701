"""Whoever writes our objects gains nothing but restricted pods in that namespace, and what they use
there; see SECURITY.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from batch_worlds import batch_spec, model
from hypothesis import given, settings
from hypothesis import strategies as st
from pod_security import violations
from pydantic import ValidationError
from sweep_worlds import sweep_spec

from loopwright.api import kinds, names
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.resources import CONFIGMAP
from loopwright.api.shared import PodOverrides
from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.desired import autoscaling
from loopwright.desired import inferenceservice as isvc
from loopwright.desired.batch import BatchContext
from loopwright.desired.context import AttemptContext, JobContext
from loopwright.desired.endpoint import EndpointContext, ModelSource
from loopwright.desired.rayjob import ENTRYPOINT, rayjob
from loopwright.desired.sweep import SweepContext
from loopwright.desired.training import TrainingJobContext

ROOT = Path(__file__).parents[2]
CRDS = {
    one["spec"]["names"]["kind"]: one
    for file in sorted((ROOT / "crds").glob("*.yaml"))
    for one in yaml.safe_load_all(file.read_text())
}
# What no field may be called, however deep: each gives more than a pod of the namespace.
FORBIDDEN = frozenset(
    {
        "serviceAccountName", "serviceAccount", "automountServiceAccountToken",
        "serviceAccountToken",
        "clusterTrustBundle", "hostPath", "hostNetwork", "hostPID", "hostIPC", "hostUsers",
        "hostAliases", "hostPort", "privileged", "securityContext", "podSecurityContext",
        "runAsUser", "runAsGroup", "fsGroup", "capabilities", "procMount", "sysctls", "nodeName",
        "schedulerName", "runtimeClassName", "shareProcessNamespace", "initContainers",
        "containers", "ephemeralContainers", "podSpec", "podTemplate", "nfs", "iscsi", "local",
    }
)  # fmt: skip
# Objects of Kubernetes' own that are handed on as they are.
OPAQUE = {
    "affinity", "configMap", "secret", "persistentVolumeClaim", "emptyDir", "downwardAPI", "csi",
    "ephemeral",
}  # fmt: skip
# The one reference that may leave the namespace: the Gateway that a route asks to be attached to,
# which decides itself whose routes it takes.
NAMESPACES = {("ModelEndpoint", "routing.gatewayRef.namespace")}


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, name and schema of all fields below a schema."""
    for name, inner in (schema.get("properties") or {}).items():
        where = f"{path}.{name}".lstrip(".")
        yield where, name, inner
        yield from fields(inner, where)
    for one in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(one, dict):
            yield from fields(one, path)


def spec_of(kind: str) -> dict[str, Any]:
    [version] = CRDS[kind]["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def test_all_kinds_are_looked_at() -> None:
    assert CRDS.keys() == {one.name for one in kinds.KINDS}


@pytest.mark.parametrize("kind", sorted(CRDS))
def test_no_field_gives_more_than_a_pod(kind: str) -> None:
    found = list(fields(spec_of(kind)))
    # A group of people, of whom a bias metric is told.
    told = {"monitors.quality.bias.privileged"}
    assert not [one for one, name, _ in found if name in FORBIDDEN and one not in told]
    away = {(kind, where) for where, name, _ in found if name.lower().endswith("namespace")}
    assert away <= NAMESPACES


@pytest.mark.parametrize("kind", sorted(CRDS))
def test_only_known_parts_are_handed_on_unread(kind: str) -> None:
    """Unknown fields elsewhere are pruned by the API server, and refused by kubectl."""
    spec = spec_of(kind)
    assert "x-kubernetes-preserve-unknown-fields" not in spec
    loose = {n for _, n, one in fields(spec) if one.get("x-kubernetes-preserve-unknown-fields")}
    assert loose <= OPAQUE
    assert not [n for _, n, one in fields(spec) if one.get("x-kubernetes-embedded-resource")]


REFUSED: list[dict[str, Any]] = [
    {"serviceAccountName": "admin"}, {"hostNetwork": True}, {"hostPID": True},
    {"securityContext": {"runAsUser": 0}}, {"initContainers": []}, {"nodeName": "control-plane"},
    {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]},
    {"volumes": [{"name": "a", "nfs": {"server": "x", "path": "/"}}]},
    {"volumes": [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {}}]}}]},
    {"volumes": [{"name": "a", "projected": {"sources": [{"clusterTrustBundle": {"path": "t"}}]}}]},
    {"volumes": [{"name": "loopwright-token", "emptyDir": {}}]},
    {"imagePullSecrets": [{"name": "s", "namespace": "other"}]},
    {"labels": {"loopwright.io/name": "other"}}, {"labels": {"ray.io/is-ray-node": "no"}},
    {"labels": {"app.kubernetes.io/managed-by": "Helm"}}, {"labels": {"app": "isvc.x-predictor"}},
    {"labels": {"app.kubernetes.io/component": "kuberay-operator"}},
    {"labels": {"kueue.x-k8s.io/queue-name": "other"}},
    {"annotations": {"loopwright.io/config": "{}"}},
    {"annotations": {"internal.serving.kserve.io/storage-initializer-sourceuri": "s3://x"}},
]  # fmt: skip


@pytest.mark.parametrize("overrides", REFUSED, ids=json.dumps)
def test_what_is_refused_of_pods(overrides: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PodOverrides.model_validate(overrides)
    for spec in (
        {"function": "a:b", "pod": overrides},
        {"function": "a:b", "head": {"pod": overrides}},
    ):
        with pytest.raises(ValidationError):
            TrainingJobSpec.model_validate(spec)


KEYS = st.sampled_from(["team", "app", "example.com/x", "app.kubernetes.io/component"])
WORDS = st.sampled_from(["a", "ml", "trainer", "x-y"])
SOURCES = st.sampled_from(
    [{"configMap": {"name": "c"}}, {"secret": {"secretName": "s"}}, {"emptyDir": {}},
     {"persistentVolumeClaim": {"claimName": "c"}}, {"csi": {"driver": "d"}},
     {"projected": {"sources": [{"secret": {"name": "s"}}], "defaultMode": 0o400}},
     {"downwardAPI": {"items": []}}, {"ephemeral": {"volumeClaimTemplate": {}}}]
)  # fmt: skip
OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(KEYS, WORDS, max_size=2),
        "annotations": st.dictionaries(KEYS, WORDS, max_size=2),
        "nodeSelector": st.dictionaries(KEYS, WORDS, max_size=2),
        "tolerations": st.just([{"operator": "Exists"}]),
        "affinity": st.just({"nodeAffinity": {}}),
        "imagePullSecrets": st.just([{"name": "registry"}]),
        "volumes": st.builds(lambda source: [{"name": "v", **source}], SOURCES),
        "volumeMounts": st.just([{"name": "v", "mountPath": "/var/run/secrets"}]),
    },
)
MORE = st.fixed_dictionaries(
    {},
    optional={
        "env": st.just([{"name": "A", "value": "$(reboot) `x` ; rm -rf /"}]),
        "envFrom": st.just([{"secretRef": {"name": "s"}}]),
        "numWorkers": st.integers(0, 3),
        "resourcesPerWorker": st.just({"gpu": 1, "shmSize": "1Gi"}),
        "scheduling": st.just({"queue": "q", "priorityClass": "high"}),
    },
)


def jobs(pod: dict[str, Any], more: dict[str, Any]) -> Iterator[JobContext]:
    """A job of each kind."""
    common = {"head": {"pod": pod}, "pod": pod, **more}
    training = TrainingJobSpec.model_validate({"function": "a:b", **common})
    yield TrainingJobContext("j", "n", "u", training, "i", "2.60.0", "s3://b/o", "s3://b/o/c")
    sweep = sweep_spec(trialTemplate={"spec": {"function": "a:b", "pod": pod}}, head={"pod": pod})
    yield SweepContext("s", "n", "u", sweep, "i", "2.60.0", "s3://b/o", "s3://b/o/c")
    batch = batch_spec(pod=pod, head={"pod": pod})
    uri = batch.output.uri
    yield BatchContext("b", "n", "u", batch, "i", "2.60.0", uri, model=model("v1"))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(OVERRIDES, MORE)
def test_pods_of_jobs_are_restricted(pod: dict[str, Any], more: dict[str, Any]) -> None:
    for job in jobs(pod, more):
        made = rayjob(job, AttemptContext(1, 60))
        assert made["spec"]["entrypoint"] == ENTRYPOINT
        cluster = made["spec"]["rayClusterSpec"]
        groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", ())]
        for number, group in enumerate(groups):
            template = group["template"]
            assert list(violations(template["spec"])) == []
            # Only the head writes reports, by the account that can nothing else.
            account = names.RUNTIME if number == 0 else None
            assert template["spec"].get("serviceAccountName") == account
            assert template["spec"]["automountServiceAccountToken"] is False
            labels = template["metadata"]["labels"]
            wanted = names.child_labels(job.kind, job.name, 1)
            assert labels.items() >= wanted.items()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(OVERRIDES, st.sampled_from(["onnx", "sklearn"]), st.sampled_from([None, "mine:1"]))
def test_pods_of_endpoints_are_restricted(
    pod: dict[str, Any], format: str, image: str | None
) -> None:
    runtime = {} if image is None else {"image": image, "command": ["sh", "-c", "$(x)"]}
    variant = {"name": "main", "model": {"modelVersionRef": {"name": "m-v1"}}, "pod": pod,
               "runtime": runtime}  # fmt: skip
    spec = ModelEndpointSpec.model_validate({"variants": [variant]})
    ctx = EndpointContext("ep", "n", "u", spec, {"onnx": "i", "safetensors": "i"})
    source = ModelSource("s3://b/m", format, f"sha256:{'0' * 64}", "keys")
    made = isvc.predictor(ctx, spec.variants[0], source)
    assert list(violations(made)) == []
    assert "serviceAccountName" not in made
    assert made["automountServiceAccountToken"] is False


def test_words_of_others_never_become_paths_or_queries() -> None:
    assert CONFIGMAP.path("n", "../../secrets/x?y#z") == (
        "/api/v1/namespaces/n/configmaps/..%2F..%2Fsecrets%2Fx%3Fy%23z"
    )
    spec = ModelEndpointSpec.model_validate(
        {"variants": [{"name": "a", "model": {"modelVersionRef": {"name": "m-v1"}}}]}
    )
    assert '"' not in spec.variants[0].name
    for evil in ('a"}', "a b", "A", "a{", "a\n"):
        with pytest.raises(ValidationError):
            ModelEndpointSpec.model_validate(
                {"variants": [{"name": evil, "model": {"modelVersionRef": {"name": "m-v1"}}}]}
            )
    assert autoscaling.RPS_QUERY.count('"') == autoscaling.RPS_QUERY.count('="') * 2

"""The API server refuses what pydantic refuses, and says what to write instead."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubectl import Kubectl, KubectlError
from pydantic import ValidationError

from eventually import eventually
from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.desired.context import AttemptContext
from loopwright.desired.network import Network
from loopwright.desired.rayjob import rayjob
from loopwright.desired.support import shared
from loopwright.desired.training import TrainingJobContext

FUNCTION: dict[str, Any] = {"function": "a:b"}


def manifest(spec: dict[str, Any], name: str = "job") -> str:
    """A TrainingJob as JSON."""
    return json.dumps(
        {
            "apiVersion": "loopwright.io/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": name, "namespace": "default"},
            "spec": spec,
        }
    )


def create(api: Kubectl, text: str) -> dict[str, Any]:
    """What the API server would store."""
    options = ["--dry-run=server", "--validate=strict", "-o", "json"]
    stored: dict[str, Any] = json.loads(api.run("create", "-f", "-", *options, stdin=text))
    return stored


BAD = {
    "nothing to run": ({}, "set exactly one of script, function and command"),
    "two things to run": (
        {**FUNCTION, "command": ["x"]},
        "set exactly one of script, function and command",
    ),
    "negative workers": ({**FUNCTION, "numWorkers": -1}, "greater than or equal to 0"),
    "too many workers": ({**FUNCTION, "numWorkers": 2000}, "less than or equal to 1024"),
    "unknown scheme": (
        {**FUNCTION, "output": {"uri": "ftp://x/y"}},
        "must be a URI with one of the schemes s3://, pvc://",
    ),
    "leading out": (
        {**FUNCTION, "output": {"uri": "s3://b/../x"}},
        "must not contain '..' path segments",
    ),
    "spot without checkpoint": ({**FUNCTION, "spot": {"enabled": True}}, "add checkpoint: {}"),
    "unknown field": ({**FUNCTION, "workers": 3}, "unknown field"),
    "no cpu": ({**FUNCTION, "resourcesPerWorker": {"cpu": "0"}}, "must be greater than zero"),
    "no processes": ({**FUNCTION, "procsPerWorker": 0}, 'must be "auto" or a number'),
    "args of a function": ({**FUNCTION, "args": ["x"]}, "args go with script or command"),
    "two sources": (
        {**FUNCTION, "inputs": [{"name": "a", "source": {}}]},
        "set exactly one of uri and configMapRef",
    ),
    "stdout without regex": (
        {**FUNCTION, "metrics": {"source": {"kind": "Stdout"}}},
        "kind Stdout needs regex",
    ),
    "not a function": ({"function": "no_colon"}, "should match"),
    "reserved variable": (
        {**FUNCTION, "env": [{"name": "LOOPWRIGHT_X", "value": "y"}]},
        "belong to the operator",
    ),
    "path of inline": ({"script": {"inline": "x", "path": "a.py"}}, "inline has none"),
    "backoff upside down": (
        {**FUNCTION, "retry": {"backoffSeconds": 500}},
        "must not exceed backoffMaxSeconds",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_specs_are_refused_with_a_remedy(api: Kubectl, case: str) -> None:
    spec, message = BAD[case]
    with pytest.raises(KubectlError, match=None) as refused:
        create(api, manifest(spec))
    assert message in str(refused.value)
    with pytest.raises(ValidationError):
        TrainingJobSpec.model_validate(spec)


GOOD: dict[str, dict[str, Any]] = {
    "function": FUNCTION,
    "script": {"script": {"configMapRef": {"name": "code"}}, "args": ["--fast"]},
    "command": {"command": ["sleep", "1"], "numWorkers": 0},
    "gpu and spot": {
        **FUNCTION,
        "resourcesPerWorker": {"cpu": 4, "memory": "16Gi", "gpu": 2},
        "spot": {"enabled": True, "nodeSelector": {"pool": "spot"}, "fallbackOnDemandAfter": 2},
        "checkpoint": {},
    },
    "queue": {**FUNCTION, "scheduling": {"queue": "team", "priorityClass": "high"}},
    "storage": {
        **FUNCTION,
        "inputs": [{"name": "d", "source": {"uri": "s3://b/x", "secretRef": {"name": "s"}}}],
        "output": {"uri": "pvc://claim/out"},
        "pod": {"volumes": [{"name": "v", "emptyDir": {}}], "labels": {"team": "a"}},
    },
    "deadlines": {**FUNCTION, "runPolicy": {"maxPendingSeconds": 60, "maxRuntimeSeconds": 600}},
}


@pytest.mark.parametrize("case", GOOD)
def test_good_specs_mean_the_same_to_both(api: Kubectl, case: str) -> None:
    stored = create(api, manifest(GOOD[case]))
    spec = TrainingJobSpec.model_validate(GOOD[case])
    assert TrainingJobSpec.model_validate(stored["spec"]) == spec


@pytest.mark.parametrize("case", GOOD)
def test_children_are_valid_kubernetes_and_kuberay(api: Kubectl, case: str) -> None:
    spec = TrainingJobSpec.model_validate(GOOD[case])
    uris = ("pvc://claim/out", "pvc://claim/out/checkpoints")
    job = TrainingJobContext("job", "default", "uid", spec, "image", "2.60.0", *uris)
    for child in (
        *job.support(),
        *shared("default", Network()),
        rayjob(job, AttemptContext(1, 60)),
    ):
        text = json.dumps(child)
        options = ["--dry-run=server", "--validate=strict", "-o", "name"]
        api.run("create", "-f", "-", *options, stdin=text)


@pytest.mark.parametrize("name", ["1job", "job_x", "a" * 41, "a.b"])
def test_names_that_rayjob_would_refuse_are_refused(api: Kubectl, name: str) -> None:
    with pytest.raises(KubectlError, match="name"):
        create(api, manifest(FUNCTION, name))


def test_only_suspend_and_the_ttl_change(api: Kubectl) -> None:
    api.run("create", "-f", "-", stdin=manifest({**FUNCTION, "numWorkers": 2}, "fixed"))
    patch = ["patch", "tj", "fixed", "--type=merge", "-p"]
    api.run(*patch, '{"spec":{"runPolicy":{"suspend":true,"ttlSecondsAfterFinished":5}}}')
    with pytest.raises(KubectlError, match="numWorkers is immutable"):
        api.run(*patch, '{"spec":{"numWorkers":3}}')
    with pytest.raises(KubectlError, match="function is immutable"):
        api.run(*patch, '{"spec":{"function":"c:d"}}')
    api.run("delete", "tj", "fixed")


def test_explain_is_a_manual(api: Kubectl) -> None:
    words = ["explain", "trainingjob.spec.retry.maxInfrastructureFailures"]
    told = "Retries after a pod, a node or the cluster failed."
    # The API server describes a kind a little after it serves it.
    eventually("a description", lambda: told in api.run(*words, check=False))

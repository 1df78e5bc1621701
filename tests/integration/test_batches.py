"""A batch's life against a real API server, with KubeRay and the driver played."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_kuberay import FakeKubeRay
from replicas import Replicas

from auditlog import AuditLog
from eventually import eventually
from loopwright.api import names
from loopwright.api.batchconfig import BatchConfig

DIGEST = "sha256:" + "0" * 64
OUTPUTS: dict[str, Any] = {
    "uri": "pvc://results/out", "manifestUri": "pvc://results/out/_manifest.json",
    "digest": DIGEST, "files": 4, "bytes": 100,
}  # fmt: skip


@pytest.fixture
def batches(kuberay: FakeKubeRay) -> FakeKubeRay:
    """The same fake, for batches; there is a Model with two versions, and a Secret."""
    fake = FakeKubeRay(kuberay.api, kuberay.namespace, "BatchTransform")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}}
    fake.apply(
        ours("Model", "digits", aliases={"live": "v1"}), version("v1"), version("v2"), secret
    )
    return fake


def ours(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """An object of Loopwright's."""
    head = {"apiVersion": names.API_VERSION, "kind": kind}
    return {**head, "metadata": {"name": name}, "spec": spec}


def version(name: str, **spec: Any) -> dict[str, Any]:
    """A version that can be run."""
    some = {
        "modelRef": {"name": "digits"}, "version": name, "uri": f"s3://models/{name}",
        "secretRef": {"name": "keys"}, "digest": DIGEST, "format": "onnx",
    }  # fmt: skip
    return ours("ModelVersion", f"digits-{name}", **{**some, **spec})


def create(batches: FakeKubeRay, name: str, **spec: Any) -> None:
    """Creates a small batch."""
    some = {
        "model": {"modelRef": {"name": "digits", "alias": "live"}},
        "input": {"uri": "pvc://results/in", "format": "csv"},
        "output": {"uri": "pvc://results/out/"},
    }
    batches.apply(ours("BatchTransform", name, **{**some, **spec}))


def told(batches: FakeKubeRay, rayjob: str) -> tuple[BatchConfig, dict[str, Any]]:
    """What the driver is told, and its pod."""
    cluster = batches.rayjob(rayjob)["spec"]["rayClusterSpec"]
    template = cluster["headGroupSpec"]["template"]
    text = template["metadata"]["annotations"][names.CONFIG_ANNOTATION]
    return BatchConfig.model_validate_json(text), template["spec"]


def test_a_batch_from_its_manifest_to_its_output(
    replicas: Replicas, batches: FakeKubeRay, audit: AuditLog
) -> None:
    operator = replicas.lead()
    mark = audit.mark()
    create(batches, "score", errors={"maxFailedRecords": 5})
    config, pod = told(batches, "score-b1")
    assert config.model.model_version == "digits-v1"
    assert (config.output_uri, config.procs_per_worker) == ("pvc://results/out", 1)
    assert config.dead_letter_uri == "pvc://results/out/_dead_letter"
    # Data and model: all that the driver needs is in its pod.
    names_of = {one["name"] for one in pod["volumes"]}
    assert {"loopwright-pvc-results", "loopwright-secret-keys"} <= names_of
    batches.says("score-b1", "Running", "RUNNING")
    batches.reports(
        "score", 1, "Running", shards={"total": 4, "done": 1}, recordsPerSecond="12.5",
        records={"read": 10, "written": 10},
    )  # fmt: skip
    eventually("shards", lambda: (batches.status("score").get("shards") or {}).get("done") == 1)
    table = batches.api.run("get", "bt", "score", "-n", batches.namespace, "-o", "wide")
    assert {"1/4", "12.5", "Running", "digits-v1"} <= set(table.split())
    batches.finish(
        "score", shards={"total": 4, "done": 4}, outputs=OUTPUTS,
        records={"read": 40, "written": 37, "failed": 3},
        problems=[{"reason": "WrongType", "count": 3, "message": "no number"}],
    )  # fmt: skip
    batches.expect("score", "OutputCommitted", "True", "Published")
    batches.expect("score", "RecordsComplete", "False", "BadRecords")
    assert audit.created(mark, batches.namespace, "rayjobs") == ["score-b1"]
    eventually("the counter", lambda: operator.metric(
        'loopwright_batchtransform_records_total{result="failed"}') == 3)  # fmt: skip


def test_a_model_that_may_not_be_used_is_waited_for(
    replicas: Replicas, batches: FakeKubeRay
) -> None:
    replicas.lead()
    create(batches, "early", model={"modelVersionRef": {"name": "digits-v3"}})
    batches.expect("early", "ModelResolved", "False", "ModelVersionNotFound")
    batches.apply(version("v3", format="sklearn", allowUnsafe=True))
    batches.expect("early", "ModelResolved", "False", "FormatUnsupported")
    create(batches, "custom", model={"modelVersionRef": {"name": "digits-v3"}},
           predictor={"class": "a.b:C"})  # fmt: skip
    batches.expect("custom", "ModelResolved", "True", "Resolved")
    create(batches, "jobs", model={"trainingJobRef": {"name": "trains"}})
    batches.expect("jobs", "Ready", "False", "TrainingJobNotFound")
    FakeKubeRay(batches.api, batches.namespace).create("trains")
    batches.expect("jobs", "Ready", "False", "TrainingJobUnfinished")
    made = {"modelUri": "pvc://results/x/model", "format": "onnx", "digest": DIGEST}
    FakeKubeRay(batches.api, batches.namespace).finish("trains", artifacts=made)
    assert told(batches, "jobs-b1")[0].model.uri == "pvc://results/x/model"


def test_an_endpoint_that_does_not_serve_is_waited_for(
    replicas: Replicas, batches: FakeKubeRay
) -> None:
    replicas.lead()
    data = {"input": {"uri": "pvc://results/in", "format": "csv"},
            "output": {"uri": "pvc://results/out/"}}  # fmt: skip
    batches.apply(ours("BatchTransform", "asks", endpointRef={"name": "scores"}, **data))
    batches.expect("asks", "ModelResolved", "False", "EndpointNotFound")
    model = {"modelRef": {"name": "nobody", "alias": "live"}}
    batches.apply(ours("ModelEndpoint", "scores", variants=[{"name": "a", "model": model}]))
    batches.expect("asks", "ModelResolved", "False", "EndpointNotReady")


def test_a_batch_keeps_the_model_that_it_began_with(
    replicas: Replicas, batches: FakeKubeRay
) -> None:
    replicas.lead()
    create(batches, "steady", retry={"backoffSeconds": 1})
    batches.says("steady-b1", "Running", "RUNNING")
    batches.phase("steady", "Running")
    patch = json.dumps({"spec": {"aliases": {"live": "v2"}}})
    batches.api.run("patch", "mdl", "digits", "--type=merge", "-n", batches.namespace, "-p", patch)
    batches.says("steady-b1", "Failed", "FAILED")
    assert told(batches, "steady-b2")[0].model.model_version == "digits-v1"
    create(batches, "later")
    assert told(batches, "later-b1")[0].model.model_version == "digits-v2"


def test_scaled_it_goes_on_with_another_cluster(replicas: Replicas, batches: FakeKubeRay) -> None:
    replicas.lead()
    create(batches, "grows")
    batches.says("grows-b1", "Running", "RUNNING")
    batches.phase("grows", "Running")
    batches.api.run("scale", "bt", "grows", "--replicas=4", "-n", batches.namespace)
    [group] = batches.rayjob("grows-b2")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["replicas"] == 4
    batches.finish("grows", attempt=2, shards={"total": 4, "done": 4}, outputs=OUTPUTS)
    assert batches.status("grows")["failures"] == {"application": 0, "infrastructure": 0}


def test_checks_of_a_training_jobs_inputs_are_told(
    replicas: Replicas, kuberay: FakeKubeRay
) -> None:
    replicas.lead()
    source = {"uri": "pvc://results/in"}
    kuberay.create(
        "checked", inputs=[{"name": "a", "source": source, "validation": {"minRows": 9}}]
    )
    kuberay.says("checked-a1", "Running", "RUNNING")
    kuberay.expect("checked", "DataValidated", "False", "NotChecked")
    found = {"name": "a", "passed": False, "rows": 3, "checks": 1, "failed": 1,
             "message": "3 rows, below 9"}  # fmt: skip
    kuberay.reports("checked", 1, "Running", validations=[found])
    kuberay.expect("checked", "DataValidated", "False", "ChecksFailed")

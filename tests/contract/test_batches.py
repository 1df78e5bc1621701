"""Batches at the door: what is refused, and what to write instead; what may change; their pods."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubectl import Kubectl, KubectlError
from specs import RICH_BATCHES

from loopwright.api.batchtransform import BatchTransformSpec
from loopwright.api.batchtransform_status import BatchModel
from loopwright.desired.batch import BatchContext
from loopwright.desired.context import AttemptContext
from loopwright.desired.rayjob import rayjob

SPEC: dict[str, Any] = {
    "model": {"modelRef": {"name": "m", "alias": "live"}},
    "input": {"uri": "s3://b/in", "format": "csv"},
    "output": {"uri": "s3://b/out"},
}


def manifest(name: str = "batch", **spec: Any) -> str:
    """A BatchTransform as JSON."""
    head = {"apiVersion": "loopwright.io/v1alpha1", "kind": "BatchTransform"}
    meta = {"name": name, "namespace": "default"}
    given = {name: value for name, value in {**SPEC, **spec}.items() if value is not None}
    return json.dumps({**head, "metadata": meta, "spec": given})


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no format": ({"input": {"uri": "s3://b/in"}}, "format"),
    "a format of nobody": ({"input": {"uri": "s3://b/in", "format": "avro"}}, '"csv", "jsonl"'),
    "output is input": ({"output": {"uri": "s3://b/in"}}, "neither in input.uri nor round it"),
    "output round input": ({"output": {"uri": "s3://b/"}}, "neither in input.uri nor round it"),
    "letters in input": ({"errors": {"deadLetterUri": "s3://b/in/x"}}, "would be read as input"),
    "compressed images": (
        {"input": {"uri": "s3://b/in", "format": "images", "compression": "Gzip"}},
        "so leave it out",
    ),
    "no path": ({"dataProcessing": {"outputFilter": "label"}}, "for example $.features"),
    "spot without resume": (
        {"spot": {"enabled": True}, "resume": {"enabled": False}}, "would lose all work",
    ),
    "checks of text": (
        {"input": {"uri": "s3://b/in", "format": "text"}, "validation": {"minRows": 1}},
        "leave it out",
    ),
    "too many workers": ({"numWorkers": 257}, "less than or equal to 256"),
    "a model and an endpoint": ({"endpointRef": {"name": "e"}}, "exactly one of model and"),
    "neither": ({"model": None}, "exactly one of model and endpointRef"),
    "several at a model": ({"batching": {"maxConcurrent": 2}}, "procsPerWorker is for a model"),
    "monitors of an endpoint": (
        {"model": None, "endpointRef": {"name": "e"}, "monitors": [
            {"name": "a", "kind": "DataDrift"}]},
        "leave predictor and monitors out",
    ),
    "a class for an endpoint": (
        {"model": None, "endpointRef": {"name": "e"}, "predictor": {"class": "a:B"}},
        "leave predictor and monitors out",
    ),
    "no class": ({"predictor": {"class": "no_colon"}}, "should match"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_specs_are_refused_with_a_remedy(api: Kubectl, case: str) -> None:
    spec, message = BAD[case]
    with pytest.raises(KubectlError) as refused:
        api.run("create", "--dry-run=server", "-f", "-", stdin=manifest(**spec))
    assert message in str(refused.value)


def test_workers_may_change_and_the_data_may_not(api: Kubectl) -> None:
    api.run("create", "-f", "-", stdin=manifest("fixed"))
    patch = ["patch", "bt", "fixed", "--type=merge", "-p"]
    api.run(*patch, '{"spec":{"runPolicy":{"suspend":true}}}')
    api.run("scale", "bt", "fixed", "--replicas=3")
    assert (api.get("bt", "fixed", "default") or {})["spec"]["numWorkers"] == 3
    for field, value in {"input": {"uri": "s3://b/other"}, "batching": {"batchSize": 5}}.items():
        with pytest.raises(KubectlError, match=f"{field} is immutable"):
            api.run(*patch, json.dumps({"spec": {field: value}}))
    api.run("delete", "bt", "fixed")


def test_an_endpoint_stays_the_one_that_is_asked(api: Kubectl) -> None:
    asked = manifest("asks", model=None, endpointRef={"name": "e"})
    api.run("create", "-f", "-", stdin=asked)
    other = json.dumps({"spec": {"endpointRef": {"variant": "a"}}})
    with pytest.raises(KubectlError, match="endpointRef is immutable"):
        api.run("patch", "bt", "asks", "--type=merge", "-p", other)
    api.run("delete", "bt", "asks")


@pytest.mark.parametrize("spec", RICH_BATCHES)
def test_children_are_valid_kubernetes_and_kuberay(api: Kubectl, spec: dict[str, Any]) -> None:
    parsed = BatchTransformSpec.model_validate(spec)
    model = BatchModel(uri="pvc://models/x", format="onnx", secret="keys")  # noqa: S106 (a name)
    uri = parsed.output.uri
    job = BatchContext("batch", "default", "uid", parsed, "image", "2.60.0", uri, model=model)
    options = ["--dry-run=server", "--validate=strict", "-o", "name"]
    api.run("create", "-f", "-", *options, stdin=json.dumps(rayjob(job, AttemptContext(1, 60))))

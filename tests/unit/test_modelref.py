"""A reference to a model: what it means, or what to do about it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from sweep_worlds import SPEC

from loopwright.api.batchtransform import BatchTransformSpec
from loopwright.api.batchtransform_status import BatchModel
from loopwright.api.hyperparametersweep import HyperparameterSweep
from loopwright.api.modelref import ModelRef
from loopwright.api.registry import Model, ModelVersion
from loopwright.api.trainingjob import TrainingJob
from loopwright.decide.batchmodel import resolved
from loopwright.decide.modelref import Lookups, Resolved, resolve
from loopwright.decide.types import Blocked

DIGEST = "sha256:" + "0" * 64
APPROVED = {"state": "Approved", "by": "ada"}
REJECTED = {"state": "Rejected", "by": "bob", "reason": "it is biased"}
BY_NAME = {"modelVersionRef": {"name": "digits-v2"}}
BY_VERSION = {"modelRef": {"name": "digits", "version": "v2"}}
BY_ALIAS = {"modelRef": {"name": "digits", "alias": "live"}}
BY_JOB = {"trainingJobRef": {"name": "job"}}
BY_SWEEP = {"sweepRef": {"name": "sweep"}}


class Namespace:
    """What there is."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.versions: dict[str, ModelVersion] = {}
        self.jobs: dict[str, TrainingJob] = {}
        self.sweeps: dict[str, HyperparameterSweep] = {}

    def model(self, name: str = "digits", status: Any = None, **spec: Any) -> Namespace:
        self.models[name] = Model.model_validate({"spec": spec, "status": status or {}})
        return self

    def version(self, version: str = "v2", **spec: Any) -> Namespace:
        some = {
            "modelRef": {"name": "digits"}, "version": version, "uri": f"s3://b/{version}",
            "format": "onnx", "digest": DIGEST,
        }  # fmt: skip
        found = ModelVersion.model_validate({"spec": {**some, **spec}})
        self.versions[f"digits-{version}"] = found
        return self

    def job(self, status: Any, **spec: Any) -> Namespace:
        some = {"function": "a:b", "output": {"uri": "s3://b/o", "secretRef": {"name": "keys"}}}
        self.jobs["job"] = TrainingJob.model_validate({"spec": {**some, **spec}, "status": status})
        return self

    def sweep(self, status: Any, **more: Any) -> Namespace:
        output = {"uri": "s3://b/o", "secretRef": {"name": "keys"}}
        template = {"spec": {"function": "a:b", "output": output}}
        spec = {**SPEC, "trialTemplate": template, **more}
        found = HyperparameterSweep.model_validate({"spec": spec, "status": status})
        self.sweeps["sweep"] = found
        return self

    def means(self, ref: dict[str, Any], **options: bool) -> Resolved | Blocked:
        return resolve(ModelRef.model_validate(ref), self.lookups(), **options)

    def lookups(self) -> Lookups:
        return Lookups(self.models.get, self.versions.get, self.jobs.get, self.sweeps.get)

    def blocked(self, ref: dict[str, Any], **options: bool) -> str:
        found = self.means(ref, **options)
        assert isinstance(found, Blocked)
        assert found.message
        return found.reason

    def found(self, ref: dict[str, Any], **options: bool) -> str | None:
        found = self.means(ref, **options)
        assert isinstance(found, Resolved), found
        return found.version


@pytest.mark.parametrize(
    "ref",
    [{}, {**BY_NAME, **BY_JOB}, {"modelRef": {"name": "a"}},
     {"modelRef": {"name": "a", "alias": "b", "version": "c"}}],
)  # fmt: skip
def test_a_reference_says_one_thing(ref: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="exactly one"):
        ModelRef.model_validate(ref)


@pytest.mark.parametrize("ref", [BY_NAME, BY_VERSION, BY_ALIAS])
def test_all_ways_lead_to_the_same_version(ref: dict[str, Any]) -> None:
    there = Namespace().model(aliases={"live": "v2"}).version(secretRef={"name": "keys"})
    assert there.means(ref) == Resolved("s3://b/v2", "onnx", DIGEST, "keys", "digits-v2")


def test_a_model_that_is_only_read_about_needs_no_approval() -> None:
    there = Namespace().model(aliases={"live": "v2"}, requireApproval=True).version()
    assert there.blocked(BY_ALIAS) == "ModelNotApproved"
    assert there.found(BY_ALIAS, runs=False) == "digits-v2"
    there.version(approval=REJECTED)
    assert there.blocked(BY_ALIAS, runs=False) == "ModelRejected"
    made = {"modelUri": "s3://b/o/model", "format": "pickle", "digest": DIGEST}
    there.job({"phase": "Succeeded", "artifacts": made})
    assert there.blocked(BY_JOB) == "UnsafeFormat"
    assert there.found(BY_JOB, runs=False) is None


@pytest.mark.parametrize("ref", [BY_NAME, BY_VERSION, BY_ALIAS])
def test_what_people_think_of_a_version_counts(ref: dict[str, Any]) -> None:
    there = Namespace().model(aliases={"live": "v2"}).version()
    assert there.blocked(ref, require_approval=True) == "ModelNotApproved"
    there.version(approval=REJECTED)
    assert there.blocked(ref) == "ModelRejected"
    assert "it is biased" in there.means(ref).message  # type: ignore[union-attr]
    there.model(aliases={"live": "v2"}, requireApproval=True).version()
    assert there.blocked(ref) == "ModelNotApproved"
    there.version(approval=APPROVED)
    assert there.found(ref) == "digits-v2"


def test_what_is_missing_is_named() -> None:
    there = Namespace()
    assert there.blocked(BY_NAME) == "ModelVersionNotFound"
    assert there.blocked(BY_VERSION) == "ModelNotFound"
    assert there.blocked(BY_JOB) == "TrainingJobNotFound"
    there.version()
    # Whether it needs approval only its Model can say.
    assert there.blocked(BY_NAME) == "ModelNotFound"
    there.model()
    assert there.found(BY_NAME) == "digits-v2"
    assert there.blocked(BY_ALIAS) == "AliasNotFound"


def test_an_alias_of_the_spec_comes_before_the_operators() -> None:
    there = Namespace().version("v1").version("v2").model(status={"aliases": {"live": "v1"}})
    assert there.found(BY_ALIAS) == "digits-v1"
    there.model(status={"aliases": {"live": "v1"}}, aliases={"live": "v2"})
    assert there.found(BY_ALIAS) == "digits-v2"


ARTIFACTS = {"modelUri": "s3://b/o/model", "format": "onnx", "digest": DIGEST}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"phase": "Running"}, "TrainingJobUnfinished"),
        ({"phase": "Failed"}, "TrainingJobFailed"),
        ({"phase": "Succeeded"}, "NoModel"),
        (
            {"phase": "Succeeded", "artifacts": {**ARTIFACTS, "format": "pickle"}},
            "UnsafeFormat",
        ),
    ],
)
def test_a_job_without_a_model(status: dict[str, Any], reason: str) -> None:
    assert Namespace().job(status).blocked(BY_JOB) == reason


def test_a_job_that_registers_nothing() -> None:
    there = Namespace().job({"phase": "Succeeded", "artifacts": ARTIFACTS})
    assert there.means(BY_JOB) == Resolved("s3://b/o/model", "onnx", DIGEST, "keys")
    assert there.blocked(BY_JOB, require_approval=True) == "ModelNotRegistered"


def test_a_job_that_registers() -> None:
    told: dict[str, Any] = {
        "type": "ModelRegistered", "status": "False", "reason": "MetricsUnmet",
        "message": "loss is 3, above 1", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    status = {"phase": "Succeeded", "artifacts": ARTIFACTS}
    register = {"register": {"model": "digits"}}
    there = Namespace().model().version()
    there.job(status, **register)
    assert there.blocked(BY_JOB) == "ModelNotRegistered"
    there.job({**status, "conditions": [told]}, **register)
    assert "loss is 3" in there.means(BY_JOB).message  # type: ignore[union-attr]
    told |= {"status": "True", "reason": "Registered"}
    there.job({**status, "conditions": [told], "modelVersion": "digits-v2"}, **register)
    assert there.found(BY_JOB) == "digits-v2"
    assert there.blocked(BY_JOB, require_approval=True) == "ModelNotApproved"


def test_the_best_of_a_sweep() -> None:
    there = Namespace()
    assert there.blocked(BY_SWEEP) == "HyperparameterSweepNotFound"
    there.sweep({"phase": "Running"})
    assert there.blocked(BY_SWEEP) == "HyperparameterSweepUnfinished"
    there.sweep({"phase": "Succeeded", "artifacts": ARTIFACTS})
    assert there.means(BY_SWEEP) == Resolved("s3://b/o/model", "onnx", DIGEST, "keys")
    there.sweep({"phase": "Succeeded", "artifacts": ARTIFACTS}, promote={"model": "digits"})
    assert there.blocked(BY_SWEEP) == "ModelNotRegistered"


def batch(there: Namespace, **spec: Any) -> BatchModel | Blocked:
    """What a batch would run."""
    some = {
        "model": BY_NAME, "input": {"uri": "s3://b/in", "format": "csv"},
        "output": {"uri": "s3://b/out"},
    }  # fmt: skip
    return resolved(BatchTransformSpec.model_validate({**some, **spec}), there.lookups())


def test_a_batch_runs_what_is_verified() -> None:
    there = Namespace().model().version(secretRef={"name": "keys"})
    found = batch(there)
    assert isinstance(found, BatchModel)
    assert found.wire() == {
        "uri": "s3://b/v2", "format": "onnx", "digest": DIGEST, "secret": "keys",
        "modelVersion": "digits-v2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("version", "predictor", "reason"),
    [
        ({"format": "sklearn", "allowUnsafe": True}, None, "FormatUnsupported"),
        ({"format": "sklearn", "allowUnsafe": True}, {"class": "a:B"}, None),
        ({"format": "safetensors"}, None, "FormatUnsupported"),
        ({"format": "safetensors"}, {"class": "a:B"}, None),
        ({"approval": REJECTED}, None, "ModelRejected"),
    ],
)
def test_a_batch_says_why_it_cannot_run_a_model(
    version: dict[str, Any], predictor: Any, reason: str | None
) -> None:
    found = batch(Namespace().model().version(**version), predictor=predictor)
    assert (found.reason if isinstance(found, Blocked) else None) == reason


def test_a_batch_runs_nothing_that_has_no_digest() -> None:
    made = {name: value for name, value in ARTIFACTS.items() if name != "digest"}
    there = Namespace().job({"phase": "Succeeded", "artifacts": made})
    found = batch(there, model=BY_JOB)
    assert isinstance(found, Blocked)
    assert found.reason == "NoDigest"

"""Models that a job's inputs are compared with: what may be asked, what is found, what is told."""

from __future__ import annotations

from typing import Any

import pytest
from fake_client import JOB, World
from pydantic import ValidationError
from test_modelref import DIGEST, Namespace

from loopwright.api import names
from loopwright.api.batchtransform import BatchTransformSpec
from loopwright.api.hyperparametersweep import TrialSpec
from loopwright.api.resources import Key, Resource
from loopwright.api.runconfig import RunConfig
from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.api.validation import InputBaseline
from loopwright.decide.baselines import resolved
from loopwright.decide.types import Blocked
from loopwright.desired.context import AttemptContext
from loopwright.desired.rayjob import rayjob
from loopwright.desired.training import TrainingJobContext
from loopwright.kube.cache import uses

BY_ALIAS = {"modelRef": {"name": "digits", "alias": "live"}}
OUTPUT = {"uri": "s3://b/o"}
KEYS = "keys"


def job_spec(validation: dict[str, Any]) -> dict[str, Any]:
    """A job with one input that is checked."""
    one = {"name": "rows", "source": {"uri": "pvc://c/rows"}, "validation": validation}
    return {"script": {"inline": "print()"}, "output": OUTPUT, "inputs": [one]}


def parsed(validation: dict[str, Any]) -> TrainingJobSpec:
    return TrainingJobSpec.model_validate(job_spec(validation))


@pytest.mark.parametrize(
    ("validation", "problem"),
    [
        ({}, "set at least one of schema, expectations, minRows and baselineRef"),
        ({"onFailure": "Warn"}, "set at least one of"),
        ({"minRows": 1, "drift": {}}, "set baselineRef"),
        ({"baselineRef": {}}, "set exactly one of modelRef"),
        ({"baselineRef": {"modelRef": {"name": "digits"}}}, "exactly one of alias and version"),
        ({"baselineRef": BY_ALIAS, "drift": {"minSamples": 1}}, "greater than or equal to 20"),
        ({"baselineRef": BY_ALIAS, "drift": {"threshold": "-1"}}, "pattern"),
    ],
)
def test_what_makes_no_sense_is_refused(validation: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        parsed(validation)


def test_the_baseline_alone_is_enough_and_goes_with_other_checks() -> None:
    for more in ({}, {"minRows": 5}, {"drift": {"features": [{"name": "x", "ignore": True}]}}):
        [one] = parsed({"baselineRef": BY_ALIAS, **more}).inputs
        assert one.validation is not None and one.validation.baseline_ref is not None


def test_trials_and_batches_do_not_have_it() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        TrialSpec.model_validate(job_spec({"baselineRef": BY_ALIAS}))
    batch = {"model": BY_ALIAS, "input": {"uri": "s3://b/i", "format": "csv"}, "output": OUTPUT}
    with pytest.raises(ValidationError, match="Extra inputs"):
        BatchTransformSpec.model_validate({**batch, "validation": {"baselineRef": BY_ALIAS}})


def test_what_a_reference_means() -> None:
    there = Namespace().model(aliases={"live": "v2"}).version(secretRef={"name": "keys"})
    found = resolved(parsed({"baselineRef": BY_ALIAS}), there.lookups())
    one = InputBaseline(
        name="rows", uri="s3://b/v2", digest=DIGEST, secret=KEYS, model_version="digits-v2"
    )
    assert found == [one]
    assert resolved(parsed({"minRows": 1}), there.lookups()) == []


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        (Namespace(), "ModelNotFound"),
        (Namespace().model(), "AliasNotFound"),
        (Namespace().model(aliases={"live": "v2"}), "ModelVersionNotFound"),
        (Namespace().model(aliases={"live": "v2"}).version(digest=None, format="own"), "NoDigest"),
    ],
)
def test_what_is_missing_is_said_with_the_input(there: Namespace, reason: str) -> None:
    found = resolved(parsed({"baselineRef": BY_ALIAS}), there.lookups())
    assert isinstance(found, Blocked)
    assert found.reason == reason
    assert found.message.startswith("input 'rows': baseline: ")


def test_pods_can_read_the_model() -> None:
    spec = parsed({"baselineRef": BY_ALIAS})
    on_claim = InputBaseline(name="rows", uri="pvc://models/v2", digest=DIGEST)
    in_s3 = InputBaseline(name="more", uri="s3://b/v2", digest=DIGEST, secret=KEYS)
    place = ("s3://b/o", "s3://b/o/checkpoints")
    job = TrainingJobContext("job", "n", "u", spec, "i", "2.60.0", *place, (on_claim, in_s3))
    made = rayjob(job, AttemptContext(1, 60))
    pod = made["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"]
              if "persistentVolumeClaim" in v]  # fmt: skip
    secrets = [v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v]
    assert (sorted(claims), secrets) == (["c", "models"], ["keys"])
    told = RunConfig.model_validate_json(job.config(AttemptContext(1, 60)))
    assert told.baselines == [on_claim, in_s3]


def test_news_of_the_model_wakes_the_job() -> None:
    def used(ref: dict[str, Any]) -> set[Key]:
        spec = job_spec({"baselineRef": ref})
        return uses({"kind": "TrainingJob", "metadata": {"namespace": "n"}, "spec": spec})

    assert used(BY_ALIAS) == {Key("Model", "n", "digits")}
    assert used({"modelVersionRef": {"name": "v"}}) == {Key("ModelVersion", "n", "v")}
    assert used({"trainingJobRef": {"name": "j"}}) == {Key("TrainingJob", "n", "j")}
    assert used({"sweepRef": {"name": "s"}}) == {Key("HyperparameterSweep", "n", "s")}


class Compared(World):
    """A job whose input is compared."""

    def __init__(self) -> None:
        super().__init__()
        job = self.cache.get(JOB) or {}
        self.cache.observe("MODIFIED", self.stored({**job, "spec": job_spec({
            "baselineRef": BY_ALIAS})}))  # fmt: skip

    async def create(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        if obj["kind"] == "RayJob":
            head = obj["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
            text = head["metadata"]["annotations"][names.CONFIG_ANNOTATION]
            self.told = RunConfig.model_validate_json(text)
        return await super().create(resource, obj)

    def put(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        """A person writes a Model or a ModelVersion."""
        meta = {"name": name, "namespace": "n", "uid": f"uid-{name}", "generation": 1}
        head = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": meta}
        self.cache.observe("MODIFIED", self.stored({**head, "spec": spec}))

    def serve(self, version: str) -> None:
        """A version that is there, and live."""
        spec = {"modelRef": {"name": "digits"}, "version": version, "uri": f"s3://b/{version}",
                "format": "onnx", "digest": DIGEST}  # fmt: skip
        self.put("ModelVersion", f"digits-{version}", spec)
        self.put("Model", "digits", {"aliases": {"live": version}})


async def test_a_job_waits_for_the_model_and_keeps_what_it_meant() -> None:
    world = Compared()
    await world.look()
    status, reason, message = world.condition("Ready")
    assert (status, reason) == ("False", "ModelNotFound")
    assert message.startswith("input 'rows': baseline: Model 'digits' is missing")
    assert not [call for call in world.calls if "RayJob" in call]
    world.serve("v1")
    assert JOB in set(world.cache.concerned(Key("Model", "n", "digits")))
    world.refuse["RayJob"] = ApiDown("the operator ends here")
    with pytest.raises(ApiDown):
        await world.look()
    # It is on record, so that a model that moves meanwhile changes nothing.
    assert [one["modelVersion"] for one in world.status["baselines"]] == ["digits-v1"]
    world.serve("v2")
    world.refuse.clear()
    await world.look()
    assert "created RayJob" in world.calls
    assert [one.uri for one in world.told.baselines] == ["s3://b/v1"]
    # Nor does one that goes.
    for key in (Key("Model", "n", "digits"), Key("ModelVersion", "n", "digits-v1")):
        world.cache.observe("DELETED", world.stored(dict(world.cache.get(key) or {})))
    await world.look()
    assert world.condition("Ready")[1] == "Provisioning"


class ApiDown(Exception):
    """Nobody answers."""

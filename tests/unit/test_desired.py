"""Names and numbers that children are made from."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweep_worlds import sweep_spec

from loopwright.api import names, quantity
from loopwright.api.shared import DNS_LABEL
from loopwright.api.sweepconfig import SweepConfig
from loopwright.api.trainingjob import KIND, TrainingJobSpec
from loopwright.desired.context import AttemptContext, Manifest
from loopwright.desired.rayjob import rayjob
from loopwright.desired.sweep import SweepContext
from loopwright.desired.training import TrainingJobContext

JOB_NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True) | st.sampled_from(
    ["x", "x-a1", "x-a1-a1", "x-script", "x-report"]
)


CHOICES = [{"name": "a", "categorical": {"choices": ["x", "y"]}}]


def job(name: str = "job", **spec: Any) -> TrainingJobContext:
    """A job with the operator's defaults."""
    parsed = TrainingJobSpec.model_validate({"function": "a:b", **spec})
    return TrainingJobContext(
        name, "n", "u", parsed, "i", "2.60.0", "s3://b/o", "s3://b/o/checkpoints"
    )


def children(name: str, attempt: int) -> set[tuple[str, str]]:
    """Kinds and names of what is made for a job."""
    one = job(name, function=None, script={"inline": "print()"})
    made: list[Manifest] = [*one.support(), rayjob(one, AttemptContext(attempt, 60))]
    found = {(child["kind"], child["metadata"]["name"]) for child in made}
    return {*found, ("ConfigMap", names.report_name(KIND, name))}


@given(JOB_NAMES, JOB_NAMES, st.integers(1, 999), st.integers(1, 999))
def test_children_of_two_jobs_never_share_a_name(
    one: str, other: str, first: int, second: int
) -> None:
    """F31: names of jobs may be such that a child of one is named like the other job."""
    if one != other:
        assert not children(one, first) & children(other, second)
        assert names.attempt_of(KIND, other, names.rayjob_name(KIND, one, first)) is None


CLAIMS = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", fullmatch=True)


@given(st.sets(CLAIMS, min_size=2, max_size=4))
def test_volumes_have_names_of_their_own(claims: set[str]) -> None:
    """F38: whatever the claims are called that they are for."""
    inputs = [
        {"name": f"i{number}", "source": {"uri": f"pvc://{claim}/x"}}
        for number, claim in enumerate(sorted(claims))
    ]
    made = rayjob(job(inputs=inputs), AttemptContext(1, 60))
    spec = made["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    volumes = [volume["name"] for volume in spec["volumes"]]
    assert len(set(volumes)) == len(volumes)
    assert all(len(name) <= 63 and re.fullmatch(DNS_LABEL, name) for name in volumes)


def test_a_short_name_of_a_volume_stays_readable() -> None:
    made = rayjob(job(output={"uri": "pvc://results/x"}), AttemptContext(1, 60))
    spec = made["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert "loopwright-config" in {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.5n", "1e-9"), ("1.000000001n", "2e-9"), ("9Ei", "9223372036854775807"), ("10E", "1e19"),
     ("9999999999.999999999E", "9999999999999999999e9"), ("1e-3", "0.001")],
)  # fmt: skip
def test_quantities_are_rounded_as_in_kubernetes(text: str, number: str) -> None:
    """F41: the contract tests ask Kubernetes itself."""
    assert quantity.parse(text) == Decimal(number)


def sweep(trial: dict[str, Any], **spec: Any) -> SweepContext:
    """A sweep with the operator's defaults."""
    template = {"spec": {"function": "a:b", **trial}}
    parsed = sweep_spec(trialTemplate=template, **spec)
    return SweepContext("sweep", "n", "u", parsed, "i", "2.60.0", "s3://b/o", "s3://b/o/c")


def cluster(context: SweepContext) -> tuple[Manifest, list[Manifest]]:
    """The head and the groups of workers."""
    made = rayjob(context, AttemptContext(1, 60))["spec"]["rayClusterSpec"]
    return made["headGroupSpec"], made.get("workerGroupSpecs", [])


def told(context: SweepContext) -> SweepConfig:
    """What its driver is told."""
    return SweepConfig.model_validate_json(context.config(AttemptContext(1, 60)))


def asked_for(group: Manifest) -> Manifest:
    """What a pod asks for."""
    [container] = group["template"]["spec"]["containers"]
    found: Manifest = container["resources"]["limits"]
    return found


def test_a_sweep_has_a_pod_for_each_worker_of_each_trial() -> None:
    small = {"cpu": "1500m", "memory": "1Gi"}
    context = sweep({"numWorkers": 2, "resourcesPerWorker": small}, parallelTrials=3)
    head, [workers] = cluster(context)
    assert (workers["replicas"], asked_for(workers)["cpu"]) == (6, "1500m")
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert workers["rayStartParams"]["num-cpus"] == "2"
    assert told(context).cpus_per_worker == 2


def test_a_small_sweep_runs_in_the_head_pod() -> None:
    small = {"cpu": "300m", "memory": "512Mi"}
    context = sweep({"numWorkers": 0, "resourcesPerWorker": small}, parallelTrials=3)
    head, workers = cluster(context)
    assert (workers, asked_for(head)) == ([], {"cpu": "900m", "memory": "1536Mi"})
    assert head["rayStartParams"]["num-cpus"] == "1"
    share = told(context).cpus_per_worker
    assert 0.99 < 3 * share <= 1


def test_trials_share_gpus() -> None:
    one = {"cpu": "2", "memory": "4Gi", "gpu": 1}
    context = sweep({"resourcesPerWorker": one}, parallelTrials=6, trialsPerGpu=4)
    _, [workers] = cluster(context)
    assert workers["replicas"] == 2
    asked = {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "1"}
    assert asked_for(workers) == asked
    assert (told(context).cpus_per_worker, told(context).gpus_per_worker) == (2, 0.25)


def test_a_driver_is_told_a_seed_and_no_more_than_it_needs() -> None:
    script = {"function": None, "script": {"inline": "x" * 60_000}, "env": [{"name": "A"}]}
    config = told(sweep(script))
    assert config.seed == told(sweep(script)).seed
    assert told(sweep(script, algorithm={"seed": 5, "grid": {}}, parameters=CHOICES)).seed == 5
    assert config.spec.trial_template.spec.env == []
    assert len(config.wire()["spec"]["trialTemplate"]["spec"]["script"]["inline"]) < 100


@given(st.integers(1, 64), st.sampled_from(["100m", "333m", "500m", "700m", "1", "1500m", "3"]))
def test_ray_has_room_for_all_who_share_a_pod(shares: int, cpu: str) -> None:
    spec = {"numWorkers": 0, "resourcesPerWorker": {"cpu": cpu}}
    context = sweep(spec, parallelTrials=shares, maxTrials=100)
    head, _ = cluster(context)
    offered = Decimal(head["rayStartParams"]["num-cpus"])
    assert offered - 1 < shares * Decimal(str(told(context).cpus_per_worker)) <= offered
    assert quantity.parse(asked_for(head)["cpu"]) == shares * quantity.parse(cpu)


@pytest.mark.parametrize(
    ("one", "factor", "many"),
    [("500m", 2, "1"), ("300m", 3, "900m"), ("2Gi", 2, "4Gi"), ("512Mi", 2, "1Gi"),
     ("1e3", 3, "3e3"), ("0.5", 3, "1500m"), ("1.5Gi", 2, "3Gi")],
)  # fmt: skip
def test_quantities_are_multiplied(one: str, factor: int, many: str) -> None:
    assert quantity.times(one, factor) == many

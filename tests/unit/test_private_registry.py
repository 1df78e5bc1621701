"""Images of a private registry: each pod names the Secrets of its own spec, then the chart's."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import test_batch_desired
import test_desired
from fake_client import JOB, World
from test_endpoint_desired import CLAIM, SKLEARN, context
from test_sweep_reconcile import SWEEP, SweepWorld

from loopwright.api.endpoint_report import MonitorConfig
from loopwright.api.modelendpoint_status import ModelEndpointStatus
from loopwright.api.resources import Resource
from loopwright.desired import inferenceservice as isvc
from loopwright.desired.context import AttemptContext, JobContext, Manifest
from loopwright.desired.endpoint import EndpointContext, ModelSource
from loopwright.desired.monitor import MonitorContext, deployment
from loopwright.desired.rayjob import rayjob
from loopwright.reconcile import endpoint_children
from loopwright.reconcile.context import Context
from loopwright.settings import Settings

KNOWN = ("registry", "mirror")
OWN = {"imagePullSecrets": [{"name": "theirs"}, {"name": "mirror"}]}


def pulled(pod: Manifest) -> list[str]:
    """The Secrets that a pod names."""
    return [one["name"] for one in pod.get("imagePullSecrets", [])]


def of_rayjob(made: Manifest) -> list[list[str]]:
    """Those of the head and of each group of workers."""
    cluster = made["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]
    return [pulled(one["template"]["spec"]) for one in groups]


JOBS: dict[str, JobContext] = {
    "training": test_desired.job(numWorkers=1),
    "sweep": test_desired.sweep({}),
    "batch": test_batch_desired.context(),
}


@pytest.mark.parametrize("kind", JOBS)
def test_pods_of_jobs(kind: str) -> None:
    job, attempt = JOBS[kind], AttemptContext(1, 60)
    assert of_rayjob(rayjob(job, attempt)) == [[], []]
    assert of_rayjob(rayjob(replace(job, pull_secrets=KNOWN), attempt)) == [[*KNOWN]] * 2


def test_those_of_the_pod_come_first_and_none_twice() -> None:
    head = {"pod": {"imagePullSecrets": [{"name": "theirs"}, {"name": "head"}]}}
    job = replace(test_desired.job(numWorkers=1, pod=OWN, head=head), pull_secrets=KNOWN)
    found = of_rayjob(rayjob(job, AttemptContext(1, 60)))
    assert found == [["theirs", "mirror", "head", "registry"], ["theirs", "mirror", "registry"]]


def endpoint(secrets: tuple[str, ...], **variant: Any) -> EndpointContext:
    return replace(context(variant=variant), pull_secrets=secrets)


@pytest.mark.parametrize("model", [CLAIM, SKLEARN], ids=["our server", "KServe's"])
def test_model_servers_are_no_others_for_it(model: ModelSource) -> None:
    before, after = endpoint((), pod=OWN), endpoint(KNOWN, pod=OWN)
    [variant] = after.spec.variants
    assert pulled(isvc.predictor(before, variant, model)) == ["theirs", "mirror"]
    assert pulled(isvc.predictor(after, variant, model)) == ["theirs", "mirror", "registry"]
    assert pulled(isvc.predictor(endpoint(()), endpoint(()).spec.variants[0], model)) == []
    # Or all pods would be replaced when the chart's value is.
    assert isvc.digest(before, variant, model) == isvc.digest(after, variant, model)


def test_monitors() -> None:
    config = MonitorConfig(endpoint="ep", namespace="n", uid="u", report="ep-observed")
    plain, told = (
        deployment(MonitorContext(config, "operator:1", pull_secrets=secrets))
        for secrets in ((), KNOWN)
    )
    assert pulled(told["spec"]["template"]["spec"]) == [*KNOWN]
    assert "registry" not in json.dumps(plain)


SETTINGS = Settings.from_env({"LOOPWRIGHT_IMAGE_PULL_SECRETS": "registry, mirror"})


class Training(World):
    """A job, where the operator knows the Secrets of a registry."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, Manifest] = {}

    def context(self) -> Context:
        return replace(super().context(), settings=SETTINGS)

    async def create(self, resource: Resource, obj: Manifest) -> Manifest:
        self.made[obj["metadata"]["name"]] = copy.deepcopy(obj)
        return await super().create(resource, obj)


class Search(SweepWorld):
    """The same with a sweep."""

    def context(self) -> Context:
        return replace(super().context(), settings=SETTINGS)


async def test_the_operator_s_setting_reaches_the_pods() -> None:
    training, search = Training(), Search()
    await training.look(JOB)
    await search.look(SWEEP)
    assert of_rayjob(training.made["job-a1"])[0] == [*KNOWN]
    assert of_rayjob(search.made["sweep-s1"])[0] == [*KNOWN]


def test_it_reaches_monitors() -> None:
    told = replace(
        context(monitors=[{"name": "drift", "kind": "DataDrift"}]),
        pull_secrets=KNOWN,
    )
    groups = endpoint_children._monitor(Training().context(), told, ModelEndpointStatus())
    [found] = [one for group in groups for one in group if one["kind"] == "Deployment"]
    assert pulled(found["spec"]["template"]["spec"]) == [*KNOWN]

"""F18 to F21: the API server says no, until a person changes that.

F19 is test_kuberay_may_be_installed_later of tests/integration, which takes the CRDs away and
brings them back.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Final

from fake_world import Object
from faults import mutate, refuse, resource
from people import condition
from proxy import Fault
from scenario import Stage
from scenarios.trainingjob import SUCCESS, trains
from theatre import Theatre
from watches import cut, watch_of

from perf.api import Refused

Refusal = Callable[[Stage], AbstractAsyncContextManager[str]]
"""In force inside of its block; gives words that the job's condition must show."""

ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
# What is refused is tried again every ten seconds.
LONG: Final = 25
EVERY: Final = 10
POLICIES: Final = ("networkpolicies",)


@contextlib.asynccontextmanager
async def revoked(stage: Stage, plural: str) -> AsyncIterator[str]:
    """403 for all that is asked of one resource; watches that there are end soon."""
    before = stage.proxy.fault
    stage.proxy.watch_fault = watch_of(plural)(cut(5))
    stage.proxy.fault = refuse(403, resource(plural))
    yield "injected"
    stage.proxy.fault = before


@contextlib.asynccontextmanager
async def no_right_to_rayjobs(stage: Stage) -> AsyncIterator[str]:
    """F18: the right to RayJobs is taken away while the operator works."""
    await stage.at_work()
    async with revoked(stage, "rayjobs") as words:
        yield words


@contextlib.asynccontextmanager
async def no_right_to_policies(stage: Stage) -> AsyncIterator[str]:
    """F18: the right to NetworkPolicies is missing when the operator starts."""
    async with revoked(stage, "networkpolicies") as words:
        await stage.deployment.end(signal.SIGKILL)
        yield words


@contextlib.asynccontextmanager
async def a_policy(stage: Stage) -> AsyncIterator[str]:
    """F20: admission of others refuses NetworkPolicies."""
    name, api, words = stage.namespace.name, stage.namespace.api, "ask the network team"
    rule = {"apiGroups": ["networking.k8s.io"], "apiVersions": ["*"], "operations": ["CREATE"],
            "resources": ["networkpolicies"]}  # fmt: skip
    here = {"matchLabels": {"kubernetes.io/metadata.name": name}}
    policy = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": here},
        "validations": [{"expression": "false", "message": words}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    kinds = {
        "validatingadmissionpolicies": ("ValidatingAdmissionPolicy", policy),
        "validatingadmissionpolicybindings": ("ValidatingAdmissionPolicyBinding", binding),
    }
    for plural, (kind, spec) in kinds.items():
        head = {"apiVersion": ADMISSION.removeprefix("/apis/"), "kind": kind}
        obj = {**head, "metadata": {"name": name}, "spec": spec}
        await api.send("POST", f"{ADMISSION}/{plural}", obj)
    await _in_force(stage)
    yield words
    for plural in kinds:
        await api.send("DELETE", f"{ADMISSION}/{plural}/{name}")


async def _in_force(stage: Stage) -> None:
    """Waits until a policy refuses."""
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    probe = {**kind, "metadata": {"name": "probe"}, "spec": {"podSelector": {}}}
    path = stage.namespace.path("NetworkPolicy") + "?dryRun=All"
    while True:
        try:
            await stage.namespace.send("POST", path, probe)
        except Refused as error:
            assert error.status in (403, 422), error
            return
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def a_quota(stage: Stage) -> AsyncIterator[str]:
    """F21: the namespace may have no RayJobs. No controller counts them here, so the test does."""
    none, one = ({"count/rayjobs.ray.io": count} for count in "01")
    kind = {"apiVersion": "v1", "kind": "ResourceQuota"}
    await stage.namespace.create({**kind, "metadata": {"name": "team"}, "spec": {"hard": none}})
    counted = {"hard": none, "used": none}
    await stage.namespace.patch("ResourceQuota", "team", "status", status=counted)
    yield "exceeded quota: team"
    await stage.namespace.patch("ResourceQuota", "team", spec={"hard": one})
    await stage.namespace.patch("ResourceQuota", "team", "status", status={"hard": one})


async def test_what_is_refused_waits_and_says_why(theatre: Theatre) -> None:
    """F18, F20 and F21: a condition, one Event, few requests; it goes on once it may."""
    await theatre.calmly(SUCCESS)
    async with asyncio.TaskGroup() as tasks:
        for refusal in (no_right_to_rayjobs, no_right_to_policies, a_policy, a_quota):
            tasks.create_task(waits(theatre, refusal))


async def waits(theatre: Theatre, refusal: Refusal) -> None:
    """A job is created while something is refused, and the refusal is lifted."""
    async with theatre.stage(SUCCESS) as stage:
        stage.world.outcomes = ("runs",)
        async with refusal(stage) as words:
            await stage.create()
            await stage.until(lambda job: words in condition(job, "Ready").get("message", ""))
            before, began = len(stage.proxy.requests), time.monotonic()
            await asyncio.sleep(LONG)
            most = 2 + (time.monotonic() - began) // EVERY
            asked = stage.proxy.requests[before:]
            refused = Counter(str(r) for r, status in asked if r.write and status >= 400)
            events = [e for e in await stage.namespace.list("Event") if words in e["message"]]
        restarts, began = stage.deployment.restarts, time.monotonic()
        await stage.until(trains)
        took = time.monotonic() - began
        print(f"{refusal.__name__}: {dict(refused)}, recovers in {took:.0f} s")
        assert 0 < max(refused.values(), default=0) <= most
        assert [event["type"] for event in events] == ["Warning"]
        stage.world.outcomes = ("succeeds",)
        ending = await stage.finish()
        ending.check(await theatre.calmly(SUCCESS), SUCCESS)
        assert stage.deployment.restarts == restarts


def add_label(obj: Object) -> None:
    """Marks an object."""
    obj["metadata"].setdefault("labels", {})["cost-centre"] = "42"


def open_network(obj: Object) -> None:
    """Lets others in, whoever writes the policy."""
    obj["spec"]["ingress"] = [{}]


async def test_others_change_what_is_made(theatre: Theatre) -> None:
    """F20: admission of others adds labels, and insists on what is ours; nobody fights."""
    await theatre.calmly(SUCCESS)
    async with asyncio.TaskGroup() as tasks:
        for change, kinds in ((add_label, ("rayjobs", "configmaps")), (open_network, POLICIES)):
            tasks.create_task(is_changed(theatre, mutate(change, resource(*kinds)), kinds))


async def is_changed(theatre: Theatre, fault: Fault, kinds: Collection[str]) -> None:
    """The operator looks at everything each second, and soon leaves it alone."""
    calm = await theatre.calmly(SUCCESS)
    async with theatre.stage(SUCCESS, resync_seconds="1") as stage:
        stage.proxy.fault = fault
        stage.world.outcomes = ("runs",)
        await stage.create()
        await stage.until(trains)
        await asyncio.sleep(12)
        stage.world.outcomes = ("succeeds",)
        ending = await stage.finish()
    ending.check(calm, SUCCESS, same=False)
    # What is ours is put right, and put right once more when that was seen.
    made, usual = (sum(w.resource in kinds for w in one.writes) for one in (ending, calm))
    assert made <= usual + 2

"""Endpoints on a real API server. KServe, the Gateway and the monitor are played by a fake."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from fake_kserve import CHECKED, endpoint, model, version
from fake_world import Object
from kubectl import Kubectl
from replicas import Replica, Replicas
from scenes import (
    SECONDS,
    SETTINGS,
    Scene,
    condition,
    message,
    percent,
    scene,
    serving,
    there,
    uri,
    variants,
)

from auditlog import AuditLog
from controlplane import crds


async def test_a_canary_from_nothing_to_promotion(
    api: Kubectl, replicas: Replicas, audit: AuditLog
) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig, replicas.namespaces) as it:
        mark = audit.mark()
        status = await serving(it, rollout=CHECKED)
        assert status["url"] == f"http://10.0.0.1/{it.namespace.name}/ep"
        await it.weighs(v1=10000)
        await it.canary("v2")
        await it.weighs(v1=9000, v2=1000)
        it.fake.blind = False
        await it.ready("m-v2")
        await it.weighs(v2=10000)
        await it.numbers("InferenceService", 1)
        # One of what serves; the monitor's is gone.
        await it.numbers("Deployment", 1)
        assert await it.namespace.get("Deployment", "ep-monitor") is None
        mine = [
            one
            for one in audit.writes(mark)
            if one["objectRef"].get("namespace") == it.namespace.name
            and one["objectRef"]["resource"] != "events"
        ]
        writes = [f"{one['verb']} {one['objectRef']['resource']}" for one in mine]
        # Two revisions of three objects, a route and its changes, a monitor, alerts, and a status
        # for each.
        assert len(writes) <= 42, writes


async def test_a_bad_canary_returns_by_itself(api: Kubectl, replicas: Replicas) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig, replicas.namespaces) as it:
        await serving(it, rollout=CHECKED)
        await it.create(version("v3", "bad"))
        await it.alias("v3")
        await it.until("rollback", lambda status: condition(status, "RolledBack")[0] == "True")
        status = await it.until("its end", lambda status: not status["retired"])
        await it.weighs(v1=10000)
        assert "50 % of 1000 requests failed" in message(status, "RolledBack")
        assert condition(status, "Stalled") == ("True", "RolledBack")
        await it.numbers("InferenceService", 1)
        assert [uri(one) for one in await it.namespace.list("InferenceService")] == ["v1/good"]


async def test_killed_in_the_middle_of_a_rollout(api: Kubectl, replicas: Replicas) -> None:
    first = replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig, replicas.namespaces) as it:
        await serving(it, rollout=CHECKED)
        await it.canary("v2")
        first.end(signal.SIGKILL)
        api.run("delete", "lease", "--all", "-n", "loopwright-system")
        await asyncio.to_thread(replicas.lead, **SETTINGS)
        it.fake.blind = False
        await it.ready("m-v2")
        await it.weighs(v2=10000)


async def test_what_people_delete_or_edit_is_restored(api: Kubectl, replicas: Replicas) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig, replicas.namespaces) as it:
        policy = {"strategy": "Manual", "checkSeconds": 5, "bakeSeconds": 1}
        await serving(it, rollout=policy, autoscaling={"min": 2})
        await it.alias("v2")
        await it.until("a canary", lambda status: percent(status) == 10)
        services = await it.namespace.list("InferenceService")
        [old] = [one for one in services if uri(one) == "v1/good"]
        name = old["metadata"]["name"]
        # Nothing but its record knows by now what the old revision was.
        for kind, deleted in (
            ("InferenceService", name), ("HTTPRoute", "ep"), ("Service", "ep"),
            ("HorizontalPodAutoscaler", name), ("PodDisruptionBudget", name),
            ("Deployment", "ep-monitor"),
        ):  # fmt: skip
            await it.until(f"a {kind}", lambda _, a=(kind, deleted): there(it, *a))
            before = await it.namespace.get(kind, deleted)
            assert before is not None, kind
            await it.namespace.delete(kind, deleted)
            await it.until(
                f"another {kind}", lambda _, a=(kind, deleted), b=before: anew(it, *a, b)
            )
        again = await it.namespace.get("InferenceService", name)
        assert again is not None
        assert again["spec"] == old["spec"]
        await it.weighs(v1=9000, v2=1000)
        edited = {"rules": [{"backendRefs": [{"name": "other", "port": 80}]}]}
        await it.namespace.patch("HTTPRoute", "ep", spec=edited)
        await it.weighs(v1=9000, v2=1000)


async def anew(it: Scene, kind: str, name: str, before: Object) -> bool:
    found = await it.namespace.get(kind, name)
    return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]


async def test_models_that_may_not_be_served_leave_the_old_one(
    api: Kubectl, replicas: Replicas
) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig, replicas.namespaces) as it:
        await serving(it)
        await it.create(version("v4", "broken"))
        reasons = {"v9": "ModelVersionNotFound", "v4": "RolledBack"}
        for name, reason in reasons.items():
            await it.alias(name)
            status = await it.until(reason, lambda s, r=reason: condition(s, "Ready")[1] == r)
            assert await it.weights() == {"v1/good": 10000}
            assert condition(status, "VariantsReady") == ("True", "AsExpected")
        assert condition(status, "RolledBack") == ("True", "DigestMismatch")
        assert "model.json was changed" in message(status, "RolledBack")
        await it.namespace.patch("ModelEndpoint", "ep", spec={"requireApproval": True})
        status = await it.until(
            "approval", lambda s: condition(s, "Ready")[1] == "ModelNotApproved"
        )
        assert "approve" in message(status, "Ready")
        assert await it.weights() == {"v1/good": 10000}


async def test_suspended_and_back(api: Kubectl, replicas: Replicas) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig, replicas.namespaces) as it:
        await serving(it, autoscaling={"min": 2, "max": 4})
        await it.until("two", lambda status: status["replicas"] == 2)
        await it.namespace.patch("ModelEndpoint", "ep", spec={"suspend": True})
        await it.until("no pods", lambda s: s["phase"] == "Suspended" and s["replicas"] == 0)
        await it.numbers("HorizontalPodAutoscaler", 0)
        await it.namespace.patch("ModelEndpoint", "ep", spec={"suspend": False})
        status = await it.until("pods", lambda status: status["replicas"] == 2)
        await it.numbers("HorizontalPodAutoscaler", 1)
        await it.namespace.patch("ModelEndpoint", "ep", spec={"autoscaling": None, "replicas": 3})
        await it.until("three", lambda status: status["replicas"] == 3)
        await it.numbers("HorizontalPodAutoscaler", 0)
        assert status["variants"][0]["serving"] is not None


async def test_a_restart_with_settled_endpoints_writes_nothing(
    api: Kubectl, replicas: Replicas, audit: AuditLog
) -> None:
    first = replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig, replicas.namespaces) as it:
        both = [
            {"name": name, "model": {"modelVersionRef": {"name": f"m-v{n}"}}, "weight": n}
            for n, name in enumerate(("a", "b"), 1)
        ]
        await it.create(model(), version("v1"), version("v2"))
        await it.create(endpoint("ep", *both, autoscaling={"min": 2}))
        await it.ready()
        assert await it.weights() == {"v1/good": 100, "v2/good": 200}
        await asyncio.to_thread(audit.settled)
        await asyncio.to_thread(first.end, signal.SIGTERM)
        mark = audit.mark()
        second = await asyncio.to_thread(replicas.lead, resync_seconds="5", **SETTINGS)
        await looked(second, 3)
        assert audit.writes(mark) == []


async def looked(operator: Replica, times: int) -> None:
    """Waits until endpoints were looked at so often."""
    seen = 'loopwright_reconcile_seconds_count{kind="ModelEndpoint"}'
    until = time.monotonic() + SECONDS
    while await asyncio.to_thread(operator.metric, seen) < times:
        assert time.monotonic() < until
        await asyncio.sleep(0.2)


async def test_a_name_that_is_taken_is_not_touched(api: Kubectl, replicas: Replicas) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig, replicas.namespaces) as it:
        meta, spec = {"name": "ep"}, {"ports": [{"port": 1}]}
        await it.create({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
        await it.create(model(aliases={"live": "v1"}), version("v1"), endpoint())
        status = await it.until("NameTaken", lambda s: condition(s, "Ready")[1] == "NameTaken")
        assert "Service 'ep' exists and is not Loopwright's" in message(status, "Ready")
        await it.namespace.delete("Service", "ep")
        await it.ready("m-v1")


async def test_kserve_may_be_installed_later(api: Kubectl, replicas: Replicas) -> None:
    try:
        api.run("delete", "crd", "inferenceservices.serving.kserve.io", "--timeout=300s")
        replicas.lead(**SETTINGS)
        async with scene(api.kubeconfig, replicas.namespaces) as it:
            await it.create(model(aliases={"live": "v1"}), version("v1"), endpoint())
            status = await it.until(
                "a condition", lambda s: condition(s, "Ready")[1] == "DependencyMissing"
            )
            assert "install KServe" in message(status, "Ready")
            api.apply(*crds("kserve"))
            api.wait_for_crds()
            await it.ready("m-v1")
    finally:
        api.apply(*crds("kserve"))
        api.wait_for_crds()


async def test_alerts_come_and_go_with_the_prometheus_operator(
    api: Kubectl, replicas: Replicas
) -> None:
    crd = "prometheusrules.monitoring.coreos.com"
    try:
        api.run("delete", "crd", crd, "--timeout=300s")
        replicas.lead(**SETTINGS, rule_labels="release=main")
        async with scene(api.kubeconfig, replicas.namespaces) as it:
            await it.create(model(aliases={"live": "v1"}), version("v1"), endpoint())
            await it.ready("m-v1")
            assert await it.namespace.list("PrometheusRule") == []
            api.apply(*crds("prometheus"))
            api.wait_for_crds()

            async def there(_: Object) -> bool:
                return await it.namespace.get("PrometheusRule", "ep-alerts") is not None

            await it.until("alerts", there)
            [rule] = await it.namespace.list("PrometheusRule")
            assert rule["metadata"]["labels"]["release"] == "main"
            assert rule["metadata"]["ownerReferences"][0]["kind"] == "ModelEndpoint"
            # Somebody's edit is undone, and what is deleted comes back.
            await it.namespace.patch("PrometheusRule", "ep-alerts", spec={"groups": []})

            async def whole(_: Object) -> bool:
                found = await it.namespace.get("PrometheusRule", "ep-alerts")
                return found is not None and found["spec"] == rule["spec"]

            await it.until("the alerts again", whole)
            await it.namespace.delete("PrometheusRule", "ep-alerts")
            await it.until("the alerts once more", whole)
            api.run("delete", "crd", crd, "--timeout=300s")
            await it.alias("v1")
            await it.ready("m-v1")
    finally:
        api.apply(*crds("prometheus"))
        api.wait_for_crds()


@pytest.mark.parametrize("section", ["", "web"])
async def test_without_a_gateway_one_variant_is_served(
    api: Kubectl, replicas: Replicas, section: str
) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig, replicas.namespaces) as it:
        routing: Object = {"gatewayRef": {"name": "none"}} if section else {}
        await it.create(model(aliases={"live": "v1"}), version("v1"), version("v2"))
        await it.create(endpoint(routing=routing, rollout={"bakeSeconds": 0}))
        wanted = ("False", "GatewayNotFound") if section else ("True", "ServiceOnly")
        await it.until("a route", lambda s: condition(s, "RouteReady") == wanted)
        await it.alias("v2")

        async def served(status: Object) -> bool:
            serves = variants(status)[0].get("serving", {})
            if serves.get("modelVersion") != "m-v2" or percent(status) is not None:
                return False
            service = await it.namespace.get("Service", "ep") or {}
            name = f"isvc.{serves['inferenceService']}-predictor"
            return name in service.get("spec", {}).get("selector", {}).values()

        await it.until("v2", served)

"""A fake of everything round the operator: KubeRay, drivers, the garbage collector and a person.

It is level-triggered as well: each step looks at what is there and does what comes next, so a
killed operator finds a world that has gone on, and no step is lost or done twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from loopwright.api import names
from perf.api import APPLY, MERGE, Api, Refused

Object = dict[str, Any]

PATHS: Final = {
    "TrainingJob": "/apis/loopwright.io/v1alpha1/namespaces/{}/trainingjobs",
    "HyperparameterSweep": "/apis/loopwright.io/v1alpha1/namespaces/{}/hyperparametersweeps",
    "BatchTransform": "/apis/loopwright.io/v1alpha1/namespaces/{}/batchtransforms",
    "Model": "/apis/loopwright.io/v1alpha1/namespaces/{}/models",
    "ModelVersion": "/apis/loopwright.io/v1alpha1/namespaces/{}/modelversions",
    "PrometheusRule": "/apis/monitoring.coreos.com/v1/namespaces/{}/prometheusrules",
    "RayJob": "/apis/ray.io/v1/namespaces/{}/rayjobs",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Event": "/api/v1/namespaces/{}/events",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "ModelEndpoint": "/apis/loopwright.io/v1alpha1/namespaces/{}/modelendpoints",
    "InferenceService": "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices",
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes",
    "Gateway": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/gateways",
    "GatewayClass": "/apis/gateway.networking.k8s.io/v1/gatewayclasses",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ControllerRevision": "/apis/apps/v1/namespaces/{}/controllerrevisions",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "ScaledObject": "/apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "Service": "/api/v1/namespaces/{}/services",
    "Pod": "/api/v1/namespaces/{}/pods",
}
CHILDREN: Final = ("RayJob", "ConfigMap", "NetworkPolicy")
# Nobody owns them.
RECORDS: Final = ("Model", "ModelVersion")
MODEL: Final = {
    "modelUri": "pvc://results/x/model", "format": "onnx", "digest": "sha256:" + "0" * 64,
}  # fmt: skip
FINALIZER: Final = "ray.io/rayjob-finalizer"
TICK: Final = 0.05


@dataclass
class Namespace:
    """Objects of one namespace, as an administrator sees and changes them."""

    api: Api
    name: str

    async def send(self, *request: Any) -> bytes:
        """One request; a server that is still busy with a new CRD is asked again."""
        while True:
            try:
                return await self.api.send(*request)
            except Refused as error:
                if error.status != 429:
                    raise
                await asyncio.sleep(1)

    def path(self, kind: str, name: str = "", sub: str = "") -> str:
        """Path of a kind, an object, or a subresource."""
        return "/".join(part for part in (PATHS[kind].format(self.name), name, sub) if part)

    async def list(self, kind: str) -> list[Object]:
        """All objects of a kind; none when its CRD is not installed."""
        try:
            answer = await self.send("GET", self.path(kind))
        except Refused as error:
            if error.status == 404:
                return []
            raise
        items: list[Object] = json.loads(answer)["items"]
        return [item | {"kind": kind} for item in items]

    async def get(self, kind: str, name: str) -> Object | None:
        """One object, or None when it is not there."""
        try:
            found: Object = json.loads(await self.send("GET", self.path(kind, name)))
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return found

    async def create(self, obj: Object) -> None:
        """Creates an object."""
        await self.send("POST", self.path(obj["kind"]), obj)

    async def patch(self, kind: str, name: str, sub: str = "", **body: Any) -> None:
        """Merges into an object; one that is gone stays so."""
        try:
            await self.send("PATCH", self.path(kind, name, sub), body, MERGE)
        except Refused as error:
            if error.status != 404:
                raise

    async def delete(self, kind: str, name: str, uid: str | None = None) -> None:
        """Deletes an object, if it is still the one with `uid`; one that is gone is fine."""
        body: Object = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self.send("DELETE", self.path(kind, name), body)
        except Refused as error:
            if error.status not in (404, 409):
                raise


Look = Callable[[Object], bool]
Seen = Callable[[Object | None], bool]
Do = Callable[[Namespace, str], Awaitable[None]]


def never(_: Object | None) -> bool:
    """What is never seen."""
    return False


@dataclass(frozen=True)
class Step:
    """What a person does once the job's object satisfies a condition."""

    when: Look
    do: Do


@dataclass
class FakeWorld:
    """Plays one job's surroundings.

    Args:
        outcomes: How each attempt ends: `succeeds`, `fails` (a bug), `lost` (no last word),
            `runs` (for ever), `waits` (succeeds once the person has done all steps).
        steps: What a person does, in this order.
        patient: Whether it waits for the operator to see each state before it goes on. A world
            that does not wait shows the operator only some of the states.
        kind: Of the job.
        last: What its drivers say besides in the end, when they succeed.
    """

    namespace: Namespace
    job: str
    outcomes: Sequence[str] = ("succeeds",)
    steps: Sequence[Step] = ()
    patient: bool = True
    kind: str = "TrainingJob"
    last: Object = field(default_factory=dict)
    history: list[Object] = field(default_factory=list)
    """Each status that the job had."""
    done: int = 0
    """How many of the person's steps are done."""
    uid: str | None = None
    still: asyncio.Lock = field(default_factory=asyncio.Lock)
    """KubeRay does nothing while somebody has it."""

    async def prepare(self) -> None:
        """Nothing is needed before the job."""

    async def live(self, until: Seen = never) -> None:
        """Plays until something can be said of the job, to which nobody has reacted then."""
        while not until(job := await self.namespace.get(self.kind, self.job)):
            await self.tick(job)
            await asyncio.sleep(TICK)

    async def tick(self, job: Object | None) -> None:
        """Everybody does at most one thing."""
        status = (job or {}).get("status") or {}
        if status and (not self.history or self.history[-1] != status):
            self.history.append(status)
        uid = (job or {}).get("metadata", {}).get("uid")
        if uid is None or uid != self.uid:
            await self._collect_garbage()
        self.uid = uid
        # Before KubeRay, so that no phase that a person waits for is over when he acts.
        if self.done < len(self.steps) and self.steps[self.done].when(job or {}):
            await self.steps[self.done].do(self.namespace, self.job)
            self.done += 1
        async with self.still:
            for rayjob in await self.namespace.list("RayJob"):
                if names.attempt_of(self.kind, self.job, rayjob["metadata"]["name"]) is not None:
                    await self._kuberay(rayjob, status)

    async def _collect_garbage(self) -> None:
        """Deletes what was made for objects that are gone, as kube-controller-manager does."""
        # Children first: the owner of one that is made meanwhile must be known.
        children = [child for kind in CHILDREN for child in await self.namespace.list(kind)]
        uids = {item["metadata"]["uid"] for item in await self.namespace.list(self.kind)}
        for child in children:
            meta = child["metadata"]
            # What else may own one is never deleted here.
            owners = {
                owner["uid"] if owner["kind"] == self.kind else None
                for owner in meta.get("ownerReferences") or []
            }
            if owners and not owners & {None, *uids} and "deletionTimestamp" not in meta:
                await self.namespace.delete(child["kind"], meta["name"], meta["uid"])

    async def _kuberay(self, rayjob: Object, status: Object) -> None:
        meta = rayjob["metadata"]
        name, said = meta["name"], rayjob.get("status") or {}
        if "deletionTimestamp" in meta:
            others = [one for one in meta["finalizers"] if one != FINALIZER]
            if others != meta["finalizers"]:
                await self.namespace.patch("RayJob", name, metadata={"finalizers": others})
            return
        deployment = said.get("jobDeploymentStatus", "")
        attempts = {attempt["rayJob"]: attempt for attempt in status.get("attempts", [])}
        known = attempts.get(name, {})
        number = names.attempt_of(self.kind, self.job, name) or 0
        if deployment == "":
            await self.namespace.patch("RayJob", name, metadata={"finalizers": [FINALIZER]})
            await self._says(name, "Initializing")
        elif deployment == "Initializing" and (known.get("rayCluster") or not self.patient):
            await self._says(name, "Running", "RUNNING")
        elif deployment == "Running" and (known.get("runningTime") or not self.patient):
            await self._driver(name, number, known)

    async def _driver(self, rayjob: str, number: int, known: Object) -> None:
        report = await self._report()
        if report.get("attempt") != number:
            progress = {"step": 1, "totalSteps": 2, "percent": 50}
            await self._reports(number, "Running", progress=progress)
            return
        if self.patient and not known.get("runId"):
            return
        outcome = self.outcomes[min(number, len(self.outcomes)) - 1]
        if outcome == "waits":
            outcome = "runs" if self.done < len(self.steps) else "succeeds"
        if outcome == "succeeds" and report["state"] == "Running":
            progress = {"step": 2, "totalSteps": 2, "percent": 100}
            metrics = [{"name": "accuracy", "value": "0.9"}]
            more = {
                "metrics": metrics,
                "artifacts": MODEL,
                "model": {"baseline": True},
                **self.last,
            }
            await self._reports(number, "Succeeded", progress=progress, **more)
        elif outcome == "succeeds":
            await self._says(rayjob, "Complete", "SUCCEEDED")
        elif outcome == "fails" and report["state"] == "Running":
            error = {"cause": "Application", "reason": "ScriptFailed", "message": "a bug"}
            await self._reports(number, "Failed", error={**error, "exitCode": 1})
        elif outcome == "fails":
            await self._says(rayjob, "Failed", "FAILED")
        elif outcome == "lost":
            await self._says(rayjob, "Failed", "FAILED")

    async def _report(self) -> Object:
        name = names.report_name(self.kind, self.job)
        mailbox = await self.namespace.get("ConfigMap", name) or {}
        text = (mailbox.get("data") or {}).get("report.json")
        found: Object = json.loads(text) if text else {}
        return found

    async def _says(self, rayjob: str, deployment: str, job: str = "") -> None:
        status = {"jobDeploymentStatus": deployment, "rayClusterName": f"{rayjob}-x"}
        status |= {"jobStatus": job} if job else {}
        await self.namespace.patch("RayJob", rayjob, "status", status=status)

    async def _reports(self, number: int, state: str, **more: Any) -> None:
        report = {"attempt": number, "runId": f"run{number}", "state": state, **more}
        report["time"] = "2026-01-01T00:00:00Z"
        name = names.report_name(self.kind, self.job)
        meta = {"name": name, "labels": names.child_labels(self.kind, self.job)}
        meta["ownerReferences"] = [names.owner_reference(self.kind, self.job, self.uid or "")]
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
        path = self.namespace.path("ConfigMap", name)
        path += f"?fieldManager={names.RUNTIME}&force=true"
        data = {"report.json": json.dumps(report)}
        await self.namespace.send("PATCH", path, {**body, "data": data}, APPLY)

"""A fake of everything round an endpoint: KServe, pods, the Gateway, the monitor, the garbage
collector and a person.

Level-triggered as `fake_world` is. What a model is like, its URI says: one that ends in `bad`
answers with errors, in `slow` late, and the pods of one that ends in `broken` end at once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fake_world import TICK, Namespace, Object, Seen, Step, never

OWNED: Final = (
    "InferenceService", "HTTPRoute", "Deployment", "Service", "ControllerRevision",
    "HorizontalPodAutoscaler", "ScaledObject", "PodDisruptionBudget", "PrometheusRule", "ConfigMap",
)  # fmt: skip
OWNERS: Final = ("ModelEndpoint", "InferenceService")
GATEWAY: Final = "gw"
FEATURES: Final = ("HTTPRoutePathRewrite", "HTTPRouteResponseHeaderModification")
# A step is over once it was checked, however long the monitor takes. With less time to bake than to
# check it would be over at once, checked or not.
CHECKED: Final[Object] = {
    "strategy": "Canary", "bakeSeconds": 5, "checkSeconds": 5, "keepPreviousSeconds": 0,
}  # fmt: skip
# What a monitor measures of a model, by how its URI ends.
FIGURES: Final[dict[str, Object]] = {
    "bad": {"errors": 500, "errorRatio": 0.5},
    "slow": {"p50Seconds": 0.4, "p99Seconds": 0.9},
}
GOOD: Final = {"requests": 1000, "errors": 0, "errorRatio": 0.0, "p50Seconds": 0.01,
               "p99Seconds": 0.02, "rate": 100.0}  # fmt: skip
TAMPERED: Final = "DigestMismatch: pvc://models/broken/model.json was changed; restore it"


@dataclass
class FakeServing:
    """Plays what is around one endpoint.

    Args:
        steps: What a person does, in this order.
    """

    namespace: Namespace
    name: str
    steps: Sequence[Step] = ()
    violated: bool = False
    """Whether the monitor `drift` finds that data have drifted."""
    winner: str = ""
    """The variant that has won, as the monitor says of an experiment once it has begun."""
    history: list[Object] = field(default_factory=list)
    """Each status that the endpoint had."""
    done: int = 0
    """How many of the person's steps are done."""
    windows: int = 0
    """How often the monitor has reported."""
    answering: dict[str, float] = field(default_factory=dict)
    """When each InferenceService first had a pod that answers, by the monotonic clock."""
    blind: bool = False
    """Whether the monitor says nothing, so that a rollout stays where it is."""
    reported: str = ""
    """What it reported on: nobody learns anything from the same again."""

    async def prepare(self) -> None:
        """Makes what an endpoint finds."""
        await prepare(self.namespace)

    async def live(self, until: Seen = never) -> None:
        """Plays until something can be said of the endpoint, to which nobody has reacted then."""
        while not until(endpoint := await self.namespace.get("ModelEndpoint", self.name)):
            await self.tick(endpoint)
            await asyncio.sleep(TICK)

    async def tick(self, endpoint: Object | None) -> None:
        """Everybody does at most one thing."""
        status = (endpoint or {}).get("status") or {}
        if status and (not self.history or self.history[-1] != status):
            self.history.append(status)
        await self._collect_garbage()
        for service in await self.namespace.list("InferenceService"):
            await self._kserve(service)
        for scaler in await self.namespace.list("HorizontalPodAutoscaler"):
            await self._scale(scaler)
        for route in await self.namespace.list("HTTPRoute"):
            await self._gateway(route)
        await self._monitor(endpoint)
        if self.done < len(self.steps) and self.steps[self.done].when(endpoint or {}):
            await self.steps[self.done].do(self.namespace, self.name)
            self.done += 1

    async def _collect_garbage(self) -> None:
        """Deletes what was made for objects that are gone, as kube-controller-manager does."""
        # Children first: the owner of one that is made meanwhile must be known.
        children = [child for kind in OWNED for child in await self.namespace.list(kind)]
        alive = {o["metadata"]["uid"] for kind in OWNERS for o in await self.namespace.list(kind)}
        for child in children:
            meta = child["metadata"]
            owners = {one["uid"]: one["kind"] for one in meta.get("ownerReferences") or []}
            if owners and set(owners.values()) <= set(OWNERS) and not owners.keys() & alive:
                await self.namespace.delete(child["kind"], meta["name"], meta["uid"])

    async def _kserve(self, service: Object) -> None:
        """KServe makes a Deployment and a Service, and kubelets their pods."""
        name = f"{service['metadata']['name']}-predictor"
        deployment = await self.namespace.get("Deployment", name)
        if deployment is None:
            await self.namespace.create(deployment_of(service, name))
            await self.namespace.create(_service(service, name))
            return
        wanted = deployment["spec"]["replicas"]
        ready = 0 if _uri(service).endswith("broken") else wanted
        found = {"replicas": wanted, "availableReplicas": ready, "readyReplicas": ready}
        if (deployment.get("status") or {}).items() >= found.items():
            return
        if wanted and not ready:
            await self._crash(deployment)
        if ready:
            self.answering.setdefault(service["metadata"]["name"], time.monotonic())
        await self.namespace.patch("Deployment", name, "status", status=found)

    async def _scale(self, scaler: Object) -> None:
        """The autoscaler sees to the least number; what has none it leaves alone."""
        name = scaler["spec"]["scaleTargetRef"]["name"]
        deployment = await self.namespace.get("Deployment", name)
        number = deployment["spec"]["replicas"] if deployment else 0
        if 0 < number < scaler["spec"]["minReplicas"]:
            wanted = scaler["spec"]["minReplicas"]
            await self.namespace.patch("Deployment", name, spec={"replicas": wanted})

    async def _crash(self, deployment: Object) -> None:
        name = f"{deployment['metadata']['name']}-x"
        if await self.namespace.get("Pod", name) is None:
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            spec = {"containers": [{"name": "kserve-container", "image": "none"}]}
            meta = {"name": name, "labels": labels}
            await self.namespace.create(
                {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
            )
        ended = {"exitCode": 1, "message": TAMPERED}
        container = {
            "name": "kserve-container", "ready": False, "restartCount": 1, "image": "none",
            "imageID": "", "state": {"terminated": ended},
        }  # fmt: skip
        await self.namespace.patch("Pod", name, "status", status={"containerStatuses": [container]})

    async def _gateway(self, route: Object) -> None:
        if (route.get("status") or {}).get("parents"):
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = [
            {"type": name, "status": "True", "reason": name, "message": "",
             "lastTransitionTime": now}
            for name in ("Accepted", "ResolvedRefs")
        ]  # fmt: skip
        parent = {
            "parentRef": route["spec"]["parentRefs"][0], "controllerName": "example.com/fake",
            "conditions": conditions,
        }  # fmt: skip
        name = route["metadata"]["name"]
        await self.namespace.patch("HTTPRoute", name, "status", status={"parents": [parent]})

    async def _monitor(self, endpoint: Object | None) -> None:
        """Reports as long as there is a monitor, and only what is new to the operator."""
        if endpoint is None or self.blind:
            return
        if await self.namespace.get("Deployment", f"{self.name}-monitor") is None:
            return
        services = await self.namespace.list("InferenceService")
        figures = [_figures(service) for service in services]
        rollouts = [
            one["rollout"]
            for one in (endpoint.get("status") or {}).get("variants", [])
            if "rollout" in one
        ]
        run = ((endpoint.get("status") or {}).get("experiment") or {}).get("run", "")
        kept = [_kept(one) for one in services] if "dataCapture" in endpoint["spec"] else []
        moved = [(one["percent"], one["failing"]) for one in rollouts]
        mark = json.dumps([figures, moved, run, kept])
        if mark != self.reported:
            self.reported, self.windows = mark, self.windows + 1
            await self._report(endpoint["metadata"]["uid"], figures, kept)
            if self.winner and run:
                await self._judge(endpoint["metadata"]["uid"], run)

    def _moment(self) -> datetime:
        """The end of the newest window: a minute later each time, so that nobody has to wait."""
        return datetime(2100, 1, 1, tzinfo=UTC) + timedelta(minutes=self.windows)

    async def _report(self, uid: str, figures: list[Object], kept: list[Object]) -> None:
        moment = self._moment()
        report = {
            "uid": uid, "time": datetime(2100, 1, 1, tzinfo=UTC).isoformat(), "active": True,
            "reportSeconds": 5, "windowStart": moment.isoformat(),
            "windowEnd": moment.isoformat(), "variants": figures,
        }  # fmt: skip
        data = {"report.json": json.dumps(report)}
        if self.violated:
            verdicts = [
                {
                    "name": "drift", "variant": one["name"], "revision": one["revision"],
                    "state": "Violated", "reason": "DriftShare", "message": "0.9, limit 0.5",
                    "windowEnd": datetime(2100, 1, 1, tzinfo=UTC).isoformat(), "recent": [True],
                }
                for one in figures
            ]  # fmt: skip
            head = {"uid": uid, "time": report["time"]}
            data["verdicts.json"] = json.dumps({**head, "verdicts": verdicts})
        if kept:
            head = {"uid": uid, "time": report["time"]}
            data["capture.json"] = json.dumps({**head, "variants": kept})
        await self.namespace.patch("ConfigMap", f"{self.name}-observed", data=data)

    async def _judge(self, uid: str, run: str) -> None:
        """Reports that an experiment is over."""
        moment = datetime(2100, 1, 1, tzinfo=UTC).isoformat()
        finding = {"reason": "Won", "message": "it is better", "winner": self.winner,
                   "decidedAt": moment, "pValue": "0.001"}  # fmt: skip
        report = {"uid": uid, "run": run, "time": moment, "finding": finding}
        data = {"experiment.json": json.dumps(report)}
        await self.namespace.patch("ConfigMap", f"{self.name}-observed", data=data)


def _uri(service: Object) -> str:
    """Where its model is."""
    [container] = service["spec"]["predictor"]["containers"]
    values = {one["name"]: one.get("value", "") for one in container["env"]}
    return str(values["LOOPWRIGHT_MODEL_URI"])


def _figures(service: Object) -> Object:
    labels = service["metadata"]["labels"]
    name, revision = labels["loopwright.io/variant"], labels["loopwright.io/revision"]
    kind = _uri(service).rpartition("/")[2]
    return {"name": name, "revision": revision, "state": "OK", **GOOD, **FIGURES.get(kind, {})}


def _kept(service: Object) -> Object:
    """What a monitor says of data capture: a claim that is called `full` takes nothing."""
    labels = service["metadata"]["labels"]
    found = {"name": labels["loopwright.io/variant"], "revision": labels["loopwright.io/revision"]}
    volumes = service["spec"]["predictor"].get("volumes", [])
    claims = [one["persistentVolumeClaim"]["claimName"] for one in volumes
              if "persistentVolumeClaim" in one]  # fmt: skip
    if "full" not in claims:
        return {**found, "state": "OK"}
    return {**found, "state": "Violated", "reason": "UploadsFailing", "message": "it is full"}


def _child(service: Object, name: str) -> Object:
    """Metadata as KServe gives it to what it makes: with the InferenceService's labels."""
    meta = service["metadata"]
    owner = {
        "apiVersion": service["apiVersion"], "kind": "InferenceService", "name": meta["name"],
        "uid": meta["uid"], "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip
    return {"name": name, "labels": dict(meta["labels"]), "ownerReferences": [owner]}


def deployment_of(service: Object, name: str) -> Object:
    """The Deployment that KServe makes for an InferenceService."""
    labels = {**service["metadata"]["labels"], "app": f"isvc.{name}"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "kserve-container", "image": "none"}]},
    }
    selector = {"matchLabels": {"app": labels["app"]}}
    meta, spec = _child(service, name), {"selector": selector, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def _service(service: Object, name: str) -> Object:
    spec = {"selector": {"app": f"isvc.{name}"}, "ports": [{"port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _child(service, name), "spec": spec}


async def prepare(namespace: Namespace) -> None:
    """A Gateway with a class that says what it can do, and the account that pods have."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await namespace.create(account)
    group = "gateway.networking.k8s.io/v1"
    head = {"apiVersion": group, "metadata": {"name": f"class-{namespace.name}"}}
    kind = {**head, "kind": "GatewayClass", "spec": {"controllerName": "example.com/fake"}}
    await namespace.create(kind)
    features = [{"name": name} for name in sorted(FEATURES)]
    await namespace.patch(
        "GatewayClass", f"class-{namespace.name}", "status", status={"supportedFeatures": features}
    )
    listener = {"name": "web", "port": 80, "protocol": "HTTP"}
    spec = {"gatewayClassName": f"class-{namespace.name}", "listeners": [listener]}
    meta = {"name": GATEWAY}
    await namespace.create({"apiVersion": group, "kind": "Gateway", "metadata": meta, "spec": spec})
    addresses = [{"type": "IPAddress", "value": "10.0.0.1"}]
    await namespace.patch("Gateway", GATEWAY, "status", status={"addresses": addresses})


def version(name: str, uri: str = "good", **spec: Any) -> Object:
    """A ModelVersion of the Model `m`."""
    body = {
        "modelRef": {"name": "m"}, "version": name, "uri": f"pvc://models/{name}/{uri}",
        "format": "onnx", "digest": "sha256:" + "0" * 64, **spec,
    }  # fmt: skip
    head = {"apiVersion": "loopwright.io/v1alpha1", "kind": "ModelVersion"}
    return {**head, "metadata": {"name": f"m-{name}"}, "spec": body}


def model(**spec: Any) -> Object:
    """The Model."""
    head = {"apiVersion": "loopwright.io/v1alpha1", "kind": "Model"}
    return {**head, "metadata": {"name": "m"}, "spec": spec}


def endpoint(name: str = "ep", *variants: Object, **spec: Any) -> Object:
    """A ModelEndpoint, by default with one variant that follows an alias."""
    main = {"name": "main", "model": {"modelRef": {"name": "m", "alias": "live"}}}
    body = {
        "variants": list(variants) or [main],
        "routing": {"gatewayRef": {"name": GATEWAY}},
        "rollout": {"strategy": "Canary", "bakeSeconds": 1, "checkSeconds": 5,
                    "keepPreviousSeconds": 0},
        **spec,
    }  # fmt: skip
    head = {"apiVersion": "loopwright.io/v1alpha1", "kind": "ModelEndpoint"}
    return {**head, "metadata": {"name": name}, "spec": body}

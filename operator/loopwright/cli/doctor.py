"""`doctor`: what a cluster lacks for Loopwright, and how to get it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from rich.table import Table
from rich.text import Text

from loopwright.api import names
from loopwright.api.kinds import KINDS
from loopwright.api.resources import (
    ACCESSREVIEW,
    DEPLOYMENT,
    GATEWAY,
    HTTPROUTE,
    INFERENCESERVICE,
    LEASE,
    PROMETHEUSRULE,
    RAYJOB,
    SCALEDOBJECT,
    STORAGECLASS,
    WORKLOAD,
    Resource,
)
from loopwright.view.cluster import Cluster, Object
from loopwright.view.errors import NotThere, Refused, Trouble
from loopwright.view.scene import conditions
from loopwright.view.words import clean, duration

LEASE_NAME: Final = "loopwright-operator"
LEASE_SECONDS: Final = 15
OPERATOR: Final = "app.kubernetes.io/name=loopwright,app.kubernetes.io/instance"
KUBERNETES: Final = (1, 30)
DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"


class Verdict(StrEnum):
    """What a check says."""

    OK = "ok"
    MISSING = "missing"
    """Something cannot work."""
    WARNING = "warning"
    """A part of Loopwright cannot be used, or something is not as it should be."""
    OPTIONAL = "optional"
    """Not there, and not needed by most."""
    UNSEEN = "unseen"
    """This user may not look."""


COLOURS: Final = {Verdict.OK: "green", Verdict.MISSING: "red", Verdict.WARNING: "yellow"}


class Check(NamedTuple):
    """A line of the answer."""

    name: str
    verdict: Verdict
    message: str
    remedy: str = ""


class Needed(NamedTuple):
    """A kind of another project."""

    name: str
    resource: Resource
    verdict: Verdict
    without: str
    remedy: str
    deployment: str = ""
    """Labels of what runs it, whose image tells the version."""
    least: tuple[int, int] = (0, 0)


NEEDED: Final = (
    Needed("KubeRay", RAYJOB, Verdict.MISSING, "no job can run",
           "helm install kuberay-operator kuberay/kuberay-operator (1.6 or newer)",
           "app.kubernetes.io/name=kuberay-operator", (1, 6)),
    Needed("KServe", INFERENCESERVICE, Verdict.WARNING, "endpoints wait",
           "install KServe 0.17 or newer in mode Standard",
           "control-plane=kserve-controller-manager", (0, 17)),
    Needed("Gateway API", HTTPROUTE, Verdict.WARNING, "endpoints have no weights and no address",
           "install the standard CRDs of the Gateway API, and what makes Gateways"),
    Needed("metrics API", Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics"),
           Verdict.WARNING, "endpoints do not scale by CPU or memory", "install metrics-server"),
    Needed("Kueue", WORKLOAD, Verdict.OPTIONAL, "no queues", "install Kueue to have queues"),
    Needed("KEDA", SCALEDOBJECT, Verdict.OPTIONAL, "no autoscaling by requests",
           "install KEDA to have it"),
    Needed("Prometheus operator", PROMETHEUSRULE, Verdict.OPTIONAL, "no alerts",
           "install it to have alerts"),
)  # fmt: skip

# What a person does, in words for the rights that it takes.
RIGHTS: Final = (
    ("see jobs", "list", names.GROUP, "trainingjobs"),
    ("start jobs", "create", names.GROUP, "trainingjobs"),
    ("see endpoints", "list", names.GROUP, "modelendpoints"),
    ("make endpoints", "create", names.GROUP, "modelendpoints"),
    ("see pods", "list", "", "pods"),
    ("read logs", "get", "", "pods/log"),
    ("see Events", "list", "", "events"),
    ("read reports", "get", "", "pods/proxy"),
)


@dataclass(frozen=True)
class Facts:
    """What was read of the cluster; what may not be read is None."""

    now: datetime
    namespace: str
    version: Mapping[str, str]
    served: Mapping[str, frozenset[str]]
    """Kinds by group and version."""
    images: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Images of what runs other projects, by its labels."""
    operators: Sequence[Object] | None = ()
    lease: Object | None = None
    lease_seen: bool = True
    classes: Sequence[Object] | None = ()
    gateways: Sequence[Object] | None = ()
    allowed: Mapping[str, bool] = field(default_factory=dict)
    """By the words in RIGHTS."""


def look(cluster: Cluster, operator_namespace: str) -> Facts:
    """Reads what the checks are about.

    Raises:
        Trouble: the API server does not answer.
    """
    wanted = {f"{names.GROUP}/{names.VERSION}"}
    wanted |= {one.resource.api_version for one in NEEDED} | {GATEWAY.api_version}
    lease, lease_seen = _seen(lambda: cluster.get(LEASE, LEASE_NAME, operator_namespace))
    lists: dict[str, Sequence[Object] | None] = {}
    for name, resource, selector, where in (
        ("operators", DEPLOYMENT, OPERATOR, operator_namespace),
        ("classes", STORAGECLASS, "", ""),
        ("gateways", GATEWAY, "", ""),
    ):
        lists[name] = _listed(cluster, resource, selector, where)
    return Facts(
        version=cluster.json("/version"),
        served={one: _served(cluster, one) for one in sorted(wanted)},
        images={
            one.deployment: _images(cluster, one.deployment) for one in NEEDED if one.deployment
        },
        lease=lease,
        lease_seen=lease_seen,
        allowed={words: _may(cluster, *what) for words, *what in RIGHTS},
        now=cluster.time,
        namespace=cluster.namespace,
        **lists,
    )


def _seen(read: Callable[[], Object | None]) -> tuple[Object | None, bool]:
    try:
        return read(), True
    except Refused:
        return None, False


def _listed(
    cluster: Cluster, resource: Resource, selector: str, where: str
) -> Sequence[Object] | None:
    try:
        return cluster.list(resource, selector, namespace=where)
    except Refused:
        return None


def _served(cluster: Cluster, api_version: str) -> frozenset[str]:
    try:
        found = cluster.json(f"/apis/{api_version}")
    except (NotThere, Refused):
        return frozenset()
    except Trouble:
        return frozenset()  # An aggregated API that is not available.
    return frozenset(one["kind"] for one in found["resources"])


def _images(cluster: Cluster, selector: str) -> Sequence[str]:
    found = _listed(cluster, DEPLOYMENT, selector, "") or ()
    return [one["image"] for obj in found for one in obj["spec"]["template"]["spec"]["containers"]]


def _may(cluster: Cluster, verb: str, group: str, resource: str) -> bool:
    plural, _, sub = resource.partition("/")
    asked = {"namespace": cluster.namespace, "verb": verb, "group": group, "resource": plural}
    review = {
        "apiVersion": ACCESSREVIEW.api_version,
        "kind": ACCESSREVIEW.kind,
        "spec": {"resourceAttributes": {**asked, "subresource": sub}},
    }
    answer = cluster.open("POST", ACCESSREVIEW.path(), body=review).json()
    return bool(answer["status"]["allowed"])


def checks(facts: Facts) -> list[Check]:
    """All that is to be said, what is wrong first."""
    found = [
        _kubernetes(facts), _own_kinds(facts), *_operator(facts), *_projects(facts),
        _gateway(facts), _storage(facts), _rights(facts),
    ]  # fmt: skip
    order = [Verdict.MISSING, Verdict.WARNING, Verdict.UNSEEN, Verdict.OK, Verdict.OPTIONAL]
    return sorted(found, key=lambda one: order.index(one.verdict))


def _kubernetes(facts: Facts) -> Check:
    told = str(facts.version.get("gitVersion", "unknown"))
    if _numbers(told) and _numbers(told) < KUBERNETES:
        text = f"{told} is older than {KUBERNETES[0]}.{KUBERNETES[1]}"
        return Check("Kubernetes", Verdict.MISSING, text, "upgrade the cluster")
    return Check("Kubernetes", Verdict.OK, told)


def _numbers(text: str) -> tuple[int, ...]:
    hit = re.search(r"(\d+)\.(\d+)", text)
    return (int(hit[1]), int(hit[2])) if hit else ()


def _own_kinds(facts: Facts) -> Check:
    served = facts.served.get(f"{names.GROUP}/{names.VERSION}", frozenset())
    if missing := [kind.name for kind in KINDS if kind.name not in served]:
        text = f"the cluster does not know {', '.join(missing)}"
        remedy = "helm upgrade --install loopwright-crds charts/loopwright-crds"
        return Check("Loopwright's CRDs", Verdict.MISSING, text, remedy)
    return Check("Loopwright's CRDs", Verdict.OK, f"{len(KINDS)} kinds")


def _operator(facts: Facts) -> Iterator[Check]:
    name = "operator"
    if facts.operators is None:
        yield Check(name, Verdict.UNSEEN, "you may not see Deployments of its namespace")
    elif not facts.operators:
        text = "there is none in the namespace that was looked at"
        remedy = "helm upgrade --install loopwright charts/loopwright, or --operator-namespace"
        yield Check(name, Verdict.MISSING, text, remedy)
    for one in facts.operators or ():
        ready = (one.get("status") or {}).get("readyReplicas", 0)
        image = one["spec"]["template"]["spec"]["containers"][0]["image"]
        where = f"{one['metadata']['namespace']}/{one['metadata']['name']}"
        if ready:
            yield Check(name, Verdict.OK, f"{where}, {ready} ready, {image.rpartition('/')[2]}")
        else:
            remedy = f"kubectl -n {one['metadata']['namespace']} describe pods"
            yield Check(name, Verdict.MISSING, f"{where} has no ready pod", remedy)
    yield _lease(facts)


def _lease(facts: Facts) -> Check:
    name = "leader"
    if not facts.lease_seen:
        return Check(name, Verdict.UNSEEN, "you may not see its Lease")
    spec = (facts.lease or {}).get("spec") or {}
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    if not holder or not renewed:
        text, remedy = "no replica of the operator leads", "see the operator's log"
        return Check(name, Verdict.MISSING, text, remedy)
    old = (facts.now - datetime.fromisoformat(renewed)).total_seconds()
    if old > (spec.get("leaseDurationSeconds") or LEASE_SECONDS):
        text = f"{holder} has not renewed its Lease for {duration(old)}"
        return Check(name, Verdict.MISSING, text, "see the operator's log")
    return Check(name, Verdict.OK, holder)


def _projects(facts: Facts) -> Iterator[Check]:
    for one in NEEDED:
        if one.resource.kind not in facts.served.get(one.resource.api_version, ()):
            yield Check(one.name, one.verdict, f"absent: {one.without}", one.remedy)
            continue
        version = next((tag for tag in map(_tag, facts.images.get(one.deployment, ())) if tag), "")
        if _numbers(version) and _numbers(version) < one.least:
            text = f"{version} is older than {one.least[0]}.{one.least[1]}"
            yield Check(one.name, Verdict.WARNING, text, one.remedy)
        else:
            yield Check(one.name, Verdict.OK, version or "there")


def _tag(image: str) -> str:
    name, _, tag = image.partition("@")[0].rpartition(":")
    return tag if name and "/" not in tag and _numbers(tag) else ""


def _gateway(facts: Facts) -> Check:
    name = "Gateway"
    if facts.gateways is None:
        return Check(name, Verdict.UNSEEN, "you may not see Gateways")
    works = [
        f"{one['metadata']['namespace']}/{one['metadata']['name']}"
        for one in facts.gateways
        if conditions(one).get("Programmed", {}).get("status") == "True"
    ]
    if works:
        return Check(name, Verdict.OK, ", ".join(works))
    text = "none is programmed" if facts.gateways else "there is none"
    return Check(name, Verdict.WARNING, f"{text}: endpoints have no address", "create a Gateway")


def _storage(facts: Facts) -> Check:
    name = "default StorageClass"
    if facts.classes is None:
        return Check(name, Verdict.UNSEEN, "you may not see StorageClasses")
    for one in facts.classes:
        if (one["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true":
            return Check(name, Verdict.OK, one["metadata"]["name"])
    text = "none: claims have to name a StorageClass"
    return Check(name, Verdict.WARNING, text, f"annotate one with {DEFAULT_CLASS}=true")


def _rights(facts: Facts) -> Check:
    name = f"your rights in {facts.namespace}"
    if lacking := [words for words, allowed in facts.allowed.items() if not allowed]:
        text = f"you may not {', '.join(lacking)}"
        return Check(name, Verdict.WARNING, text, "ask for the roles edit and loopwright-edit")
    return Check(name, Verdict.OK, "all that this tool uses")


def table(found: Sequence[Check]) -> Table:
    """For people."""
    result = Table.grid(padding=(0, 2))
    for one in found:
        text = Text(clean(f"{one.name}: {one.message}"))
        if one.remedy:
            text.append(f"\n{clean(one.remedy)}", "dim")
        result.add_row(Text(one.verdict.value, COLOURS.get(one.verdict, "dim")), text)
    return result


def wire(found: Sequence[Check]) -> list[dict[str, Any]]:
    """For programs."""
    return [{**one._asdict(), "verdict": one.verdict.value} for one in found]


def failed(found: Sequence[Check]) -> bool:
    """Whether something that is needed is missing."""
    return any(one.verdict is Verdict.MISSING for one in found)

"""Whole lives of a ModelEndpoint."""

from __future__ import annotations

from typing import Any, Final

from fake_kserve import CHECKED, OWNED, FakeServing, endpoint, model, version
from fake_world import Namespace, Object, Step
from scenario import Scenario

from scenarios.trainingjob import training_job

ENDPOINT: Final = "ep"
# What every endpoint consists of, besides its revisions.
ONCE: Final = {"services": 1, "httproutes": 1, "prometheusrules": 1, "networkpolicies": 1}
REVISION: Final = ("inferenceservices", "controllerrevisions")
# What watches a rollout: it comes and goes, but for its mailbox and its account.
MONITOR: Final = {
    "deployments": 1, "configmaps": 1, "serviceaccounts": 1, "roles": 1, "rolebindings": 1,
    # One of the endpoint's servers, and one of all monitors.
    "networkpolicies": 2,
}  # fmt: skip


def status(obj: Object | None) -> Object:
    """What the operator says of it."""
    found: Object = (obj or {}).get("status") or {}
    return found


def said(obj: Object | None, name: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    conditions = {one["type"]: one for one in status(obj).get("conditions", [])}
    found = conditions.get(name, {})
    return found.get("status", ""), found.get("reason", "")


def settled(obj: Object | None) -> bool:
    """Whether nothing is on its way out."""
    return "retired" in status(obj) and not status(obj)["retired"]


def serves(name: str) -> Any:
    """Whether it serves a version, and nothing else is going on."""

    def check(obj: Object | None) -> bool:
        versions = [
            one.get("serving", {}).get("modelVersion") for one in status(obj).get("variants", [])
        ]
        return said(obj, "Ready")[0] == "True" and settled(obj) and versions == [f"m-{name}"]

    return check


def rolled_back(obj: Object | None) -> bool:
    """Whether it has returned to the old revision."""
    return said(obj, "RolledBack")[0] == "True" and settled(obj)


async def collected(namespace: Namespace) -> bool:
    """Whether nothing is left of an endpoint or of a revision that is gone."""
    kinds = ("ModelEndpoint", "InferenceService", "ControllerRevision", "Deployment")
    return len({len(await namespace.list(kind)) for kind in kinds}) == 1


def points_to(name: str) -> Any:
    """A person moves the alias to another version."""

    async def do(namespace: Namespace, _: str) -> None:
        await namespace.patch("Model", "m", spec={"aliases": {"live": name}})

    return do


async def deletes(namespace: Namespace, name: str) -> None:
    """A person deletes the endpoint."""
    await namespace.delete("ModelEndpoint", name)


def life(
    name: str,
    *steps: Step,
    over: Any,
    revisions: int,
    statuses: int,
    watched: bool = True,
    **spec: Any,
) -> Scenario:
    """A scenario of one endpoint that follows an alias."""
    creations = ONCE | dict.fromkeys(REVISION, revisions) | (MONITOR if watched else {})
    versions = (version("v1"), version("v2"), version("v3", "bad"))
    return Scenario(
        name,
        (model(aliases={"live": "v1"}), *versions, endpoint(ENDPOINT, **spec)),
        lambda namespace: FakeServing(namespace, ENDPOINT, steps),
        over,
        creations,
        statuses,
        rest=collected,
        # The mailbox holds whatever the monitor has said last.
        children=tuple(kind for kind in OWNED if kind != "ConfigMap"),
        settings={"drain_seconds": "1"},
    )


PROMOTED: Final = life(
    "promotion", Step(serves("v1"), points_to("v2")), over=serves("v2"), revisions=2, statuses=20
)
RETURNED: Final = life(
    "rollback", Step(serves("v1"), points_to("v3")), over=rolled_back, revisions=2, statuses=18,
    rollout=CHECKED,
)  # fmt: skip
GONE: Final = life(
    "endpoint deletion", Step(serves("v1"), deletes),
    over=lambda obj: obj is None, revisions=1, statuses=12, watched=False,
)  # fmt: skip


def trains_again(obj: Object | None) -> bool:
    """Whether the job that a monitor asked for has begun, and the endpoint serves all along."""
    begun = [one["outcome"] for one in status(obj).get("retrains", [])]
    drifted = said(obj, "DriftDetected")[0] == "True"
    return drifted and begun == ["Running"] and bool(serves("v1")(obj))


# Waits for a claim for ever, so that there is nobody to play it.
TEMPLATE: Final = training_job(
    "template", output={"uri": "pvc://none/x"}, runPolicy={"suspend": True}
)
WATCHING: Final = {
    "name": "drift", "kind": "DataDrift", "everySeconds": 3600,
    "onViolation": {"retrain": {"trainingJobRef": {"name": "template"}}},
}  # fmt: skip
RETRAINED: Final = Scenario(
    "retraining",
    (model(aliases={"live": "v1"}), version("v1"), TEMPLATE,
     endpoint(ENDPOINT, monitors=[WATCHING])),
    lambda namespace: FakeServing(namespace, ENDPOINT, violated=True),
    trains_again,
    ONCE | dict.fromkeys(REVISION, 1) | MONITOR | {"trainingjobs": 1},
    statuses=16,
    children=tuple(kind for kind in OWNED if kind != "ConfigMap"),
    settings={"drain_seconds": "1"},
)  # fmt: skip


def promoted(obj: Object | None) -> bool:
    """Whether the experiment is over, and its winner serves everybody."""
    over = said(obj, "ExperimentConcluded") == ("True", "Won")
    return over and said(obj, "Ready")[0] == "True" and status(obj)["weights"] == "next:100"


async def routed_alone(namespace: Namespace) -> bool:
    """Whether all ways lead to the winner; the status says so before they do."""
    [route] = await namespace.list("HTTPRoute")
    [rule] = route["spec"]["rules"]
    names = [ref["name"] for ref in rule["backendRefs"]]
    service = await namespace.get("Service", ENDPOINT) or {}
    return names == [service["spec"]["selector"]["app"].removeprefix("isvc.")]


ARMS: Final = [
    {"name": name, "model": {"modelRef": {"name": "m", "version": number}}}
    for name, number in (("main", "v1"), ("next", "v2"))
]
COMPARING: Final = {"control": "main", "metric": {"errorRatio": {}}, "onWin": "Promote"}
COMPARED: Final = Scenario(
    "experiment",
    (model(), version("v1"), version("v2"), endpoint(ENDPOINT, *ARMS, experiment=COMPARING)),
    lambda namespace: FakeServing(namespace, ENDPOINT, winner="next"),
    promoted,
    ONCE | dict.fromkeys(REVISION, 2) | MONITOR,
    statuses=20,
    rest=routed_alone,
    children=tuple(kind for kind in OWNED if kind != "ConfigMap"),
    settings={"drain_seconds": "1"},
)


def capturing(claim: str) -> Object:
    """Keeps all requests on a claim."""
    return {"destination": {"uri": f"pvc://{claim}/captures"}, "samplePercent": 100}


def captures(status_: str, reason: str) -> Any:
    """Whether that is known of data capture, and nothing else is going on."""

    def check(obj: Object | None) -> bool:
        return bool(serves("v1")(obj)) and said(obj, "CaptureHealthy") == (status_, reason)

    return check


async def watched_alone(namespace: Namespace) -> bool:
    """Whether nothing is left of the old revision; the monitor stays as long as requests are
    kept."""
    numbers = {"InferenceService": 1, "ControllerRevision": 1, "Deployment": 2}
    return all([len(await namespace.list(kind)) == n for kind, n in numbers.items()])


async def elsewhere(namespace: Namespace, name: str) -> None:
    """A person lets requests be kept where there is room."""
    await namespace.patch("ModelEndpoint", name, spec={"dataCapture": capturing("large")})


# Another claim is another revision, which a monitor watches already.
CAPTURED: Final = Scenario(
    "data capture",
    (model(aliases={"live": "v1"}), version("v1"),
     endpoint(ENDPOINT, dataCapture=capturing("full"))),
    lambda namespace: FakeServing(
        namespace, ENDPOINT, [Step(captures("False", "UploadsFailing"), elsewhere)]
    ),
    captures("True", "AsExpected"),
    ONCE | dict.fromkeys(REVISION, 2) | MONITOR | {"configmaps": 2},
    statuses=20,
    rest=watched_alone,
    children=tuple(kind for kind in OWNED if kind != "ConfigMap"),
    settings={"drain_seconds": "1"},
)  # fmt: skip

# It serves, and nothing happens.
SERVING: Final = life("serving", over=serves("v1"), revisions=1, statuses=12, watched=False)

SCENARIOS: Final = (PROMOTED, RETURNED, GONE, RETRAINED, COMPARED, CAPTURED)

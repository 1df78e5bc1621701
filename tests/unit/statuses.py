"""Objects of every kind with statuses as the operator decides them, for those who judge health."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from batch_worlds import DONE, BatchWorld
from endpoint_worlds import EndpointWorld
from sweep_worlds import SweepWorld
from worlds import World, error

from loopwright.api.registry import Approval, Model, ModelSpec, ModelStatus, ModelVersionStatus
from loopwright.decide.conditions import refused
from loopwright.decide.registry import Version, decide
from loopwright.decide.types import Blocked

W = TypeVar("W", bound=World)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WAITS = Blocked("SecretNotFound", "Secret 'keys' is missing; create it")
NEVER = Blocked("OutputMissing", "create the job anew", permanent=True)


@dataclass(frozen=True)
class Case:
    """An object.

    Args:
        health: What Argo CD should show.
        kstatus: What kubectl, Flux and others that use kstatus should conclude.
        told: A part of what health says.
    """

    kind: str
    name: str
    status: dict[str, Any]
    health: str
    kstatus: str
    told: str = ""
    generation: int = 1

    @property
    def object(self) -> dict[str, Any]:
        """As the API server has it."""
        return {
            "apiVersion": "loopwright.io/v1alpha1", "kind": self.kind,
            "metadata": {"name": "one", "namespace": "team", "generation": self.generation},
            "spec": {}, "status": self.status,
        }  # fmt: skip


JOBS: dict[str, tuple[str, str, str]] = {
    "pending": ("Progressing", "InProgress", "has not looked at"),
    "waiting": ("Progressing", "InProgress", "SecretNotFound: Secret 'keys' is missing"),
    "stalled": ("Degraded", "Failed", "OutputMissing: create the job anew"),
    "queued": ("Progressing", "InProgress", "the job waits in its queue"),
    "provisioning": ("Progressing", "InProgress", "the Ray cluster is being made"),
    "running": ("Progressing", "InProgress", "Running"),
    "retrying": ("Progressing", "InProgress", "the next one is due"),
    "suspended": ("Suspended", "InProgress", "Suspended"),
    "succeeded": ("Healthy", "Current", "Completed"),
    "failed": ("Degraded", "Failed", "Broken: why"),
    "refused": ("Degraded", "Failed", "InvalidSpec"),
}


def lives(make: Callable[..., W], result: dict[str, Any]) -> Iterator[tuple[str, W]]:
    """A job in each of its states."""
    retry = {"retry": {"maxInfrastructureFailures": 1, "backoffSeconds": 60}}
    never = {"retry": {"maxInfrastructureFailures": 0}}

    yield "pending", make()
    for name, why in (("waiting", WAITS), ("stalled", NEVER)):
        world = make()
        world.blocked = why
        if isinstance(world, BatchWorld):
            world.means = why
        world.step()
        yield name, world
    queued = make(scheduling={"queue": "team"})
    queued.step()
    queued.kuberay(1, "Suspended").step()
    yield "queued", queued
    started = make()
    started.step()
    yield "provisioning", started
    yield "running", make().run()
    for name, policy in (("retrying", retry), ("failed", never)):
        world = make(**policy).run()
        world.driver(1, "Failed", **error("Infrastructure")).kuberay(
            1, "Failed", "FAILED", "AppFailed"
        ).step()
        world.step()
        yield name, world
    off = make()
    off.suspend().step()
    yield "suspended", off
    done = make().run()
    done.driver(1, "Succeeded", **result).kuberay(1, "Complete", "SUCCEEDED").step()
    yield "succeeded", done


def jobs(kind: str, make: Callable[..., World], result: dict[str, Any]) -> Iterator[Case]:
    """The three kinds of jobs live the same way."""
    for name, world in lives(make, result):
        yield Case(kind, name, wire(world.status), *JOBS[name])
    status = refused(make().status, 1, "spec.x makes no sense", NOW)
    yield Case(kind, "refused", wire(status), *JOBS["refused"])


def wire(status: Any) -> dict[str, Any]:
    """As it is stored; the model takes it again."""
    told: dict[str, Any] = status.wire()
    assert type(status).model_validate(told) == status
    return told


def endpoints() -> Iterator[Case]:
    """A ModelEndpoint in each of its states."""
    kind = "ModelEndpoint"

    def case(name: str, world: EndpointWorld, health: str, kstatus: str, told: str = "") -> Case:
        return Case(kind, name, wire(world.status), health, kstatus, told)

    waits = EndpointWorld()
    waits.targets["main"] = WAITS
    yield case("pending", waits.step(), "Progressing", "InProgress", "Secret 'keys' is missing")
    yield case("creating", EndpointWorld().step(), "Progressing", "InProgress")
    yield case("ready", EndpointWorld().up(), "Healthy", "Current", "Serving")
    rolling = EndpointWorld().up().wants("main", "r2").step()
    yield case("rolling out", rolling, "Progressing", "InProgress")
    lost = EndpointWorld().up().kserve(ready=False)
    [service] = lost.services()
    yield case("pods lost", lost.ready(service, 0).step(), "Progressing", "InProgress", "NotReady")
    stalled = EndpointWorld()
    stalled.targets["main"] = Blocked("ModelRejected", "reject is final", permanent=True)
    yield case("failed", stalled.step(), "Degraded", "Failed", "ModelRejected")
    worse = EndpointWorld().up()
    worse.targets["main"] = Blocked("ModelRejected", "reject is final", permanent=True)
    yield case("degraded", worse.step(), "Degraded", "Failed", "reject is final")
    off = EndpointWorld(suspend=True)
    yield case("suspended", off.step(), "Suspended", "InProgress", "spec.suspend is set")


def version(**approval: str) -> Version:
    """The first version of a model."""
    return Version("m-v1", "v1", "2025-01-01T00:00:00Z", 1, Approval.model_validate(approval), ())


def model(**spec: Any) -> Model:
    """A model that was never looked at."""
    return Model(spec=ModelSpec.model_validate(spec), status=ModelStatus())


def registry() -> Iterator[Case]:
    """A Model and ModelVersions in each of their stages."""
    first = version()

    def status_of(versions: list[Version], **spec: Any) -> dict[str, Any]:
        verdict = decide("m", model(**spec), 1, versions, (), NOW)
        assert verdict.model is not None
        return wire(verdict.model)

    yield Case("Model", "ready", status_of([first]), "Healthy", "Current", "Ready")
    aliases = {"production": "v9"}
    yield Case("Model", "alias to nowhere", status_of([first], aliases=aliases), "Progressing",
               "InProgress", "AliasUnresolved: alias 'production' names version 'v9'")  # fmt: skip
    stages = {
        "registered": (first, {}, "Healthy", "Registered"),
        "pending": (first, {"requireApproval": True}, "Suspended", "Pending"),
        "approved": (version(state="Approved", by="ada"), {}, "Healthy", "Approved"),
        "rejected": (version(state="Rejected", by="ada"), {}, "Healthy", "Rejected"),
    }
    for name, (one, spec, health, told) in stages.items():
        [status] = decide("m", model(**spec), 1, [one], (), NOW).versions.values()
        yield Case("ModelVersion", name, wire(status), health, "Current", told)
    [orphan] = decide("m", None, 0, [first], (), NOW).versions.values()
    yield Case("ModelVersion", "orphan", wire(orphan), "Progressing", "InProgress", "ModelNotFound")
    empty = wire(ModelVersionStatus())
    yield Case("ModelVersion", "new", empty, "Progressing", "InProgress", "has not looked at")


def cases() -> list[Case]:
    """All of them."""
    found = [
        *jobs("TrainingJob", World, {}),
        *jobs("HyperparameterSweep", SweepWorld, {}),
        *jobs("BatchTransform", BatchWorld, DONE),
        *endpoints(), *registry(),
    ]  # fmt: skip
    # A spec that is newer than the status: what is said is about another one.
    ready = next(one for one in found if (one.kind, one.name) == ("ModelEndpoint", "ready"))
    changed = Case("ModelEndpoint", "changed", ready.status, "Progressing", "InProgress",
                   "newest spec", generation=2)  # fmt: skip
    return [*found, changed]

"""`explain`: why something waits or failed, computed from what was read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, Final

from loopwright.api import names
from loopwright.view.children import healthy
from loopwright.view.cluster import Object
from loopwright.view.remedies import (
    EVENTS,
    OTHERS,
    PULLS,
    QUOTA,
    REASONS,
    SEE,
    UNSCHEDULABLE,
    WAIT,
)
from loopwright.view.scene import Scene, conditions, labels, last_seen
from loopwright.view.summary import ended, phase_of
from loopwright.view.words import clean


class Rank(IntEnum):
    """How near to the cause a finding is; the nearest tells what to do."""

    CAUSE = 0
    """What the kubelet, the scheduler or a queue says of the very thing that is stuck."""
    REASON = 1
    """What the operator says."""
    SYMPTOM = 2
    """What follows from it, or may have to do with it."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong or waited for."""

    rank: Rank
    about: str
    """Kind and name of the object."""
    reason: str
    """In one word."""
    message: str
    """In the words of who found it."""
    remedy: str
    """What to do."""


@dataclass(frozen=True)
class Explanation:
    """All findings, the nearest to the cause first, and the one thing to do."""

    phase: str
    findings: Sequence[Finding]
    todo: str

    def wire(self) -> dict[str, Any]:
        """For programs."""
        return {
            "phase": self.phase,
            "findings": [{**asdict(one), "rank": one.rank.name.lower()} for one in self.findings],
            "toDo": self.todo,
        }


IMAGES: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)


LONG: Final = 400
Rule = Callable[[Scene], Iterator[Finding]]


def explain(scene: Scene) -> Explanation:
    """Why an object is not where it should be."""
    found: dict[tuple[str, str], Finding] = {}
    # What is left over of a job that has succeeded explains nothing.
    done = phase_of(scene.found.obj) == "Succeeded"
    for rule in RULES:
        for one in rule(scene) if not done or rule not in OF_CHILDREN else ():
            found.setdefault((one.about, one.reason), one)
    findings = sorted(found.values(), key=lambda one: one.rank)
    return Explanation(phase_of(scene.found.obj), findings, _todo(scene, findings))


def _todo(scene: Scene, findings: Sequence[Finding]) -> str:
    if findings:
        return _sentence(findings[0])
    if ended(scene.found.obj) or phase_of(scene.found.obj) in ("Ready", "Approved", "Registered"):
        return "nothing; all is as it should be"
    return WAIT


def _sentence(one: Finding) -> str:
    return one.message if one.remedy == SEE else one.remedy


def matched(rules: Sequence[tuple[str, str]], text: str, otherwise: str) -> str:
    """The remedy of the first pattern that is found in a text."""
    for pattern, remedy in rules:
        if hit := re.search(pattern, text):
            return remedy.format(*(group or "" for group in hit.groups()))
    return otherwise


def unseen(scene: Scene) -> Iterator[Finding]:
    """The operator has never looked at the object."""
    if not scene.found.obj.get("status"):
        text = (
            "the operator has not looked at it yet: is it running, and does it watch this namespace"
        )
        yield Finding(Rank.CAUSE, scene.found.ref, "NotSeen", text, "run `loopwright doctor`")


def pods(scene: Scene) -> Iterator[Finding]:
    """What keeps pods from running."""
    for pod in scene.of("Pod"):
        if healthy(pod) or "deletionTimestamp" in pod["metadata"] or _former(scene, pod):
            continue
        about = f"Pod {pod['metadata']['name']}"
        scheduled = conditions(pod).get("PodScheduled", {})
        if scheduled.get("status") == "False":
            message = clean(scheduled.get("message", ""))
            remedy = matched(UNSCHEDULABLE, message, REASONS["Unschedulable"])
            yield Finding(Rank.CAUSE, about, "Unschedulable", message, remedy)
        status = pod.get("status") or {}
        if status.get("reason") == "Evicted":
            yield Finding(Rank.CAUSE, about, "Evicted", clean(status.get("message", "")),
                          "ask for the memory or disk that it needs")  # fmt: skip
        for one in [*(status.get("initContainerStatuses") or ()),
                    *(status.get("containerStatuses") or ())]:  # fmt: skip
            yield from _container(scene, about, pod, one)


def _former(scene: Scene, pod: Object) -> bool:
    """Whether it is of an attempt that is over."""
    attempt = labels(pod).get(names.LABEL_ATTEMPT)
    newest = (scene.found.obj.get("status") or {}).get("attempt")
    return attempt is not None and newest is not None and attempt != str(newest)


def _container(scene: Scene, about: str, pod: Object, status: Object) -> Iterator[Finding]:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), clean(waiting.get("message", ""))
    if reason in IMAGES:
        told = f"{reason} {message} {' '.join(_events_of(scene, pod, 'Failed'))}"
        remedy = matched(PULLS, told, REASONS["ImagePullFailed"])
        yield Finding(Rank.CAUSE, about, reason, message or f"image {status.get('image')}", remedy)
    elif reason in ("CreateContainerConfigError", "CreateContainerError"):
        yield Finding(Rank.CAUSE, about, reason, message, REASONS["ContainerConfig"])
    for when in ("state", "lastState"):
        ended_ = (status.get(when) or {}).get("terminated") or {}
        if ended_.get("reason") == "OOMKilled":
            ray = "ray.io/node-type" in labels(pod)
            field = "resourcesPerWorker.memory in a new job" if ray else "resources.memory"
            text = f"container {status['name']} used more memory than it asked for"
            yield Finding(Rank.CAUSE, about, "OOMKilled", text, f"raise {field}")
            return
        if ended_.get("exitCode"):
            told = (clean(ended_.get("message") or "") or f"exit code {ended_['exitCode']}")[-LONG:]
            text = f"container {status['name']} ended: {told}"
            yield Finding(
                Rank.SYMPTOM, about, "ContainerFailed", text, "read its log: loopwright logs"
            )
            return


def _events_of(scene: Scene, obj: Object, reason: str) -> Iterator[str]:
    for event in scene.events:
        if (
            event["involvedObject"].get("uid") == obj["metadata"]["uid"]
            and event["reason"] == reason
        ):
            yield clean(event.get("message", ""))


def workloads(scene: Scene) -> Iterator[Finding]:
    """What Kueue says of the job's place in its queue."""
    for one in scene.of("Workload"):
        found, about = conditions(one), f"Workload {one['metadata']['name']}"
        if found.get("Finished", {}).get("status") == "True":
            continue
        evicted, quota = found.get("Evicted", {}), found.get("QuotaReserved", {})
        if (one.get("spec") or {}).get("active") is False:
            yield Finding(Rank.CAUSE, about, "Inactive", "the workload was deactivated",
                          "set spec.active of the Workload to true")  # fmt: skip
        elif evicted.get("status") == "True":
            yield Finding(Rank.CAUSE, about, clean(evicted.get("reason") or "Evicted"),
                          clean(evicted.get("message", "")), "wait: it queues again")  # fmt: skip
        elif quota.get("status") == "False":
            message = clean(quota.get("message", ""))
            yield Finding(Rank.CAUSE, about, clean(quota.get("reason") or "Pending"), message,
                          matched(QUOTA, message, "wait for the queue's quota"))  # fmt: skip


def claims(scene: Scene) -> Iterator[Finding]:
    """Claims that have no volume."""
    for one in scene.of("PersistentVolumeClaim"):
        phase = (one.get("status") or {}).get("phase")
        if phase == "Lost" or (phase == "Pending" and _stuck(scene)):
            about = f"PersistentVolumeClaim {one['metadata']['name']}"
            wanted = (one.get("spec") or {}).get("storageClassName")
            text = f"it is {phase}; StorageClass {wanted or 'not named'}"
            remedy = "make a StorageClass the default, or name one in the claim"
            remedy = f"see whether StorageClass {wanted} works" if wanted else remedy
            yield Finding(Rank.SYMPTOM, about, f"Claim{phase}", text, remedy)


def _stuck(scene: Scene) -> bool:
    return phase_of(scene.found.obj) in ("Pending", "Provisioning", "Creating")


def events(scene: Scene) -> Iterator[Finding]:
    """Warnings about what is not running, the newest first."""
    quiet = {
        one["metadata"]["uid"] for one in scene.children if one["kind"] == "Pod" and healthy(one)
    }
    for event in sorted(scene.events, key=last_seen, reverse=True):
        about, message = event["involvedObject"], clean(event.get("message", ""))
        if event.get("type") != "Warning" or about.get("uid") in quiet or ended(scene.found.obj):
            continue
        for reason, text, remedy in EVENTS:
            hit = re.search(text, message)
            if hit and re.fullmatch(reason, event["reason"]):
                told = remedy.format(*(group or "" for group in hit.groups()))
                name = f"{about.get('kind')} {about.get('name')}"
                yield Finding(Rank.CAUSE, name, clean(event["reason"]), message[:LONG], told)
                break


def ready(scene: Scene) -> Iterator[Finding]:
    """What the operator says in Ready, unless it is only that the object is on its way."""
    one = scene.conditions.get("Ready")
    if one is None or one["status"] == "True":
        return
    reason, message = one["reason"], clean(one.get("message", ""))
    if reason == phase_of(scene.found.obj) and reason not in ("Suspended", "Failed"):
        return
    if reason == "Suspended" and not _stalled(scene):
        yield Finding(Rank.REASON, scene.found.ref, reason, message, REASONS[reason])
        return
    yield Finding(Rank.REASON, scene.found.ref, reason, _tail(message), REASONS.get(reason, SEE))


def _stalled(scene: Scene) -> bool:
    return bool(scene.conditions.get("Stalled", {}).get("status") == "True")


def _tail(text: str) -> str:
    return text if len(text) <= LONG else f"{text[: LONG // 2]} … {text[-LONG // 2 :]}"


def last_error(scene: Scene) -> Iterator[Finding]:
    """Why the last attempt of a job that goes on has failed."""
    status = scene.found.obj.get("status") or {}
    one = status.get("lastError")
    if not one or ended(scene.found.obj):
        return
    number, remedy = one.get("attempt") or 0, REASONS.get(one["reason"], SEE)
    if status.get("phase") == "Running" and number < status.get("attempt", 0):
        remedy = f"nothing: attempt {status['attempt']} goes on"
    about, text = f"{scene.found.ref} attempt {number}", _tail(clean(one.get("message", "")))
    yield Finding(Rank.SYMPTOM, about, one["reason"], text, remedy)


def variants(scene: Scene) -> Iterator[Finding]:
    """What is wrong with each variant of an endpoint."""
    for one in (scene.found.obj.get("status") or {}).get("variants") or ():
        if one.get("reason") and (not one.get("ready") or one["reason"] == "RolledBack"):
            about, reason = f"variant {one['name']}", one["reason"]
            message = clean(one.get("message", ""))
            yield Finding(Rank.REASON, about, reason, message, REASONS.get(reason, SEE))


def other_conditions(scene: Scene) -> Iterator[Finding]:
    """Conditions of the kind's own."""
    for name, bad, remedy in OTHERS:
        one = scene.conditions.get(name)
        if one is not None and one["status"] == bad and one.get("message"):
            text = clean(one["message"])
            remedy = REASONS.get(one["reason"], remedy)
            yield Finding(Rank.SYMPTOM, scene.found.ref, one["reason"], text, remedy)


OF_CHILDREN: Final[tuple[Rule, ...]] = (workloads, pods, events, claims)
RULES: Final[tuple[Rule, ...]] = (
    unseen, workloads, pods, events, ready, variants, last_error, claims, other_conditions,
)  # fmt: skip

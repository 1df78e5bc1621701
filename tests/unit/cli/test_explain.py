"""Each rule of `loopwright explain`: objects in, a finding and what to do out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_runs import run
from cli_worlds import attempt, cluster, job
from recorded import (
    NOW,
    Object,
    Recorded,
    condition,
    event,
    own,
    pod,
    running,
    terminated,
    thing,
    unscheduled,
    waiting,
)

from loopwright.api.kinds import TRAININGJOB
from loopwright.view.explain import Explanation, explain
from loopwright.view.refs import Found
from loopwright.view.remedies import REASONS
from loopwright.view.scene import Scene

TROUBLESHOOTING = Path(__file__).resolve().parents[3] / "docs" / "guides" / "troubleshooting.md"
PROVISIONING = job("Provisioning", attempt=1, attempts=[attempt()], conditions=[
    condition("Ready", False, "Provisioning", "the Ray cluster is being made"),
    condition("Stalled", False, "AsExpected"),
])  # fmt: skip


def told(
    *children: Object, obj: Object = PROVISIONING, events: tuple[Object, ...] = ()
) -> Explanation:
    """The explanation of a job with these children."""
    return explain(Scene(Found(TRAININGJOB, obj), NOW, children, events))


SCHEDULING = {
    "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: not helpful":
        "add nodes with nvidia.com/gpu, ask for fewer, or wait",
    "0/1 nodes are available: 1 Insufficient memory.": "add nodes, or ask for less memory",
    "0/1 nodes are available: 1 Too many pods.": "add nodes, or wait until pods have ended",
    "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.":
        "see why the claim is not bound: its StorageClass, or its size",
    "0/2 nodes are available: 2 node(s) had volume node affinity conflict.":
        "the claim's volume is in another zone than the nodes",
    "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}.":
        "add pod.tolerations for the taint gpu: yes, or other nodes",
    "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.":
        "correct pod.nodeSelector or pod.affinity, or label a node",
    "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.":
        "loosen pod.affinity, or add nodes",
    "0/1 nodes are available: 1 node(s) were unschedulable.":
        "make room on the nodes, or ask for less",
}  # fmt: skip
PULLS = {
    "failed to resolve reference: r/i:1: not found":
        "correct the image's name or tag; there is none of that name",
    "pull access denied, repository may require authorization":
        "give credentials in pod.imagePullSecrets, or correct the image's name",
    "dial tcp: lookup r: no such host": "see whether nodes reach the registry",
    "something new": "correct the image's name, or give credentials in pod.imagePullSecrets",
}  # fmt: skip


@pytest.mark.parametrize("message", SCHEDULING)
def test_why_no_node_takes_a_pod(message: str) -> None:
    one = pod("w", "TrainingJob", "digits", status=unscheduled(message))
    found = told(one)
    assert [(f.about, f.reason, f.message) for f in found.findings] == [
        ("Pod w", "Unschedulable", message)
    ]
    assert found.todo == SCHEDULING[message]


@pytest.mark.parametrize("message", PULLS)
def test_why_an_image_is_not_there(message: str) -> None:
    one = pod("w", "TrainingJob", "digits", status=waiting("ImagePullBackOff", "Back-off"))
    # The kubelet says why in an Event only.
    found = told(one, events=(event(one, "Failed", message),))
    assert found.findings[0].reason == "ImagePullBackOff"
    assert found.todo == PULLS[message]


STATES: dict[str, tuple[Object, str, str]] = {
    "config": (
        waiting("CreateContainerConfigError", 'secret "keys" not found'),
        "CreateContainerConfigError", "create the Secret or ConfigMap that the message names",
    ),
    "memory": (
        terminated("OOMKilled", 137), "OOMKilled", "raise resourcesPerWorker.memory in a new job",
    ),
    "evicted": (
        {"phase": "Failed", "reason": "Evicted", "message": "low on resource: memory"},
        "Evicted", "ask for the memory or disk that it needs",
    ),
    "ended": (
        terminated("Error", 1, message="no such file"),
        "ContainerFailed", "read its log: loopwright logs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_what_is_wrong_with_a_container(name: str) -> None:
    status, reason, remedy = STATES[name]
    found = told(pod("w", "TrainingJob", "digits", status=status))
    assert [one.reason for one in found.findings] == [reason]
    assert found.todo == remedy


RAYJOB, RAYCLUSTER = cluster("TrainingJob", "digits", 1)
TELLING = {
    ("FailedCreate", 'pods "x" is forbidden: exceeded quota: team, requested: cpu=4'):
        "have the namespace's ResourceQuota raised, or ask for less",
    ("FailedToCreateWorkerPod", "pods is forbidden: exceeded quota: team"):
        "have the namespace's ResourceQuota raised, or ask for less",
    ("FailedCreate", 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'):
        "leave out what the policy forbids",
    ("FailedMount", 'MountVolume.SetUp failed for volume "c": configmap "code" not found'):
        "create the configmap code",
    ("FailedAttachVolume", "Multi-Attach error for volume"):
        "another node has the volume: use ReadWriteMany, or wait until its pod is gone",
    ("ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found'):
        "name a StorageClass that exists, or make one the default",
    ("FailedToCreateSomething", "the server says no"): "the server says no",
}  # fmt: skip


@pytest.mark.parametrize(("reason", "message"), TELLING)
def test_what_events_say(reason: str, message: str) -> None:
    found = told(RAYJOB, RAYCLUSTER, events=(event(RAYCLUSTER, reason, message),))
    assert [(one.about, one.reason) for one in found.findings] == [
        ("RayCluster digits-a1-x", reason)
    ]
    assert found.todo == TELLING[reason, message]


def test_events_of_what_runs_or_is_over_do_not_count() -> None:
    one = pod("w", "TrainingJob", "digits", status=running())
    assert not told(one, events=(event(one, "FailedMount", "late"),)).findings
    assert not told(events=(event(PROVISIONING, "Pulled", "image there", "Normal"),)).findings
    over = job("Succeeded", conditions=[condition("Ready", True, "Completed")])
    assert not told(RAYJOB, obj=over, events=(event(RAYJOB, "FailedCreate", "x"),)).findings


def test_what_is_left_of_what_is_over_explains_nothing() -> None:
    stuck = pod("w", "TrainingJob", "digits", status=unscheduled("1 Insufficient cpu."))
    over = job("Succeeded", conditions=[condition("Ready", True, "Completed")], attempt=1)
    assert not told(stuck, obj=over).findings
    later = job("Running", attempt=2)
    assert not told(stuck, obj=later).findings


def workload(*conditions: Object, **spec: object) -> Object:
    """Of Kueue, for the job's RayJob."""
    return thing("Workload", "rayjob-digits", api="kueue.x-k8s.io/v1beta1", spec=spec,
                 status={"conditions": list(conditions)})  # fmt: skip


QUEUED = {
    "couldn't assign flavors: insufficient unused quota for nvidia.com/gpu in flavor a, 2 more":
        "wait until others have ended, or have the quota for nvidia.com/gpu raised",
    "couldn't assign flavors: insufficient quota for cpu in flavor a, request > maximum capacity":
        "ask for less cpu in a new job, or have the quota raised: it can never fit",
    "ClusterQueue team is inactive": "create or mend the ClusterQueue team",
    "something new": "wait for the queue's quota",
}  # fmt: skip


@pytest.mark.parametrize("message", QUEUED)
def test_what_a_queue_says(message: str) -> None:
    found = told(workload(condition("QuotaReserved", False, "Pending", message)))
    assert found.findings[0].about == "Workload rayjob-digits"
    assert found.todo == QUEUED[message]


def test_workloads_that_are_inactive_evicted_or_done() -> None:
    assert told(workload(active=False)).todo == "set spec.active of the Workload to true"
    gone = workload(condition("Evicted", True, "Preempted", "made room for another"))
    assert told(gone).todo == "wait: it queues again"
    assert not told(workload(condition("Finished", True, "Done"), active=False)).findings


def test_a_claim_without_a_volume() -> None:
    one = thing("PersistentVolumeClaim", "results", spec={}, status={"phase": "Pending"})
    assert told(one).todo == "make a StorageClass the default, or name one in the claim"
    one["spec"]["storageClassName"] = "fast"
    assert told(one).todo == "see whether StorageClass fast works"


def test_nobody_has_looked_at_it() -> None:
    obj = own("TrainingJob", "digits", {"function": "a:b", "output": {"uri": "s3://b/x"}})
    assert told(obj=obj).todo == "run `loopwright doctor`"


def test_the_nearest_to_the_cause_comes_first() -> None:
    late = job("Provisioning", lastError={"reason": "WorkerLost", "message": "w", "attempt": 1},
               attempt=2, conditions=[condition("Ready", False, "Forbidden", "no")])  # fmt: skip
    one = pod("w", "TrainingJob", "digits", attempt=2, status=unscheduled("1 Insufficient cpu."))
    found = told(one, obj=late)
    assert [f.reason for f in found.findings] == ["Unschedulable", "Forbidden", "WorkerLost"]
    assert found.todo == "add nodes, or ask for less cpu"


def test_an_unknown_reason_is_told_in_its_own_words() -> None:
    obj = job("Pending", conditions=[condition("Ready", False, "Novel", "turn it off and on")])
    assert told(obj=obj).todo == "turn it off and on"


def test_suspended() -> None:
    obj = job("Suspended", conditions=[condition("Ready", False, "Suspended", "by runPolicy")])
    assert told(obj=obj).todo == "set suspend to false when it shall go on"


def test_a_job_on_its_way_has_nothing_wrong() -> None:
    found = told(RAYJOB, RAYCLUSTER, pod("w", "TrainingJob", "digits", status=running()))
    assert (found.findings, found.todo) == ([], "wait; it goes on by itself")


def test_every_documented_reason_has_a_remedy() -> None:
    text = TROUBLESHOOTING.read_text()
    section = text[text.index("## Why no attempt") : text.index("## Symptoms")]
    cells = re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE)
    reasons = {name for cell in cells for name in re.findall(r"`([A-Z]\w+)`", cell)}
    assert reasons - REASONS.keys() == set()


def test_the_command_reads_events_and_prints_for_programs() -> None:
    one = pod("w", "TrainingJob", "digits", status=unscheduled("1 Insufficient cpu."))
    world = Recorded(PROVISIONING, RAYJOB, RAYCLUSTER, one,
                     event(RAYCLUSTER, "FailedCreate", "exceeded quota: team"))  # fmt: skip
    found = json.loads(run(world, "explain", "tj/digits", "-o", "json").stdout)
    assert found["phase"] == "Provisioning"
    assert [(f["rank"], f["reason"]) for f in found["findings"]] == [
        ("cause", "Unschedulable"), ("cause", "FailedCreate"),
    ]  # fmt: skip
    assert found["toDo"] == "add nodes, or ask for less cpu"

"""`loopwright doctor`: facts in, verdicts and remedies out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from cli_runs import run, same
from recorded import NOW, Object, Recorded, ago, thing

from loopwright.api.kinds import KINDS
from loopwright.api.resources import GATEWAY
from loopwright.cli.doctor import NEEDED, RIGHTS, Check, Facts, Verdict, checks, failed

OWN = "loopwright.io/v1alpha1"


def deployment(image: str, ready: int = 1) -> Object:
    """The operator's."""
    pod = {"containers": [{"name": "operator", "image": image}]}
    return thing("Deployment", "loopwright", api="apps/v1", spec={"template": {"spec": pod}},
                 status={"readyReplicas": ready})  # fmt: skip


def healthy() -> Facts:
    """Nothing is missing."""
    served = {one.resource.api_version: {one.resource.kind} for one in NEEDED}
    served[GATEWAY.api_version].add(GATEWAY.kind)
    served[OWN] = {kind.name for kind in KINDS}
    lease = {"holderIdentity": "loopwright-x", "renewTime": ago(2), "leaseDurationSeconds": 15}
    programmed = {"conditions": [{"type": "Programmed", "status": "True"}]}
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    storage = thing("StorageClass", "fast")
    storage["metadata"]["annotations"] = default
    return Facts(
        now=NOW,
        namespace="n",
        version={"gitVersion": "v1.34.4"},
        served={key: frozenset(kinds) for key, kinds in served.items()},
        images={NEEDED[0].deployment: ["quay.io/kuberay/operator:v1.6.2"],
                NEEDED[1].deployment: ["kserve:5000/controller@sha256:ab", "r/k:v0.20.0"]},
        operators=[deployment("ghcr.io/loopwright/operator:0.1.0")],
        lease=thing("Lease", "loopwright-operator", spec=lease),
        classes=[storage],
        gateways=[thing("Gateway", "main", status=programmed)],
        allowed={words: True for words, *_ in RIGHTS},
    )  # fmt: skip


def found(facts: Facts) -> dict[str, Check]:
    """Checks by name."""
    return {one.name: one for one in checks(facts)}


def test_a_healthy_cluster() -> None:
    verdicts = checks(healthy())
    assert {one.verdict for one in verdicts} == {Verdict.OK}
    assert not any(one.remedy for one in verdicts)
    assert found(healthy())["KubeRay"].message == "v1.6.2"
    assert found(healthy())["KServe"].message == "v0.20.0"


def without(*kinds: str) -> Any:
    """What is served when these are not."""
    return {key: value - set(kinds) for key, value in healthy().served.items()}


SICK: dict[str, tuple[dict[str, Any], str, Verdict, str]] = {
    "old Kubernetes": (
        {"version": {"gitVersion": "v1.29.9-gke.1"}}, "Kubernetes", Verdict.MISSING,
        "v1.29.9-gke.1 is older than 1.30",
    ),
    "no CRDs": (
        {"served": without("Model")}, "Loopwright's CRDs", Verdict.MISSING,
        "the cluster does not know Model",
    ),
    "no KubeRay": (
        {"served": without("RayJob")}, "KubeRay", Verdict.MISSING, "absent: no job can run",
    ),
    "old KubeRay": (
        {"images": {NEEDED[0].deployment: ["kuberay/operator:v1.5.0"]}}, "KubeRay",
        Verdict.WARNING, "v1.5.0 is older than 1.6",
    ),
    "no KServe": (
        {"served": without("InferenceService")}, "KServe", Verdict.WARNING,
        "absent: endpoints wait",
    ),
    "no Kueue": ({"served": without("Workload")}, "Kueue", Verdict.OPTIONAL, "absent: no queues"),
    "no operator": (
        {"operators": []}, "operator", Verdict.MISSING,
        "there is none in the namespace that was looked at",
    ),
    "sick operator": (
        {"operators": [deployment("o:1", 0)]}, "operator", Verdict.MISSING,
        "n/loopwright has no ready pod",
    ),
    "hidden operator": (
        {"operators": None}, "operator", Verdict.UNSEEN,
        "you may not see Deployments of its namespace",
    ),
    "no leader": (
        {"lease": None}, "leader", Verdict.MISSING, "no replica of the operator leads",
    ),
    "old leader": (
        {"lease": thing("Lease", "l", spec={"holderIdentity": "x", "renewTime": ago(90)})},
        "leader", Verdict.MISSING, "x has not renewed its Lease for 90 s",
    ),
    "hidden leader": ({"lease_seen": False}, "leader", Verdict.UNSEEN, "you may not see its Lease"),
    "no Gateway": (
        {"gateways": []}, "Gateway", Verdict.WARNING, "there is none: endpoints have no address",
    ),
    "idle Gateway": (
        {"gateways": [thing("Gateway", "main")]}, "Gateway", Verdict.WARNING,
        "none is programmed: endpoints have no address",
    ),
    "no default class": (
        {"classes": []}, "default StorageClass", Verdict.WARNING,
        "none: claims have to name a StorageClass",
    ),
    "few rights": (
        {"allowed": {"read logs": False, "see jobs": True}}, "your rights in n", Verdict.WARNING,
        "you may not read logs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SICK)
def test_what_is_wrong(name: str) -> None:
    change, check, verdict, message = SICK[name]
    facts = replace(healthy(), **change)
    one = found(facts)[check]
    assert (one.verdict, one.message) == (verdict, message)
    assert bool(one.remedy) is (verdict is not Verdict.UNSEEN)
    assert failed(checks(facts)) is (verdict is Verdict.MISSING)


def test_what_is_wrong_comes_first() -> None:
    facts = replace(healthy(), classes=[], lease=None)
    assert [one.verdict for one in checks(facts)[:3]] == [
        Verdict.MISSING, Verdict.WARNING, Verdict.OK,
    ]  # fmt: skip


def bare() -> Recorded:
    """A cluster with nothing but CRDs, as people with few rights see it."""
    world = Recorded()
    kinds = [{"kind": kind.name} for kind in KINDS]
    world.pages = {
        "/version": b'{"gitVersion": "v1.34.4"}',
        f"/apis/{OWN}": json.dumps({"resources": kinds}).encode(),
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": b'{"status": {"allowed": true}}',
    }
    world.refused = {"storageclasses", "leases"}
    return world


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(bare(), "doctor")
    assert shown.exit_code == 1
    assert max(map(len, shown.stdout.splitlines())) <= 80
    same("doctor", shown.stdout)


def test_for_programs() -> None:
    shown = run(bare(), "doctor", "-o", "json")
    verdicts = {one["name"]: one["verdict"] for one in json.loads(shown.stdout)}
    assert shown.exit_code == 1
    assert verdicts["KubeRay"] == "missing"
    assert verdicts["leader"] == "unseen"

"""What the operator may do: no more than it does, and what each permission is for."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rbac_table
import yaml
from rbac_table import OPERATOR, ROOT, Grant

from loopwright.desired.monitor import monitor_access
from loopwright.desired.support import access

KNOWN = rbac_table.chart()
RULES = [
    rule
    for one in yaml.safe_load_all((ROOT / "deploy" / "operator.yaml").read_text())
    if one["kind"] in ("Role", "ClusterRole")
    for rule in one.get("rules") or ()
]


def test_there_are_no_wildcards() -> None:
    for rule in RULES:
        assert not {"*"} & {*rule.get("apiGroups", ()), *rule["resources"], *rule["verbs"]}
        assert "nonResourceURLs" not in rule


def test_no_secret_is_ever_listed_or_watched() -> None:
    secrets = {one.verb for one in KNOWN if one.resource.startswith("secrets")}
    assert secrets == {"get"}


def test_nothing_that_would_give_more() -> None:
    """The ways by which a permission becomes all permissions."""
    for one in KNOWN:
        assert one.verb not in ("escalate", "bind", "impersonate")
        assert (one.resource, one.verb) != ("pods", "create")
        assert one.resource not in (
            "pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "nodes/proxy",
            "serviceaccounts/token", "clusterroles", "clusterrolebindings", "secrets/status",
            "mutatingwebhookconfigurations", "validatingwebhookconfigurations",
            "validatingadmissionpolicies", "certificatesigningrequests",
        )  # fmt: skip
        assert not one.resource.endswith("/ephemeralcontainers")


def test_what_it_gives_to_pods_is_its_own() -> None:
    """The API server would refuse it else."""
    for made in (*access("n"), *monitor_access("n")):
        for rule in made.get("rules") or ():
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        assert Grant("cluster", group, resource, verb) in KNOWN


def test_every_permission_has_its_reason_and_no_other_has() -> None:
    assert {(one.group, one.resource) for one in KNOWN} == rbac_table.WHY.keys()
    assert rbac_table.UNUSED.keys() <= {one[1:] for one in KNOWN}
    assert rbac_table.page(KNOWN) == rbac_table.PAGE.read_text()


def event(verb: str, resource: str, **more: Any) -> str:
    ref = {"resource": resource, "namespace": "n", **more.pop("ref", {})}
    found = {
        "stage": "ResponseComplete", "user": {"username": OPERATOR}, "verb": verb,
        "objectRef": ref, "responseStatus": {"code": 200}, **more,
    }  # fmt: skip
    return json.dumps(found) + "\n"


LOG = [
    event("get", "secrets"), event("get", "secrets"),
    event("create", "configmaps"),
    event("watch", "configmaps", stage="ResponseStarted"),
    event("patch", "deployments", ref={"apiGroup": "apps", "subresource": "scale"}),
    event("list", "secrets", responseStatus={"code": 403}),
    event("delete", "pods"),
    event("delete", "configmaps", user={"username": "somebody"}),
    event("delete", "configmaps", user={}),
    event("create", "selfsubjectreviews", ref={"apiGroup": "authentication.k8s.io"}),
    '{"cut off',
]  # fmt: skip


def test_a_log_is_compared() -> None:
    known = [
        Grant("cluster", "", "secrets", "get"), Grant("cluster", "", "configmaps", "create"),
        Grant("cluster", "", "configmaps", "watch"), Grant("other", "", "configmaps", "create"),
        Grant("cluster", "", "configmaps", "delete"),
        Grant("n", "apps", "deployments/scale", "patch"),
        Grant("cluster", "discovery.k8s.io", "endpointslices", "list"),
    ]  # fmt: skip
    found = rbac_table.used(LOG)
    assert [rbac_table.count(one, found) for one in known] == [2, 1, 1, 0, 0, 1, 0]
    assert rbac_table.ungranted(known, found) == [("n", "", "pods", "delete")]
    lines, bad = rbac_table.compared(known, found)
    assert bad == 1  # To create ConfigMaps in the other namespace.
    assert [line.split(" | ")[-1] for line in lines[2:]] == [
        " |", " |", " |", "**NOT USED** |", "rare: only if something was lost or edited |", " |",
        "handed on |",
    ]  # fmt: skip


@pytest.mark.parametrize("account", [("loopwright-system", "default"), ("n", "loopwright")])
def test_others_have_nothing(account: tuple[str, str]) -> None:
    text = (ROOT / "deploy" / "operator.yaml").read_text()
    assert rbac_table.grants(yaml.safe_load_all(text), account) == []

"""The operator's permissions: what each is for, and which of them an audit log shows in use.

`python tools/rbac_table.py` writes docs/reference/rbac.md. With audit logs of an API server as
arguments it prints a table instead, and fails if a permission was not used although nothing says
why that can be, or something was done that no rule of the chart allows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "reference" / "rbac.md"
OPERATOR: Final = "system:serviceaccount:loopwright-system:loopwright"
ACCOUNT: Final = ("loopwright-system", "loopwright")


class Grant(NamedTuple):
    """One verb on one resource."""

    scope: str
    """cluster, or the namespace of a Role."""
    group: str
    resource: str
    """With its subresource."""
    verb: str


# What the operator does with each resource.
WHY: Final[dict[tuple[str, str], str]] = {
    ("loopwright.io", "trainingjobs"): "Its own kind. A monitor's retraining creates one;"
    " `ttlSecondsAfterFinished` deletes.",
    ("loopwright.io", "hyperparametersweeps"): "Its own kind. `ttlSecondsAfterFinished` deletes.",
    ("loopwright.io", "batchtransforms"): "Its own kind. `ttlSecondsAfterFinished` deletes.",
    ("loopwright.io", "modelendpoints"): "Its own kind. Specs are never written.",
    ("loopwright.io", "models"): "Its own kind. A job's `register` creates one that is not there.",
    ("loopwright.io", "modelversions"): "Its own kind. `register` creates, `autoApprove` approves,"
    " `retention` deletes.",
    ("ray.io", "rayjobs"): "Each attempt of a job is one.",
    ("ray.io", "rayclusters"): "How many workers are ready.",
    ("", "configmaps"): "Scripts, reports and what servers are told to capture; the price table."
    " Create and patch are handed on to pods of jobs, patch to monitors.",
    ("", "serviceaccounts"): "Of a namespace's head pods and monitors.",
    ("rbac.authorization.k8s.io", "roles"): "What those accounts may do: write reports. The API"
    " server lets nobody give away more than is theirs.",
    ("rbac.authorization.k8s.io", "rolebindings"): "The same.",
    ("apps", "deployments"): "Monitors of endpoints; how many pods of a model server are ready.",
    ("apps", "deployments/scale"): "Replicas of model servers without an autoscaler.",
    ("apps", "controllerrevisions"): "What each revision of an endpoint was made from.",
    ("serving.kserve.io", "inferenceservices"): "Each revision of a variant is one.",
    ("gateway.networking.k8s.io", "httproutes"): "The route of an endpoint.",
    ("gateway.networking.k8s.io", "gateways"): "The Gateway of an endpoint, which may be in another"
    " namespace.",
    ("gateway.networking.k8s.io", "gatewayclasses"): "What a Gateway can do.",
    ("autoscaling", "horizontalpodautoscalers"): "Autoscalers of endpoints.",
    ("keda.sh", "scaledobjects"): "Autoscalers of endpoints, with KEDA.",
    ("monitoring.coreos.com", "prometheusrules"): "Alerts of endpoints.",
    ("policy", "poddisruptionbudgets"): "Of endpoints with several replicas.",
    ("", "services"): "By which endpoints are called within the cluster.",
    ("", "pods"): "Why pods of an endpoint do not serve; listed by the endpoint's label.",
    ("discovery.k8s.io", "endpointslices"): "Nothing of its own: handed on to monitors, who learn"
    " from them which pods serve.",
    ("networking.k8s.io", "networkpolicies"): "Who may reach pods of jobs, servers and monitors.",
    ("", "secrets"): "Whether one exists that an object names: only metadata is asked for. Never"
    " listed or watched.",
    ("", "persistentvolumeclaims"): "Whether one exists that an object names.",
    ("kueue.x-k8s.io", "localqueues"): "Whether the queue exists that a job names.",
    ("kueue.x-k8s.io", "workloads"): "Why a job waits in its queue, in Kueue's words.",
    ("", "events"): "Says what happened to an object.",
    ("coordination.k8s.io", "leases"): "The Lease by which one replica leads, and whose renewals"
    " prove that watches work.",
    ("scheduling.k8s.io", "priorityclasses"): "Whether the one exists that a job names.",
    ("apiextensions.k8s.io", "customresourcedefinitions"): "Kinds that are installed later.",
    **{
        ("loopwright.io", f"{plural}/status"): "What is known about an object."
        for plural in (
            "trainingjobs", "hyperparametersweeps", "batchtransforms", "models", "modelversions",
            "modelendpoints",
        )
    },
}  # fmt: skip
# Why an audit log need not show a permission.
UNUSED: Final[dict[tuple[str, str, str], str]] = {
    ("loopwright.io", "modelversions", "approve"): "asked for at admission, which is not logged",
    ("discovery.k8s.io", "endpointslices", "list"): "handed on",
    ("discovery.k8s.io", "endpointslices", "watch"): "handed on",
}
# Kinds of projects that a cluster may lack.
OPTIONAL: Final = frozenset({"keda.sh", "monitoring.coreos.com", "kueue.x-k8s.io"})
# What is read only when the cache does not know, or changed only when somebody else did.
RARE: Final = frozenset({"get", "patch", "delete", "update"})


def grants(objects: Iterable[Any], account: tuple[str, str] = ACCOUNT) -> list[Grant]:
    """All permissions of a ServiceAccount (namespace, name) that manifests grant, sorted."""
    known = list(objects)
    roles = {
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one
        for one in known
        if one and one["kind"] in ("Role", "ClusterRole")
    }
    found: set[Grant] = set()
    for one in known:
        if not one or one["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        if account not in {(s.get("namespace"), s["name"]) for s in one.get("subjects") or ()}:
            continue
        scope, ref = one["metadata"].get("namespace", ""), one["roleRef"]
        role = roles[ref["kind"], scope if ref["kind"] == "Role" else "", ref["name"]]
        found.update(_of(role.get("rules") or (), scope or "cluster"))
    return sorted(found)


def _of(rules: Iterable[Any], scope: str) -> Iterator[Grant]:
    for rule in rules:
        for group in rule.get("apiGroups") or ():
            for resource in rule["resources"]:
                yield from (Grant(scope, group, resource, verb) for verb in rule["verbs"])


def chart() -> list[Grant]:
    """Those of the operator, as the chart grants them by default."""
    text = (ROOT / "deploy" / "operator.yaml").read_text()
    return grants(yaml.safe_load_all(text))


Use = tuple[str, str, str, str]
"""Namespace, API group, resource and verb."""


def used(lines: Iterable[str], user: str = OPERATOR) -> Counter[Use]:
    """What a user did by an audit log, as far as it was allowed."""
    found: Counter[Use] = Counter()
    for line in lines:
        if not line.endswith("\n"):
            continue  # It is being written.
        event = json.loads(line)
        ref = event.get("objectRef")
        if ref is None or event["user"].get("username") != user:
            continue
        if (event.get("responseStatus") or {}).get("code") in (401, 403):
            continue
        # A watch that goes on has a line at its start, and one more at its end.
        if event["stage"] == "ResponseStarted" and event["verb"] != "watch":
            continue
        resource = "/".join(filter(None, (ref.get("resource"), ref.get("subresource"))))
        found[ref.get("namespace", ""), ref.get("apiGroup", ""), resource, event["verb"]] += 1
    return found


def count(grant: Grant, found: Counter[Use]) -> int:
    """How often a permission was used."""
    return sum(
        number
        for (namespace, group, resource, verb), number in found.items()
        if (group, resource, verb) == grant[1:] and grant.scope in ("cluster", namespace)
    )


def ungranted(known: Iterable[Grant], found: Counter[Use]) -> list[Use]:
    """What was done that no permission here allows; every user may ask about itself."""
    allowed = set(known)
    return sorted(
        (namespace, group, resource, verb)
        for namespace, group, resource, verb in found
        if not {Grant(s, group, resource, verb) for s in ("cluster", namespace)} & allowed
        and group not in ("authorization.k8s.io", "authentication.k8s.io")
    )


def excuse(grant: Grant) -> str:
    """Why a permission may be without use in a log; empty if it may not."""
    if (told := UNUSED.get(grant[1:])) is not None:
        return told
    if grant.group in OPTIONAL:
        return "the cluster may lack this kind"
    return "rare: only if something was lost or edited" if grant.verb in RARE else ""


def compared(known: Iterable[Grant], found: Counter[Use]) -> tuple[list[str], int]:
    """Lines of the table, and how many permissions have neither use nor excuse."""
    lines = [
        "| scope | API group | resource | verb | used | |",
        "| --- | --- | --- | --- | --: | --- |",
    ]
    bad = 0
    for grant in known:
        number = count(grant, found)
        note = "" if number else excuse(grant) or "**NOT USED**"
        bad += note.startswith("**")
        scope, group, resource, verb = grant
        lines.append(f"| {scope} | {group or 'core'} | {resource} | {verb} | {number} | {note} |")
    return lines, bad


HEAD: Final = """\
# What the operator may do

Generated by `make generate` from the chart's default installation. With `watchNamespaces` the
rules of the cluster become Roles in those namespaces; what stays, and what comes with it,
[the guide](../guides/install.md#some-namespaces-only) says. `python tools/rbac_table.py audit.log`
compares them with an API server's audit log.

There are no wildcards, and no Secret is listed or watched. Of pods it may only see a list. But
whoever may create Deployments, RayJobs and InferenceServices can have pods of any form made: guard
the operator's namespace and token as you guard the cluster, or confine it by `watchNamespaces`.

| where | API group | resource | verbs | what for |
| --- | --- | --- | --- | --- |
"""


def page(known: Iterable[Grant]) -> str:
    """docs/reference/rbac.md."""
    verbs: dict[tuple[str, str, str], list[str]] = {}
    for scope, group, resource, verb in known:
        verbs.setdefault((scope, group, resource), []).append(verb)
    rows = [
        f"| {scope} | {group or 'core'} | {resource} | {', '.join(found)} |"
        f" {WHY[group, resource]} |"
        for (scope, group, resource), found in verbs.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", nargs="*", type=Path, help="audit logs, one JSON event a line")
    parser.add_argument("--user", default=OPERATOR, help="whose; by default the operator's account")
    given = parser.parse_args()
    known = chart()
    if not given.log:
        PAGE.write_text(page(known))
        return 0
    found: Counter[Use] = Counter()
    for log in given.log:
        with log.open() as lines:
            found += used(lines, given.user)
    table, bad = compared(known, found)
    print("\n".join(table))
    beyond = ungranted(known, found)
    for use in beyond:
        print(f"done, but not granted here: {use}")
    print(f"{len(known)} permissions, {bad} without use or excuse, {len(beyond)} uses beyond them")
    return 1 if bad or beyond else 0


if __name__ == "__main__":
    sys.exit(main())

"""The small objects that all jobs of a namespace rely on."""

from __future__ import annotations

from loopwright.api import names
from loopwright.desired.context import Manifest
from loopwright.desired.network import Network, ray


def shared(namespace: str, network: Network | None) -> list[Manifest]:
    """What all jobs of a namespace rely on.

    Args:
        network: Who may come; None makes no NetworkPolicy.
    """
    policies = [] if network is None else [ray(namespace, network)]
    return [*policies, *access(namespace)]


def access(namespace: str) -> list[Manifest]:
    """The account of all head pods of a namespace, which may write reports.

    Which report, the ValidatingAdmissionPolicy `loopwright-report` decides: only that of the job
    whose head pod the token is bound to. A Role of each job's own would say the same, for three
    more writes a job.
    """
    verbs = ["create", "patch"]
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}
    return account(namespace, names.RUNTIME, [rule])


def account(namespace: str, name: str, rules: list[Manifest]) -> list[Manifest]:
    """A ServiceAccount of a namespace, and what it may do there.

    The RoleBinding is last: the API server reads the Role when one is bound, to see that nobody
    gives away more than is theirs.
    """
    group = "rbac.authorization.k8s.io"
    meta = {"name": name, "namespace": namespace, "labels": names.namespace_labels()}
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": meta,
            "automountServiceAccountToken": False,
        },
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    ]

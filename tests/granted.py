"""Rights, which the API server notices a little after they are given."""

from __future__ import annotations

from typing import Final

import yaml
from kubectl import ROOT, Kubectl

from eventually import eventually

OPERATOR: Final = {
    "kind": "ServiceAccount", "name": "loopwright", "namespace": "loopwright-system",
}  # fmt: skip


def grant_operator(api: Kubectl) -> None:
    """Gives the operator's account what deploy/ gives it, and what an operator needs besides that
    watches some namespaces, as tests let theirs do; the chart gives it to those."""
    api.apply(ROOT / "deploy" / "operator.yaml")
    group = "rbac.authorization.k8s.io"
    meta = {"name": "loopwright-namespaces"}
    rule = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]}
    role = {"kind": "ClusterRole", "metadata": meta, "rules": [rule]}
    ref = {"apiGroup": group, "kind": "ClusterRole", **meta}
    binding = {
        "kind": "ClusterRoleBinding", "metadata": meta, "roleRef": ref, "subjects": [OPERATOR],
    }  # fmt: skip
    made = [{"apiVersion": f"{group}/v1", **one} for one in (role, binding)]
    api.apply(text=yaml.safe_dump_all(made))
    user = "system:serviceaccount:loopwright-system:loopwright"
    granted(api, user, "watch", "namespaces", "loopwright-system")


def granted(api: Kubectl, user: str, verb: str, resource: str, namespace: str, *more: str) -> None:
    """Waits until somebody may do something."""
    words = ["auth", "can-i", verb, resource, f"--as={user}", "-n", namespace, *more]
    eventually(
        f"the right of {user} to {verb} {resource}",
        lambda: api.run(*words, check=False).strip() == "yes",
    )

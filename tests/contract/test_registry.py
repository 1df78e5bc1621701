"""The registry on a real API server: what is fixed, how versions are named, and who decides."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import yaml
from kubectl import ROOT, Kubectl, KubectlError
from specs import RICH_VERSIONS
from test_report_policy import connect

from eventually import eventually
from granted import granted
from loopwright.api.registry import ModelVersionSpec

NAMESPACE = "models"


def version(name: str = "v1", **spec: Any) -> dict[str, Any]:
    """A version of the model m, which nobody has decided about."""
    spec = {**RICH_VERSIONS[0], "version": name, "approval": None, **spec}
    meta = {"name": f"m-{name}", "namespace": NAMESPACE}
    kind = {"apiVersion": "loopwright.io/v1alpha1", "kind": "ModelVersion"}
    return {**kind, "metadata": meta, "spec": spec}


@dataclass
class User:
    """A user with a token of their own."""

    http: httpx.Client
    name: str
    token: str

    def send(self, method: str, path: str, body: Any) -> httpx.Response:
        """One request to modelversions."""
        headers = {"Authorization": f"Bearer {self.token}"}
        headers["Content-Type"] = (
            "application/json" if method == "POST" else "application/merge-patch+json"
        )
        root = f"/apis/loopwright.io/v1alpha1/namespaces/{NAMESPACE}/modelversions"
        return self.http.request(method, f"{root}{path}", content=json.dumps(body), headers=headers)

    def decides(self, version: str, state: str, by: str | None = None, **more: str) -> str:
        """Sets the approval of a version; what was wrong with that, or nothing."""
        approval = {"state": state, "by": by or self.name, "reason": None, **more}
        approval["by"] = None if state == "Pending" else approval["by"]
        answer = self.send("PATCH", f"/m-{version}", {"spec": {"approval": approval}})
        return "" if answer.status_code == 200 else str(answer.json()["message"])


@dataclass
class Committee:
    """Ada may approve; Bob may do everything else with versions."""

    api: Kubectl
    ada: User
    bob: User


def role(name: str, verbs: list[str]) -> list[dict[str, Any]]:
    """A user, and a Role that says what they may do with versions."""
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": ["loopwright.io"], "resources": ["modelversions"], "verbs": verbs}]
    reference = {"apiGroup": group, "kind": "Role", "name": name}
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]
    meta, rbac = {"name": name}, {"apiVersion": f"{group}/v1"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {**rbac, "kind": "Role", "metadata": meta, "rules": rules},
        {**rbac, "kind": "RoleBinding", "metadata": meta, "roleRef": reference,
         "subjects": subjects},
    ]  # fmt: skip


@pytest.fixture(scope="module")
def committee(api: Kubectl) -> Iterator[Committee]:
    api.apply(ROOT / "deploy" / "operator.yaml")
    api.run("create", "namespace", NAMESPACE)
    all_else = ["get", "list", "create", "update", "patch", "delete"]
    users = [*role("ada", [*all_else, "approve"]), *role("bob", all_else)]
    api.apply(text=yaml.safe_dump_all(users), namespace=NAMESPACE)
    http = connect(api)
    ada, bob = (
        User(
            http,
            f"system:serviceaccount:{NAMESPACE}:{name}",
            api.run("create", "token", name, "-n", NAMESPACE).strip(),
        )
        for name in ("ada", "bob")
    )
    found = Committee(api, ada, bob)
    for user, verb in ((ada, "create"), (ada, "approve"), (bob, "create")):
        granted(api, user.name, verb, "modelversions.loopwright.io", NAMESPACE)
    assert bob.send("POST", "", version("first")).status_code == 201
    # A policy takes a moment to be in force, and says nothing about what changes nothing.
    states = itertools.cycle(("Approved", "Pending"))
    eventually("the policy", lambda: bob.decides("first", next(states)))
    yield found


def test_only_who_may_approve_does(committee: Committee) -> None:
    ada, bob = committee.ada, committee.bob
    assert bob.send("POST", "", version("v1")).status_code == 201
    told = bob.decides("v1", "Approved")
    assert f"{bob.name} may not change spec.approval" in told
    assert "the verb approve on modelversions" in told
    assert "\n" not in told
    assert ada.decides("v1", "Approved", reason="measured") == ""
    # What is decided only those change again who may decide.
    for state in ("Rejected", "Pending"):
        assert "may not change" in bob.decides("v1", state)
    assert bob.send("PATCH", "/m-v1", {"metadata": {"labels": {"a": "b"}}}).status_code == 200
    assert ada.decides("v1", "Rejected", reason="too slow") == ""
    assert ada.decides("v1", "Pending") == ""


def test_nobody_signs_with_the_name_of_another(committee: Committee) -> None:
    ada, bob = committee.ada, committee.bob
    assert bob.send("POST", "", version("v2")).status_code == 201
    assert f"spec.approval.by must be {ada.name}" in ada.decides("v2", "Approved", by=bob.name)
    assert ada.decides("v2", "Approved") == ""


def test_approved_at_birth_is_a_decision_too(committee: Committee) -> None:
    approval = {"state": "Approved", "by": committee.bob.name}
    answer = committee.bob.send("POST", "", version("v3", approval=approval))
    assert "may not change spec.approval" in answer.text
    approval["by"] = committee.ada.name
    assert committee.ada.send("POST", "", version("v3", approval=approval)).status_code == 201


def test_the_role_that_is_shipped_is_enough(committee: Committee) -> None:
    """Bound to one namespace, it lets decide about its versions."""
    api = committee.api
    api.run("create", "serviceaccount", "cleo", "-n", NAMESPACE)
    words = ["--clusterrole=loopwright-approver", f"--serviceaccount={NAMESPACE}:cleo"]
    api.run("create", "rolebinding", "cleo", "-n", NAMESPACE, *words)
    token = api.run("create", "token", "cleo", "-n", NAMESPACE).strip()
    name = f"system:serviceaccount:{NAMESPACE}:cleo"
    cleo = User(committee.ada.http, name, token)
    for verb in ("patch", "approve"):
        granted(api, name, verb, "modelversions.loopwright.io", NAMESPACE)
    assert committee.bob.send("POST", "", version("v4")).status_code == 201
    assert cleo.decides("v4", "Rejected") == ""
    assert cleo.send("PATCH", "/m-v4", {"spec": {"uri": "s3://b/other"}}).status_code == 422


def test_the_operator_itself_may_approve_and_signs(committee: Committee) -> None:
    api = committee.api
    where, name = "loopwright-system", "system:serviceaccount:loopwright-system:loopwright"
    token = api.run("create", "token", "loopwright", "-n", where).strip()
    operator = User(committee.ada.http, name, token)
    assert committee.bob.send("POST", "", version("v5")).status_code == 201
    assert "spec.approval.by must be" in operator.decides("v5", "Approved", by=committee.ada.name)
    assert operator.decides("v5", "Approved", reason="accuracy is 0.95") == ""
    assert operator.send("PATCH", "/m-v5", {"spec": {"uri": "s3://b/other"}}).status_code == 422
    # It asks the API server for its name.
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = operator.http.post(
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        content=json.dumps(review),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    assert answer.json()["status"]["userInfo"]["username"] == name


def test_approval_by_itself_needs_that_approval_is_asked_for(api: Kubectl) -> None:
    policy = {"requireMetrics": [{"metric": "accuracy", "min": "0.9"}]}
    wrong = {
        "apiVersion": "loopwright.io/v1alpha1", "kind": "Model", "metadata": {"name": "auto"},
        "spec": {"autoApprove": policy},
    }  # fmt: skip
    with pytest.raises(KubectlError, match="autoApprove needs requireApproval: true"):
        api.run("create", "-f", "-", "--dry-run=server", stdin=json.dumps(wrong))


OTHERS: dict[str, Any] = {
    "modelRef": {"name": "other"}, "version": "v9", "uri": "s3://b/other",
    "secretRef": {"name": "other"}, "digest": "sha256:" + "1" * 64, "format": "safetensors",
    "signature": None, "metrics": [{"name": "loss", "value": "1"}],
    "baselineRef": {"uri": "s3://b/other"}, "lineage": {"runId": "other"}, "card": "# Other",
    "allowUnsafe": True, "aliases": ["other"],
}  # fmt: skip


@pytest.mark.parametrize("field", OTHERS)
def test_what_a_version_is_never_changes(api: Kubectl, committee: Committee, field: str) -> None:
    api.apply(text=json.dumps(version("fixed")))
    words = ["patch", "mv", "m-fixed", "-n", NAMESPACE, "--type=merge", "-p"]
    with pytest.raises(KubectlError, match=f"{field} is immutable"):
        api.run(*words, json.dumps({"spec": {field: OTHERS[field]}}))


def test_every_field_is_fixed_but_the_approval() -> None:
    assert ModelVersionSpec.immutable == OTHERS.keys()
    fields = {field.alias for field in ModelVersionSpec.model_fields.values()}
    assert fields - OTHERS.keys() == {"approval"}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "another name": (
        {"version": "v2"},
        "metadata.name must be <spec.modelRef.name>-<spec.version>",
    ),
    "no digest": ({"digest": None}, "onnx and safetensors need digest"),
    "pickle": ({"format": "pickle"}, "set allowUnsafe: true"),
    "a nameless decision": ({"approval": {"state": "Approved"}}, "needs by: the name of the user"),
    "a name without a decision": ({"approval": {"by": "ada"}}, "Pending has none"),
    "an alias twice": ({"aliases": ["a", "a"]}, "Duplicate value"),
    "a path on this machine": ({"uri": "file:///x"}, "one of the schemes s3://, pvc://"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_versions_are_refused_with_a_remedy(
    api: Kubectl, committee: Committee, case: str
) -> None:
    spec, message = BAD[case]
    wrong = {**version("bad"), "spec": {**version("bad")["spec"], **spec}}
    with pytest.raises(KubectlError) as refused:
        api.run("create", "-f", "-", "--dry-run=server", stdin=json.dumps(wrong))
    assert message in str(refused.value)


def test_versions_are_found_by_their_model(api: Kubectl, committee: Committee) -> None:
    api.apply(text=json.dumps(version("found")))
    words = ["get", "mv", "-n", NAMESPACE, "-o", "name", "--field-selector"]
    assert "m-found" in api.run(*words, "spec.modelRef.name=m")
    assert api.run(*words, "spec.modelRef.name=other") == ""


def test_a_model_needs_nothing_but_a_name(api: Kubectl, committee: Committee) -> None:
    kind = {"apiVersion": "loopwright.io/v1alpha1", "kind": "Model"}
    meta = {"name": "m", "namespace": NAMESPACE}
    api.run("create", "-f", "-", stdin=json.dumps({**kind, "metadata": meta}))
    assert "m-found" not in api.run("get", "mdl", "m", "-n", NAMESPACE)
    for name in ("a.b", "x" * 41):
        wrong = {**kind, "metadata": {**meta, "name": name}}
        with pytest.raises(KubectlError, match=r"metadata\.name"):
            api.run("create", "-f", "-", stdin=json.dumps(wrong))


def test_explain_tells_who_may_approve(api: Kubectl) -> None:
    words = ["explain", "mv.spec.approval"]
    # The API server describes a kind a little after it serves it.
    eventually(
        "a description",
        lambda: "RBAC verb" in " ".join(api.run(*words, check=False).split()),
    )

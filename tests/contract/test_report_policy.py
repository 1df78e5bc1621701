"""Who may write into which report: the ValidatingAdmissionPolicy, asked with pods' own tokens."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest
import yaml
from kubectl import ROOT, Kubectl

from eventually import eventually
from granted import granted
from loopwright.api import names
from loopwright.desired.monitor import monitor_access
from loopwright.desired.support import access

NAMESPACE = "mail"


@dataclass
class Office:
    """A namespace with the reports of two jobs and of two endpoints."""

    api: Kubectl
    http: httpx.Client

    def pod(self, name: str, account: str = names.RUNTIME) -> str:
        """The token of a pod of that name, as the runtime or a monitor has it."""
        container = {"name": "c", "image": "none"}
        spec = {"serviceAccountName": account, "containers": [container]}
        meta = {"name": name, "namespace": NAMESPACE}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        self.api.apply(text=yaml.safe_dump(pod))
        return self.token(account, "--bound-object-kind=Pod", f"--bound-object-name={name}")

    def token(self, account: str, *bound: str) -> str:
        """A new token of an account."""
        return self.api.run("create", "token", account, "-n", NAMESPACE, *bound).strip()

    def reads(self, token: str, path: str) -> bool:
        """Whether something may be read."""
        headers = {"Authorization": f"Bearer {token}"}
        return self.http.get(path, headers=headers).status_code != 403

    def accepts(self, token: str, configmap: str, patch: object = None) -> bool:
        """Whether a ConfigMap may be patched."""
        body = patch or {"data": {"report.json": "{}"}}
        return self._patch(token, configmap, "application/merge-patch+json", body)

    def applies(self, token: str, configmap: str, data: object = None, **meta: object) -> bool:
        """Whether a ConfigMap may be applied, which makes it when it is not there."""
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": configmap, **meta}}
        return self._patch(
            token,
            f"{configmap}?fieldManager=test",
            "application/apply-patch+yaml",
            {**body, "data": data or {"report.json": "{}"}},
        )

    def _patch(self, token: str, configmap: str, content: str, body: object) -> bool:
        answer = self.http.patch(
            f"/api/v1/namespaces/{NAMESPACE}/configmaps/{configmap}",
            json=body,
            headers={"Content-Type": content, "Authorization": f"Bearer {token}"},
        )
        if answer.status_code == 201:
            name = answer.json()["metadata"]["name"]
            self.api.run("delete", "configmap", name, "-n", NAMESPACE)
            return True
        words = (
            "loopwright-report",
            "loopwright-observed",
            "Only one reference can have Controller",
        )
        assert answer.status_code == 200 or any(w in answer.text for w in words), answer.text
        return answer.status_code == 200


def mailbox(kind: str, owner: str, suffix: str) -> dict[str, object]:
    """A report's ConfigMap."""
    meta = {"name": f"{owner}-{suffix}", "labels": names.child_labels(kind, owner)}
    owners = [names.owner_reference(kind, owner, "u")]
    head = {"apiVersion": "v1", "kind": "ConfigMap"}
    return {**head, "metadata": {**meta, "ownerReferences": owners}}


def connect(api: Kubectl) -> httpx.Client:
    """A client without credentials."""
    cluster = yaml.safe_load(api.kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = cluster.get("certificate-authority")
    data = cluster.get("certificate-authority-data")
    text = base64.b64decode(data).decode() if data else Path(authority).read_text()
    context = ssl.create_default_context(cadata=text)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return httpx.Client(base_url=cluster["server"], verify=context, timeout=60)


@pytest.fixture(scope="module")
def office(api: Kubectl) -> Iterator[Office]:
    api.apply(ROOT / "deploy" / "operator.yaml")
    api.run("create", "namespace", NAMESPACE)
    reports = [
        mailbox(kind, owner, suffix)
        for kind, owner, suffix in (
            ("TrainingJob", "digits", "report"), ("TrainingJob", "digits-a1-abcde", "report"),
            ("ModelEndpoint", "digits", "observed"),
            ("ModelEndpoint", "digits-monitor-abcde", "observed"),
            ("TrainingJob", "posing", "observed"),
        )
    ]  # fmt: skip
    others = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        for name in ("digits-other", "theirs-report")
    ]
    objects = [*access(NAMESPACE), *monitor_access(NAMESPACE), *reports, *others]
    api.apply(text=yaml.safe_dump_all(objects), namespace=NAMESPACE)
    found = Office(api, connect(api))
    for account in (names.RUNTIME, names.MONITOR_ACCOUNT):
        user = f"system:serviceaccount:{NAMESPACE}:{account}"
        granted(api, user, "patch", "configmaps", NAMESPACE)
    user = f"system:serviceaccount:{NAMESPACE}:{names.MONITOR_ACCOUNT}"
    granted(api, user, "list", "endpointslices.discovery.k8s.io", NAMESPACE)
    stranger = found.pod("stranger")
    # A policy takes a moment to be in force.
    for name in ("digits-report", "digits-observed"):
        eventually("the policy", lambda name=name: not found.accepts(stranger, name))
    yield found


@pytest.mark.parametrize("pod", ["digits-a1-abcde-head", "digits-a12-x2z4b-head-q9w8e"])
def test_a_head_pod_writes_the_report_of_its_job_only(office: Office, pod: str) -> None:
    head = office.pod(pod)
    assert office.accepts(head, "digits-report")
    assert not office.accepts(head, "digits-a1-abcde-report")
    assert not office.accepts(head, "digits-other")


@pytest.mark.parametrize(
    "pod", ["digits-a1-abcde-worker-q9w8e", "digits-a1", "digits-a1-abcde-a1-abcde-head"]
)
def test_other_pods_do_not(office: Office, pod: str) -> None:
    assert not office.accepts(office.pod(pod), "digits-report")


def test_a_token_of_no_pod_writes_nothing(office: Office) -> None:
    assert not office.accepts(office.token(names.RUNTIME), "digits-report")
    assert not office.accepts(office.token(names.MONITOR_ACCOUNT), "digits-observed")


CHANGES = pytest.mark.parametrize(
    "meta", [{"labels": {names.LABEL_NAME: "other"}}, {"finalizers": ["a.example/b"]},
             {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]}],
)  # fmt: skip


@CHANGES
def test_a_head_pod_changes_nothing_but_the_report(office: Office, meta: dict[str, object]) -> None:
    head = office.pod("digits-a1-abcde-head")
    assert not office.accepts(head, "digits-report", {"metadata": meta})
    assert not office.accepts(head, "digits-report", {"data": {"other.json": "{}"}})


OWNER: Final = names.owner_reference("TrainingJob", "young", "u")
LABELS: Final = names.child_labels("TrainingJob", "young")
RIGHT: Final[dict[str, object]] = {"labels": LABELS, "ownerReferences": [OWNER]}


def test_a_head_pod_makes_the_report_of_its_job(office: Office) -> None:
    head = office.pod("young-a1-abcde-head")
    assert office.applies(head, "young-report", **RIGHT)
    assert not office.applies(office.pod("digits-a1-abcde-head"), "young-report", **RIGHT)


@pytest.mark.parametrize("kind", names.MARKS)
def test_jobs_of_one_name_and_several_kinds_write_their_own_reports(
    office: Office, kind: str
) -> None:
    head = office.pod(f"both-{names.MARKS[kind].attempt}1-abcde-head")
    for other in names.MARKS:
        for owner in names.MARKS:
            meta: dict[str, object] = {
                "labels": names.child_labels(owner, "both"),
                "ownerReferences": [names.owner_reference(owner, "both", "u")],
            }
            written = office.applies(head, names.report_name(other, "both"), **meta)
            assert written is (kind == other == owner)


@pytest.mark.parametrize(
    "meta",
    [
        {**RIGHT, "labels": {**LABELS, names.LABEL_NAME: "digits"}},
        {**RIGHT, "labels": {**LABELS, names.LABEL_KIND: "Namespace"}},
        {**RIGHT, "labels": {names.LABEL_NAME: "young"}},
        {**RIGHT, "ownerReferences": []},
        {**RIGHT, "ownerReferences": [{**OWNER, "name": "digits"}]},
        {**RIGHT, "ownerReferences": [OWNER, {**OWNER, "uid": "v", "controller": False}]},
        {**RIGHT, "finalizers": ["a.example/b"]},
    ],
)
def test_a_report_that_is_made_belongs_to_its_job(office: Office, meta: dict[str, object]) -> None:
    assert not office.applies(office.pod("young-a1-abcde-head"), "young-report", **meta)


@pytest.mark.parametrize("kind", names.MARKS)
def test_jobs_of_all_kinds_may_have_one_name(office: Office, kind: str) -> None:
    head = office.pod(f"{names.rayjob_name(kind, 'same', 1)}-abcde-head")
    for other in names.MARKS:
        labels, owner = names.child_labels(other, "same"), names.owner_reference(other, "same", "u")
        report = names.report_name(other, "same")
        made = office.applies(head, report, labels=labels, ownerReferences=[owner])
        assert made is (other == kind)


def test_a_head_pod_makes_no_other_configmap(office: Office) -> None:
    head = office.pod("young-a1-abcde-head")
    assert not office.applies(head, "young-other", **RIGHT)
    assert not office.applies(head, "young-report", {"other.json": "{}"}, **RIGHT)


def test_a_report_that_lost_its_labels_gets_them_back(office: Office) -> None:
    head, right = office.pod("digits-a1-abcde-head"), names.child_labels("TrainingJob", "digits")
    labels = {**dict.fromkeys(right), "team": "a"}
    words = ["patch", "configmap", "digits-report", "-n", NAMESPACE, "-p"]
    office.api.run(*words, json.dumps({"metadata": {"labels": labels}}))
    assert office.applies(head, "digits-report", labels=right)


def test_a_configmap_of_somebody_else_is_not_taken_over(office: Office) -> None:
    head, labels = office.pod("theirs-a1-abcde-head"), names.child_labels("TrainingJob", "theirs")
    owner = names.owner_reference("TrainingJob", "theirs", "u")
    assert not office.applies(head, "theirs-report", labels=labels, ownerReferences=[owner])


def test_a_former_jobs_report_is_not_taken_over(office: Office) -> None:
    owner = names.owner_reference("TrainingJob", "digits", "v")
    head, labels = office.pod("digits-a1-abcde-head"), names.child_labels("TrainingJob", "digits")
    assert not office.applies(head, "digits-report", labels=labels, ownerReferences=[owner])


def test_a_monitor_writes_the_report_of_its_endpoint_only(office: Office) -> None:
    monitor = office.pod("digits-monitor-7c9f8d6b5-abcde", names.MONITOR_ACCOUNT)
    assert office.accepts(monitor, "digits-observed")
    for other in ("digits-report", "digits-monitor-abcde-observed", "digits-other"):
        assert not office.accepts(monitor, other)


@pytest.mark.parametrize(
    "pod", ["digits-monitor-predictor-7c9f8d6b5-abcde", "digits-monitor", "digits-a3-abcde-head",
            "digits-monitor-abcde-monitor-7c9f8d6b5-abcde"],
)  # fmt: skip
def test_other_pods_with_a_monitors_account_do_not(office: Office, pod: str) -> None:
    assert not office.accepts(office.pod(pod, names.MONITOR_ACCOUNT), "digits-observed")


def test_an_account_writes_reports_of_its_own_kind(office: Office) -> None:
    head = office.pod("digits-a2-abcde-head")
    assert not office.accepts(head, "digits-observed")
    posing = office.pod("posing-monitor-7c9f8d6b5-abcde", names.MONITOR_ACCOUNT)
    assert not office.accepts(posing, "posing-observed")


@CHANGES
def test_a_monitor_changes_nothing_but_data(office: Office, meta: dict[str, object]) -> None:
    monitor = office.pod("digits-monitor-7c9f8d6b5-abcde", names.MONITOR_ACCOUNT)
    assert not office.accepts(monitor, "digits-observed", {"metadata": meta})


def test_a_monitor_reads_addresses_and_nothing_else(office: Office) -> None:
    monitor = office.pod("digits-monitor-7c9f8d6b5-abcde", names.MONITOR_ACCOUNT)
    slices = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"
    assert office.reads(monitor, slices.format(NAMESPACE))
    assert not office.reads(monitor, slices.format("default"))
    for path in ("configmaps", "configmaps/digits-observed", "secrets", "pods"):
        assert not office.reads(monitor, f"/api/v1/namespaces/{NAMESPACE}/{path}")


def test_nobody_else_is_concerned(office: Office) -> None:
    patch = ["patch", "configmap", "digits-other", "-n", NAMESPACE, "-p", '{"data": {"a": "b"}}']
    assert "patched" in office.api.run(*patch)

"""The release is changed while a job runs, and has the console as well."""

from __future__ import annotations

import contextlib

import httpx
import pytest
import scripts
from conftest import rolled_out
from helm import CHART, Helm
from install import LOCAL, NAMESPACE, RELEASE
from kubectl import Kubectl
from space import Space

from auditlog import AuditLog
from eventually import eventually

pytestmark = pytest.mark.e2e


def operators(kubectl: Kubectl) -> set[str]:
    """The pods of the operator."""
    found = kubectl.list("pods", NAMESPACE, "app.kubernetes.io/name=loopwright")
    return {one["metadata"]["uid"] for one in found if "deletionTimestamp" not in one["metadata"]}


def test_an_upgrade_leaves_a_running_job_alone(space: Space, helm: Helm, audit: AuditLog) -> None:
    start, before = audit.mark(), operators(space.kubectl)
    space.train("steady", scripts.COUNTING, hyperparameters={"epochs": "30", "hold": "8"})
    space.wait("steady", lambda s: (s.get("checkpoint") or {}).get("step", 0) >= 2)
    [head] = space.pods("steady", "head")

    settings = {**LOCAL["settings"], "workers": 8}
    helm.upgrade(RELEASE, CHART, NAMESPACE, {**LOCAL, "settings": settings, "replicas": 2})
    rolled_out(space.kubectl)

    def replaced() -> bool:
        # Another test may have killed one just now, which comes back.
        after = operators(space.kubectl)
        return len(after) == 2 and not after & before

    eventually("two other operators", replaced)
    [same] = space.pods("steady", "head")
    assert same["metadata"]["uid"] == head["metadata"]["uid"]
    space.let_go()
    status = space.phase("steady", "Succeeded")
    assert [attempt["number"] for attempt in status["attempts"]] == [1]
    metrics = {one["name"]: float(one["value"]) for one in status["metrics"]}
    assert (metrics["started_at"], metrics["epochs_in_history"]) == (0, 30)
    assert audit.created(start, space.name, "rayjobs") == ["steady-a1"]


def test_the_console_shows_people_what_they_may_see(space: Space, helm: Helm) -> None:
    kubectl, owner = space.kubectl, f"--serviceaccount={space.name}:ada"
    space.train("shown", scripts.QUICK)
    for words in (
        ["serviceaccount", "ada"], ["serviceaccount", "bob"],
        ["rolebinding", "look", "--clusterrole=loopwright-view", owner],
    ):  # fmt: skip
        kubectl.run("create", *words, "-n", space.name)
    helm.upgrade(RELEASE, CHART, NAMESPACE, {**LOCAL, "console": {"enabled": True}})
    rolled_out(kubectl, "loopwright-console")
    service = (kubectl.get("service", "loopwright-console", NAMESPACE) or {})["spec"]
    base = f"http://{service['clusterIP']}:{service['ports'][0]['port']}"

    def page(path: str, name: str) -> httpx.Response:
        token = kubectl.run("create", "token", name, "-n", space.name).strip()
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(base + path, headers=headers, trust_env=False, timeout=60)

    overview = f"/?namespace={space.name}"

    def shown() -> bool:
        # A Service leads to pods that are ready, but not from that moment on.
        with contextlib.suppress(httpx.TransportError):
            return "tj/shown" in page(overview, "ada").text
        return False

    eventually("the job on the page", shown)
    one = page(f"/{space.name}/trainingjobs/shown", "ada")
    assert (one.status_code, "TrainingJob shown" in one.text) == (200, True)
    assert "may not read" in page(f"/{space.name}/trainingjobs/shown", "bob").text
    stranger = httpx.get(base + overview, trust_env=False, timeout=60)
    assert "shown" not in stranger.text
    assert "sign" in stranger.text.lower()
    space.phase("shown", "Succeeded")

"""From an earlier state of this repository to this one, and back, while people use it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import scripts
from conftest import cluster_tool, one_at_a_time
from endpoints import Endpoint, variant
from helm import CHART, CRDS, Helm
from install import LOCAL, NAMESPACE, RELEASE
from kubectl import ROOT, Kubectl
from space import Space

from auditlog import AuditLog
from eventually import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.extended]

IMAGES = ("operator", "runtime", "serving")
OLD_TAG = "before"


def git(*words: str) -> str:
    """What git says."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def earlier() -> str:
    """The newest tag, or the newest charts of an earlier day, or what the environment says."""
    if named := os.environ.get("LOOPWRIGHT_UPGRADE_FROM"):
        return named
    if tags := git("tag", "--list", "v*", "--sort=-creatordate", "--merged", "HEAD~1").split():
        return tags[0]
    of_charts = ("log", "--format=%H", "--", CHART.relative_to(ROOT).as_posix())
    day = git("log", "-1", "--format=%cs")
    before = git(*of_charts[:2], f"--before={day}T00:00:00", *of_charts[2:]).split()
    return before[0] if before else git(*of_charts).split()[-1]


@pytest.fixture(scope="module")
def before(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout of the earlier state, whose images are there under a tag of their own."""
    folder = tmp_path_factory.mktemp("before") / "tree"
    git("worktree", "add", "--detach", str(folder), earlier())
    try:
        with one_at_a_time("e2e"):
            # They are built under the tag that all trees use.
            subprocess.run(["python3", "cluster/cli.py", "images"], cwd=folder, check=True)
            tool = "import sys; sys.path.insert(0, 'cluster'); import images; print(*images.CTR)"
            ctr = subprocess.run(
                ["python3", "-c", tool], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout.split()
            for name in IMAGES:
                image = f"localhost/loopwright/{name}"
                words = ["images", "tag", "--force", f"{image}:dev", f"{image}:{OLD_TAG}"]
                subprocess.run([*ctr, *words], check=True)
            cluster_tool("images")
        yield folder
    finally:
        git("worktree", "remove", "--force", str(folder))


def put(kubectl: Kubectl, charts: Path, tag: str) -> None:
    """Installs a state of both charts, and waits for the operator and for what it does at first."""
    helm = Helm(kubectl.kubeconfig)
    values = {**LOCAL, "images": {**LOCAL["images"], "tag": tag}}
    helm.upgrade(f"{RELEASE}-crds", charts / CRDS.name, NAMESPACE, {})
    helm.upgrade(RELEASE, charts / CHART.name, NAMESPACE, values)
    kubectl.run("-n", NAMESPACE, "rollout", "status", "deployment/loopwright", "--timeout=180s")
    image = f"localhost/loopwright/operator:{tag}"
    eventually("the operator to lead", lambda: image in leader_image(kubectl), timeout=60)


def leader_image(kubectl: Kubectl) -> str:
    """The image of the operator that holds the Lease."""
    lease = kubectl.get("lease", "loopwright-operator", NAMESPACE) or {}
    holder = str(lease.get("spec", {}).get("holderIdentity"))
    for pod in kubectl.list("pods", NAMESPACE, "app.kubernetes.io/name=loopwright"):
        if holder.startswith(pod["metadata"]["name"]):
            return str(pod["spec"]["containers"][0]["image"])
    return ""


def at_work(space: Space) -> dict[str, str]:
    """The pods that train and serve, with their restarts; monitors may be replaced."""
    found = {}
    for label in ("ray.io/node-type", "serving.kserve.io/inferenceservice"):
        for pod in space.kubectl.list("pods", space.name, label):
            restarts = sum(one["restartCount"] for one in pod["status"]["containerStatuses"])
            found[pod["metadata"]["uid"]] = f"{pod['metadata']['name']} {restarts}"
    return found


@pytest.mark.usefixtures("digits", "release")
def test_up_and_down_under_load(space: Space, before: Path, audit: AuditLog) -> None:
    kubectl = space.kubectl
    try:
        put(kubectl, before / "charts", OLD_TAG)
        start = audit.mark()
        endpoint = Endpoint(space, "digits").apply(variant())
        endpoint.ready()
        space.train(
            "steady", scripts.COUNTING, hyperparameters={"epochs": "150"},
            resourcesPerWorker={"cpu": "300m", "memory": "2Gi"},
        )  # fmt: skip
        space.wait("steady", lambda s: (s.get("checkpoint") or {}).get("step", 0) >= 2)
        working = at_work(space)
        assert len(working) == 2, working
        with endpoint.load(connections=2, pause=0.02) as asking:
            asking.seen(200)
            for charts, tag in (
                (CHART.parent, "dev"), (before / "charts", OLD_TAG), (CHART.parent, "dev"),
            ):  # fmt: skip
                put(kubectl, charts, tag)
                asking.seen(600)
                assert at_work(space) == working, f"after {tag}"
                endpoint.ready()
        print(f"answers: {dict(asking.codes)}")
        assert asking.failures == []
        assert set(asking.codes) == {200}
        status = space.phase("steady", "Succeeded")
        assert [attempt["number"] for attempt in status["attempts"]] == [1]
        done = {one["name"]: float(one["value"]) for one in status["metrics"]}
        assert (done["started_at"], done["epochs_in_history"]) == (0, 150)
        assert audit.created(start, space.name, "rayjobs") == ["steady-a1"]
        assert len(audit.created(start, space.name, "inferenceservices")) == 1
    finally:
        put(kubectl, CHART.parent, "dev")

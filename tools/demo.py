"""The README's main job: cluster, operator, a trained network, and what came of it.

With a Docker engine and kind on PATH the cluster is a kind cluster; without, the embedded one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from follow import follow
from install import LOCAL_OPERATOR, LOCAL_RUNTIME, install
from kubectl import ROOT, Kubectl, KubectlError

EXAMPLE = ROOT / "examples" / "trainingjob-digits.yaml"
KIND_CLUSTER = "loopwright"
KUBERAY = "github.com/ray-project/kuberay/ray-operator/config/default?ref=v1.6.2"


def sh(*command: str) -> None:
    """Runs a program whose output the user should see.

    Raises:
        KubectlError: it failed.
    """
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise KubectlError(f"`{' '.join(command)}` failed; its output above says why")


def docker_answers() -> bool:
    """Whether this machine can run kind."""
    if not (shutil.which("docker") and shutil.which("kind")):
        return False
    probe = ["docker", "info", "--format", "{{.ServerVersion}}"]
    return subprocess.run(probe, capture_output=True, timeout=20, check=False).returncode == 0


def embedded() -> Kubectl:
    """The embedded cluster, with the images loaded."""
    sh("python3", "cluster/cli.py", "up")
    sh("python3", "cluster/cli.py", "images")
    return Kubectl()


def kind() -> Kubectl:
    """A kind cluster with KubeRay, and the images loaded."""
    kubeconfig = Path.home() / ".kube" / "loopwright-kind"
    kubeconfig.parent.mkdir(exist_ok=True)
    clusters = subprocess.run(
        ["kind", "get", "clusters"], capture_output=True, text=True, check=False
    )
    if KIND_CLUSTER not in clusters.stdout.split():
        sh("kind", "create", "cluster", "--config", "kind-config.yaml")
    sh("kind", "export", "kubeconfig", "--name", KIND_CLUSTER, "--kubeconfig", str(kubeconfig))
    for image, folder in ((LOCAL_OPERATOR, "operator"), (LOCAL_RUNTIME, "runtime")):
        sh("docker", "build", "-t", image, "-f", f"images/{folder}/Dockerfile", ".")
        sh("kind", "load", "docker-image", image, "--name", KIND_CLUSTER)
    kubectl = Kubectl(kubeconfig, shutil.which("kubectl"))
    kubectl.run("apply", "--server-side", "--force-conflicts", "-k", KUBERAY)
    return kubectl


def step(title: str, work: Callable[[], Any]) -> Any:
    """Runs one step of the demo and says how long it took."""
    print(f"\n▶ {title}", flush=True)
    started = time.monotonic()
    result = work()
    print(f"  done in {time.monotonic() - started:.0f} s", flush=True)
    return result


def train(kubectl: Kubectl) -> dict[str, Any]:
    """Applies the example afresh and follows it to its end."""
    job = next(d for d in yaml.safe_load_all(EXAMPLE.read_text()) if d["kind"] == "TrainingJob")
    name, namespace = job["metadata"]["name"], job["metadata"].get("namespace", "default")
    # A finished job is immutable history; a second demo trains again.
    kubectl.run("delete", "trainingjob", name, "-n", namespace, "--ignore-not-found")
    kubectl.apply(EXAMPLE, namespace=namespace)
    return follow(kubectl, name, namespace)


def show(kubectl: Kubectl, status: dict[str, Any]) -> None:
    """What came of it: metrics, the model directory, and the objects."""
    artifacts = status.get("artifacts", {})
    print()
    for metric in status.get("metrics", []):
        print(f"  {metric['name']:<16}{metric['value']}")
    print(f"  {'model directory':<16}{artifacts.get('modelUri', '-')}")
    print(f"  {'digest':<16}{artifacts.get('digest', '-')}\n")
    print(kubectl.run("get", "ml", "-A"))
    print(f"Look around: {kubectl.program} --kubeconfig {kubectl.kubeconfig} describe tj")


def main() -> int:
    """Entry point; exit code 1 when training did not succeed."""
    try:
        kubectl = step("Cluster and images", kind if docker_answers() else embedded)
        step("Loopwright", lambda: install(kubectl))
        status = step(f"Training: {EXAMPLE.relative_to(ROOT)}", lambda: train(kubectl))
        show(kubectl, status)
    except KubectlError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    if status["phase"] != "Succeeded":
        print(f"demo: the job ended as {status['phase']}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

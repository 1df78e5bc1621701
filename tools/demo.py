"""The main job of the README: cluster, operator, and once round the circle.

A network is trained, registered, served and asked; better hyperparameters are searched for; and the
best network that came of it is run over many rows.

With a Docker engine and kind on PATH the cluster is a kind cluster; without, the embedded one.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import circle
import httpx
from helm import Helm, HelmError
from install import LOCAL_OPERATOR, LOCAL_RUNTIME, install
from kubectl import ROOT, Kubectl, KubectlError

KIND_CLUSTER = "loopwright"
KUBERAY = "github.com/ray-project/kuberay/ray-operator/config/default?ref=v1.6.2"
STEPS = ("train", "serve", "tune", "batch")


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
    Helm()  # Is told now when it is missing, rather than in ten minutes.
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


def go_round(kubectl: Kubectl, last: str) -> None:
    """All steps up to the last one that was asked for."""
    wanted = STEPS[: STEPS.index(last) + 1]
    step(f"Training: {_path(circle.TRAINING)}", lambda: circle.train(kubectl))
    if "serve" in wanted:
        url = step(f"Serving: {_path(circle.ENDPOINT)}", lambda: circle.serve(kubectl))
        if url is not None:
            step("A prediction through the gateway", lambda: circle.predict(url))
    if "tune" in wanted:
        version = step(f"Tuning: {_path(circle.SWEEP)}", lambda: circle.tune(kubectl))
    if "batch" in wanted:
        step(f"A batch, with {version}", lambda: circle.batch(kubectl, version))


def _path(example: Path) -> Path:
    return example.relative_to(ROOT)


def main() -> int:
    """Entry point; exit code 1 when a step did not succeed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until", choices=STEPS, default=STEPS[-1], help="the last step")
    last = parser.parse_args().until
    try:
        kubectl = step("Cluster and images", kind if docker_answers() else embedded)
        step("Loopwright", lambda: install(kubectl))
        go_round(kubectl, last)
    except (KubectlError, HelmError, httpx.HTTPError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

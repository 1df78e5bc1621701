"""Installs the CRDs and the operator into a cluster, with locally built images by default."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kubectl import ROOT, Kubectl, KubectlError

NAMESPACE = "loopwright-system"
OPERATOR_IMAGE = "ghcr.io/loopwright/operator:0.1.0"
RUNTIME_IMAGE = "ghcr.io/loopwright/runtime:0.1.0"
LOCAL_OPERATOR = "localhost/loopwright/operator:dev"
LOCAL_RUNTIME = "localhost/loopwright/runtime:dev"


def manifest(operator: str = LOCAL_OPERATOR, runtime: str = LOCAL_RUNTIME) -> str:
    """deploy/operator.yaml with the given images in place of the published ones."""
    text = (ROOT / "deploy" / "operator.yaml").read_text()
    for published in (OPERATOR_IMAGE, RUNTIME_IMAGE):
        if published not in text:
            raise KubectlError(f"deploy/operator.yaml does not name {published}")
    return text.replace(OPERATOR_IMAGE, operator).replace(RUNTIME_IMAGE, runtime)


def install(kubectl: Kubectl) -> None:
    """Applies CRDs and operator, and waits until it runs.

    A new image under the same tag does not change the Deployment, so its pods are replaced too.
    """
    kubectl.apply(*sorted((ROOT / "crds").glob("*.yaml")))
    kubectl.run(
        "wait", "--for=condition=Established", "--timeout=60s", "crd", "-l", "loopwright.io/crd"
    )
    kubectl.apply(text=manifest())
    kubectl.run("-n", NAMESPACE, "rollout", "restart", "deployment/loopwright")
    kubectl.run("-n", NAMESPACE, "rollout", "status", "deployment/loopwright", "--timeout=180s")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, help="default: the embedded cluster's")
    try:
        install(Kubectl(parser.parse_args().kubeconfig))
    except KubectlError as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    print("Loopwright is installed: kubectl get ml -A")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Installs Loopwright into a cluster by its Helm charts, with locally built images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from helm import CHART, CRDS, Helm, HelmError, Values
from kubectl import Kubectl, KubectlError

NAMESPACE = "loopwright-system"
RELEASE = "loopwright"
# As `make images` names them. serving-torch is built on demand.
LOCAL: Values = {
    "images": {"registry": "localhost", "tag": "dev"},
    # That of the embedded cluster.
    "settings": {"gateway": "gateway/loopwright"},
}
LOCAL_OPERATOR = "localhost/loopwright/operator:dev"
LOCAL_RUNTIME = "localhost/loopwright/runtime:dev"
SPACE = f"""
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels: {{pod-security.kubernetes.io/enforce: restricted}}
"""


def install(kubectl: Kubectl) -> None:
    """Installs or upgrades both charts, and waits until the operator runs.

    A new image under the same tag does not change the Deployment, so its pods are replaced too.

    Raises:
        KubectlError: the cluster refuses, or the operator does not start.
        HelmError: there is no Helm, or it refuses.
    """
    helm = Helm(kubectl.kubeconfig)
    kubectl.apply(text=SPACE)
    helm.upgrade(f"{RELEASE}-crds", CRDS, NAMESPACE, {})
    kubectl.wait_for_crds()
    helm.upgrade(RELEASE, CHART, NAMESPACE, LOCAL)
    kubectl.run("-n", NAMESPACE, "rollout", "restart", "deployment/loopwright")
    kubectl.run("-n", NAMESPACE, "rollout", "status", "deployment/loopwright", "--timeout=600s")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, help="default: the embedded cluster's")
    try:
        install(Kubectl(parser.parse_args().kubeconfig))
    except (KubectlError, HelmError) as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    print("Loopwright is installed: kubectl get ml -A")
    return 0


if __name__ == "__main__":
    sys.exit(main())

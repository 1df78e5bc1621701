"""Kueue: started only by those who test queues, and taken away by them.

Its webhooks look at every pod of the cluster, so that nothing could start while it does not run.
"""

from __future__ import annotations

import addons
import programs
from node import kubectl
from paths import FULL
from progress import ClusterError, step, wait_for

NAMESPACE = "kueue-system"
# Answers only when Kueue's webhooks do.
PROBE = """
apiVersion: kueue.x-k8s.io/v1beta1
kind: ResourceFlavor
metadata: {name: probe}
"""


def start() -> None:
    """Installs it by its own manifests and waits until it answers."""
    with step("addon kueue"):
        image = addons.image_of(programs.KUEUE)
        config = programs.module_folder(programs.KUEUE.module) / "config"
        addons.kustomize("kueue", config, NAMESPACE, image)
        addons.rollout(NAMESPACE, "kueue-controller-manager")
        wait_for("Kueue's webhooks", _answers)


def stop() -> None:
    """Removes it with its kinds."""
    with step("removing kueue"):
        kubectl("delete", "--ignore-not-found", "-k", FULL.state / "addons" / "kueue")


def _answers() -> bool:
    try:
        kubectl("create", "--dry-run=server", "-f", "-", stdin=PROBE)
    except ClusterError:
        return False
    return True

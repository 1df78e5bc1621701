"""Writes deploy/ from the Helm chart: the same manifests for those who use kubectl alone."""

from __future__ import annotations

from helm import CHART, Helm
from kubectl import ROOT

NAMESPACE = "loopwright-system"
OPERATOR = ROOT / "deploy" / "operator.yaml"
RUNTIMES = ROOT / "deploy" / "servingruntime.yaml"

NOTE = "# Generated from charts/loopwright; change it there and run `make manifests`.\n"
HEAD = f"""\
# The operator and what it needs. `kubectl apply --server-side -f crds/` comes first.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels: {{pod-security.kubernetes.io/enforce: restricted}}
"""
# Who applies them by kubectl has no release.
DROPPED = ("helm.sh/chart:", "app.kubernetes.io/managed-by:", "# Source:")


def operator(helm: Helm) -> str:
    """The text of deploy/operator.yaml."""
    return NOTE + HEAD + _rendered(helm, False)


def runtimes(helm: Helm) -> str:
    """The text of deploy/servingruntime.yaml."""
    only = ("--show-only", "templates/servingruntimes.yaml")
    return NOTE + _rendered(helm, True, *only).removeprefix("---\n")


def _rendered(helm: Helm, runtimes: bool, *options: str) -> str:
    values = {"servingRuntimes": {"create": runtimes}}
    text = helm.template("loopwright", CHART, NAMESPACE, values, *options)
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith(DROPPED)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    helm = Helm()
    OPERATOR.write_text(operator(helm))
    RUNTIMES.write_text(runtimes(helm))

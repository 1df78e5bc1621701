"""Writes deploy/argocd/argocd-cm.yaml: health checks of all kinds as settings of Argo CD."""

from __future__ import annotations

from typing import Final

from chart_reference import ROOT

from loopwright.api import kinds

FOLDER: Final = ROOT / "deploy" / "argocd"
CHECK: Final = FOLDER / "health.lua"
SETTINGS: Final = FOLDER / "argocd-cm.yaml"
HEAD: Final = """\
# Generated from health.lua by `make generate`. Adds to Argo CD's settings, and takes nothing away:
# kubectl apply --server-side --namespace argocd --filename deploy/argocd/argocd-cm.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
data:
"""


def text() -> str:
    """The ConfigMap. Its keys may have no wildcard, so that each kind has the whole check."""
    script = "".join(f"    {line}".rstrip() + "\n" for line in CHECK.read_text().splitlines())
    keys = (f"resource.customizations.health.loopwright.io_{one.name}" for one in kinds.KINDS)
    return HEAD + "".join(f"  {key}: |\n{script}" for key in keys)


if __name__ == "__main__":
    SETTINGS.write_text(text())

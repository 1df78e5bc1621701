"""Examples for GitOps against the CRDs of Argo CD and Flux: no field is unknown, none is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dry_run import dry_run, spaces
from kubectl import ROOT, Kubectl

from controlplane import crds

EXAMPLES = ROOT / "examples" / "gitops"
NAMESPACES = ("argocd", "flux-system", "vision")
FILES = [*sorted((EXAMPLES / "argocd").glob("*.yaml")), *sorted((EXAMPLES / "flux").glob("*.yaml"))]


@pytest.fixture(scope="module")
def gitops(api: Kubectl) -> Kubectl:
    """The API server with their kinds, which are in nobody's way."""
    spaces(api, *NAMESPACES)
    api.apply(*crds("argocd", "flux-sources", "flux-helm", "flux-kustomize"))
    api.wait_for_crds()
    return api


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_argo_cd_and_flux_take_the_examples(gitops: Kubectl, file: Path) -> None:
    assert dry_run(gitops, "-f", str(file)) == len([*yaml.safe_load_all(file.read_text())])


def test_a_team_s_folder_is_taken(gitops: Kubectl) -> None:
    assert dry_run(gitops, "-n", "vision", "-k", str(EXAMPLES / "team")) == 3


def test_argo_cd_s_settings_are_added_to_its_own(gitops: Kubectl) -> None:
    own = ["configmap", "argocd-cm", "-n", "argocd"]
    gitops.run("create", *own, "--from-literal=url=https://argocd.example.com")
    gitops.run("apply", "--server-side", "-n", "argocd", "-f",
               str(ROOT / "deploy" / "argocd" / "argocd-cm.yaml"))  # fmt: skip
    found = gitops.get("configmap", "argocd-cm", "argocd")
    assert found is not None
    assert found["data"]["url"] == "https://argocd.example.com"
    assert len(found["data"]) == 7

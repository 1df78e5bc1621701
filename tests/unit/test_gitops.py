"""Examples for Argo CD, Flux and kustomize: what they name is there, what they hold is valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from chart_reference import CHART, ROOT

import loopwright
from loopwright.api import kinds

EXAMPLES = ROOT / "examples" / "gitops"
FILES = sorted(EXAMPLES.rglob("*.yaml"))
VALUES = json.loads((CHART / "values.schema.json").read_text())
KINDS = {one.name: one.model for one in kinds.KINDS}


def documents(*parts: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(EXAMPLES.joinpath(*parts).read_text()))


def by_name(kind: str, *parts: str) -> dict[str, dict[str, Any]]:
    found = [one for one in documents(*parts) if one["kind"] == kind]
    return {one["metadata"]["name"]: one["spec"] for one in found}


def test_the_bases_have_all_there_is() -> None:
    base = yaml.safe_load((ROOT / "kustomization.yaml").read_text())
    crds = [f"crds/{file.name}" for file in sorted((ROOT / "crds").glob("*.yaml"))]
    assert base["resources"] == [*crds, "deploy"]
    assert len(crds) == len(kinds.KINDS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_what_is_of_ours_is_valid(file: Path) -> None:
    for one in yaml.safe_load_all(file.read_text()):
        if one["kind"] in KINDS:
            KINDS[one["kind"]].model_validate(one)
        assert {"apiVersion", "kind"} <= one.keys()


def test_argo_cd_installs_the_charts() -> None:
    found = by_name("Application", "argocd", "loopwright.yaml")
    assert list(found) == ["loopwright-crds", "loopwright"]
    for name, spec in found.items():
        assert spec["source"]["path"] == f"charts/{name}"
        assert (ROOT / spec["source"]["path"] / "Chart.yaml").exists()
        assert spec["source"]["targetRevision"] == f"v{loopwright.__version__}"
        assert "ServerSideApply=true" in spec["syncPolicy"]["syncOptions"]
    assert found["loopwright-crds"]["syncPolicy"]["automated"]["prune"] is False
    jsonschema.validate(found["loopwright"]["source"]["helm"]["valuesObject"], VALUES)


def test_flux_installs_the_charts() -> None:
    sources = by_name("OCIRepository", "flux", "loopwright.yaml")
    releases = by_name("HelmRelease", "flux", "loopwright.yaml")
    assert list(sources) == list(releases) == ["loopwright-crds", "loopwright"]
    for name, spec in releases.items():
        assert spec["chartRef"] == {"kind": "OCIRepository", "name": name}
        assert sources[name]["url"].rpartition("/")[2] == name
    jsonschema.validate(releases["loopwright"]["values"], VALUES)


def test_a_team_s_folder_is_what_both_apply() -> None:
    folder = documents("team", "kustomization.yaml")[0]["resources"]
    assert sorted(folder) == sorted(
        file.name for file in (EXAMPLES / "team").glob("*.yaml") if file.stem != "kustomization"
    )
    [application] = by_name("Application", "argocd", "team.yaml").values()
    [applied] = by_name("Kustomization", "flux", "team.yaml").values()
    assert application["source"]["path"] == applied["path"].removeprefix("./") == "team"
    [waits] = applied["healthChecks"]
    [endpoint] = documents("team", "endpoint.yaml")
    assert (waits["kind"], waits["name"]) == (endpoint["kind"], endpoint["metadata"]["name"])
    assert waits["namespace"] == applied["targetNamespace"]

"""kustomize on the bases and the overlay, by kubectl; the API server takes what comes out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from dry_run import dry_run, spaces
from kubectl import ROOT, Kubectl

OVERLAY = ROOT / "examples" / "gitops" / "kustomize" / "kustomization.yaml"


def built(folder: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(Kubectl().run("kustomize", str(folder))))


def identities(objects: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(one["kind"], one["metadata"]["name"]) for one in objects}


def operator(objects: list[dict[str, Any]]) -> dict[str, Any]:
    [found] = [one for one in objects if one["kind"] == "Deployment"]
    [container] = found["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_the_bases_are_what_kubectl_applies() -> None:
    files = [*(ROOT / "crds").glob("*.yaml"), ROOT / "deploy" / "operator.yaml"]
    plain = [one for file in files for one in yaml.safe_load_all(file.read_text()) if one]
    assert identities(built(ROOT)) == identities(plain)
    assert built(ROOT / "deploy") == [
        one for one in built(ROOT) if one["kind"] != "CustomResourceDefinition"
    ]


def test_the_server_takes_it(api: Kubectl) -> None:
    spaces(api, "loopwright-system")
    assert dry_run(api, "-k", str(ROOT)) == len(built(ROOT))


def test_an_overlay_changes_images_and_settings(tmp_path: Path) -> None:
    text = OVERLAY.read_text()
    [base] = yaml.safe_load(text)["resources"]
    # No network: the repository is the one here.
    text = text.replace(base, os.path.relpath(ROOT, tmp_path.resolve()))
    (tmp_path / "kustomization.yaml").write_text(text)
    before, after = operator(built(ROOT)), operator(built(tmp_path))
    env = {one["name"]: one.get("value") for one in after["env"]}
    assert env.keys() == {one["name"] for one in before["env"]}
    assert env["LOOPWRIGHT_GATEWAY"] == "gateways/main"
    images = {after["image"], *(env[f"LOOPWRIGHT_{one}_IMAGE"] for one in (
        "OPERATOR", "RUNTIME", "SERVING"))}  # fmt: skip
    assert all(image.startswith("registry.example.com/loopwright/") for image in images)
    assert len(images) == 3

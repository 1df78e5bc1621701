"""What guides say of other projects' kinds: their manifests and their fields are real."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl import ROOT, Kubectl
from specs import Judge

from controlplane import crds

GUIDES = ROOT / "docs" / "guides"
# The guide, the project, and the kind that it compares with.
COMPARED = {
    "migrate-kuberay.md": ("kuberay", "ray.io/v1", "RayJob", "rayjobs"),
    "migrate-kserve.md": (
        "kserve", "serving.kserve.io/v1beta1", "InferenceService", "inferenceservices",
    ),
}  # fmt: skip


def documents(guide: str, version: str) -> list[dict[str, Any]]:
    """The guide's objects of an API."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (GUIDES / guide).read_text(), re.M | re.S)
    found = [one for block in blocks for one in yaml.safe_load_all(block)]
    return [one for one in found if one.get("apiVersion") == version]


@pytest.mark.parametrize("guide", COMPARED)
def test_manifests_of_others_are_taken(judge: Judge, guide: str) -> None:
    _, version, _, plural = COMPARED[guide]
    [shown] = documents(guide, version)
    answer = judge.send(shown, f"{version}/{plural}")
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("guide", COMPARED)
def test_fields_of_others_exist(api: Kubectl, guide: str) -> None:
    project, version, kind, _ = COMPARED[guide]
    schema = next(found for file in crds(project) if (found := spec(file, version, kind)))
    cells = re.findall(r"^\| ([^|]*) \|", (GUIDES / guide).read_text(), re.MULTILINE)
    # Labels and annotations are no fields.
    cells = [cell for cell in cells if not cell.startswith(("label", "annotation"))]
    named = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert len(named) > 15
    assert [name for name in named if not there(schema, name)] == []


def spec(file: Path, version: str, kind: str) -> dict[str, Any] | None:
    """The schema of a kind's spec; None when the CRD is of another."""
    crd = yaml.safe_load(file.read_text())
    if crd["spec"]["names"]["kind"] != kind:
        return None
    [one] = [v for v in crd["spec"]["versions"] if v["name"] == version.partition("/")[2]]
    found: dict[str, Any] = one["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def there(schema: dict[str, Any], path: str) -> bool:
    """Whether the schema has the field."""
    for name in path.replace("[]", "").split("."):
        schema = schema.get("items", schema).get("properties", {}).get(name)
        if schema is None:
            return False
    return True

"""What must be true of the repository itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from loopwright.api import crdgen, kinds
from loopwright.api.trainingjob import TrainingJobSpec

ROOT = Path(__file__).resolve().parents[2]


def test_operator_is_still_the_standard_library() -> None:
    code = "import operator, sys; print(operator.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert Path(done.stdout.strip()).parent == Path(subprocess.__file__).parent
    assert not (ROOT / "operator" / "__init__.py").exists()


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.name)
def test_generated_files_are_up_to_date(kind: kinds.Kind) -> None:
    committed = yaml.safe_load((ROOT / "crds" / f"loopwright.io_{kind.plural}.yaml").read_text())
    assert committed == crdgen.crd(kind)


def empty(schema: dict, path: str = "") -> Iterator[str]:
    """Objects in which the API server would keep nothing."""
    holds = ("properties", "additionalProperties", "x-kubernetes-preserve-unknown-fields")
    if schema.get("type") == "object" and not any(word in schema for word in holds):
        yield path
    for name, field in schema.get("properties", {}).items():
        yield from empty(field, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield from empty(schema[word], f"{path}[]")


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.name)
def test_what_the_operator_writes_is_kept(kind: kinds.Kind) -> None:
    schema = crdgen.crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert list(empty(schema["properties"]["status"])) == []


LOCKS = [path.stem for path in (ROOT / "requirements").glob("*.lock")]


def test_files_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for folder in ("operator", "cluster", "tools")
        for path in (ROOT / folder).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


@pytest.mark.parametrize("name", LOCKS)
def test_locks_have_hashes_and_name_no_index(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    entries = [e for e in text.split("\n") if e and not e.startswith((" ", "#"))]
    assert entries
    assert all("==" in entry and entry.endswith("\\") for entry in entries)
    assert "http://" not in text
    assert "https://" not in text


def test_the_operator_has_no_heavy_dependencies() -> None:
    text = (ROOT / "requirements" / "operator.lock").read_text()
    names = {line.partition("==")[0] for line in text.splitlines() if "==" in line}
    assert not names & {"torch", "ray", "kserve", "pandas", "scipy"}


@pytest.mark.parametrize("name", ["serving", "serving-torch"])
def test_the_model_server_has_no_heavy_dependencies(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    names = {line.partition("==")[0] for line in text.splitlines() if "==" in line}
    assert not names & {"torch", "ray", "kserve", "pyarrow", "kopf", "kubernetes", "fastapi"}


def test_the_model_server_needs_no_more_than_its_image_has() -> None:
    code = (
        "import json, sys, loopwright.serving.server, loopwright.serving.grpc_server,"
        " loopwright.serving.loading, loopwright.serving.__main__;"
        " found = {n.split('.')[1] for n in sys.modules if n.startswith('loopwright.')};"
        " print(json.dumps(sorted(found)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["api", "logs", "serving", "sketch"]


def manifests() -> list[dict]:
    found = []
    for file in (ROOT / "examples").glob("*.yaml"):
        found += list(yaml.safe_load_all(file.read_text()))
    for block in (ROOT / "README.md").read_text().split("```yaml\n")[1:]:
        found += list(yaml.safe_load_all(block.partition("```")[0]))
    return [one for one in found if one["kind"] == "TrainingJob"]


def test_every_manifest_we_show_is_valid() -> None:
    assert len(manifests()) >= 2
    for manifest in manifests():
        TrainingJobSpec.model_validate(manifest["spec"])


def test_the_kind_cluster_is_valid() -> None:
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    assert (config["kind"], config["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    assert all(p["hostPort"] for node in config["nodes"] for p in node["extraPortMappings"])

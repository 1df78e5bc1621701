"""What images are made of: listed with hashes, under permissive licences, and audited or told not
to be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import dependency_audit
import pytest
import sbom


@pytest.mark.parametrize("image", sbom.IMAGES)
def test_a_bill_of_materials(image: str) -> None:
    made = sbom.bom(image)
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made["serialNumber"])
    names = [one["name"] for one in made["components"]]
    assert "pydantic" in names
    assert len(set(names)) == len(names)
    for one in made["components"]:
        assert one["purl"] == one["bom-ref"] == f"pkg:pypi/{one['name']}@{one['version']}"
        assert one["hashes"]
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", one["name"])
    [whole] = made["dependencies"]
    assert whole["dependsOn"] == sorted(one["purl"] for one in made["components"])
    assert json.dumps(made) == json.dumps(sbom.bom(image))


def test_all_locks_of_images_are_listed() -> None:
    """What developers and tests install is in no image."""
    locks = {one.stem for one in sbom.REQUIREMENTS.glob("*.lock")}
    assert locks - {*sbom.IMAGES} == {"dev", "kserve", "audit", "docs", "evidently"}


def test_the_files_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["sbom", str(tmp_path)])
    sbom.main()
    assert {one.name for one in tmp_path.iterdir()} == {f"{one}.cdx.json" for one in sbom.IMAGES}
    assert "safetensors" in (tmp_path / "serving-torch.cdx.json").read_text()


@pytest.mark.parametrize("image", sbom.IMAGES)
def test_licences(image: str) -> None:
    """In the images themselves the e2e tests look again."""
    other = {
        one.name: said
        for one in sbom.of_image(image)
        if not sbom.PERMISSIVE.search(said := sbom.licence(one.name))
        and one.name not in sbom.BY_FILE
    }
    if image == "runtime-cuda":
        other = {name: said for name, said in other.items() if said != sbom.NVIDIA}
    assert other == {}


def audited(*packages: dict[str, object]) -> str:
    return json.dumps({"dependencies": [{"name": "a", "version": "1", **one} for one in packages]})


@pytest.mark.parametrize(
    ("answer", "said", "verdict", "line"),
    [
        (audited({"vulns": []}), "", 0, "no known vulnerabilities of 1 packages"),
        (
            audited({"vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}, {"skip_reason": "?"}),
            "Found 1 known vulnerability", 1, r"a 1: PYSEC-1 \(mended in 2\)",
        ),
        (audited({"vulns": []}, {"skip_reason": "?"}), "", 3, "NOT AUDITED: .* 1 of 2 packages"),
        ("", "ConnectionError: Max retries exceeded with url", 3, "NOT AUDITED: .* be reached"),
        ("", "something else", 3, "NOT AUDITED: pip-audit failed: something else"),
    ],
)  # fmt: skip
def test_what_was_not_asked_is_not_audited(answer: str, said: str, verdict: int, line: str) -> None:
    found, told = dependency_audit.verdict(answer, said)
    assert found == verdict
    assert re.search(line, told)

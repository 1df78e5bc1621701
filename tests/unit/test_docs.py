"""The documentation says only what is there: manifests, commands, paths, names and fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from loopwright.api import crdgen
from loopwright.api.trainingjob import TrainingJob
from loopwright.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CODE = ROOT / "operator" / "loopwright"
OPERATIONS = ROOT / "docs" / "guides" / "operations.md"
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SOURCE = "\n".join(path.read_text() for path in CODE.rglob("*.py"))

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"[\w.-]+(/[\w.-]+)*\.(yaml|yml|py|md|sh|toml|lock|txt|json)")
VARIABLE = re.compile(r"LOOPWRIGHT_[A-Z_]*[A-Z]")
METRIC = re.compile(r"loopwright_[a-z_]+[a-z]")
FIELD = re.compile(r"`((?:spec\.|status\.)?[a-z]\w*(?:\[\])?(?:\.[a-z]\w*(?:\[\])?)+)`")
REASON = re.compile(r'(?:RunError|Outcome|Blocked)\(\s*(?:[\w.]+,\s*)?"([A-Z]\w+)"')


def pages(*languages: str) -> pytest.MarkDecorator:
    """All pages that hold a block in one of the languages, as parameters of a test."""
    found = [p for p in PAGES if not languages or any(blocks(p, one) for one in languages)]
    return pytest.mark.parametrize("page", found, ids=lambda p: str(p.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [text for name, text in FENCE.findall(page.read_text()) if name == language]


def without_fences(page: Path) -> str:
    """The page's prose and tables."""
    return FENCE.sub("", page.read_text())


def checked(document: dict[str, Any]) -> bool:
    """Validates a TrainingJob, or a part of one that begins at `spec`; whether it was either."""
    if document.get("kind", "TrainingJob") != "TrainingJob":
        return False
    if "kind" not in document:
        assert set(document) == {"spec"}, "a part of a manifest begins at spec"
        document = {"spec": {"function": "module:main", **document["spec"]}}
    TrainingJob.model_validate(document)
    return True


@pages("yaml")
def test_manifests_are_valid(page: Path) -> None:
    for text in blocks(page, "yaml"):
        for document in yaml.safe_load_all(text):
            checked(document)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid(example: Path) -> None:
    assert any([checked(one) for one in yaml.safe_load_all(example.read_text())])


@pages("sh")
def test_commands_name_what_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for text in blocks(page, "sh"):
        assert set(re.findall(r"\bmake ([a-z0-9-]+)", text)) <= targets
        for path in paths(text):
            assert (ROOT / path).exists(), path
        for path in re.findall(r"kubectl explain (\S+)", text):
            assert explained(path), path


def paths(commands: str) -> Iterator[str]:
    """Words that are paths in this repository: a file's name, or what a folder of ours begins."""
    for word in re.split(r"[\s'\"=]+", commands):
        first, slash, _ = word.partition("/")
        if FILE.fullmatch(word) or (first and slash and (ROOT / first).is_dir()):
            yield word


def explained(path: str) -> bool:
    """Whether `kubectl explain` knows the path."""
    crd = crdgen.trainingjob_crd()["spec"]
    kind, *names = path.split(".")
    schema = crd["versions"][0]["schema"]["openAPIV3Schema"]
    for name in names:
        schema = schema.get("items", schema).get("properties", {}).get(name)
        if schema is None:
            return False
    known = crd["names"]
    return kind in {known["singular"], known["plural"], *known["shortNames"]}


@pages()
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(without_fences(page)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    """What the headings of a page can be linked by."""
    headings = re.findall(r"^#+ (.*)$", without_fences(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


@pages("python")
def test_python_uses_what_there_is(page: Path) -> None:
    module = ast.parse((CODE / "train" / "__init__.py").read_text())
    [public] = [
        ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    text = page.read_text()
    for block in blocks(page, "python"):
        ast.parse(block)
    assert set(re.findall(r"(?<![\w.])train\.([a-z]\w*)\(", text)) <= set(public)


@pages()
def test_variables_exist(page: Path) -> None:
    known = set(VARIABLE.findall(SOURCE)) | settings()
    assert set(VARIABLE.findall(page.read_text())) <= known


def settings() -> set[str]:
    """The operator's variables."""
    return {f"LOOPWRIGHT_{field.name.upper()}" for field in fields(Settings)}


def test_all_settings_are_documented() -> None:
    text = OPERATIONS.read_text()
    assert settings() <= set(re.findall(r"^\| `(LOOPWRIGHT_\w+)`", text, re.MULTILINE))


def test_all_metrics_are_documented_and_exist() -> None:
    exported = set(METRIC.findall((CODE / "metrics.py").read_text()))
    assert set(METRIC.findall(OPERATIONS.read_text())) == exported


def test_all_reasons_are_documented_and_exist() -> None:
    text = OPERATIONS.read_text()
    section = text[text.index("## Why no attempt") : text.index("## Troubleshooting")]
    cells = re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE)
    told = {name for cell in cells for name in re.findall(r"`([A-Z]\w+)`", cell)}
    exist = set(REASON.findall(SOURCE)) - {"Completed", "Suspended"}
    assert exist <= told
    # Some are put together from a kind's name.
    assert {name for name in told if f'"{name}"' not in SOURCE} == {
        "ConfigMapNotFound", "SecretNotFound", "PersistentVolumeClaimNotFound",
        "LocalQueueNotFound", "PriorityClassNotFound",
    }  # fmt: skip


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent.name != "decisions"])
def test_fields_exist(page: Path) -> None:
    reference = (ROOT / "docs" / "reference" / "trainingjob.md").read_text()
    known = {path.replace("[]", "") for path in re.findall(r"^\| `([^`]+)`", reference, re.M)}
    roots = {path.partition(".")[0] for path in known}
    for name in FIELD.findall(without_fences(page)):
        path = re.sub(r"^(spec|status)\.", "", name).replace("[]", "")
        # What files and other APIs call theirs is not ours to check.
        if path.partition(".")[0] in roots and not FILE.fullmatch(path):
            assert path in known, name

"""The documentation says only what is there: manifests, commands, paths, names and fields."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import chart_reference
import docs_site
import exposed_metrics
import jsonschema
import pytest
import yaml
from doc_pages import CURRENT, DOCS, ROOT, blocks, explained, named, pages, without_fences

from loopwright.api import kinds, names
from loopwright.metrics import FIGURES
from loopwright.serving.settings import CollectorSettings, described
from loopwright.settings import Settings

CODE = ROOT / "operator" / "loopwright"
OPERATIONS = ROOT / "docs" / "guides" / "operations.md"
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SOURCE = "\n".join(p.read_text() for p in CODE.rglob("*.py"))
NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"[\w.-]+(/[\w.-]+)*\.(yaml|yml|py|md|sh|toml|lock|txt|json|onnx)")
VARIABLE = re.compile(r"LOOPWRIGHT_[A-Z_]*[A-Z]")
METRIC = re.compile(r"loopwright_[a-z_]+[a-z]")
FIELD = re.compile(r"`((?:spec\.|status\.)?[a-z]\w*(?:\[\])?(?:\.[a-z]\w*(?:\[\])?)+)`")
# The first column of what compares another system with ours.
THEIRS = re.compile(r"^\|[^|]*\|", re.MULTILINE)


KINDS = {kind.name: kind.model for kind in kinds.KINDS}
# Kinds of others that pages and examples show.
FOREIGN = {
    ("apps/v1", "Deployment"), ("kubeflow.org/v1beta1", "Experiment"),
    ("kueue.x-k8s.io/v1beta1", "LocalQueue"), ("networking.k8s.io/v1", "NetworkPolicy"),
    ("monitoring.coreos.com/v1", "PodMonitor"), ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("ray.io/v1", "RayJob"), ("sagemaker.services.k8s.aws/v1alpha1", "TrainingJob"),
    ("serving.kserve.io/v1beta1", "InferenceService"),
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"),
    ("v1", "ConfigMap"), ("v1", "PersistentVolumeClaim"), ("v1", "ResourceQuota"), ("v1", "Secret"),
    ("v1", "Service"),
}  # fmt: skip
VALUES = json.loads((chart_reference.CHART / "values.schema.json").read_text())


def checked(document: dict[str, Any]) -> bool:
    """Validates an object of ours, or a part of a job that begins at `spec`; whether it was one.

    What has neither a kind nor a spec are values of the Helm chart. What others call theirs is
    checked against their schemas by a contract test.
    """
    if not {"kind", "spec"} & document.keys():
        jsonschema.validate(document, VALUES)
        return False
    if not document.get("apiVersion", names.GROUP).startswith(names.GROUP):
        assert (document["apiVersion"], document["kind"]) in FOREIGN
        return False
    if "kind" not in document:
        assert set(document) == {"spec"}, "a part of a manifest begins at spec"
        document = {"spec": {"function": "module:main", **document["spec"]}}
    KINDS[document.get("kind", "TrainingJob")].model_validate(document)
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
    return {docs_site.slug(one) for one in headings}


def listed(nav: Any) -> Iterator[str]:
    """The pages in a part of the navigation."""
    if isinstance(nav, str):
        yield nav
        return
    for one in nav.values() if isinstance(nav, dict) else nav:
        yield from listed(one)


def test_every_page_is_in_the_navigation_once() -> None:
    made = [*docs_site.OUTSIDE.values(), docs_site.EXAMPLES]
    there = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert sorted(listed(NAV)) == sorted(there + made)


def test_links_out_of_the_docs_lead_somewhere_in_the_site() -> None:
    text = docs_site.examples()
    for page in DOCS.rglob("*.md"):
        for target in LINK.findall(without_fences(page)):
            path = (page.parent / target.partition("#")[0]).resolve()
            if ":" in target or path.is_relative_to(DOCS):
                continue
            found = docs_site.site_path(str(path.relative_to(ROOT)))
            assert found is not None, target
            _, _, anchor = found.partition("#")
            headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
            assert not anchor or anchor in map(docs_site.slug, headings), target


@pytest.mark.parametrize(
    ("source", "page", "before", "after"),
    [
        ("docs/guides/a.md", "guides/a.md", "(../../SECURITY.md)", "(../security.md)"),
        ("docs/guides/a.md", "guides/a.md", "(b.md#c)", "(b.md#c)"),
        ("docs/guides/a.md", "guides/a.md", "(../../examples/gitops/x.yaml)",
         "(../examples.md#gitopsxyaml)"),
        ("CHANGELOG.md", "changelog.md", "(docs/guides/a.md#b)", "(guides/a.md#b)"),
        ("SECURITY.md", "security.md", "(https://example.com/a.md)", "(https://example.com/a.md)"),
        ("charts/loopwright/README.md", "reference/chart.md", "(../../docs/guides/install.md)",
         "(../guides/install.md)"),
    ],
)  # fmt: skip
def test_links_are_turned(source: str, page: str, before: str, after: str) -> None:
    assert docs_site.relinked(f"[x]{before}", source, page) == f"[x]{after}"


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
    told = (*described(), *described(CollectorSettings))
    server = {f"LOOPWRIGHT_{name.upper()}" for name, _, _ in told}
    known = set(VARIABLE.findall(SOURCE)) | settings() | server
    assert set(VARIABLE.findall(page.read_text())) <= known


def settings() -> set[str]:
    """The operator's variables."""
    return {f"LOOPWRIGHT_{field.name.upper()}" for field in fields(Settings)}


def test_all_settings_are_documented_with_their_defaults() -> None:
    text = OPERATIONS.read_text()
    told = dict(re.findall(r"^\| `(LOOPWRIGHT_\w+)` \| ([^|]*) \|", text, re.MULTILINE))
    assert settings() <= told.keys()
    for field in fields(Settings):
        if field.default not in ("", ()):
            shown = told[f"LOOPWRIGHT_{field.name.upper()}"].strip("`")
            assert type(field.default)(yaml.safe_load(shown)) == field.default


def test_all_metrics_are_documented_and_exist() -> None:
    own = (CODE / name for name in ("metrics.py", "endpoint_metrics.py"))
    exported = {name for path in own for name in METRIC.findall(path.read_text())}
    for figures in FIGURES.values():
        families = (family for one in vars(figures).values() for family in one.collect())
        exported |= {f"{one.name}{'_total' * (one.type == 'counter')}" for one in families}
    assert set(METRIC.findall(OPERATIONS.read_text())) == exported


@pytest.mark.parametrize("page", CURRENT, ids=named)
def test_metrics_exist(page: Path) -> None:
    known = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exposed_metrics.exposed()}
    told = {re.sub(r"_(bucket|count|sum)$", "", name) for name in METRIC.findall(page.read_text())}
    assert told <= known


@pytest.mark.parametrize("page", CURRENT, ids=named)
def test_fields_exist(page: Path) -> None:
    pages = [ROOT / "docs/reference" / f"{kind.name.lower()}.md" for kind in kinds.KINDS]
    rows = [row for one in pages for row in re.findall(r"^\| `([^`]+)`", one.read_text(), re.M)]
    known = {path.replace("[]", "") for path in rows}
    known |= value_keys()
    roots = {path.partition(".")[0] for path in known}
    text = without_fences(page)
    if page.stem.startswith("migrate-"):
        text = THEIRS.sub("|", text)
    for name in FIELD.findall(text):
        path = re.sub(r"^(spec|status)\.", "", name).replace("[]", "")
        # What files and other APIs call theirs is not ours to check.
        if path.partition(".")[0] in roots and not FILE.fullmatch(path):
            assert path in known, name


def value_keys() -> set[str]:
    """The keys of the Helm chart's values.yaml."""
    source = (chart_reference.CHART / "values.yaml").read_text()
    explained = chart_reference.comments(source)
    return {key for key, _ in chart_reference.leaves(yaml.safe_load(source), explained)}


def test_the_table_of_faults_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "reference" / "faults.md").read_text()
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", text)
    assert named
    for file, test in named:
        [found] = (ROOT / "tests").rglob(file)
        assert re.search(rf"def {test}\(", found.read_text()), f"{file}::{test}"


def test_every_fault_has_its_line() -> None:
    text = (ROOT / "docs" / "reference" / "faults.md").read_text()
    lines = re.findall(r"^\| (F[^|]*?) \|", text, re.MULTILINE)
    told: set[int] = set()
    for line in lines:
        numbers = [int(number) for number in re.findall(r"F(\d+)", line)]
        told.update(range(numbers[0], numbers[-1] + 1) if " to " in line else numbers)
    assert told == set(range(1, 51))

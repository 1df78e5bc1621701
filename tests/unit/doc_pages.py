"""The pages of the documentation, and what is in them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from loopwright.api import crdgen, kinds

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")]
)
# Decisions are of their day, and so is what a version has changed.
CURRENT = [page for page in PAGES if page.parent.name != "decisions" and page.stem != "CHANGELOG"]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CRDS = {kind.name: crdgen.crd(kind)["spec"] for kind in kinds.KINDS}
# What kubectl calls each kind.
SPOKEN = {
    word: kind
    for kind, crd in CRDS.items()
    for word in (crd["names"]["singular"], crd["names"]["plural"], *crd["names"]["shortNames"])
}


def named(page: Path) -> str:
    """A page's path in the repository."""
    return str(page.relative_to(ROOT))


def pages(*languages: str) -> pytest.MarkDecorator:
    """All pages that hold a block in one of the languages, as parameters of a test."""
    found = [p for p in PAGES if not languages or any(blocks(p, one) for one in languages)]
    return pytest.mark.parametrize("page", found, ids=named)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, also those in lists."""
    found = FENCE.findall(page.read_text())
    return [textwrap.dedent(text) for _, name, text in found if name == language]


def without_fences(page: Path) -> str:
    """The page's prose and tables."""
    return FENCE.sub("", page.read_text())


def schema_of(kind: str) -> dict[str, Any]:
    """The schema of a kind of ours."""
    schema: dict[str, Any] = CRDS[kind]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def explained(path: str) -> bool:
    """Whether `kubectl explain` knows the path, such as trainingjob.spec.output."""
    word, *names = path.split(".")
    return word in SPOKEN and has_field(SPOKEN[word], names)


def has_field(kind: str, names: list[str]) -> bool:
    """Whether a kind of ours has the field, by the names that lead to it."""
    schema = schema_of(kind)
    for name in names:
        if "additionalProperties" in schema:
            return True
        schema = schema.get("items", schema).get("properties", {}).get(name)
        if schema is None:
            return False
    return True

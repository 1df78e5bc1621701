"""Every image has what its code imports."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "operator"
ENTRIES = {
    "operator": ["__main__.py", "replica.py", "monitor", "console"],
    "runtime": ["runtime", "train"],
    "serving": ["serving"],
}
# Debian's, or the CUDA lock's; the code imports it only where it is.
ELSEWHERE = {"torch"}
# Of the image of the other variant.
VARIANTS = {"serving": {"safetensors"}}


def imported(file: Path) -> Iterator[str]:
    """All modules that a file imports, at its top or in a function."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(name: str) -> Iterator[Path]:
    """The file of one of our modules."""
    path = SOURCE / name.replace(".", "/")
    yield from (one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file())


def reached(image: str) -> tuple[set[Path], set[str]]:
    """Our files that the image's code imports, whatever way it takes, and others' top modules."""
    starts = [SOURCE / "loopwright" / one for one in ENTRIES[image]]
    todo = [file for one in starts for file in ([one] if one.is_file() else one.rglob("*.py"))]
    seen, found = set(todo), set()
    while todo:
        for name in imported(todo.pop()):
            if not name.startswith("loopwright"):
                found.add(name.partition(".")[0])
                continue
            new = set(files(name)) - seen
            seen |= new
            todo += new
    return seen, found - sys.stdlib_module_names - ELSEWHERE


def kept(image: str) -> set[str]:
    """Files and folders of our package that its Dockerfile leaves in the image."""
    every = {path.name for path in (SOURCE / "loopwright").iterdir()}
    text = (ROOT / "images" / image / "Dockerfile").read_text().replace("\\\n", " ")
    if chosen := re.findall(r"! -name (\S+)", text):
        return set(chosen)
    [line] = [line for line in text.splitlines() if "compileall" in line]
    [removed] = re.findall(r"rm -rf ([^&]+)&&", line)
    return every - set(removed.split())


@pytest.mark.parametrize("image", ENTRIES)
def test_an_image_has_all_that_its_code_imports(image: str) -> None:
    lock = (ROOT / "requirements" / f"{image}.lock").read_text()
    locked = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))
    brought = packages_distributions()
    missing = {
        module
        for module in reached(image)[1] - VARIANTS.get(image, set())
        if not {re.sub(r"[-_.]+", "-", one).lower() for one in brought.get(module, [])} & locked
    }
    assert missing == set()


@pytest.mark.parametrize("image", ENTRIES)
def test_an_image_keeps_all_that_its_code_imports(image: str) -> None:
    needed = {file.relative_to(SOURCE / "loopwright").parts[0] for file in reached(image)[0]}
    assert needed - kept(image) == set()

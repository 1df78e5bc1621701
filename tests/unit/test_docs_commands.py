"""Commands in the documentation: programs, kinds, options, fields and values that there are."""

from __future__ import annotations

import functools
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from doc_pages import CRDS, DOCS, ROOT, SPOKEN, blocks, explained, has_field, pages
from typer.main import get_command

from loopwright.cli.app import app

# Of Kubernetes and of what Loopwright works with, as pages name them.
OTHERS = {
    "configmap", "crd", "crds", "deployment", "endpointslices", "events", "hpa", "lease",
    "inferenceservices", "localqueues", "namespace", "networkpolicies", "nodes", "pods", "pvc",
    "rayclusters", "rayjob", "rayjobs", "resourcequotas", "rolebinding", "rolebindings", "roles",
    "secret", "serviceaccounts", "workloads", "httproutes", "gateways", "service", "services",
    "svc",
}  # fmt: skip
OURS = {*SPOKEN, "ml"}
# kubectl's options that pages use, and whether a value follows.
OPTIONS = {
    "--all": False, "--all-namespaces": False, "-A": False, "--server-side": False,
    "--overwrite": False, "--prefix": False, "--watch": False, "-w": False, "--previous": False,
    "--field-selector": True, "--filename": True, "-f": True, "--namespace": True, "-n": True,
    "-k": True, "-l": True, "--selector": True, "-o": True, "-p": True, "--tail": True,
    "--type": True, "--for": True, "--timeout": True, "--replicas": True, "--sort-by": True,
    "--clusterrole": True, "--serviceaccount": True,
    "--docker-server": True, "--docker-username": True, "--docker-password": True,
    "--user": True, "--from-file": True, "--from-literal": True,
    "-c": True, "--container": True, "--all-containers": False, "--ignore-not-found": False,
    "--force-conflicts": False, "--raw": True, "--since": True, "-it": False,
}  # fmt: skip
# Verbs whose first argument is a kind, or KIND/NAME.
OF_KINDS = {"get", "describe", "delete", "wait", "scale", "annotate", "label", "patch"}
# Verbs whose first argument is a pod, or KIND/NAME.
OF_PODS = {"logs", "port-forward", "exec"}
VERBS = {
    *OF_KINDS,
    *OF_PODS,
    "apply",
    "create",
    "explain",
    "kustomize",
    "loopwright",
    "rollout",
    "top",
}
# What else a shell has.
SHELL = {
    "cd", "curl", "docker", "find", "grep", "jq", "pip", "python3", "sha256sum", "sort", "tr",
    "xargs", ".venv/bin/python",
}  # fmt: skip
HELM = {"upgrade", "install", "uninstall", "rollback", "template", "package", "history"}
VALUES = json.loads((ROOT / "charts" / "loopwright" / "values.schema.json").read_text())
PATH = re.compile(r"\{\.((?:spec|status)(?:\.\w+|\[[^\]]*\])*)")


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command of a page, also of those within $(...)."""
    for block in blocks(page, "sh"):
        pending = ""
        for line in block.replace("\\\n", " ").splitlines():
            pending += line + "\n"
            try:
                yield from split(pending)
            except ValueError:
                continue  # A quotation goes on in the next line.
            pending = ""
        assert not pending, pending


def split(line: str) -> Iterator[list[str]]:
    """Commands of a line, which pipes and the like part.

    Raises:
        ValueError: a quotation is not closed.
    """
    shell = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    shell.whitespace_split, shell.commenters = True, "#"
    words: list[str] = []
    found = []
    for word in shell:
        if set(word) <= set("|&;"):
            found.append(words)
            words = []
        else:
            words.append(word)
    for inner in re.findall(r"\$\(([^()]*)\)", line):
        found += split(inner)
    yield from (one for one in (*found, words) if one)


def positional(words: list[str]) -> Iterator[str]:
    """kubectl's arguments without its options."""
    rest = iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if not word.startswith("-"):
            yield word
            continue
        assert name in OPTIONS, f"kubectl knows no {name}, or this test does not"
        if OPTIONS[name] and not equals:
            next(rest)


def check_kubectl(words: list[str]) -> None:
    verb, *found = positional(words)
    assert verb in VERBS, verb
    if verb == "loopwright":
        check_loopwright(found)
    elif verb in OF_KINDS and found:
        for name in found[0].split(","):
            assert name.partition("/")[0] in OURS | OTHERS, name
    elif verb in OF_PODS and found and "/" in found[0]:
        assert found[0].partition("/")[0] in OURS | OTHERS
    elif verb == "create":
        assert found[0] in OTHERS | {"token"}
    check_paths(words, found[0].partition("/")[0] if found else "")


def check_paths(words: list[str], word: str) -> None:
    """Fields in jsonpaths and patches, and conditions that are waited for."""
    line = " ".join(words)
    if word not in SPOKEN:
        return
    for path in PATH.findall(line):
        path = re.sub(r"\[[^\]]*\]", "", path)
        assert explained(f"{word}.{path}"), path
    if "-p" in words and "--type=merge" in words:
        patch = json.loads(words[words.index("-p") + 1])
        for names in leaves(patch):
            assert has_field(SPOKEN[word], names), names
    for condition in re.findall(r"--for=condition=(\w+)", line):
        assert condition in conditions(), condition


@functools.cache
def conditions() -> frozenset[str]:
    """All types of conditions, as the reference lists them."""
    text = (DOCS / "reference" / "conditions.md").read_text()
    cells = re.findall(r"^\| ([^|]*) \|", text[: text.index("## Reasons that")], re.MULTILINE)
    return frozenset(name for cell in cells for name in re.findall(r"`(\w+)`", cell))


def leaves(value: Any) -> Iterator[list[str]]:
    """The names that lead to each leaf of an object."""
    if not isinstance(value, dict):
        yield []
        return
    for name, one in value.items():
        yield from ([name, *rest] for rest in leaves(one))


def check_loopwright(words: list[str]) -> None:
    """Parses as the tool does; wrong options and missing arguments are errors."""
    if words != ["--version"] and words != ["--install-completion"]:
        group = get_command(app)
        command = group.commands[words[0]]
        command.make_context(words[0], words[1:])


def check_helm(words: list[str]) -> None:
    assert words[0] in HELM
    chart = next((word for word in words if word.startswith("charts/")), "")
    for flag, value in itertools.pairwise(words):
        if flag == "--set":
            assert chart == "charts/loopwright"
            jsonschema.validate(given(value), VALUES)


def given(text: str) -> dict[str, Any]:
    """What --set makes of its argument."""
    values: dict[str, Any] = {}
    for part in re.split(r",(?![^{]*\})", text):
        path, _, value = part.partition("=")
        *names, last = path.split(".")
        inner = values
        for name in names:
            inner = inner.setdefault(name, {})
        is_list = value.startswith("{")
        inner[last] = value.strip("{}").split(",") if is_list else yaml.safe_load(value)
    return values


def check_docker(words: list[str]) -> None:
    if words[0] != "build":
        assert words[0] in ("push", "save", "load")
        return
    file = ROOT / words[words.index("-f") + 1]
    arguments = re.findall(r"^ARG (\w+)", file.read_text(), re.MULTILINE)
    for flag, value in itertools.pairwise(words):
        assert flag != "--build-arg" or value.partition("=")[0] in arguments, value


def check_make(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in words if "=" not in word} <= targets


CHECKS = {
    "kubectl": check_kubectl, "helm": check_helm, "docker": check_docker, "make": check_make,
    "loopwright": check_loopwright,
}  # fmt: skip


@pages("sh")
def test_commands_are_understood(page: Path) -> None:
    for command in commands(page):
        # Variables that are set; what is within $(...) is checked by itself.
        given = list(itertools.dropwhile(re.compile(r"\w+=").match, command))
        if not given or "$(" in command[0]:
            continue
        first, *words = given
        assert first in CHECKS or first in SHELL, first
        if first in CHECKS:
            CHECKS[first](words)


@pytest.mark.parametrize(
    "line",
    [
        "kubectl get trainingjob2", "kubectl fetch tj", "kubectl get tj --nonsense",
        "kubectl get tj a -o jsonpath='{.status.nonsense}'",
        "kubectl wait --for=condition=Redy tj/a",
        """kubectl patch tj a --type=merge -p '{"spec":{"runPolicy":{"suspended":true}}}'""",
        "loopwright status --nonsense", "loopwright diff one", "loopwright nonsense",
        "helm upgrade x charts/loopwright --set images.registri=a", "make nonsense",
        "docker build -f images/operator/Dockerfile --build-arg NONSENSE=1 .",
    ],
)  # fmt: skip
def test_nonsense_is_found(line: str) -> None:
    [[first, *words]] = split(line)
    with pytest.raises(Exception):  # noqa: B017
        CHECKS[first](words)


def test_every_kind_has_its_page_and_its_example() -> None:
    shown = "\n".join(file.read_text() for file in (ROOT / "examples").rglob("*.yaml"))
    index = (DOCS / "index.md").read_text()
    for kind, crd in CRDS.items():
        assert (DOCS / "reference" / f"{kind.lower()}.md").exists()
        assert f"| {kind} | `{crd['names']['shortNames'][0]}` |" in index
        assert f"kind: {kind}" in shown

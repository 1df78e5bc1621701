"""Objects of Kubernetes, KubeRay, KServe and Kueue as branches of the tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text
from rich.tree import Tree

from loopwright.cli.output import dim, line, state
from loopwright.view.children import by_trouble, notes, pod_state, tell
from loopwright.view.cluster import Object
from loopwright.view.scene import Scene
from loopwright.view.words import clean

# A thousand pods are no tree.
MAX_PODS: Final = 12


def branch(scene: Scene, obj: Object) -> Tree:
    """An object with those that belong to it."""
    result = Tree(describe(obj), guide_style="dim")
    below = scene.below(obj)
    for one in below:
        if one["kind"] != "Pod":
            result.children.append(branch(scene, one))
    result.children += [Tree(text) for text in pods([p for p in below if p["kind"] == "Pod"])]
    return result


def describe(obj: Object) -> Text:
    """One line about an object."""
    found = tell(obj)
    return line(
        f"{obj['kind']} {obj['metadata']['name']}",
        state(found.state) if found.state else None,
        dim(found.detail) if found.aside else found.detail,
    )


def pods(found: Sequence[Object]) -> list[Text]:
    """A line for each pod, those that have trouble first; of many only some."""
    ordered = by_trouble(found)
    lines = [pod_line(pod) for pod in ordered[:MAX_PODS]]
    if more := len(ordered) - len(lines):
        lines.append(dim(f"and {more} more pods"))
    return lines


def pod_line(pod: Object) -> Text:
    """A pod in one line."""
    role, restarts, node = notes(pod)
    name = f"Pod {pod['metadata']['name']}"
    return line(name, state(pod_state(pod)), clean(role), restarts, dim(node) if node else None)

"""`status`: an object and what was made for it as a tree, and a namespace as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from loopwright.cli import endpoint_status, job_status, registry_status
from loopwright.cli.job_status import Branch
from loopwright.cli.output import bar, dim, line, state
from loopwright.view import summary
from loopwright.view.refs import Found
from loopwright.view.scene import Scene
from loopwright.view.summary import age, detail, parts, phase_of


def title(found: Found) -> Text:
    """The line that says where the object is."""
    head = Text(f"{found.kind.name} {found.name}", "bold")
    return line(head, state(phase_of(found.obj)), *parts(found, bar))


def tree(scene: Scene) -> Tree:
    """The object, what matters about it, and its children."""
    root = Tree(title(scene.found), guide_style="dim")
    for text in notable(scene):
        root.add(text)
    for branch in _branches(scene):
        _graft(root, branch)
    if scene.unseen:
        root.add(dim(f"not shown, for lack of rights: {', '.join(scene.unseen)}"))
    return root


def _branches(scene: Scene) -> Iterable[Branch]:
    builders: dict[str, Callable[[Scene], Iterator[Branch]]] = {
        "TrainingJob": job_status.training,
        "HyperparameterSweep": job_status.sweep,
        "BatchTransform": job_status.batch,
        "ModelEndpoint": endpoint_status.endpoint,
        "Model": registry_status.model,
        "ModelVersion": registry_status.version,
    }
    return builders[scene.found.kind.name](scene)


def _graft(tree: Tree, branch: Branch) -> None:
    if isinstance(branch, Tree):
        tree.children.append(branch)
    elif branch:
        tree.add(branch)


def table(objects: Iterable[Found], now: datetime) -> Table:
    """All objects of a namespace."""
    result = Table(box=None, pad_edge=False, header_style="bold")
    for heading, options in (
        ("OBJECT", {"overflow": "fold"}), ("PHASE", {"no_wrap": True}), ("DETAIL", {}),
        ("AGE", {"justify": "right", "no_wrap": True}),
    ):  # fmt: skip
        result.add_column(heading, **options)
    for one in objects:
        words = line(*detail(one))
        result.add_row(one.ref, state(phase_of(one.obj)), words, age(one.obj, now))
    return result


def notable(scene: Scene) -> Iterator[Text]:
    """Conditions that say something is wrong or waited for."""
    for bad, text in summary.notable(scene):
        yield Text(text, "red" if bad else "yellow")

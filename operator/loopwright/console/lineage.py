"""From data to endpoints: what was made from what, as a graph and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from markupsafe import Markup
from pydantic import ValidationError

from loopwright.api.modelendpoint_status import ModelEndpointStatus
from loopwright.api.registry import ModelVersionSpec, VersionLineage
from loopwright.console.blocks import Block, Cell, Link, Picture, Several, Soft, href, table
from loopwright.console.charts import fixed
from loopwright.view.cluster import KIND_OF, Object
from loopwright.view.summary import phase_of
from loopwright.view.words import Tone, tone

COLUMNS: Final = ("data", "job or sweep", "version", "endpoint")
BOX, TALL, ACROSS, DOWN = 184, 38, 60, 12
HEAD: Final = 24
# A picture of more is no picture.
MOST: Final = 60


class Node(NamedTuple):
    """Something that was made, or that others are made from."""

    column: int
    key: str
    """Tells it from others of its column."""
    text: str
    about: str
    path: str = ""
    """Its page."""
    tone: Tone | None = None


@dataclass
class Graph:
    """Nodes, and what follows from what."""

    nodes: dict[tuple[int, str], Node] = field(default_factory=dict)
    edges: dict[tuple[tuple[int, str], tuple[int, str]], None] = field(default_factory=dict)

    def add(self, node: Node) -> tuple[int, str]:
        """Its place; one that is there already stays."""
        place = (node.column, node.key)
        self.nodes.setdefault(place, node)
        return place

    def join(self, start: tuple[int, str], end: tuple[int, str]) -> None:
        """What follows from what."""
        self.edges[start, end] = None

    def around(self, place: tuple[int, str]) -> Graph:
        """What one was made from, and what was made from it."""
        kept = {place} | self._reached(place, 0, 1) | self._reached(place, 1, 0)
        nodes = {at: node for at, node in self.nodes.items() if at in kept}
        edges = {pair: None for pair in self.edges if pair[0] in kept and pair[1] in kept}
        return Graph(nodes, edges)

    def _reached(self, place: tuple[int, str], near: int, far: int) -> set[tuple[int, str]]:
        found: set[tuple[int, str]] = set()
        todo = [place]
        while todo:
            at = todo.pop()
            new = {pair[far] for pair in self.edges if pair[near] == at} - found
            found |= new
            todo += new
        return found


def graph(namespace: str, versions: Iterable[Object], endpoints: Iterable[Object]) -> Graph:
    """What versions say of their origin, and endpoints of what they serve."""
    found = Graph()
    for one in versions:
        _version(found, namespace, one)
    for one in endpoints:
        _endpoint(found, namespace, one)
    return found


def _version(found: Graph, namespace: str, obj: Object) -> None:
    try:
        spec = ModelVersionSpec.model_validate(obj.get("spec") or {})
    except ValidationError:
        return
    name = str(obj["metadata"]["name"])
    phase = phase_of(obj)
    page = href(KIND_OF["ModelVersion"], namespace, name)
    about = f"{phase} {(obj.get('status') or {}).get('metric') or ''}".strip()
    place = found.add(Node(2, name, name, about, page, tone(phase)))
    made = spec.lineage or VersionLineage()
    origin = place
    for kind, job in (
        ("TrainingJob", made.training_job), ("HyperparameterSweep", made.hyperparameter_sweep)
    ):  # fmt: skip
        if job is not None:
            page = href(KIND_OF[kind], namespace, job.name)
            # Another job may have the name by now; the UID tells them apart.
            origin = found.add(Node(1, job.uid, job.name, kind, page))
            found.join(origin, place)
    for data in made.inputs:
        digest = (data.digest or "").removeprefix("sha256:")
        about = f"sha256 {digest[:12]}" if digest else "no digest"
        start = found.add(Node(0, f"{data.uri} {digest}", data.uri, about))
        if origin != place:
            found.join(start, origin)
        else:
            found.join(start, place)


def _endpoint(found: Graph, namespace: str, obj: Object) -> None:
    try:
        status = ModelEndpointStatus.model_validate(obj.get("status") or {})
    except ValidationError:
        return
    name = str(obj["metadata"]["name"])
    used = {
        served.model_version: f"{variant.name} {variant.current_weight} %"
        for variant in status.variants
        for served in (variant.next, variant.serving)
        if served is not None and served.model_version
    }
    if not used:
        return
    page = href(KIND_OF["ModelEndpoint"], namespace, name)
    about = status.weights or status.phase
    place = found.add(Node(3, name, name, about, page, tone(status.phase)))
    for version in used:
        if (2, version) in found.nodes:
            found.join((2, version), place)


def blocks(found: Graph) -> list[Block]:
    """The graph as a picture, and in words."""
    if not found.nodes:
        return []
    shown: list[Block] = []
    if len(found.nodes) <= MOST:
        shown.append(Picture("From data to endpoints", _drawn(found), wide=True))
    shown += table("The same as a table", list(COLUMNS), _rows(found))
    return shown


def _rows(found: Graph) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for place, node in found.nodes.items():
        if node.column == 2:
            jobs = _before(found, [place])
            data = _before(found, [place, *jobs], column=0)
            serving = [end for start, end in found.edges if start == place]
            rows.append([
                _cells(found, data), _cells(found, [one for one in jobs if one[0] == 1]),
                _cells(found, [place]), _cells(found, serving),
            ])  # fmt: skip
    return rows


def _before(
    found: Graph, ends: Sequence[tuple[int, str]], column: int | None = None
) -> list[tuple[int, str]]:
    starts = [start for start, end in found.edges if end in ends]
    return [one for one in dict.fromkeys(starts) if column is None or one[0] == column]


def _cells(found: Graph, places: Iterable[tuple[int, str]]) -> Cell:
    parts: list[Cell] = []
    for node in (found.nodes[place] for place in places):
        parts += [Link(node.text, node.path) if node.path else node.text, Soft(node.about)]
    return Several(parts) if parts else ""


def _drawn(found: Graph) -> Markup:
    used = sorted({node.column for node in found.nodes.values()})
    columns = [[place for place in found.nodes if place[0] == column] for column in used]
    tallest = max(len(column) for column in columns)
    height = HEAD + tallest * (TALL + DOWN)
    width = len(columns) * (BOX + ACROSS) - ACROSS + 2
    at: dict[tuple[int, str], tuple[float, float]] = {}
    heads = []
    for place, column in enumerate(columns):
        x = 1 + place * (BOX + ACROSS)
        heads.append(
            Markup('<text x="{}" y="13" class="name">{}</text>').format(x, COLUMNS[used[place]])
        )
        room = (height - HEAD) / len(column)
        for row, one in enumerate(column):
            at[one] = (x, HEAD + room * row + (room - TALL) / 2)
    edges = [_edge(at[start], at[end]) for start, end in found.edges]
    boxes = [_box(found.nodes[one], *where) for one, where in at.items()]
    label = "Lineage graph; the table below says the same"
    return fixed(label, [*heads, *edges, *boxes], width, height)


def _edge(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    x, y = start[0] + BOX, start[1] + TALL / 2
    to, across = (end[0], end[1] + TALL / 2), (end[0] - x) / 2
    return Markup(
        '<path class="edge" d="M{:.1f} {:.1f}C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}"/>'
    ).format(x, y, x + across, y, to[0] - across, to[1], *to)


def _box(node: Node, x: float, y: float) -> Markup:
    kind = f"box {node.tone}" if node.tone else "box"
    body = Markup(
        '<title>{}</title><rect class="{}" x="{:.1f}" y="{:.1f}" width="{}" height="{}" rx="5"/>'
        '<text x="{:.1f}" y="{:.1f}" class="strong">{}</text>'
        '<text x="{:.1f}" y="{:.1f}">{}</text>'
    ).format(
        f"{node.text}: {node.about}", kind, x, y, BOX, TALL,
        x + 8, y + 16, _cut(node.text), x + 8, y + 30, _cut(node.about, 30),
    )  # fmt: skip
    return Markup('<a href="{}">{}</a>').format(node.path, body) if node.path else body


def _cut(text: str, most: int = 25) -> str:
    """The end of a name or a path tells more than its beginning."""
    return text if len(text) <= most else f"…{text[1 - most :]}"

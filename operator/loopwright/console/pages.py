"""What each page shows, read with the rights of whoever looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from loopwright.api import names
from loopwright.api.kinds import KINDS, Kind
from loopwright.api.modelendpoint_status import EndpointPhase
from loopwright.api.registry import Stage
from loopwright.api.report import MAX_REPORT_BYTES, Report
from loopwright.api.resources import CONFIGMAP, MODELVERSION, own
from loopwright.api.sweep_report import SweepReport
from loopwright.api.trainingjob_status import Phase
from loopwright.console import endpoints, jobs, lineage, registry
from loopwright.console.blocks import (
    Block,
    Cell,
    Link,
    Note,
    Soft,
    Tag,
    href,
    listing,
    namespace_of,
    table,
)
from loopwright.view.children import by_trouble, notes, tell
from loopwright.view.cluster import KIND_OF, Cluster
from loopwright.view.errors import Misread, NotThere, Refused
from loopwright.view.explain import Finding, explain
from loopwright.view.refs import Found
from loopwright.view.scene import Scene, last_seen, look
from loopwright.view.summary import age, detail, ended, phase_of
from loopwright.view.words import Tone, clean, time, tone

PAGE: Final = 50
# Of each kind, on the first page; the lists have the rest.
SHOWN: Final = 50
# Objects of a kind that belong to one.
MOST_CHILDREN: Final = 200
MOST_EVENTS: Final = 20
MOST_PODS: Final = 30
MOST_VERSIONS: Final = 200
LONG: Final = 600
WHY: Final = "why or how far"
OF_KUBERNETES: Final = "the ClusterRole view shows them"

TITLES: Final[Mapping[str, str]] = {
    "trainingjobs": "Training jobs", "hyperparametersweeps": "Sweeps",
    "batchtransforms": "Batches", "modelendpoints": "Endpoints", "models": "Models",
    "modelversions": "Versions",
}  # fmt: skip
PHASES: Final[Mapping[str, Sequence[str]]] = {
    "trainingjobs": [*Phase], "hyperparametersweeps": [*Phase], "batchtransforms": [*Phase],
    "modelendpoints": [*EndpointPhase], "modelversions": [*Stage],
}  # fmt: skip
BY_PLURAL: Final = {kind.plural: kind for kind in KINDS}
RUN: Final = tuple(KIND_OF[name] for name in names.MARKS)
SERVED: Final = KIND_OF["ModelEndpoint"]
# Versions and models are decided about by people, who load a page again by themselves.
LIVELY: Final = frozenset({*names.MARKS, SERVED.name})


@dataclass(frozen=True)
class View:
    """A page before it is drawn."""

    title: str
    blocks: Sequence[Block] = ()
    template: str = "page.html"
    live: bool = False
    """Whether it is worth to load it again by and by."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else its template wants."""


def refused(namespace: str, who: str, what: str) -> Note:
    """That somebody may not look somewhere, and what to ask for."""
    if not namespace:
        text = f"{who} may not read {what} of all namespaces at once"
        return Note(text, Tone.BAD, "choose a namespace above")
    account = who.removeprefix("system:serviceaccount:")
    whom = f"--user={who}" if account == who else f"--serviceaccount={account}"
    binding = f"kubectl create rolebinding loopwright-view -n {namespace} {whom}"
    binding += " --clusterrole=loopwright-view"
    text = f"{who} may not read {what} in namespace {namespace}"
    return Note(text, Tone.BAD, f"have somebody who administers it run: {binding}")


def overview(cluster: Cluster, who: str) -> View:
    """What runs, what fails, and what waits and why."""
    found, notes_, cut = _of_note(cluster, who)
    groups: dict[str, list[Found]] = {"Needs attention": [], "Waits": [], "Runs": [], "Serves": []}
    for one in found:
        groups[_group(one)].append(one)
    blocks: list[Block] = [*notes_]
    for title, some in groups.items():
        head = ["object", "namespace", "phase", WHY, "age"]
        rows = [_row(cluster, one) for one in some]
        said = "There may be more: see the lists." if cut else ""
        blocks += table(title, head, rows, said, even=WHY)
    if not found and not notes_:
        blocks.append(Note("Nothing runs, waits or serves here.", Tone.BUSY))
    plus = "+" if cut else ""
    counts = [(title, f"{len(some)}{plus}", TONES[title]) for title, some in groups.items()]
    return View("Overview", blocks, live=True, more={"counts": counts})


TONES: Final = {
    "Needs attention": Tone.BAD, "Waits": Tone.WAITING, "Runs": Tone.BUSY, "Serves": Tone.GOOD,
}  # fmt: skip


def _of_note(cluster: Cluster, who: str) -> tuple[list[Found], list[Note], bool]:
    """What has not ended well; jobs that have are in the lists."""
    found: list[Found] = []
    asked = [
        *((kind, fields) for kind in RUN for fields in
          ("status.phase=Failed", "status.phase!=Failed,status.phase!=Succeeded")),
        (SERVED, ""),
    ]  # fmt: skip
    denied: dict[str, None] = {}
    cut = False
    for kind, fields in asked:
        try:
            page = cluster.page(own(kind), fields=fields, limit=SHOWN)
        except Refused:
            denied[kind.plural] = None
            continue
        found += [Found(kind, obj) for obj in page.items]
        cut |= bool(page.more)
    told = [refused(cluster.namespace, who, ", ".join(denied))] if denied else []
    found.sort(key=lambda one: str(one.obj["metadata"].get("creationTimestamp")), reverse=True)
    return found, told, cut


def _group(found: Found) -> str:
    phase = phase_of(found.obj)
    kind = tone(phase)
    stalled = any(
        one["type"] == "Stalled" and one["status"] == "True"
        for one in (found.obj.get("status") or {}).get("conditions") or ()
    )
    if kind is Tone.BAD or stalled:
        return "Needs attention"
    if found.kind is SERVED and kind is Tone.GOOD:
        return "Serves"
    return "Waits" if kind is Tone.WAITING and phase != EndpointPhase.ROLLING_OUT else "Runs"


def _row(cluster: Cluster, found: Found) -> list[Cell]:
    where = namespace_of(found.obj)
    name = Link(f"{found.kind.short}/{found.name}", href(found.kind, where, found.name))
    told = " · ".join(detail(found))
    space = "" if cluster.namespace else where
    return [name, space, Tag(phase_of(found.obj)), told, age(found.obj, cluster.time)]


def objects(cluster: Cluster, who: str, kind: Kind, phase: str, more: str) -> View:
    """A part of a list."""
    title, known = TITLES[kind.plural], PHASES.get(kind.plural, ())
    if phase and phase not in known:
        raise NotThere(f"there is no phase {phase}", f"phases are {', '.join(known)}")
    fields = f"status.phase={phase}" if phase else ""
    try:
        page = cluster.page(own(kind), fields=fields, limit=PAGE, more=more)
    except Refused:
        blocks: list[Block] = [refused(cluster.namespace, who, kind.plural)]
        return View(title, blocks, more={"phases": known, "phase": phase, "plural": kind.plural})
    rows = [_listed(cluster, Found(kind, obj)) for obj in page.items]
    head = ["name", "namespace", "phase", WHY, "cost", "age"]
    blocks = [*table(title, head, rows, even=WHY)]
    if not rows:
        what = f" in phase {phase}" if phase else ""
        where = f"in namespace {cluster.namespace}" if cluster.namespace else "in any namespace"
        blocks.append(Note(f"There is nothing{what} {where}.", Tone.BUSY))
    following = {"namespace": cluster.namespace, "phase": phase, "continue": page.more}
    shown = {
        "phases": known, "phase": phase, "plural": kind.plural,
        "next": listing(kind.plural, **following) if page.more else "",
        "first": listing(kind.plural, namespace=cluster.namespace, phase=phase) if more else "",
    }  # fmt: skip
    return View(title, blocks, live=True, more=shown)


def _listed(cluster: Cluster, found: Found) -> list[Cell]:
    where = namespace_of(found.obj)
    spent = (found.obj.get("status") or {}).get("cost") or {}
    price = f"{spent['estimate']} {spent.get('currency') or ''}" if spent.get("estimate") else ""
    name = Link(found.name, href(found.kind, where, found.name))
    told = " · ".join(detail(found))
    space = "" if cluster.namespace else where
    return [name, space, Tag(phase_of(found.obj)), told, price, age(found.obj, cluster.time)]


def one(cluster: Cluster, who: str, kind: Kind, name: str) -> View:
    """An object, and all that was made for it."""
    title = f"{kind.name} {name}"
    try:
        obj = cluster.get(own(kind), name)
    except Refused:
        return View(title, [refused(cluster.namespace, who, kind.plural)])
    if obj is None:
        what = f"there is no {kind.name} {name} in namespace {cluster.namespace}"
        raise NotThere(what, "it may have been deleted")
    found = Found(kind, obj)
    settled = tone(phase_of(obj)) is Tone.GOOD
    try:
        scene = look(cluster, found, events=not settled, most=MOST_CHILDREN)
    except Misread:
        scene = Scene(found, cluster.time)
    unseen = list(scene.unseen)
    blocks = [
        *_said(scene), *_of_kind(cluster, scene, unseen), *_conditions(scene), *_children(scene),
        *_events(scene),
    ]  # fmt: skip
    if unseen:
        text = f"not shown, for lack of rights: {', '.join(dict.fromkeys(unseen))}"
        blocks.append(Note(text, Tone.WAITING, OF_KUBERNETES))
    if scene.cut:
        blocks.append(Note(f"there are more {', '.join(scene.cut)} than are shown", Tone.BUSY))
    more = {"phase": Tag(phase_of(obj)), "about": _about(scene), "crumb": kind}
    return View(title, blocks, live=kind.name in LIVELY and not ended(obj), more=more)


def _about(scene: Scene) -> list[Cell]:
    obj = scene.found.obj
    by = obj["metadata"].get("generation")
    return [f"namespace {namespace_of(obj)}", f"{age(obj, scene.now)} old",
            f"generation {by}" if by else ""]  # fmt: skip


def _said(scene: Scene) -> Iterator[Block]:
    """Why it is not where it should be, and the one thing to do."""
    told = explain(scene)
    if not told.findings:
        return
    phase = tone(phase_of(scene.found.obj))
    yield Note(_first(told.findings[0]), Tone.BAD if phase is Tone.BAD else Tone.WAITING, told.todo)
    rest = told.findings[1:]
    rows = [[one.about, clean(one.reason), clean(one.message)[:LONG], one.remedy] for one in rest]
    yield from table("What else was found", ["object", "reason", "message", "remedy"], rows)


def _first(one: Finding) -> str:
    return f"{one.about}: {clean(one.reason)}. {clean(one.message)[:LONG]}"


def _of_kind(cluster: Cluster, scene: Scene, unseen: list[str]) -> Iterator[Block]:
    try:
        match scene.found.kind.name:
            case "TrainingJob":
                yield from jobs.training(scene, _mailbox(cluster, scene, Report, unseen))
            case "HyperparameterSweep":
                yield from jobs.sweep(scene, _mailbox(cluster, scene, SweepReport, unseen))
            case "BatchTransform":
                yield from jobs.batch(scene)
            case "ModelEndpoint":
                yield from endpoints.endpoint(scene)
            case "Model":
                yield from registry.model(scene)
            case _:
                yield from registry.version(scene)
                yield from _descent(cluster, scene)
    except Misread as error:
        # Its status is another version's; what Kubernetes knows of it can be shown all the same.
        yield Note(error.message, Tone.BAD, "use the console of the operator's version")


def _mailbox(cluster: Cluster, scene: Scene, model: Callable[..., Any], unseen: list[str]) -> Any:
    """What the job's pods report, which is not to be trusted; None when there is none."""
    try:
        obj = cluster.get(CONFIGMAP, names.report_name(scene.found.kind.name, scene.found.name))
    except Refused:
        unseen.append(CONFIGMAP.plural)
        return None
    text = ((obj or {}).get("data") or {}).get(names.REPORT_KEY) or ""
    if not text or len(text) > 4 * MAX_REPORT_BYTES:
        return None
    try:
        return model.model_validate_json(text)  # type: ignore[attr-defined]
    except ValidationError:
        return None


def _descent(cluster: Cluster, scene: Scene) -> Iterator[Block]:
    """What a version was made from, and which endpoints use it."""
    try:
        serving = cluster.page(own(SERVED), limit=MOST_CHILDREN).items
    except Refused:
        serving = []
    name, where = scene.found.name, namespace_of(scene.found.obj)
    graph = lineage.graph(where, [scene.found.obj], serving)
    yield from lineage.blocks(graph.around((2, name)))


def descent(cluster: Cluster, who: str) -> View:
    """The lineage of all versions of a namespace."""
    title = "Lineage"
    if not cluster.namespace:
        return View(
            title, [Note("Choose a namespace above: lineage does not leave it.", Tone.BUSY)]
        )
    try:
        versions = cluster.page(MODELVERSION, limit=MOST_VERSIONS)
        serving = cluster.page(own(SERVED), limit=MOST_CHILDREN)
    except Refused:
        return View(title, [refused(cluster.namespace, who, "modelversions, modelendpoints")])
    blocks = lineage.blocks(lineage.graph(cluster.namespace, versions.items, serving.items))
    if not blocks:
        blocks = [Note("There are no versions of models here.", Tone.BUSY)]
    if versions.more or serving.more:
        text = f"Only {MOST_VERSIONS} versions and {MOST_CHILDREN} endpoints are shown."
        blocks.append(Note(text, Tone.BUSY, "open a version to see its own lineage"))
    return View(title, blocks, live=True)


def stamp(text: str | None) -> str:
    """A time of the API in full; one that makes no sense stays as it is."""
    try:
        return jobs.clock(time(text)) if text else ""
    except ValueError:
        return clean(text)


def _conditions(scene: Scene) -> Iterator[Block]:
    rows: list[Sequence[Cell]] = [
        [str(one["type"]), Soft(str(one["status"])), str(one.get("reason") or ""),
         str(one.get("message") or "")[:LONG], stamp(one.get("lastTransitionTime"))]
        for one in scene.conditions.values()
    ]  # fmt: skip
    yield from table("Conditions", ["condition", "holds", "reason", "message", "since"], rows)


def _children(scene: Scene) -> Iterator[Block]:
    """What KubeRay, KServe, Kueue and Kubernetes made of it."""
    rows: list[Sequence[Cell]] = []
    ours = {kind.name for kind in KINDS}
    for child in scene.children:
        if child["kind"] not in ours and child["kind"] != "Pod":
            told = tell(child)
            state: Cell = Tag(told.state) if told.state else ""
            rows.append([child["kind"], child["metadata"]["name"], state, clean(told.detail)])
    pods = by_trouble(scene.of("Pod"))
    for pod in pods[:MOST_PODS]:
        about = " · ".join(clean(text) for text in notes(pod) if text)
        rows.append(["Pod", pod["metadata"]["name"], Tag(tell(pod).state), about])
    more = f"and {len(pods) - MOST_PODS} more pods" if len(pods) > MOST_PODS else ""
    yield from table("Made for it", ["kind", "name", "state", "what"], rows, more)


def _events(scene: Scene) -> Iterator[Block]:
    newest = sorted(scene.events, key=last_seen, reverse=True)[:MOST_EVENTS]
    rows: list[Sequence[Cell]] = [
        [stamp(last_seen(one)), Tag("Waiting") if one.get("type") == "Warning" else Soft("Normal"),
         f"{one['involvedObject'].get('kind')} {one['involvedObject'].get('name')}",
         clean(one.get("reason", "")), clean(one.get("message", ""))[:LONG]]
        for one in newest
    ]  # fmt: skip
    yield from table("Events", ["when", "type", "about", "reason", "message"], rows)

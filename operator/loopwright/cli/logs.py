"""`logs`: what training or a server prints, from its pods or from storage."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from loopwright.api import names
from loopwright.api.resources import POD
from loopwright.cli.stored import fetch, secret_of
from loopwright.view.cluster import Cluster, Object, Query
from loopwright.view.errors import Trouble
from loopwright.view.refs import Found
from loopwright.view.scene import labels

# What each pod of a job says first.
RANKS: Final = re.compile(r"^loopwright: ranks? (\d+)(?: to (\d+))? of \d+$", re.MULTILINE)
# Ray prints some lines before that.
HEAD_BYTES: Final = 128 * 1024
JOBS: Final = frozenset(names.MARKS)


class Source(NamedTuple):
    """A pod whose log is shown."""

    pod: str
    container: str
    prefix: str = ""
    """What its lines begin with, of a pod that runs several ranks; they are shown without it."""


def lines(
    cluster: Cluster, found: Found, *, follow: bool = False, rank: int | None = None,
    attempt: int | None = None, tail: int | None = None,
) -> Iterator[str]:  # fmt: skip
    """The lines of the log, as they come.

    Args:
        rank: Of one process only.
        attempt: Of a job; by default the newest.
        tail: The last lines of each pod only.

    Raises:
        Trouble: there is no log, or it cannot be read from here.
    """
    if found.kind.name not in (*JOBS, "ModelEndpoint"):
        raise Trouble(f"{found.ref} has no log", "ask a job or an endpoint for its log")
    if found.kind.name not in JOBS and not (rank is None and attempt is None):
        raise Trouble("--rank and --attempt are for jobs", "leave them out")
    sources = _sources(cluster, found, attempt)
    if not sources:
        yield from _stored(cluster, found, rank, attempt)
        return
    if rank is not None:
        sources = [_of_rank(cluster, sources, rank)]
    query: dict[str, str | int] = {"follow": "true"} if follow else {}
    query |= {"tailLines": tail} if tail is not None else {}
    yield from (_together if follow else _in_turn)(cluster, sources, query)


def _sources(cluster: Cluster, found: Found, attempt: int | None) -> Sequence[Source]:
    """Pods that have begun, the head first."""
    selector = f"{names.LABEL_KIND}={found.kind.name},{names.LABEL_NAME}={found.name}"
    number = attempt or (found.obj.get("status") or {}).get("attempt")
    if found.kind.name in JOBS and number:
        selector += f",{names.LABEL_ATTEMPT}={number}"
    pods = sorted(cluster.list(POD, selector), key=_order)
    return [Source(pod["metadata"]["name"], _container(pod)) for pod in pods if _begun(pod)]


def _order(pod: Object) -> tuple[bool, str]:
    return labels(pod).get("ray.io/node-type") != "head", pod["metadata"]["name"]


def _container(pod: Object) -> str:
    containers: list[str] = [one["name"] for one in pod["spec"]["containers"]]
    wanted = ("ray-head", "ray-worker", "kserve-container")
    return next((one for one in containers if one in wanted), containers[0])


def _begun(pod: Object) -> bool:
    name = _container(pod)
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        if one["name"] == name:
            return bool({"running", "terminated"} & (one.get("state") or {}).keys())
    return False


def _path(cluster: Cluster, source: Source) -> str:
    return POD.path(cluster.namespace, source.pod, "log")


def _of_rank(cluster: Cluster, sources: Sequence[Source], rank: int) -> Source:
    """The pod that runs a rank, which it says itself."""
    for source in sources:
        query: Query = {"container": source.container, "limitBytes": HEAD_BYTES}
        text = cluster.read("GET", _path(cluster, source), query).decode(errors="replace")
        for first, last in RANKS.findall(text):
            if int(first) <= rank <= int(last or first):
                prefix = f"[{rank - int(first)}] " if last else ""
                return source._replace(prefix=prefix)
    raise Trouble(f"no pod says that it runs rank {rank}", "see the log of all without --rank")


def _read(cluster: Cluster, source: Source, query: Query) -> Iterator[str]:
    for text in cluster.lines(_path(cluster, source), {"container": source.container, **query}):
        if text.startswith(source.prefix):
            yield text.removeprefix(source.prefix)


def _labelled(sources: Sequence[Source], source: Source, text: str) -> str:
    return f"{source.pod} | {text}" if len(sources) > 1 else text


def _in_turn(cluster: Cluster, sources: Sequence[Source], query: Query) -> Iterator[str]:
    for source in sources:
        for text in _read(cluster, source, query):
            yield _labelled(sources, source, text)


def _together(cluster: Cluster, sources: Sequence[Source], query: Query) -> Iterator[str]:
    """All logs at once, until the last has ended."""
    box: queue.SimpleQueue[str | Trouble | None] = queue.SimpleQueue()
    for source in sources:
        threading.Thread(
            target=_pour, args=(cluster, sources, source, query, box.put), daemon=True
        ).start()
    left = len(sources)
    while left:
        if (one := box.get()) is None:
            left -= 1
        elif isinstance(one, Trouble):
            raise one
        else:
            yield one


def _pour(
    cluster: Cluster, sources: Sequence[Source], source: Source, query: Query,
    put: Callable[[str | Trouble | None], None],
) -> None:  # fmt: skip
    try:
        for text in _read(cluster, source, query):
            put(_labelled(sources, source, text))
    except Trouble as error:
        put(error)
    except Exception as error:
        put(Trouble(f"the log of {source.pod} broke off: {error}", "ask again"))
    put(None)


def _stored(cluster: Cluster, found: Found, rank: int | None, attempt: int | None) -> Iterator[str]:
    folder = ((found.obj.get("status") or {}).get("artifacts") or {}).get("logsUri")
    if found.kind.name not in JOBS or not folder:
        text = "loopwright explain says what it waits for"
        raise Trouble(f"{found.ref} has no pods that have begun, and no stored log", text)
    if attempt is not None:
        folder = re.sub(r"/attempt-\d+$", f"/attempt-{attempt}", folder)
    uri = f"{folder}/rank-{rank or 0}.log"
    text = fetch(cluster, uri, secret_of(found.obj)).decode(errors="replace")
    yield from text.splitlines()

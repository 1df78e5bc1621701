"""What pages show, whoever wrote what is on them."""

from __future__ import annotations

import copy
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from console_worlds import TOKEN, FakeConsole, everything, mailbox
from recorded import Object, Recorded, own, thing
from statuses import Case, cases

from loopwright.api.kinds import KINDS
from loopwright.view.cluster import KIND_OF

HOSTILE = "\"'></title><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}javascript:"
LINEAGE = ("modelversions", "modelendpoints")
Shown = Callable[..., Awaitable[str]]


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += " "
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each such element."""
        return [attributes for name, attributes in self.tags if name == tag]


def harmless(page: Page) -> None:
    """Nothing runs, nothing is fetched from elsewhere, and the policy allows all that is there."""
    for tag, attributes in page.tags:
        assert tag not in ("script", "style", "iframe", "object", "embed", "base"), tag
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            assert name != "style", "the policy forbids it"
            if name in ("href", "src", "action"):
                assert value is not None
                assert value.startswith(("/", "#")), value
                assert not value.startswith("//"), value


def accessible(page: Page) -> None:
    """What those need who do not see the page."""
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(one.get("scope") == "col" for one in page.all("th"))
    assert all(one.get("role") == "img" and one.get("aria-label") for one in page.all("svg"))
    assert all("alt" in one for one in page.all("img"))
    shown = [one for one in page.all("input") if one.get("type") != "hidden"]
    assert len(page.all("label")) == len(shown) + len(page.all("select"))
    assert all(one.get("aria-label") for one in page.all("progress"))
    scrolled = [one for one in page.all("div") if one.get("class") == "scroll"]
    assert all(one.get("tabindex") == "0" and one.get("aria-label") for one in scrolled)


@pytest.fixture
async def get() -> AsyncIterator[Callable[[Recorded], Awaitable[Shown]]]:
    """Makes a console of a world, and gives what a path of it shows."""
    clients = []

    async def made(world: Recorded, **settings: Any) -> Shown:
        client = TestClient(TestServer(FakeConsole(world, **settings).app()))
        await client.start_server()
        clients.append(client)

        async def shown(path: str, status: int = 200) -> str:
            answer = await client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
            text = await answer.text()
            assert answer.status == status, text
            harmless(page := Page(text))
            accessible(page)
            assert "has a bug" not in page.text
            return " ".join(page.text.split())

        return shown

    yield made
    for client in clients:
        await client.close()


Get = Callable[..., Awaitable[Shown]]


async def test_the_overview_says_what_runs_fails_and_waits(get: Get) -> None:
    shown = await (await get(everything()))("/")
    assert "1 Needs attention" in shown
    assert "tj/broken n Failed exit code 1: Traceback" in shown
    assert "tj/waits n Queued the job waits in its queue: insufficient" in shown
    assert "hps/digits n Running 50 % · 15/30 trials" in shown
    assert "digits-final" not in shown


async def test_a_job_has_its_curves_attempts_conditions_pods_and_cost(get: Get) -> None:
    world = everything()
    shown = await (await get(world))("/n/trainingjobs/digits")
    for text in (
        "To do: nothing: attempt 2 goes on", "50 % · epoch 10 · step 500/1000 · 2 min left",
        "accuracy", "learning_rate", "1 Failed Infrastructure 9 min", "WorkerLost",
        "s3://models/digits/checkpoints/9", "0.0831 EUR", "saved on spot nodes 8 min",
        "Reconciling True Running training runs",
        "RayCluster digits-a2-x Ready 1/2 workers", "Pod digits-a2-w1 ContainerCreating",
        "BackOff Back-off restarting failed container",
    ):  # fmt: skip
        assert text in shown
    # Of a sweep of the same name.
    assert "digits-s1-head" not in shown


async def test_a_sweep_has_its_history_coordinates_and_best_trials(get: Get) -> None:
    shown = await (await get(everything()))("/n/hyperparametersweeps/digits")
    assert "accuracy by trial" in shown
    assert "Parallel coordinates" in shown
    assert "best t13, 0.9935" in shown
    assert "loopwright report hps/digits -n n" in shown


async def test_an_endpoint_has_its_split_rollout_drift_and_experiment(get: Get) -> None:
    shown = await (await get(everything()))("/n/modelendpoints/digits")
    for text in (
        "main 80 % Ready 2 digits-0a1b2c3d4e", "abc123 to def456 1 25 %",
        "errors failed 1 times: 3 % of requests fail", "inputs Violated 500 2 of 4",
        "pixel_17 Drift 0.312 0.2 inputs main", "other 990 0.15 0.03 -0.01 0.07 0.21",
        "digits-r1 Running inputs", "0.4 EUR",
    ):  # fmt: skip
        assert text in shown


async def test_a_version_shows_its_descent(get: Get) -> None:
    shown = await (await get(everything()))("/n/modelversions/digits-0a1b2c3d4e")
    assert "s3://lake/digits sha256 aaaaaaaaaaaa digits TrainingJob digits-0a1b2c3d4e" in shown
    lineage = await (await get(everything()))("/lineage?namespace=n")
    assert "main 80 %, other 20 %" in lineage
    assert "Choose a namespace" in await (await get(everything()))("/lineage")


def placed(case: Case) -> Object:
    """As an API server would have it."""
    obj = case.object
    more = {"uid": "u", "creationTimestamp": "2026-11-30T11:00:00Z"}
    return obj | {"metadata": obj["metadata"] | more}


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.kind}-{case.name}")
async def test_every_kind_in_every_phase_has_a_page_and_a_row(get: Get, case: Case) -> None:
    shown = await get(Recorded(placed(case), namespace="team"))
    plural = KIND_OF[case.kind].plural
    text = await shown(f"/team/{plural}/one")
    assert text.count(f"{case.kind} one") >= 1
    if phase := case.status.get("phase"):
        assert phase in text
        assert f"one {phase}" in await shown(f"/{plural}?namespace=team&phase={phase}")
    assert "one" in await shown(f"/{plural}?namespace=team")
    await shown("/?namespace=team")


def leaves(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all texts."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield from leaves(value, (*path, key))
    elif isinstance(part, list):
        for place, value in enumerate(part):
            yield from leaves(value, (*path, place))
    elif isinstance(part, str):
        yield path


def poisoned(obj: Object, path: tuple[Any, ...]) -> Object:
    """The object with a hostile text at one place."""
    found = copy.deepcopy(obj)
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = HOSTILE
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_nothing_that_a_cluster_says_becomes_a_part_of_the_page(get: Get, kind: Any) -> None:
    world = everything()
    shown = await get(world)
    objects = list(world.objects)
    [place, *_] = [n for n, one in enumerate(objects) if one["kind"] == kind.name]
    obj = objects[place]
    where = f"/n/{kind.plural}/{obj['metadata']['name']}"
    more = "/lineage?namespace=n" if kind.plural in LINEAGE else f"/{kind.plural}"
    for path in leaves({"spec": obj.get("spec"), "status": obj.get("status")}):
        world.objects[place] = poisoned(obj, path)
        assert "49" not in (await shown(where)).split()
        await shown(more)


async def test_reports_of_pods_are_not_trusted(get: Get) -> None:
    job = own("TrainingJob", "x", {"function": "a:b"}, {"phase": "Running"})
    for report in (
        {"curves": [{"name": HOSTILE[:60], "steps": [1, 2], "values": [1.0, 2.0]}]},
        {"curves": [{"name": "m", "steps": [1], "values": []}]},
        {"curves": [{"name": "m", "steps": [1, 2], "values": [1e308, -1e308]}]},
        {"curves": "x"},
    ):
        shown = await get(Recorded(job, mailbox("TrainingJob", "x", report)))
        assert "TrainingJob x" in await shown("/n/trainingjobs/x")
    for text in ("{", "x" * 1000, "[]", "null"):
        other = thing("ConfigMap", "x-report", data={"report.json": text})
        assert "TrainingJob x" in await (await get(Recorded(job, other)))("/n/trainingjobs/x")


async def test_what_somebody_may_not_see_is_named_with_what_to_ask_for(get: Get) -> None:
    world = everything()
    world.refused |= {"pods", "configmaps", "events"}
    shown = await (await get(world))("/n/trainingjobs/digits")
    assert "not shown, for lack of rights: pods, events, configmaps" in shown
    assert "To do: the ClusterRole view shows them" in shown
    world.refused |= {kind.plural for kind in KINDS}
    shown = await get(world)
    for path in ("/?namespace=n", "/trainingjobs?namespace=n", "/n/trainingjobs/digits",
                 "/lineage?namespace=n"):  # fmt: skip
        text = await shown(path)
        assert "ada@example.com may not read" in text
        assert (
            "kubectl create rolebinding loopwright-view -n n --user=ada@example.com"
            " --clusterrole=loopwright-view" in text
        )
    assert "of all namespaces at once" in await shown("/")


async def test_lists_are_bounded(get: Get) -> None:
    spec = {"function": "a:b"}
    jobs = [own("TrainingJob", f"j{n:03}", spec, {"phase": "Running"}) for n in range(120)]
    world = Recorded(*jobs)
    shown = await get(world)
    first = await shown("/trainingjobs?phase=Running")
    assert "j049" in first
    assert "j050" not in first
    assert first.endswith("Next")
    assert "j119" in await shown("/trainingjobs?phase=Running&continue=100")
    assert "50+ Runs" in await shown("/")
    lists = [query for method, path, query, _ in world.asked if method == "GET"]
    assert lists
    assert all(int(query["limit"]) <= 500 for query in lists)
    assert {query["limit"] for query in lists} == {50, 500}


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/nothing", 404, "there is no such page"),
        ("/n/trainingjobs/none", 404, "there is no TrainingJob none in namespace n"),
        ("/trainingjobs?phase=Odd", 404, "there is no phase Odd"),
        ("/trainingjobs?namespace=../x", 404, "there is no such namespace"),
        ("/trainingjobs?continue=" + "x" * 5000, 404, "begin at its first"),
        ("/n/trainingjobs/digits/report", 404, "only endpoints have monitors"),
        ("/static/settings.py", 404, "there is no such file"),
        ("/..%2f..%2fetc/trainingjobs/x", 404, "Not Found"),
    ],
)
async def test_wrong_paths_say_so(get: Get, path: str, status: int, told: str) -> None:
    assert told in await (await get(everything()))(path, status)


async def test_pages_load_again_while_something_goes_on(get: Get) -> None:
    client = TestClient(TestServer(FakeConsole(everything()).app()))
    async with client:
        texts = {}
        for path in ("/n/trainingjobs/digits", "/n/trainingjobs/digits?refresh=off",
                     "/n/trainingjobs/digits-final"):  # fmt: skip
            answer = await client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
            texts[path] = re.findall(r'http-equiv="refresh" content="(\d+)"', await answer.text())
    assert list(texts.values()) == [["15"], [], []]

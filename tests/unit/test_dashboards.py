"""Grafana dashboards: that they are up to date, ask for what exists, and can be read by people."""

from __future__ import annotations

import json
import re
from typing import Any

import dashboards
import promql_parser
import pytest
from exposed_metrics import ALERTS, exposed, labels_of, names, process
from grafana import COLUMNS, Dashboard, Panel

ALL = dashboards.dashboards()
PANELS = [(one, panel) for one in ALL for panel in one.panels()]
LABEL = re.compile(r"\{\{(\w+)\}\}")
# What Grafana puts in place of its variables; all chosen is a pattern.
VARIABLES = {"$__rate_interval": "5m", "$__range": "6h"}
UNITS = {"short", "s", "h", "bytes", "percentunit", "reqps", "ops", "wps"}
every_panel = pytest.mark.parametrize(
    ("dashboard", "panel"), PANELS, ids=[f"{one.name}-{panel.title}" for one, panel in PANELS]
)


def parsed(text: str) -> Any:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    return promql_parser.parse(re.sub(r"\$\w+", ".*", text))


def test_they_are_up_to_date() -> None:
    files = {one.name: one.read_text() for one in dashboards.FOLDER.glob("*.json")}
    assert files == dashboards.texts(), "run `make generate`"


def test_each_page_is_there_once() -> None:
    assert [one.name for one in ALL] == [
        "batch", "cost", "drift", "endpoints", "operator", "overview", "sweeps", "training",
    ]  # fmt: skip
    written = [one.json() for one in ALL]
    assert len({one["uid"] for one in written} | {one["title"] for one in written}) == 16


@every_panel
def test_a_panel_asks_for_what_somebody_exposes(dashboard: Dashboard, panel: Panel) -> None:
    for query in panel.queries:
        left = labels_of(parsed(query.expr))
        assert set(LABEL.findall(query.legend)) <= left, query
        # Several series without a legend are told apart by nobody.
        assert query.legend or panel.kind in ("stat", "table")
    chosen = {name for query in panel.queries for name in re.findall(r"\$([a-z]+)", query.expr)}
    assert chosen <= {one.label for one in dashboard.variables}


@every_panel
def test_a_panel_can_be_read(dashboard: Dashboard, panel: Panel) -> None:
    assert panel.unit in UNITS
    assert panel.text.endswith(".")
    assert len(panel.queries) <= 26
    assert panel.kind == "state-timeline" or not panel.words
    if panel.kind == "stat":
        assert len(panel.queries) == 1


@pytest.mark.parametrize("dashboard", ALL, ids=lambda one: one.name)
def test_variables_ask_for_labels_that_exist(dashboard: Dashboard) -> None:
    assert dashboard.variables[0].label == "namespace"
    for one in dashboard.variables:
        expr = parsed(one.metric)
        by_name = [m.value for m in expr.matchers.matchers if m.name == "__name__"]
        for name in by_name[0].split("|") if by_name else [expr.name]:
            assert one.label in exposed()[name]
        if not by_name:
            labels_of(expr)
    source, *others = dashboard.json()["templating"]["list"]
    assert (source["name"], source["query"]) == ("datasource", "prometheus")
    assert all(one["datasource"]["uid"] == "${datasource}" for one in others)


@pytest.mark.parametrize("dashboard", ALL, ids=lambda one: one.name)
def test_panels_do_not_overlap(dashboard: Dashboard) -> None:
    places = [one["gridPos"] for one in dashboard.json()["panels"]]
    cells = [
        (x, y)
        for one in places
        for x in range(one["x"], one["x"] + one["w"])
        for y in range(one["y"], one["y"] + one["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < COLUMNS
    numbers = [one["id"] for one in dashboard.json()["panels"]]
    assert len(numbers) == len(set(numbers))


def test_every_metric_is_shown_somewhere() -> None:
    shown = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for _, panel in PANELS
        for query in panel.queries
        for name in names(parsed(query.expr))
    }
    known = exposed().keys() - process().keys() - ALERTS.keys()
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in known} <= shown


@pytest.mark.parametrize(
    ("expr", "told"),
    [
        ("loopwright_leder", "nobody exposes loopwright_leder"),
        ('loopwright_leader{endpoint="x"}', "loopwright_leader has no"),
        ("sum by (variant) (loopwright_modelendpoint_ready)", "no frozenset"),
        ("loopwright_leader / on (endpoint) loopwright_modelendpoint_ready", "no"),
        ("histogram_quantile(0.5, loopwright_leader)", "no buckets"),
        ("rate(loopwright_cost[5m])", "nobody exposes loopwright_cost"),
    ],
)
def test_a_mistake_is_noticed(expr: str, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        labels_of(promql_parser.parse(expr))


def test_what_is_written_is_what_grafana_reads() -> None:
    for text in dashboards.texts().values():
        found = json.loads(text)
        for panel in found["panels"]:
            assert panel["type"] in ("row", "timeseries", "stat", "table", "state-timeline")
            for target in panel.get("targets", []):
                assert target["instant"] != target["range"]
                assert target["datasource"]["uid"] == "${datasource}"

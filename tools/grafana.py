"""Grafana's JSON from few words: a dashboard is a list of rows of panels.

What is on them is in dashboards/*.yaml; this file knows how Grafana writes things down.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

COLUMNS: Final = 24
# Grafana 10 and newer read it, and migrate it by themselves.
SCHEMA: Final = 39
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

Kind = Literal["timeseries", "stat", "table", "state-timeline"]
Object = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """An expression, and what its series are called: {{label}} stands for a label's value."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture.

    Args:
        text: What it shows and what to think of it; Grafana shows it beside the title.
        unit: As Grafana names it: reqps, s, percentunit, h, bytes, short.
        width: In columns; by default what suits the kind.
        steps: From which value which color holds.
        base: The color below them.
        words: What a value means: its word and color.
    """

    title: str
    text: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Kind = "timeseries"
    stacked: bool = False
    width: int = 0
    steps: Mapping[float, str] = field(default_factory=dict)
    base: str = "green"
    words: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def columns(self) -> int:
        """How wide it is."""
        return self.width or (4 if self.kind == "stat" else 8)

    @property
    def height(self) -> int:
        """In Grafana's units."""
        return 4 if self.kind == "stat" else 8


@dataclass(frozen=True)
class Variable:
    """A choice above the panels: the values of a label of a metric."""

    label: str
    metric: str


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Dashboard:
    """One page, stored as `name`.json."""

    name: str
    title: str
    text: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()

    def panels(self) -> Iterator[Panel]:
        """All of them."""
        return (panel for row in self.rows for panel in row.panels)

    def json(self) -> Object:
        """As Grafana imports it."""
        return {
            "uid": f"loopwright-{self.name}",
            "title": f"Loopwright / {self.title}",
            "description": self.text,
            "tags": ["loopwright"],
            "schemaVersion": SCHEMA,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "timezone": "browser",
            "links": [_LINK],
            "annotations": {"list": []},
            "templating": {"list": [_DATASOURCE, *map(_variable, self.variables)]},
            "panels": list(_placed(self.rows)),
        }


_LINK: Final = {
    "type": "dashboards", "title": "Loopwright", "tags": ["loopwright"], "asDropdown": True,
    "includeVars": True, "keepTime": True, "icon": "external link", "targetBlank": False,
}  # fmt: skip
_DATASOURCE: Final = {
    "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
    "refresh": 1, "hide": 0, "multi": False, "includeAll": False, "regex": "", "current": {},
    "options": [],
}  # fmt: skip


def _variable(one: Variable) -> Object:
    query = f"label_values({one.metric}, {one.label})"
    return {
        "name": one.label, "label": one.label.capitalize(), "type": "query", "datasource": SOURCE,
        "definition": query, "query": {"query": query, "refId": one.label}, "refresh": 2,
        "hide": 0, "multi": True, "includeAll": True, "allValue": ".*", "regex": "", "sort": 1,
        "current": {"text": "All", "value": "$__all"}, "options": [],
    }  # fmt: skip


def _placed(rows: Sequence[Row]) -> Iterator[Object]:
    """Panels from left to right, and downwards where a row is full."""
    number = y = 0
    for row in rows:
        number += 1
        yield {
            "id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }  # fmt: skip
        x, y, height = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.columns > COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            place = {"x": x, "y": y, "w": panel.columns, "h": panel.height}
            yield _panel(number, place, panel)
            x, height = x + panel.columns, max(height, panel.height)
        y += height


def _panel(number: int, place: Object, panel: Panel) -> Object:
    instant = panel.kind in ("stat", "table")
    steps: list[Object] = [{"color": panel.base, "value": None}]
    steps += [{"color": color, "value": value} for value, color in panel.steps.items()]
    defaults: Object = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds" if panel.kind != "timeseries" else "palette-classic"},
        "custom": _custom(panel),
        "mappings": [_mapping(panel)] if panel.words else [],
    }
    if panel.kind == "timeseries":
        defaults["min"] = 0
    return {
        "id": number, "type": panel.kind, "title": panel.title, "description": panel.text,
        "datasource": SOURCE, "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "transformations": [_MERGED] if panel.kind == "table" else [],
        "targets": [
            {
                "refId": letter, "datasource": SOURCE, "expr": query.expr,
                "legendFormat": query.legend, "instant": instant, "range": not instant,
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for letter, query in zip(string.ascii_uppercase, panel.queries, strict=False)
        ],
    }  # fmt: skip


_MERGED: Final = {"id": "organize", "options": {"excludeByName": {"Time": True}}}
_CALCULATED: Final = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: Final[dict[str, Object]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": _CALCULATED, "colorMode": "value", "graphMode": "none"},
    "table": {"showHeader": True},
    "state-timeline": {"mergeValues": True, "showValue": "never", "rowHeight": 0.9},
}


def _custom(panel: Panel) -> Object:
    """What only one kind of panels knows."""
    if panel.kind != "timeseries":
        return {}
    return {
        "lineWidth": 1, "fillOpacity": 30 if panel.stacked else 10, "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if panel.steps else "off"},
    }  # fmt: skip


def _mapping(panel: Panel) -> Object:
    words = {
        str(value): {"text": text, "color": color, "index": value}
        for value, (text, color) in panel.words.items()
    }
    return {"type": "value", "options": words}

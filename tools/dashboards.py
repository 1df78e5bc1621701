"""Writes the Grafana dashboards of the Helm chart from the descriptions in dashboards/.

A description names rows of panels, with expressions as Prometheus reads them; `grafana.py` knows
what else Grafana wants. Expressions use metrics that some part of Loopwright exposes, and no
others: a test knows both.
"""

from __future__ import annotations

import json
from typing import Any, Final

import yaml
from chart_reference import CHART, ROOT
from grafana import Dashboard, Panel, Query, Row, Variable

SOURCES: Final = ROOT / "dashboards"
FOLDER: Final = CHART / "dashboards"
# No dashboard, but rows that several have.
JOBS: Final = SOURCES / "jobs.yaml"


def _panel(told: dict[str, Any]) -> Panel:
    rest = {key: value for key, value in told.items() if key not in ("expr", "legend", "queries")}
    # Most have one query, and say it without a list.
    queries = told.get("queries") or [{key: told.get(key, "") for key in ("expr", "legend")}]
    return Panel(queries=[Query(**one) for one in queries], **rest)


def _rows(told: list[dict[str, Any]]) -> list[Row]:
    return [Row(one["title"], [_panel(panel) for panel in one["panels"]]) for one in told]


def _rows_of_jobs(kind: str, called: str) -> tuple[Row, list[Row]]:
    text = JOBS.read_text().replace("KIND", kind).replace("JOBS", called)
    first, *others = _rows(yaml.safe_load(text))
    return first, others


def read(name: str) -> Dashboard:
    """The dashboard of that name.

    Raises:
        TypeError: a key of a panel is unknown, or one is missing.
    """
    told = yaml.safe_load((SOURCES / f"{name}.yaml").read_text())
    rows = _rows(told["rows"])
    if "jobs" in told:
        first, others = _rows_of_jobs(**told["jobs"])
        rows = [first, *rows, *others]
    variables = [Variable(label, metric) for label, metric in told["variables"].items()]
    return Dashboard(name, told["title"], told["text"], rows, variables)


def dashboards() -> list[Dashboard]:
    """All of them."""
    return [read(file.stem) for file in sorted(SOURCES.glob("*.yaml")) if file != JOBS]


def texts() -> dict[str, str]:
    """What each file holds, by its name."""
    return {
        f"{one.name}.json": json.dumps(one.json(), indent=1, ensure_ascii=False) + "\n"
        for one in dashboards()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for name, content in texts().items():
        (FOLDER / name).write_text(content)

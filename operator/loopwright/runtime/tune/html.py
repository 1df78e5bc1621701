"""A sweep's report for people: one HTML file that needs no network, made of the history alone.

python -m loopwright.runtime.tune.html history.jsonl > report.html
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, Final

import optuna
import plotly.graph_objects as go
from optuna import visualization
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from plotly.offline import get_plotlyjs

from loopwright.api import sweep_history
from loopwright.api.hyperparametersweep_status import TrialState as State
from loopwright.api.sweep_history import TrialRecord

TABLE_ROWS: Final = 20
# A range over more than this many times its least value is shown by its logarithm.
WIDE: Final = 100.0
HEIGHT: Final = 420
# Lines that can still be told apart, and read on a phone.
MAX_CURVES: Final = 60
COLUMN: Final = 90
ACCENT: Final = "#c2410c"


def render(records: Sequence[TrialRecord]) -> str:
    """The report of a sweep's trials.

    Raises:
        ValueError: there is no trial.
    """
    if not records:
        raise ValueError("the history has no trials")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _study(records)
    charts = "".join(_section(chart) for chart in _charts(records, study))
    return PAGE.format(
        title=escape(records[0].sweep), style=STYLE, script=get_plotlyjs(), head=_head(records),
        charts=charts, table=_table(records), resize=RESIZE,
    )  # fmt: skip


def _study(records: Sequence[TrialRecord]) -> optuna.Study:
    directions = [StudyDirection[one.value.upper()] for one in records[0].directions.values()]
    study = optuna.create_study(study_name=records[0].sweep, directions=directions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(records[0].directions))
    axes = {name: _axis([r.parameters[name] for r in records]) for name in _parameters(records)}
    by_number = {record.number: record for record in records if record.ended}
    # Optuna counts from 0, sweeps from 1; trials that have no result keep their place.
    for number in range(max(by_number, default=0) + 1):
        record = by_number.get(number)
        nothing = create_trial(state=TrialState.FAIL)
        study.add_trial(nothing if record is None else _trial(record, axes))
    return study


def _parameters(records: Sequence[TrialRecord]) -> list[str]:
    return [name for name in records[0].parameters if all(name in r.parameters for r in records)]


Axis = tuple[BaseDistribution, Callable[[str], Any]]


def _axis(texts: Sequence[str]) -> Axis:
    """What values look like: the history does not say what the space was."""
    for kind, distribution in ((int, IntDistribution), (float, FloatDistribution)):
        try:
            values = [kind(text) for text in texts]
        except ValueError:
            continue
        low, high = min(values), max(values)
        if low == high:
            break
        return distribution(low, high, log=low > 0 and high / low > WIDE), kind  # type: ignore[arg-type]
    return CategoricalDistribution(sorted(set(texts))), str


def _trial(record: TrialRecord, axes: dict[str, Axis]) -> FrozenTrial:
    whole = record.state is State.SUCCEEDED and record.measured
    return create_trial(
        state=TrialState.COMPLETE if whole else TrialState.FAIL,
        values=[record.objectives[name] for name in record.directions] if whole else None,
        params={name: read(record.parameters[name]) for name, (_, read) in axes.items()},
        distributions={name: distribution for name, (distribution, _) in axes.items()},
    )


@dataclass(frozen=True)
class Chart:
    """A part of the page."""

    title: str
    what: str
    """What to see there."""
    figure: go.Figure | None
    """None: there is too little to show."""
    width: int = 0
    """Least width in pixels; a narrower screen scrolls."""


def _charts(records: Sequence[TrialRecord], study: optuna.Study) -> list[Chart]:
    objectives = list(records[0].directions)
    several = len(objectives) > 1
    charts = []
    if several:
        what = "Trials that no other beats in every objective, marked."
        charts.append(Chart("Pareto front", what, _drawn(partial(_front, study))))
    for index, name in enumerate(objectives):
        charts += _of_objective(records, study, name, index if several else None)
    return charts


def _of_objective(
    records: Sequence[TrialRecord], study: optuna.Study, name: str, index: int | None
) -> list[Chart]:
    of = "" if index is None else f" of {name}"
    named: dict[str, Any] = {"target": _target(index), "target_name": name}
    history = partial(visualization.plot_optimization_history, study, **named)
    lines = partial(visualization.plot_parallel_coordinate, study, **named)
    forest = FanovaImportanceEvaluator(seed=0)
    importance = partial(visualization.plot_param_importances, study, evaluator=forest, **named)
    return [
        Chart(
            f"Optimisation history{of}",
            "Each trial that ran to its end"
            + (", and the best value until then." if index is None else "."),
            _drawn(history),
        ),
        Chart(
            f"Parallel coordinates{of}", "A line for each trial, coloured by its value.",
            _drawn(lines), (len(_parameters(records)) + 2) * COLUMN,
        ),
        Chart(
            f"Parameter importance{of}",
            "How much of the variation each parameter explains, by fANOVA.", _drawn(importance),
        ),
        Chart(f"Learning curves{of}", "Dotted: stopped early.", _curves(records, name)),
    ]  # fmt: skip


def _target(index: int | None) -> Callable[[FrozenTrial], float] | None:
    return None if index is None else lambda trial: float(trial.values[index])


def _drawn(draw: Callable[[], go.Figure]) -> go.Figure | None:
    try:
        figure = draw()
    except (ValueError, RuntimeError):
        return None  # Too few trials, or all of them alike.
    return figure if figure.data else None


def _front(study: optuna.Study) -> go.Figure:
    """Optuna colours by number, which hides the best among the first trials."""
    figure = visualization.plot_pareto_front(study)
    # The best are drawn last, over the others.
    for one in figure.data:
        color, size = (ACCENT, 10) if one is figure.data[-1] else ("#94a3b8", 6)
        one.update(marker={"color": color, "size": size, "showscale": False, "line": None})
    return figure


def _curves(records: Sequence[TrialRecord], metric: str) -> go.Figure | None:
    """What trials reported, step by step; the best ones on top."""
    order = [one.number for one in sweep_history.ranked(records)][:MAX_CURVES]
    figure = go.Figure()
    for record in sorted(records, key=lambda one: -_place(order, one.number)):
        points = [point for point in record.curve if metric in point.values]
        if _place(order, record.number) < MAX_CURVES and points:
            figure.add_trace(_curve(record, metric, _place(order, record.number) == 0))
    figure.update_layout(xaxis_title="step", yaxis_title=metric, showlegend=False)
    return figure if figure.data else None


def _place(order: Sequence[int], number: int) -> int:
    return order.index(number) if number in order else MAX_CURVES


def _curve(record: TrialRecord, metric: str, best: bool) -> go.Scatter:
    points = [point for point in record.curve if metric in point.values]
    stopped = record.state is State.EARLY_STOPPED
    return go.Scatter(
        x=[point.step for point in points], y=[point.values[metric] for point in points],
        name=record.name, mode="lines+markers" if len(points) == 1 else "lines",
        line={
            "width": 3 if best else 1.2, "dash": "dot" if stopped else "solid",
            "color": ACCENT if best else None,
        },
        opacity=1 if best else 0.6,
    )  # fmt: skip


def _section(chart: Chart) -> str:
    body = "<p class='none'>Too few trials, or too much alike, to show this.</p>"
    if chart.figure is not None:
        text = _plot(chart.figure)
        body = f"<div class='wide'><div style='min-width:{chart.width}px'>{text}</div></div>"
    return f"<section><h2>{escape(chart.title)}</h2><p>{escape(chart.what)}</p>{body}</section>"


def _plot(figure: go.Figure) -> str:
    figure.update_layout(
        title=None, template="plotly_white", margin={"l": 48, "r": 24, "t": 32, "b": 48},
        font={"family": "system-ui, sans-serif", "size": 12}, height=HEIGHT, width=None,
        hoverlabel={"namelength": -1}, legend={"orientation": "h", "y": -0.2},
    )  # fmt: skip
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    text: str = figure.to_html(
        full_html=False, include_plotlyjs=False, default_width="100%", default_height=f"{HEIGHT}px",
        config={"responsive": True, "displaylogo": False, "scrollZoom": False},
    )  # fmt: skip
    return text


def _head(records: Sequence[TrialRecord]) -> str:
    top = sweep_history.ranked(records)
    counts: dict[str, int] = {}
    for record in records:
        counts[record.state.value] = counts.get(record.state.value, 0) + 1
    summary = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    parts = [f"<p>{len(records)} trials: {escape(summary)}.</p>"]
    if top and top[0].state is State.SUCCEEDED:
        best = top[0]
        values = "".join(
            f"<div class='value'><span>{escape(name)} ({direction.value})</span>"
            f"<b>{best.objectives[name]:.6g}</b></div>"
            for name, direction in best.directions.items()
        )
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>"
            for name, text in best.parameters.items()
        )
        where = (
            f"<p>Model: <code>{escape(best.artifacts.model_uri)}</code></p>"
            if best.artifacts and best.artifacts.model_uri
            else ""
        )
        what = " by the first objective" if len(best.directions) > 1 else ""
        parts.append(
            f"<h2>Best trial{what}: {escape(best.name)}</h2>{values}"
            f"<div class='wide'><table>{rows}</table></div>{where}"
        )
    return "".join(parts)


def _table(records: Sequence[TrialRecord]) -> str:
    top = sweep_history.ranked(records)[:TABLE_ROWS]
    if not top:
        return ""
    parameters, objectives = list(top[0].parameters), list(top[0].directions)
    heads = ["Trial", *objectives, *parameters, "Steps", "Seconds", "State"]
    rows = []
    for one in top:
        cells = [
            one.name, *(f"{one.objectives[name]:.6g}" for name in objectives),
            *(_short(one.parameters.get(name, "")) for name in parameters),
            "" if one.step is None else str(one.step), f"{one.seconds:.1f}", one.state.value,
        ]  # fmt: skip
        rows.append("".join(f"<td>{escape(cell)}</td>" for cell in cells))
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f"<section><h2>Top trials</h2><div class='wide'><table class='rows'><thead><tr>{head}</tr>"
        f"</thead><tbody>{body}</tbody></table></div></section>"
    )


def _short(text: str) -> str:
    """A number with no more digits than one compares."""
    try:
        return text if text.lstrip("-").isdigit() else format(float(text), ".4g")
    except ValueError:
        return text


STYLE: Final = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1100px; padding: 16px; color: #1f2937; background: #f8fafc;
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 8px 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0 0 4px; }
section { background: #fff; border: 1px solid #e2e8f0; border-radius: 8px; padding: 16px;
  margin: 16px 0; }
section > p { margin: 0 0 8px; color: #475569; }
.none { font-style: italic; }
.wide { overflow-x: auto; }
.value { display: inline-block; margin: 8px 24px 8px 0; }
.value span { display: block; color: #475569; font-size: .85rem; }
.value b { font-size: 1.6rem; }
code { overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 12px 4px 0; white-space: nowrap; }
.rows th, .rows td { border-bottom: 1px solid #e2e8f0; }
.rows th:first-child, .rows td:first-child { position: sticky; left: 0; background: #fff; }
@media (max-width: 600px) { body { padding: 8px; } section { padding: 12px; } }
"""
# Charts are drawn while the page has no width yet.
RESIZE: Final = """
for (const chart of document.querySelectorAll('.js-plotly-plot')) Plotly.Plots.resize(chart);
"""
PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style><script>{script}</script></head>
<body><h1>Sweep {title}</h1><section>{head}</section>{charts}{table}
<script>{resize}</script></body></html>
"""


def main() -> None:
    """Entry point."""
    records = sweep_history.parse(Path(sys.argv[1]).read_text())
    sys.stdout.write(render(records))


if __name__ == "__main__":
    main()

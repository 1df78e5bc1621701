"""The drift report of an endpoint: its newest windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from loopwright.api.monitoring_status import WindowVerdict
from loopwright.drift import report
from loopwright.monitor.drifting import Drifting
from loopwright.monitor.windows import Revision

_NOTHING: Final = "<p class='soft'>No window has ended yet.</p>"


def page(
    endpoint: str,
    watched: Mapping[Revision, Drifting],
    unknown: Iterable[WindowVerdict],
    experiment: str = "",
) -> str:
    """The report on an endpoint.

    Args:
        watched: Revisions that can be judged.
        unknown: Verdicts on the others.
        experiment: Path of the report on the endpoint's experiment, if there is one.
    """
    parts = [part for _, drifting in sorted(watched.items()) for part in _revision(drifting)]
    parts = [*parts, *(_said(one) for one in unknown)] or [_NOTHING]
    if experiment:
        parts.insert(0, f"<p><a href='{experiment}'>The experiment</a></p>")
    return report.document(f"Drift of {endpoint}", "newest window", parts)


def _revision(drifting: Drifting) -> Iterator[str]:
    for judge in drifting.judges:
        if judge.verdict is not None:
            yield _said(judge.verdict)
            if judge.window is not None:
                counts = judge.window.counts
                yield report.pictures(judge.features(), counts, drifting.reference)


def _said(one: WindowVerdict) -> str:
    when = ""
    if one.window_start is not None and one.window_end is not None:
        when = f"{one.window_start:%Y-%m-%d %H:%M:%S} to {one.window_end:%H:%M:%S} UTC, "
    return report.said(f"{one.name}: variant {one.variant}, revision {one.revision}", one, when)

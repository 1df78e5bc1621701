"""The report on an experiment that people open in a browser."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from loopwright.api.experiment import Experiment
from loopwright.api.experiment_report import ExperimentConfig, ExperimentReport, Known, Point
from loopwright.api.experiment_status import (
    Arm,
    ArmFinding,
    ExperimentFinding,
    GuardrailFinding,
    Ratio,
)
from loopwright.monitor.experiment_page import page, verdict

START = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = {"control": "main", "metric": {"feedback": {"name": "clicked"}}}
CONFIG = ExperimentConfig(
    run="r",
    started_at=START,
    arms=[
        Arm(variant="main", revision="r1", weight=3),
        Arm(variant="next", revision="r1", weight=1),
    ],
    experiment=Experiment.model_validate(SPEC),
)
FINDING = ExperimentFinding(
    reason="Won",
    message="next is better than main",
    winner="next",
    decided_at=START + timedelta(hours=5),
    p_value="0.004",
    sample_ratio=Ratio(p_value="1", expected="main 75.0%", observed="main 74.0%"),
    variants=[
        ArmFinding(name="main", samples=30_000, mean="0.1"),
        ArmFinding(
            name="next", samples=10_000, mean="0.12", effect="0.02", low="0.01", high="0.03",
            p_value="0.004", guardrails=[GuardrailFinding(metric="latency", state="Passed")],
        ),
    ],
)  # fmt: skip


def course(*points: tuple[float, float, float | None, float | None]) -> list[Point]:
    """What was known of the treatment over time."""
    return [
        Point(seconds=at, variants=[Known(name="next", effect=effect, low=low, high=high)])
        for at, effect, low, high in points
    ]


COURSE = course((30, 0.5, None, None), (600, 0.03, -0.2, 0.3), (3600, 0.02, -0.01, 0.05),
                (18_000, 0.02, 0.01, 0.03))  # fmt: skip


def report(**more: Any) -> ExperimentReport:
    """One that is over."""
    fields = {"finding": FINDING, "course": COURSE, **more}
    return ExperimentReport(uid="u", run="r", time=START, **fields)


class Reader(HTMLParser):
    """Sees that what is opened is closed, and what a browser would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words, self.cells, self.loads = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value for name, value in attrs if name in ("src", "href", "onload")]
        if tag not in ("meta", "polygon", "polyline", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value for name, value in attrs if name in ("src", "href", "onload")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and "td" in self.open:
            self.cells.append(data)


def test_it_says_the_verdict_and_each_variant() -> None:
    read = Reader(page("digits", CONFIG, report()))
    assert "Experiment of digits" in read.words
    assert "next has won: next is better than main." in read.words
    assert read.cells == [
        "main", "75.0%", "30,000", "0.1",
        "next ✓", "25.0%", "10,000", "0.12", "0.02", "0.01 to 0.03", "0.004", "latency Passed",
    ]  # fmt: skip
    assert any("main 74.0% for main 75.0%" in one for one in read.words)
    assert read.loads == []


def test_it_draws_the_interval_over_time() -> None:
    text = page("digits", CONFIG, report())
    [band] = re.findall(r"class='band' points='([^']*)'", text)
    places = [tuple(map(float, one.split(","))) for one in band.split()]
    # Three points with bounds: the upper ends forth, and the lower ones back.
    assert len(places) == 6
    upper, lower = places[:3], places[:2:-1]
    assert [x for x, _ in upper] == [x for x, _ in lower] == sorted(x for x, _ in upper)
    assert all(high <= low for (_, high), (_, low) in zip(upper, lower, strict=True))
    [zero] = re.findall(r"class='zero'[^>]* y1='([\d.]+)'", text)
    assert upper[-1][1] < lower[-1][1] < float(zero)
    assert "5 h" in Reader(text).words


def test_without_an_interval_nothing_is_drawn() -> None:
    text = page("digits", CONFIG, report(course=COURSE[:1]))
    assert "There is no interval to draw yet." in Reader(text).words
    assert "<svg" not in text


@pytest.mark.parametrize(
    ("update", "said"),
    [
        ({"reason": "NoDifference", "message": "same"}, "No difference is proven: same."),
        ({"reason": "GuardrailFailed", "winner": "main", "message": "next violates latency"},
         "main stays, as a guardrail failed: next violates latency."),
        ({"reason": "SampleRatioMismatch", "message": "x"}, "The figures cannot be trusted: x."),
        ({"reason": "Undecided", "decided_at": None, "message": "undecided: x"},
         "It goes on: undecided: x."),
    ],
)  # fmt: skip
def test_a_verdict_is_a_sentence(update: dict[str, Any], said: str) -> None:
    assert verdict(CONFIG, FINDING.model_copy(update=update)) == said


def test_what_others_wrote_is_text() -> None:
    odd = "<script>alert('x')</script>"
    text = page(odd, CONFIG, report(finding=FINDING.model_copy(update={"message": odd})))
    assert "<script" not in text
    assert odd in "".join(Reader(text).words)

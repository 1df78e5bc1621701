"""Pictures, drawn here as SVG: without scripts, in the page's own colours, with words for those who
do not see them. Texts of others are escaped by `Markup.format`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from loopwright.api.hyperparametersweep_status import Trial
from loopwright.api.report import Curve
from loopwright.console.axes import Axis, axis_of, figure
from loopwright.console.blocks import Picture

WIDTH, HEIGHT = 340, 170
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 10, 24
# Between two axes of parallel coordinates.
GAP: Final = 100
# Of all of them together, when there are few.
ROOM: Final = 900
MAX_AXES: Final = 12


@dataclass(frozen=True)
class _Frame:
    """Where points lie in a picture."""

    across: Axis
    up: Axis

    def x(self, value: float) -> float:
        return LEFT + self.across.place(value) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - self.up.place(value) * (HEIGHT - TOP - BOTTOM)

    def line(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)

    def grid(self) -> Markup:
        """Lines and numbers."""
        parts = [
            Markup(
                '<path class="rule" d="M{} {:.1f}H{}"/>'
                '<text x="{}" y="{:.1f}" class="end">{}</text>'
            )
            .format(LEFT, self.y(at), WIDTH - RIGHT, LEFT - 6, self.y(at) + 3.5, figure(at))
            for at in self.up.ticks()
        ]  # fmt: skip
        parts += [
            Markup('<text x="{:.1f}" y="{}" class="{}">{}</text>').format(
                self.x(at), HEIGHT - 7, where, figure(at)
            )
            for at, where in ((self.across.low, ""), (self.across.high, "end"))
        ]
        return Markup("").join(parts)


def _drawn(label: str, body: Markup, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, label, body
    )


def fixed(label: str, parts: Sequence[Markup], width: int, height: float) -> Markup:
    """A picture that keeps its size, and that a narrow screen scrolls."""
    return Markup(
        '<svg width="{}" height="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(width, height, width, height, label, Markup("").join(parts))


def curve(one: Curve) -> Picture | None:
    """A metric over its steps; None when there is nothing to draw."""
    points = _points(one)
    if not points:
        return None
    values = [value for _, value in points]
    frame = _Frame(_between([step for step, _ in points]), _between(values))
    (first, start), (last, end) = points[0], points[-1]
    dot = Markup('<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(
        frame.x(last), frame.y(end)
    )
    line = Markup('<polyline class="line" points="{}"/>').format(frame.line(points))
    label = (
        f"{one.name} over steps: from {figure(start)} at step {first:.0f} to {figure(end)} at step"
        f" {last:.0f};"
        f" least {figure(min(values))}, greatest {figure(max(values))}"
    )
    caption = f"{end:.5g} at step {last:.0f}"
    return Picture(one.name, _drawn(label, frame.grid() + line + dot), caption)


def _points(one: Curve) -> list[tuple[float, float]]:
    return list(zip(map(float, one.steps), one.values, strict=False))


def _between(values: Sequence[float]) -> Axis:
    return Axis(min(values), max(values))


def results(one: Curve, maximize: bool) -> Picture | None:
    """What trials have reached, and the best until then."""
    points = _points(one)
    if not points:
        return None
    frame = _Frame(_between([number for number, _ in points]), _between([v for _, v in points]))
    better = max if maximize else min
    best, stairs = points[0][1], [points[0]]
    for number, value in points[1:]:
        stairs.append((number, best))
        best = better(best, value)
        stairs.append((number, best))
    dots = Markup("").join(
        Markup(
            '<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.5"><title>{}</title></circle>'
        ).format(
            frame.x(number), frame.y(value), f"trial {number:.0f}: {value:.5g}"
        )
        for number, value in points
    )  # fmt: skip
    line = Markup('<polyline class="line" points="{}"/>').format(frame.line(stairs))
    label = f"{one.name} of {len(points)} trials; the best is {figure(best)}"
    caption = "Each dot is a trial that ran to its end; the line is the best until then."
    return Picture(f"{one.name} by trial", _drawn(label, frame.grid() + dots + line), caption)


def parallel(trials: Sequence[Trial], objective: str, maximize: bool) -> Picture | None:
    """A line for each trial across its parameters to what it reached; None with too few."""
    usable = [one for one in trials if one.value and _number(one.value) is not None]
    if len(usable) < 2 or not usable[0].parameters:
        return None
    names = [name for name in usable[0].parameters if all(name in one.parameters for one in usable)]
    names = names[: MAX_AXES - 1]
    columns = [[one.parameters[name] for one in usable] for name in names]
    columns.append([one.value or "" for one in usable])
    axes = [axis_of(column) for column in columns]
    gap = max(GAP, min(2 * GAP, ROOM // len(names)))
    width = gap * len(names) + LEFT + 84
    named = zip([*names, objective], axes, strict=True)
    drawn = [_axis(LEFT + place * gap, name, axis) for place, (name, axis) in enumerate(named)]
    ranks = _ranks([float(one.value or 0) for one in usable], maximize)
    lines = []
    for row, one in sorted(enumerate(usable), key=lambda pair: -ranks[pair[0]]):
        points = " ".join(
            f"{LEFT + place * gap:.1f},{_height(axis.place_of(column[row])):.1f}"
            for place, (axis, column) in enumerate(zip(axes, columns, strict=True))
        )
        kind = "best" if ranks[row] == 0 else f"q{min(3, 4 * ranks[row] // len(usable))}"
        lines.append(
            Markup('<polyline class="trial {}" points="{}"><title>{}</title></polyline>').format(
                kind, points, f"{one.name}: {one.value}"
            )
        )
    label = f"Parameters of {len(usable)} trials and the {objective} that each reached"
    svg = fixed(label, [*lines, *drawn], width, HEIGHT + 52)
    caption = (
        f"The {len(usable)} best trials; the strongest line is the best, faint ones are the last."
    )
    return Picture("Parallel coordinates", svg, caption, wide=True)


def _height(place: float) -> float:
    return HEIGHT + 12 - place * (HEIGHT - 20)


def _axis(x: int, name: str, axis: Axis) -> Markup:
    texts = [(_height(axis.place_of(word)) + 3.5, word) for word in axis.words] or [
        (_height(1) - 6, figure(axis.high)), (_height(0) + 14, figure(axis.low))
    ]  # fmt: skip
    left, kind = (x + 5, "") if axis.words else (x, "mid")
    marks = Markup("").join(
        Markup('<text x="{}" y="{:.1f}" class="{}">{}</text>').format(left, y, kind, word[:14])
        for y, word in texts
    )
    head = Markup('<text x="{}" y="{}" class="mid name"><title>{}</title>{}</text>').format(
        x, HEIGHT + 46, name, name if len(name) <= 18 else f"{name[:17]}…"
    )
    rule = Markup('<path class="axis" d="M{} {:.1f}V{:.1f}"/>').format(x, _height(1), _height(0))
    return rule + marks + head


def _ranks(values: Sequence[float], maximize: bool) -> list[int]:
    order = sorted(range(len(values)), key=lambda row: -values[row] if maximize else values[row])
    found = [0] * len(values)
    for rank, row in enumerate(order):
        found[row] = rank
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def split(shares: Sequence[tuple[str, int]]) -> Markup:
    """Shares of a whole beside each other, in percent."""
    total = sum(max(0, share) for _, share in shares)
    if not total:
        return Markup("")
    at, parts = 0.0, []
    for place, (name, share) in enumerate(shares):
        width = 340 * max(0, share) / total
        if not width:
            continue
        text = f"{name} {share} %"
        shown = text if width > 7.2 * len(text) else ""
        parts.append(
            Markup(
                "<g><title>{}</title>"
                '<rect class="s{}" x="{:.1f}" y="0" width="{:.1f}" height="26"/>'
                '<text x="{:.1f}" y="17" class="mid on">{}</text></g>'
            ).format(text, place % 6, at, max(0.0, width - 1.5), at + width / 2, shown)
        )
        at += width
    label = "Traffic: " + ", ".join(f"{name} {share} %" for name, share in shares)
    return _drawn(label, Markup("").join(parts), 340, 26)

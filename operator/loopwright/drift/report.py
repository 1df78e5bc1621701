"""The drift report: each feature's distribution now beside that in training.

One page that needs nothing else; text of others is escaped, and nothing in it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Final

import numpy as np

from loopwright.api.monitoring_status import Judged, MonitorState
from loopwright.drift.reference import Reference
from loopwright.drift.verdict import Finding
from loopwright.sketch import Counts, Feature

# Pictures of one monitor and revision; the worst features come first.
MAX_PICTURES: Final = 100
WIDTH, HEIGHT = 280, 96
STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--line:#d8dee4;--bg:#fff;--then:#9aa5b1;
--now:#0969da;--bad:#cf222e;--ok:#116329}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#30363d;--bg:#0d1117;
--then:#6e7681;--now:#58a6ff;--bad:#ff7b72;--ok:#56d364}}
body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem auto;max-width:76rem;padding:0 1rem;
color:var(--ink);background:var(--bg)}
h1{font-size:1.4rem;margin:.2rem 0}h2{font-size:1.1rem;margin:2rem 0 .2rem}p{margin:.2rem 0}
.soft{color:var(--soft)}.Violated{color:var(--bad);font-weight:600}.OK{color:var(--ok)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1rem;
margin-top:.8rem}
figure{margin:0;border:1px solid var(--line);border-radius:6px;padding:.5rem .6rem}
figure.bad{border-color:var(--bad)}
figcaption{display:flex;justify-content:space-between;gap:.5rem;font-size:.85rem}
figcaption b{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
svg{width:100%;height:auto;display:block}.then{fill:var(--then)}.now{fill:var(--now)}
.bad .now{fill:var(--bad)}text{fill:var(--soft);font-size:9px}
.key span{white-space:nowrap;margin-right:1em}
.key i{display:inline-block;width:.8em;height:.8em;margin-right:.3em;vertical-align:-.05em}
"""


def document(title: str, now: str, parts: Sequence[str]) -> str:
    """The whole page.

    Args:
        now: What is compared with the training data, such as "newest window".
        parts: Sections, in HTML.
    """
    return sheet(title, f"{key(now)}{''.join(parts)}")


def key(now: str) -> str:
    """What the colours of pictures mean.

    Args:
        now: As for `document`.
    """
    return (
        "<p class='key soft'><span><i style='background:var(--then)'></i>training data</span>"
        f" <span><i style='background:var(--now)'></i>{now}</span>"
        f" <span><i style='background:var(--bad)'></i>{now}, beyond a threshold</span></p>"
    )


def sheet(title: str, body: str, style: str = "") -> str:
    """A page of this look.

    Args:
        body: What comes below the title, in HTML.
        style: More rules of CSS.
    """
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body>"
        f"<h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def said(heading: str, one: Judged, when: str = "") -> str:
    """A heading, and what a monitor says.

    Args:
        when: What was judged, before the number of rows.
    """
    known = one.state in (MonitorState.OK, MonitorState.VIOLATED)
    parts = [f"<span class='{one.state}'>{one.state}</span>"]
    if one.message:
        parts.append(escape(one.message))
    if known:
        parts.append(f"{one.drifted} of {one.features} features beyond a threshold")
    rows = f"{when}{one.samples:,} rows" if known or when else ""
    return f"<h2>{escape(heading)}</h2><p>{'; '.join(parts)}</p><p class='soft'>{rows}</p>"


def pictures(features: Sequence[Finding], now: Counts, reference: Reference) -> str:
    """The distributions of features, those in violation first."""
    layout = reference.layout
    pairs = {
        feature.name: (feature, before, after)
        for feature, before, after in zip(
            layout.features, layout.bins_of(reference.bins), layout.bins_of(now.bins), strict=True
        )
    }
    order = sorted(features, key=lambda one: -one.violated)
    shown = order[:MAX_PICTURES]
    more = len(order) - len(shown)
    drawn = "".join(_picture(one, *pairs[one.feature]) for one in shown)
    rest = f"<p class='soft'>and {more} more features</p>" if more > 0 else ""
    return f"<div class='grid'>{drawn}</div>{rest}"


def _picture(one: Finding, feature: Feature, before: np.ndarray, now: np.ndarray) -> str:
    value = "" if one.value is None else f"{one.value:.3g}"
    limit = "" if one.threshold is None else f" / {one.threshold:.3g}"
    method = str(one.method or one.check)
    kind = " class='bad'" if one.violated else ""
    return (
        f"<figure{kind}><figcaption><b title='{escape(feature.name, quote=True)}'>"
        f"{escape(feature.name)}</b><span class='soft'>{method} {value}{limit}</span></figcaption>"
        f"{_bars(feature, _shares(before), _shares(now))}</figure>"
    )


def _shares(counts: np.ndarray) -> list[float]:
    total = int(counts.sum()) or 1
    return [int(one) / total for one in counts]


def _bars(feature: Feature, before: list[float], now: list[float]) -> str:
    """Two bars a bin, beside each other; bins are equally wide, whatever they stand for."""
    names = _names(feature)
    top = max(*before, *now, 1e-9)
    step = WIDTH / len(before)
    base = HEIGHT - 12
    bars = []
    for place, (then, new) in enumerate(zip(before, now, strict=True)):
        text = f"{names[place]}: {then:.1%} in training, {new:.1%} now"
        left = place * step
        bars.append(
            f"<g><title>{escape(text)}</title>"
            f"{_bar('then', left + step * 0.08, step * 0.42, then / top, base)}"
            f"{_bar('now', left + step * 0.5, step * 0.42, new / top, base)}</g>"
        )
    ends = (
        f"<text x='0' y='{HEIGHT - 1}'>{escape(names[0][:24])}</text>"
        f"<text x='{WIDTH}' y='{HEIGHT - 1}' text-anchor='end'>{escape(names[-1][:24])}</text>"
    )
    label = escape(f"Shares of {feature.name} by bin", quote=True)
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{label}'>"
        f"{''.join(bars)}{ends}</svg>"
    )


def _bar(kind: str, left: float, width: float, share: float, base: int) -> str:
    height = share * (base - 2)
    return (
        f"<rect class='{kind}' x='{left:.1f}' y='{base - height:.1f}' width='{width:.1f}'"
        f" height='{height:.1f}'/>"
    )


def _names(feature: Feature) -> list[str]:
    """What each bin holds, for people."""
    if not feature.numeric:
        return [*(str(one) for one in feature.profile.categories), "others", "new"]
    cuts = [f"{one:.4g}" for one in feature.cuts]
    if not cuts:
        return ["all"]
    inner = [f"{low} to {high}" for low, high in pairwise(cuts)]
    return [f"below {cuts[0]}", *inner, f"from {cuts[-1]}"]

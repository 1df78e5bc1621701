"""The quality report: what was checked and found, as JSON and as a page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from loopwright.api.validation import ValidationResult
from loopwright.drift import report
from loopwright.runtime.findings import Check, Column, Findings
from loopwright.runtime.storage import Folder

STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;
color:#1b1f24;background:#fff}
h1{font-size:1.4rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}.wide{overflow-x:auto}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #d8dee4}
th{font-weight:600;background:#f6f8fa}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.ok{color:#116329}span.bad{color:#a40e26;font-weight:600}code{font-size:.9em}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th{background:#161b22}
th,td{border-color:#30363d}.ok{color:#56d364}span.bad{color:#ff7b72}}
"""


def write(
    folder: Folder, base: str, findings: Findings, result: ValidationResult, pictures: str = ""
) -> str:
    """Writes `<base>.json` and `<base>.html`; returns the page's URI.

    Args:
        pictures: More of the page, in HTML as `drift.report` makes it.
    """
    folder.write(f"{base}.json", as_json(findings, result))
    folder.write(f"{base}.html", as_html(findings, result, pictures).encode())
    return folder.child(f"{base}.html")


def as_json(findings: Findings, result: ValidationResult) -> bytes:
    """For programs."""
    content = {
        "name": result.name, "passed": result.passed, "rows": findings.rows,
        "checks": [
            {**check.model_dump(), "passed": check.passed} for check in findings.checks.values()
        ],
        "columns": [
            {
                "name": one.name, "count": one.count, "missing": one.missing,
                "numbers": one.numbers,
                "min": one.min, "max": one.max, "mean": one.mean, "std": one.std,
            }
            for one in findings.columns.values()
        ],
    }  # fmt: skip
    return json.dumps(content, indent=1, ensure_ascii=False).encode()


def as_html(findings: Findings, result: ValidationResult, pictures: str = "") -> str:
    """For people: what failed comes first."""
    checks = sorted(findings.checks.values(), key=lambda check: check.passed)
    verdict = (
        f"{result.failed} of {result.checks} checks failed"
        if result.failed
        else (f"all {result.checks} checks passed")
    )
    kind = "bad" if result.failed else "ok"
    style = f"{report.STYLE}{STYLE}" if pictures else STYLE
    title = f"Data quality of {result.name}"
    check_head = ("Column", "Check", "Result", "#Checked", "#Failed", "#Allowed", "Found")
    column_head = ("Column", "#Values", "#Missing", "#Min", "#Max", "#Mean", "#Std. deviation")
    columns = [_column(one) for one in findings.columns.values()]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<h1>{escape(title)}</h1><p><span class='{kind}'>{verdict}</span>,"
        f" {findings.rows:,} rows</p><h2>Checks</h2>"
        + _table(check_head, [_check(check) for check in checks])
        + pictures
        + (f"<h2>Columns</h2>{_table(column_head, columns)}" if columns else "")
        + "</body></html>\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns whose heading begins with # hold numbers."""
    numeric = [title.startswith("#") for title in head]
    cells = "".join(
        f"<th{' class=n' if right else ''}>{escape(title.lstrip('#'))}</th>"
        for title, right in zip(head, numeric, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=n' if right else ''}>{cell}</td>"
            for cell, right in zip(row, numeric, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div class='wide'>{table}</div>"


def _check(check: Check) -> list[str]:
    result = "<span class='ok'>passed</span>" if check.passed else "<span class='bad'>failed</span>"
    places = [one.file if one.line is None else f"{one.file}:{one.line}" for one in check.examples]
    examples = "<br>".join(
        f"<code>{escape(one.value)}</code> {escape(place)}"
        for one, place in zip(check.examples, places, strict=True)
    )
    found = escape(check.found) or examples
    allowed = f"{check.allowed_percent:g} %"
    numbers = [f"{check.total:,}", f"{check.failed:,}", allowed]
    return [f"<code>{escape(check.column)}</code>", escape(check.check), result, *numbers, found]


def _column(one: Column) -> list[str]:
    figures = [f"{one.count:,}", f"{one.missing:,}"]
    figures += ["" if v is None else f"{v:.6g}" for v in (one.min, one.max, one.mean, one.std)]
    return [f"<code>{escape(one.name)}</code>", *figures]

"""Conditions and reasons in the documentation are those of the code, all of them."""

from __future__ import annotations

import re

from doc_pages import DOCS, ROOT
from reasons import conditions, reasons, trees

REFERENCE = (DOCS / "reference" / "conditions.md").read_text()
TROUBLES = (DOCS / "guides" / "troubleshooting.md").read_text()
# Put together from a kind's name, or from a condition's.
MADE = re.compile(
    r"(ConfigMap|Secret|PersistentVolumeClaim|LocalQueue|PriorityClass|TrainingJob|"
    r"HyperparameterSweep)(NotFound|Failed|Unfinished)|Not(GoalReached|Exhausted|BudgetExceeded)"
)


def cells(text: str, column: int = 0) -> set[str]:
    """Words that stand in backticks in a column of the tables."""
    rows = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)
    shown = [re.split(r"(?<!\\)\|", row)[column] for row in rows]
    return {name for cell in shown for name in re.findall(r"`([A-Z]\w+)`", cell)}


def between(text: str, first: str, last: str) -> str:
    return text[text.index(first) : text.index(last)]


def test_all_conditions_are_explained_and_exist() -> None:
    told = cells(between(REFERENCE, "## Conditions of all kinds", "## Reasons that ask"))
    assert told == conditions()


def test_all_reasons_are_explained() -> None:
    others = [
        DOCS / "concepts" / "serving.md", DOCS / "concepts" / "monitoring.md",
        DOCS / "guides" / "tuning.md", DOCS / "reference" / "model-server.md",
    ]  # fmt: skip
    told = {name for text in (REFERENCE, TROUBLES) for name in re.findall(r"`([A-Z]\w+)`", text)}
    told |= {name for page in others for name in re.findall(r"`([A-Z]\w+)`", page.read_text())}
    assert reasons() - told == set()


def test_all_reasons_that_are_explained_exist() -> None:
    there = "\n".join(
        path.read_text() for path in (ROOT / "operator/loopwright").rglob("*.py")
        if path.relative_to(ROOT / "operator/loopwright").as_posix() in trees()
    )  # fmt: skip
    waits = between(TROUBLES, "## Why no attempt", "## Symptoms")
    told = cells(waits) | cells(REFERENCE[REFERENCE.index("## Reasons that") :])
    assert {name for name in told if f'"{name}"' not in there and not MADE.fullmatch(name)} == set()


def test_every_remedy_of_the_tool_is_for_a_reason_that_is_explained() -> None:
    from loopwright.view.remedies import OTHERS, REASONS

    told = set(re.findall(r"`([A-Z]\w+)`", REFERENCE + TROUBLES))
    told |= set(re.findall(r"`([A-Z]\w+)`", (DOCS / "concepts" / "serving.md").read_text()))
    assert set(REASONS) <= told
    assert {condition for condition, _, _ in OTHERS} <= conditions()

"""The condition DataValidated, from what the checks of data found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from loopwright.api.validation import ValidationResult
from loopwright.decide.conditions import Claim

CONDITION: Final = "DataValidated"


def validated(asked: Iterable[str], results: Sequence[ValidationResult]) -> Claim:
    """Whether all data that is to be checked has passed.

    Args:
        asked: Names of the inputs that are to be checked; at least one.
        results: Those of the checks that have ended, in any order.
    """
    known = {one.name: one for one in results}
    found = [(name, known.get(name)) for name in asked]
    failed = [one for _, one in found if one is not None and not one.passed]
    if failed:
        return Claim(False, "ChecksFailed", "; ".join(_told(one) for one in failed))
    waits = [name for name, one in found if one is None]
    if waits:
        return Claim(False, "NotChecked", f"not checked yet: {', '.join(waits)}")
    return Claim(True, "Passed", "; ".join(_told(one) for _, one in found if one is not None))


def _told(one: ValidationResult) -> str:
    text = one.message or f"{one.checks} checks of {one.rows} rows"
    return f"{one.name}: {text}" + (f"; see {one.report_uri}" if one.report_uri else "")

"""False alarms are as rare as asked for, and changes are seen: a small part of the benchmark."""

from __future__ import annotations

import math

import pytest

from drift_simulation import (
    Change,
    alarms,
    emptied,
    populations,
    power,
    scaled,
    shifted,
    swapped,
)


def most(alpha: float, windows: int) -> float:
    """Alarms that are plausible at a rate, but for one run in a thousand; windows of one baseline
    share its luck, hence the half."""
    return windows * alpha + 3.1 * math.sqrt(windows * alpha) * 1.5


@pytest.mark.parametrize(
    "name", ["normal", "zipf", "wine", "diabetes", "digits", "images of digits"]
)
def test_false_alarms_are_as_rare_as_asked_for(name: str) -> None:
    found = alarms(populations()[name], rows=500, trained=2000, baselines=10, each=10)
    assert found.windows == 100
    assert found.tests_at_5 <= most(0.05, 100)
    assert found.tests_at_1 <= most(0.01, 100)
    assert found.default <= found.tests_at_1
    assert found.held <= found.default


@pytest.mark.parametrize(
    ("name", "column", "change", "least", "largest"),
    [
        ("wine", "alcohol", shifted(0.0), 0.0, 0.02),
        ("wine", "alcohol", shifted(0.1), 0.0, 0.2),
        ("wine", "alcohol", shifted(0.5), 0.98, 1.0),
        ("diabetes", "bmi", shifted(0.5), 0.98, 1.0),
        ("diabetes", "bmi", scaled(1.5), 0.98, 1.0),
        ("wine", "hue", emptied(0.01), 0.0, 0.1),
        ("wine", "hue", emptied(0.08), 0.98, 1.0),
        ("digits", "pixel_3_3", emptied(0.08), 0.98, 1.0),
        ("wine", "cultivar", swapped(0.5), 0.98, 1.0),
        ("diabetes", "sex", swapped(0.5), 0.98, 1.0),
    ],
)
def test_changes_are_seen_from_some_size_on(
    name: str, column: str, change: Change, least: float, largest: float
) -> None:
    found = power(populations()[name], column, change, 1000, 3000, baselines=5, each=10)
    assert least <= found <= largest

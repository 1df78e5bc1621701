"""What a sweep's report tells of all its trials, for pictures."""

from __future__ import annotations

import pytest

from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.api.shared import Direction
from loopwright.api.sweep_history import MAX_POINTS, TrialRecord, results


def record(
    number: int, value: float | None, direction: Direction = Direction.MAXIMIZE,
    state: TrialState = TrialState.SUCCEEDED,
) -> TrialRecord:  # fmt: skip
    """A trial, and what it reached."""
    reached = {} if value is None else {"accuracy": value}
    return TrialRecord(
        sweep="s", name=f"t{number}", number=number, state=state, objectives=reached,
        directions={"accuracy": direction},
    )  # fmt: skip


def test_only_what_can_be_compared_is_told() -> None:
    found = results([
        record(3, 0.5), record(1, 0.25), record(2, None),
        record(4, 0.9, state=TrialState.EARLY_STOPPED), record(5, 0.9, state=TrialState.RUNNING),
    ])  # fmt: skip
    assert found is not None
    assert (found.name, found.steps, found.values) == ("accuracy", [1, 3], [0.25, 0.5])
    assert results([record(1, None)]) is None


@pytest.mark.parametrize("direction", list(Direction))
def test_of_many_some_are_left_out_but_none_that_was_the_best(direction: Direction) -> None:
    sign = 1 if direction is Direction.MAXIMIZE else -1
    # Each tenth is better than all before it.
    values = {n: sign * (n if n % 10 == 0 else -n) for n in range(1, 1001)}
    found = results([record(n, float(value), direction) for n, value in values.items()])
    assert found is not None
    assert len(found.steps) <= MAX_POINTS
    assert {n for n in values if n % 10 == 0} <= set(found.steps)
    assert found.steps == sorted(found.steps)


def test_a_sweep_that_always_improves_still_fits() -> None:
    found = results([record(n, float(n)) for n in range(1, 1001)])
    assert found is not None
    assert len(found.steps) == MAX_POINTS
    assert found.steps[-1] == 1000

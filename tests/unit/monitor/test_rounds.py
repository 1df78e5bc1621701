"""What happened between two rounds, and when nobody can say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loopwright.monitor.experiment.rounds import SETTLE, Increase, Reading, Rounds
from loopwright.monitor.experiment.samples import Totals

A = Reading(
    "main", 100, {"clicked": {"main": Totals(50, 5, 5), "next": Totals(40, 8, 8)}}, 1.0, "p"
)
B = Reading("next", 70, {"clicked": {"main": Totals(10, 1, 1)}}, 2.0, "q")


def more(one: Reading, arrivals: float, **feedback: tuple[float, float]) -> Reading:
    """The same process later."""
    clicked = dict(one.outcomes["clicked"])
    for variant, (count, total) in feedback.items():
        clicked[variant] = one.of("clicked", variant) + Totals(count, total, total)
    return replace(one, arrivals=one.arrivals + arrivals, outcomes={"clicked": clicked})


def calm() -> Rounds:
    """Rounds that have gone on for a while; the last was at 100 seconds."""
    rounds = Rounds()
    for now in (0.0, SETTLE, 100.0):
        rounds.take({"a": A, "b": B}, now)
    return rounds


def test_feedback_counts_for_the_variant_that_answered_wherever_it_came() -> None:
    found = calm().take(
        {"a": more(A, 10, main=(4, 1), next=(2, 2)), "b": more(B, 20, main=(1, 0), next=(3, 1))},
        105.0,
    )
    assert found == Increase(
        {"main": 10, "next": 20}, {"clicked": {"main": Totals(5, 1, 1), "next": Totals(5, 3, 3)}}
    )


def test_nothing_of_before_counts() -> None:
    rounds = Rounds()
    assert rounds.take({"a": A, "b": B}, 0.0) is None
    assert rounds.take({"a": more(A, 9), "b": B}, SETTLE / 2) is None
    found = rounds.take({"a": more(A, 10), "b": B}, SETTLE)
    assert found is not None
    assert found.arrivals == {"main": 1, "next": 0}


@pytest.mark.parametrize(
    "odd",
    [
        {"a": more(A, 1)},
        {"a": more(A, 1), "b": B, "c": B},
        {"a": more(A, 1), "c": B},
        {"a": more(A, 1), "b": replace(B, process="r")},
        {"a": more(A, 1), "b": replace(B, started=9.0)},
        {"a": replace(A, arrivals=3), "b": B},
        {"a": A, "b": replace(B, outcomes={})},
    ],
    ids=["gone", "new", "another", "restarted", "begun later", "fewer requests", "less feedback"],
)
def test_what_is_not_known_in_whole_is_left_out(odd: dict[str, Reading]) -> None:
    rounds = calm()
    assert rounds.take(odd, 105.0) is None
    later = {pod: more(one, 5) if one.outcomes else one for pod, one in odd.items()}
    found = rounds.take(later, 110.0)
    assert found is not None
    assert sum(found.arrivals.values()) == 5 * sum(bool(one.outcomes) for one in odd.values())


def test_after_a_variant_was_away_the_gateway_has_time() -> None:
    rounds = calm()
    assert rounds.take(None, 105.0) is None
    assert rounds.take({"a": A, "b": B}, 110.0) is None
    assert rounds.take({"a": more(A, 5), "b": B}, 115.0) is None
    found = rounds.take({"a": more(A, 8), "b": B}, 110.0 + SETTLE)
    assert found is not None
    assert found.arrivals["main"] == 3


def test_a_clock_that_is_adjusted_is_no_restart() -> None:
    moved = replace(more(A, 1), started=2.5)
    assert calm().take({"a": moved, "b": B}, 105.0) is not None

"""From counters to windows: nothing is lost, invented or counted twice, whatever restarts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright.monitor.exposition import Counters, Sample
from loopwright.monitor.windows import History, Revision

WINDOW, TICK = 60.0, 5.0
BOUNDS = (0.1, 1.0, math.inf)
ONE = Revision("main", "r1")


@dataclass
class Process:
    """A server that counts; it keeps every answer, so that the truth is known."""

    started: float
    answers: list[tuple[float, bool, float]] = field(default_factory=list)
    """When, whether it was an error, and how long it took."""
    shown: int = 0
    """Answers that some scrape has shown."""

    def sample(self, told: bool = True) -> Sample:
        """What a scrape shows now."""
        buckets = {
            bound: float(sum(seconds <= bound for _, _, seconds in self.answers))
            for bound in BOUNDS
        }
        errors = float(sum(error for _, error, _ in self.answers))
        counters = Counters(float(len(self.answers)), errors, buckets if self.answers else {})
        return Sample(counters, started=self.started if told else None)


def total(history: History) -> tuple[int, int, dict[float, int]]:
    """The window's counts as whole numbers."""
    counters = history.window(ONE).counters
    buckets = {bound: round(count) for bound, count in counters.buckets.items()}
    return round(counters.requests), round(counters.errors), buckets


ANSWER = st.tuples(st.integers(0, 2), st.booleans(), st.sampled_from([0.05, 0.5, 5.0]))
# What happens to the pod of a number between two scrapes.
FATE = st.sampled_from(["nothing", "nothing", "nothing", "restart", "replace", "gone"])
ROUND = st.tuples(st.lists(ANSWER, max_size=8), st.lists(FATE, min_size=3, max_size=3))


@given(st.lists(ROUND, min_size=1, max_size=40))
def test_a_window_holds_what_scrapes_have_shown(rounds: list) -> None:
    """Restarts, new pods and pods that vanish: each answer counts once, in its time."""
    history, now, replaced = History(WINDOW), 1000.0, 0
    pods = {number: (f"pod-{number}", Process(now)) for number in range(3)}
    shown: list[tuple[float, bool, float]] = []
    for answers, fates in rounds:
        for number, fate in enumerate(fates):
            if fate == "restart" and number in pods:
                pods[number] = (pods[number][0], Process(now))
            elif fate == "replace":
                replaced += 1
                pods[number] = (f"pod-{number}-{replaced}", Process(now))
            elif fate == "gone":
                pods.pop(number, None)
        # Later than a clock's jitter, or a restart might be taken for one.
        now += TICK
        for number, error, seconds in answers:
            if number in pods:
                pods[number][1].answers.append((now, error, seconds))
        history.advance(now)
        for uid, process in pods.values():
            shown += [(now, *answer[1:]) for answer in process.answers[process.shown :]]
            process.shown = len(process.answers)
            history.take(ONE, uid, process.sample(), now - process.started)
        due = [answer for answer in shown if now - WINDOW < answer[0] <= now]
        requests, errors, buckets = total(history)
        assert (requests, errors) == (len(due), sum(error for _, error, _ in due))
        for bound, count in buckets.items():
            assert count == sum(seconds <= bound for _, _, seconds in due)
        assert buckets or not due


BREAKS = st.tuples(
    st.lists(ANSWER, max_size=8),
    st.lists(FATE, min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.sampled_from([TICK, TICK, 30.0, 70.0, 200.0]),
)


@given(st.lists(BREAKS, min_size=1, max_size=40), st.booleans(), st.integers(0, 50))
def test_a_window_never_holds_more_than_happened(rounds: list, told: bool, old: int) -> None:
    """Scrapes that fail, long silence, a monitor that starts late, servers that hide restarts."""
    history, now = History(WINDOW), 1000.0
    pods = {
        number: (f"pod-{number}", Process(now - 500, [(now - 400, True, 5.0)] * old))
        for number in range(3)
    }
    all_answers: list[tuple[float, bool, float]] = []
    for answers, fates, scraped, pause in rounds:
        for number, fate in enumerate(fates):
            if fate == "restart":
                pods[number] = (pods[number][0], Process(now))
        now += pause
        for number, error, seconds in answers:
            pods[number][1].answers.append((now, error, seconds))
            all_answers.append((now, error, seconds))
        history.advance(now)
        for (uid, process), answered in zip(pods.values(), scraped, strict=True):
            if answered:
                age = now - process.started if told else None
                history.take(ONE, uid, process.sample(told), age)
        requests, errors, buckets = total(history)
        possible = [answer for answer in all_answers if answer[0] > now - 2 * WINDOW]
        assert 0 <= requests <= len(possible)
        assert 0 <= errors <= sum(error for _, error, _ in possible)
        assert all(0 <= count <= len(possible) for count in buckets.values())
        assert 0 <= history.window(ONE).seconds <= WINDOW


def sample(requests: float, errors: float = 0.0, started: float | None = 0.0) -> Sample:
    """One without a histogram."""
    return Sample(Counters(requests, errors), started=started)


def test_the_past_of_a_server_is_not_the_windows() -> None:
    history = History(WINDOW)
    history.advance(1000.0)
    history.take(ONE, "a", sample(5000, 5000), age=3600.0)
    assert total(history)[:2] == (0, 0)
    history.advance(1005.0)
    history.take(ONE, "a", sample(5010, 5000), age=3605.0)
    assert total(history)[:2] == (10, 0)
    assert history.window(ONE).seconds == 5.0


def test_a_monitor_that_starts_anew_sees_all_of_a_young_server() -> None:
    history = History(WINDOW)
    history.advance(1000.0)
    history.take(ONE, "a", sample(40, 2), age=20.0)
    assert total(history)[:2] == (40, 2)
    assert history.window(ONE).seconds == 20.0


def test_the_clock_of_another_node_may_be_ahead() -> None:
    history = History(WINDOW)
    history.advance(1000.0)
    history.take(ONE, "a", sample(40), age=-3.0)
    assert total(history)[0] == 40
    assert history.window(ONE).seconds == 0.0


def test_a_start_time_that_jitters_is_no_restart() -> None:
    history = History(WINDOW)
    for number in range(4):
        history.advance(1000.0 + number)
        started = 500.0 + number % 2
        history.take(ONE, "a", sample(100 + number, started=started), age=500.0)
    assert total(history)[0] == 3


@pytest.mark.parametrize("started", [None, 9000.0])
def test_a_restart_is_seen_without_a_clock(started: float | None) -> None:
    """By smaller counters alone, or by a start that the node's wrong clock puts anywhere."""
    history = History(WINDOW)
    history.advance(1000.0)
    history.take(ONE, "a", sample(100, started=started), age=None)
    history.advance(1005.0)
    history.take(ONE, "a", sample(7, started=started and started + 5), age=started)
    assert total(history)[0] == 7
    assert history.window(ONE).seconds == 5.0


def test_two_revisions_do_not_mix() -> None:
    history, other = History(WINDOW), Revision("main", "r2")
    history.advance(1000.0)
    history.take(ONE, "a", sample(4), age=1.0)
    history.take(other, "b", sample(6, 6), age=1.0)
    assert total(history)[:2] == (4, 0)
    assert history.window(other).counters.errors == 6


COUNTS = st.dictionaries(st.sampled_from([0.1, 0.5, 1.0, 2.0]), st.integers(0, 9), max_size=4)


@given(st.lists(COUNTS, max_size=5))
def test_merging_keeps_what_is_exact(parts: list[dict[float, int]]) -> None:
    """Histograms with other bounds meet at the common ones, in any order."""
    counters = [Counters(buckets={**part, math.inf: 9.0}) for part in parts]
    merged, backwards = Counters(), Counters()
    for one in counters:
        merged += one
    for one in reversed(counters):
        backwards = one + backwards
    assert merged == backwards
    common = set.intersection(*(set(one.buckets) for one in counters)) if counters else set()
    wanted = {bound: sum(one.buckets[bound] for one in counters) for bound in common}
    assert merged.buckets == pytest.approx(wanted)

"""Verdicts: what violates, what is only noise, and what is not known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drift_worlds import counted, finding, normal

from loopwright.api.baseline import Baseline
from loopwright.drift import (
    Check,
    Correction,
    Limits,
    Method,
    Reference,
    Rules,
    State,
    Verdict,
    evaluate,
)
from loopwright.sketch import Counts, Layout, Sketch
from loopwright.train.profile import profile

ROOT = Path(__file__).resolve().parents[3]
RNG = np.random.default_rng(7)
DATA, BASELINE = normal(5000, 8)
LAYOUT = Layout.of(BASELINE)
REFERENCE = Reference.of(BASELINE)


def rows(count: int = 2000) -> Any:
    """New rows without drift."""
    return RNG.normal(size=(count, 8))


def judged(data: Any, rules: Rules | None = None) -> Verdict:
    """The verdict on rows."""
    return evaluate(REFERENCE, counted(LAYOUT, data), rules)


def test_nothing_has_drifted() -> None:
    verdict = judged(rows())
    assert (verdict.state, verdict.reason, verdict.message) == (State.OK, "", "")
    assert verdict.violations == ()
    assert (verdict.rows, verdict.share) == (2000, 0)
    drift = finding(verdict, "f0", Check.DRIFT)
    assert drift.state is State.OK
    assert drift.method is Method.JENSEN_SHANNON
    assert drift.threshold == 0.1
    assert drift.value is not None
    assert 0 <= drift.value < 0.1
    assert drift.p_value is not None
    assert drift.adjusted is not None
    assert drift.adjusted >= drift.p_value


def moved(data: Any) -> None:
    data[:, 3] += 0.5


def widened(data: Any) -> None:
    data[:, 3] *= 1.6


def emptied(data: Any) -> None:
    data[: len(data) // 10, 3] = np.nan


def broken(data: Any) -> None:
    data[: len(data) // 20, 3] = 1e9


@pytest.mark.parametrize(
    ("change", "check"),
    [(moved, Check.DRIFT), (widened, Check.DRIFT), (emptied, Check.MISSING),
     (broken, Check.OUT_OF_RANGE)],
)  # fmt: skip
def test_one_feature_among_many_is_enough(change: Any, check: Check) -> None:
    data = rows()
    change(data)
    verdict = judged(data)
    assert verdict.state is State.VIOLATED
    assert {one.feature for one in verdict.violations} == {"f3"}
    found = finding(verdict, "f3", check)
    assert found in verdict.violations
    assert found.severity >= 1
    assert found.effect is not None
    assert found.adjusted is not None
    assert found.adjusted <= 0.01
    assert "f3" in verdict.message
    assert verdict.reason == verdict.violations[0].check


@pytest.mark.parametrize("method", [one for one in Method if one is not Method.AUTO])
def test_every_method_sees_a_shift_and_tells_it_from_noise(method: Method) -> None:
    rules = Rules(limits=Limits(method=method))
    assert judged(rows(), rules).state is State.OK
    data = rows()
    moved(data)
    verdict = judged(data, rules)
    assert [one.feature for one in verdict.violations] == ["f3"]
    assert verdict.violations[0].method is method


def test_many_rows_do_not_make_a_small_shift_matter() -> None:
    data = rows(100_000)
    data[:, 3] += 0.1
    verdict = judged(data)
    drift = finding(verdict, "f3", Check.DRIFT)
    assert drift.adjusted is not None
    assert drift.adjusted < 1e-3
    assert verdict.state is State.OK


def test_few_rows_do_not_make_noise_matter() -> None:
    verdict = judged(rows(60), Rules(min_samples=50))
    values = [finding(verdict, f"f{n}", Check.DRIFT).value for n in range(8)]
    assert max(value for value in values if value is not None) > 0.1
    assert verdict.state is State.OK


def test_too_few_rows_are_no_data() -> None:
    verdict = judged(rows(499))
    assert (verdict.state, verdict.reason) == (State.NO_DATA, "TooFewRows")
    assert verdict.share is None
    assert {one.state for one in verdict.findings} == {State.NO_DATA}
    assert "499 rows" in verdict.message
    assert evaluate(REFERENCE, Counts.zero(LAYOUT)).state is State.NO_DATA


def test_a_feature_without_values_is_no_data_and_missing() -> None:
    data = rows()
    data[:, 3] = np.nan
    verdict = judged(data)
    assert finding(verdict, "f3", Check.DRIFT).state is State.NO_DATA
    assert finding(verdict, "f3", Check.MISSING).state is State.VIOLATED
    assert finding(verdict, "f2", Check.DRIFT).state is State.OK


def test_traffic_that_cannot_be_seen_is_unknown() -> None:
    verdict = evaluate(REFERENCE, counted(LAYOUT, rows()), unknown="PodsUnreachable")
    assert (verdict.state, verdict.reason) == (State.UNKNOWN, "PodsUnreachable")
    assert verdict.findings == ()
    assert verdict.figures is None


def test_a_baseline_that_says_nothing_is_unknown() -> None:
    baseline = profile(DATA[:40])
    verdict = evaluate(Reference.of(baseline), counted(Layout.of(baseline), rows()))
    assert (verdict.state, verdict.reason) == (State.UNKNOWN, "BaselineUnusable")


def test_features_made_in_a_way_of_the_future_are_unknown() -> None:
    told = {**BASELINE.wire(), "sources": [{"method": "Wavelets", "features": 8}]}
    baseline = Baseline.model_validate(told)
    verdict = evaluate(Reference.of(baseline), counted(Layout.of(baseline), rows()))
    assert verdict.state is State.UNKNOWN


def test_counts_of_another_baseline_are_refused() -> None:
    with pytest.raises(ValueError, match="another baseline"):
        evaluate(REFERENCE, Counts.zero(Layout.of(profile(DATA[:100]))))


def test_features_have_limits_of_their_own() -> None:
    data = rows()
    moved(data)
    wide = Limits(distance=0.5)
    assert judged(data, Rules(features={"f3": wide})).state is State.OK
    assert judged(data, Rules(limits=wide)).state is State.OK
    assert judged(data, Rules(ignore=frozenset({"f3"}))).state is State.OK
    other = Rules(limits=wide, features={"f3": Limits(method=Method.PSI, distance=0.2)})
    assert judged(data, other).violations[0].threshold == 0.2


def test_a_share_of_features_to_reach() -> None:
    data = rows()
    data[:, :3] += 0.5
    few, many = judged(data, Rules(drift_share=0.5)), judged(data, Rules(drift_share=0.3))
    assert (few.state, few.share) == (State.OK, 3 / 8)
    assert many.state is State.VIOLATED
    [violation] = many.violations
    assert (violation.check, violation.value, violation.threshold) == (
        Check.DRIFT_SHARE, 3 / 8, 0.3,
    )  # fmt: skip
    assert finding(few, "f0", Check.DRIFT).state is State.VIOLATED
    data[: len(data) // 5, 7] = np.nan
    assert judged(data, Rules(drift_share=0.5)).reason == "Missing"


def test_without_correction_each_check_is_alone() -> None:
    verdict = judged(rows(), Rules(correction=Correction.NONE))
    for one in verdict.findings:
        assert one.adjusted == one.p_value


def test_refused_rows() -> None:
    sketch = Sketch(LAYOUT)
    sketch.add({"": rows(950)})
    sketch.refuse(40)
    assert evaluate(REFERENCE, sketch.snapshot().counts).state is State.OK
    sketch.refuse(60)
    verdict = evaluate(REFERENCE, sketch.snapshot().counts)
    assert (verdict.state, verdict.reason) == (State.VIOLATED, "Refused")
    assert verdict.violations[0].value == pytest.approx(100 / 1050)


def words(*pairs: tuple[str, int]) -> Any:
    """A column of categories, each so many times."""
    found = np.array([word for word, times in pairs for _ in range(times)], dtype=object)
    return found[:, None]


TRAINED = words(("red", 600), ("blue", 300), ("green", 95), *((f"rare{n}", 1) for n in range(5)))


def categorical(now: Any, rules: Rules | None = None) -> Verdict:
    """The verdict on a column of categories."""
    baseline = profile(TRAINED, ["colour"])
    return evaluate(Reference.of(baseline), counted(Layout.of(baseline), now), rules)


def test_categories_that_swap() -> None:
    assert categorical(words(("red", 598), ("blue", 300), ("green", 100))).state is State.OK
    verdict = categorical(words(("red", 300), ("blue", 600), ("green", 100)))
    assert [one.check for one in verdict.violations] == [Check.DRIFT]
    for method in (Method.KOLMOGOROV_SMIRNOV, Method.WASSERSTEIN):
        rules = Rules(limits=Limits(method=method, distance=99))
        drift = finding(categorical(TRAINED, rules), "colour", Check.DRIFT)
        # Categories have no order: the default stands in, with its own limit.
        assert (drift.method, drift.threshold) == (Method.JENSEN_SHANNON, 0.1)


def test_categories_that_are_new() -> None:
    few = categorical(words(("red", 600), ("blue", 300), ("green", 92), ("pink", 8)))
    assert finding(few, "colour", Check.UNSEEN).state is State.OK
    many = categorical(words(("red", 600), ("blue", 300), ("green", 50), ("pink", 50)))
    found = finding(many, "colour", Check.UNSEEN)
    assert (found.state, found.value) == (State.VIOLATED, 0.05)
    assert found.effect == pytest.approx(0.05 - 5 / 1000)


def test_values_of_a_wrong_type() -> None:
    now = TRAINED.copy()
    now[:60, 0] = 7
    verdict = categorical(now)
    found = finding(verdict, "colour", Check.INVALID)
    assert (found.state, found.value) == (State.VIOLATED, 0.06)
    assert finding(verdict, "colour", Check.MISSING).state is State.OK


def test_predictions_drift() -> None:
    probabilities = RNG.dirichlet([5, 2, 1], size=3000)
    outputs = {"p": probabilities}
    baseline = profile(DATA[:3000], outputs=outputs)
    reference, layout = Reference.of(baseline), Layout.of(baseline)
    same = counted(layout, {"": rows(3000)}, {"p": RNG.dirichlet([5, 2, 1], size=3000)})
    assert evaluate(reference, same).state is State.OK
    unsure = counted(layout, {"": rows(3000)}, {"p": RNG.dirichlet([50, 40, 40], size=3000)})
    verdict = evaluate(reference, unsure)
    drifted = {one.feature for one in verdict.violations if one.check is Check.PREDICTION_DRIFT}
    assert drifted == {"p.class", "p.confidence"}
    assert verdict.share == 0
    both = evaluate(reference, unsure, Rules(drift_share=0.5))
    assert both.state is State.VIOLATED


def test_without_predictions_inputs_are_still_judged() -> None:
    baseline = profile(DATA, outputs={"y": RNG.normal(size=5000)})
    verdict = evaluate(Reference.of(baseline), counted(Layout.of(baseline), rows()))
    assert verdict.state is State.OK
    assert finding(verdict, "y", Check.PREDICTION_DRIFT).state is State.NO_DATA


def test_another_window_as_the_reference() -> None:
    before = counted(LAYOUT, rows() + 0.5)
    reference = Reference.window(before)
    assert evaluate(reference, counted(LAYOUT, rows() + 0.5)).state is State.OK
    assert evaluate(reference, counted(LAYOUT, rows())).state is State.VIOLATED
    assert evaluate(Reference.window(Counts.zero(LAYOUT)), before).state is State.UNKNOWN


def test_an_empty_baseline_is_unknown_or_no_data() -> None:
    empty = Baseline(features=[], rows=0)
    verdict = evaluate(Reference.of(empty), Counts.zero(Layout.of(empty)))
    assert verdict.state is State.NO_DATA


def test_two_thousand_features() -> None:
    data, _ = normal(600, 2048)
    baseline = profile(data, [f"f{n}" for n in range(2048)])
    verdict = evaluate(Reference.of(baseline), counted(Layout.of(baseline), data[:500]))
    assert verdict.state is State.OK
    assert len(verdict.findings) == 4 * 2048 + 1


@pytest.mark.parametrize("package", ["loopwright.sketch", "loopwright.drift"])
def test_numpy_is_all_that_is_loaded(package: str) -> None:
    code = (
        f"import sys, {package};"
        " print(*sorted({n.partition('.')[0] for n in sys.modules}"
        " & {'scipy', 'pandas', 'sklearn', 'torch', 'onnxruntime', 'kubernetes', 'aiohttp'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "operator", capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == []

"""From figures and rules to a verdict.

A difference violates when it is both large enough to matter and too large for chance: with many
rows tests alone see differences that nobody cares for, and with few rows distances alone are large
without any difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from loopwright.drift import pvalues
from loopwright.drift.corrections import benjamini_hochberg
from loopwright.drift.figures import Figures, compare
from loopwright.drift.reference import Reference
from loopwright.drift.rules import Check, Correction, Limits, Method, Rules, State
from loopwright.sketch import Counts, Feature

# A reference with fewer values tells no distribution.
MIN_REFERENCE: Final = 50
_DRIFT: Final = frozenset({Check.DRIFT, Check.PREDICTION_DRIFT})


@dataclass(frozen=True)
class Finding:
    """What one check says."""

    feature: str
    """Empty of checks on the whole window."""
    check: Check
    state: State
    value: float | None = None
    """As measured: a distance or a share."""
    effect: float | None = None
    """What of it is beyond the reference, or beyond chance; compared with the threshold."""
    threshold: float | None = None
    """From where on it matters."""
    p_value: float | None = None
    """The probability of so much when nothing has changed."""
    adjusted: float | None = None
    """The same for the number of checks that were made; compared with alpha."""
    method: Method | None = None
    """Of a drift."""

    @property
    def violated(self) -> bool:
        """Whether its state is Violated."""
        return self.state is State.VIOLATED

    @property
    def severity(self) -> float:
        """How many times the threshold the effect is."""
        if self.effect is None:
            return 0.0
        return self.effect / self.threshold if self.threshold else float(self.effect > 0)


@dataclass(frozen=True)
class Verdict:
    """What a window says."""

    state: State
    reason: str
    """PascalCase; empty when OK."""
    message: str
    """The same for people."""
    rows: int
    findings: tuple[Finding, ...]
    """Of all checks on all features, and on the whole."""
    violations: tuple[Finding, ...]
    """Of those, the ones that make it Violated, the worst first."""
    share: float | None
    """Drifted input features, of those that could be judged."""
    figures: Figures | None
    """What was measured."""

    def by_feature(self) -> list[Finding]:
        """The worst that was found of each feature, the worst first."""
        found: dict[str, Finding] = {}
        for one in self.findings:
            old = found.get(one.feature)
            tested = one.adjusted is not None and one.feature
            if tested and (old is None or one.severity > old.severity):
                found[one.feature] = one
        return sorted(found.values(), key=lambda one: (-one.severity, one.feature))


def inconclusive(state: State, reason: str, message: str, rows: int = 0) -> Verdict:
    """The verdict on a window that cannot be judged at all."""
    return Verdict(state, reason, message, rows, (), (), None, None)


def evaluate(
    reference: Reference, window: Counts, rules: Rules | None = None, *, unknown: str = ""
) -> Verdict:
    """Judges a window.

    Args:
        reference: What it is compared with.
        window: Counts of all replicas in the window.
        rules: How.
        unknown: PascalCase reason why rows may be missing from the counts, if they may be: then
            nothing is judged.

    Raises:
        ValueError: the window was counted in other bins.
    """
    rules = rules or Rules()
    rows = window.most_rows
    if unknown:
        text = "part of the traffic cannot be seen"
        return inconclusive(State.UNKNOWN, unknown, text, rows)
    figures = compare(reference, window)
    findings = _Judge(reference, figures, rules).findings()
    if Check.REFUSED in rules.checks:
        findings.append(_refused(window, rules))
    share = _share(findings)
    if rules.drift_share is not None and Check.DRIFT_SHARE in rules.checks:
        findings.append(_drift_share(share, rules.drift_share))
    state, reason, message, violations = _whole(findings, rows, rules)
    return Verdict(state, reason, message, rows, tuple(findings), violations, share, figures)


class _Judge:
    """Judges feature by feature, and then corrects for having judged so many."""

    def __init__(self, reference: Reference, figures: Figures, rules: Rules) -> None:
        self._figures, self._rules = figures, rules
        self._fitted = reference.fitted
        layout = figures.layout
        methods = np.array([one.extractor is None for one in layout.groups], dtype=bool)
        # Made by a method that this version does not have.
        self._unknown = methods[layout.group_of] if len(layout) else methods

    def findings(self) -> list[Finding]:
        """All, in the order of features."""
        found = [
            one
            for place, feature in enumerate(self._figures.layout.features)
            if feature.name not in self._rules.ignore
            for one in self._feature(place, feature)
            if one.check in self._rules.checks
        ]
        return self._decided(found)

    def _feature(self, place: int, feature: Feature) -> Iterator[Finding]:
        limits = self._rules.of(feature.name)
        yield self._drift(place, feature, limits)
        for check, judge in (
            (Check.MISSING, self._missing),
            (Check.OUT_OF_RANGE, self._outside),
            (Check.UNSEEN, self._unseen),
            (Check.INVALID, self._invalid),
        ):
            made = judge(place, feature, limits)
            if made is None:
                continue
            if self._figures.rows[place] < self._rules.min_samples:
                made = Finding(feature.name, check, State.NO_DATA, threshold=made.threshold)
            yield made

    def _drift(self, place: int, feature: Feature, limits: Limits) -> Finding:
        figures = self._figures
        method = limits.chosen
        if not feature.numeric and method in (Method.KOLMOGOROV_SMIRNOV, Method.WASSERSTEIN):
            method = Limits().chosen
        check = Check.PREDICTION_DRIFT if feature.output else Check.DRIFT
        threshold = limits.limit(method)
        unknown = self._unknown[place]
        if unknown or figures.reference_values[place] < MIN_REFERENCE:
            return Finding(feature.name, check, State.UNKNOWN, threshold=threshold, method=method)
        if figures.values[place] < self._rules.min_samples:
            return Finding(feature.name, check, State.NO_DATA, threshold=threshold, method=method)
        distance = figures.distances[method]
        value, effect, pvalue = (
            float(one[place]) for one in (distance.value, distance.effect, distance.pvalue)
        )
        return Finding(
            feature.name, check, State.OK, value, effect, threshold, pvalue, None, method
        )

    def _missing(self, place: int, feature: Feature, limits: Limits) -> Finding | None:
        figures = self._figures
        hits, before = int(figures.missing[place]), int(figures.reference_missing[place])
        size = int(figures.rows[place])
        size_before = int(figures.reference_values[place]) + before
        pvalue = _increase(hits, size, before, size_before)
        effect = _ratio(hits, size) - _ratio(before, size_before)
        return _share_of(feature, Check.MISSING, hits, size, effect, limits.missing, pvalue)

    def _outside(self, place: int, feature: Feature, limits: Limits) -> Finding | None:
        if not feature.ranged:
            return None
        figures = self._figures
        hits, before = int(figures.outside[place]), int(figures.reference_outside[place])
        size, size_before = int(figures.values[place]), int(figures.reference_values[place])
        if self._fitted:
            pvalue = pvalues.outside_p(hits, size, size_before)
            expected = 2 / (size_before + 1)
        else:
            pvalue = pvalues.increase_p(hits, size, before, size_before)
            expected = _ratio(before, size_before)
        effect = _ratio(hits, size) - expected
        limit = limits.out_of_range
        return _share_of(feature, Check.OUT_OF_RANGE, hits, size, effect, limit, pvalue)

    def _unseen(self, place: int, feature: Feature, limits: Limits) -> Finding | None:
        if feature.numeric or not feature.profile.complete:
            return None
        figures, profile = self._figures, feature.profile
        hits, before = int(figures.unseen[place]), int(figures.reference_unseen[place])
        size, size_before = int(figures.values[place]), int(figures.reference_values[place])
        if self._fitted:
            alone, twice = profile.singletons, profile.doubletons
            pvalue = pvalues.novelty_p(hits, size, alone, twice, size_before)
            expected = _ratio(alone, size_before)
        else:
            pvalue = pvalues.increase_p(hits, size, before, size_before)
            expected = _ratio(before, size_before)
        effect = _ratio(hits, size) - expected
        return _share_of(feature, Check.UNSEEN, hits, size, effect, limits.unseen, pvalue)

    def _invalid(self, place: int, feature: Feature, limits: Limits) -> Finding | None:
        figures = self._figures
        hits, size = int(figures.invalid[place]), int(figures.rows[place])
        size_before = int(figures.reference_values[place] + figures.reference_missing[place])
        pvalue = _increase(hits, size, 0, size_before)
        effect = _ratio(hits, size)
        return _share_of(feature, Check.INVALID, hits, size, effect, limits.invalid, pvalue)

    def _decided(self, findings: list[Finding]) -> list[Finding]:
        """With adjusted probabilities, and the states that follow from them."""
        tested = [place for place, one in enumerate(findings) if one.p_value is not None]
        raw = np.array([findings[place].p_value for place in tested], dtype=np.float64)
        correct = self._rules.correction is Correction.BENJAMINI_HOCHBERG
        adjusted = benjamini_hochberg(raw) if correct and len(raw) else raw
        for place, value in zip(tested, adjusted.tolist(), strict=True):
            one = findings[place]
            beyond = one.effect is not None and one.threshold is not None
            large = beyond and one.effect >= one.threshold  # type: ignore[operator]
            violated = large and value <= self._rules.alpha
            state = State.VIOLATED if violated else State.OK
            findings[place] = Finding(
                one.feature, one.check, state, one.value, one.effect, one.threshold, one.p_value,
                value, one.method,
            )  # fmt: skip
        return findings


def _increase(hits: int, size: int, before: int, size_before: int) -> float | None:
    """The probability of an increase; None where neither sample has any.

    Such a test could not reject, so it need not be corrected for (Tarone, "A modified Bonferroni
    method for discrete data", Biometrics 1990).
    """
    if not hits + before:
        return None
    return pvalues.increase_p(hits, size, before, size_before)


def _share_of(
    feature: Feature,
    check: Check,
    hits: int,
    size: int,
    effect: float,
    threshold: float,
    pvalue: float | None,
) -> Finding:
    value = _ratio(hits, size)
    return Finding(feature.name, check, State.OK, value, effect, threshold, pvalue)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _refused(window: Counts, rules: Rules) -> Finding:
    size = window.most_rows + window.refused
    value = _ratio(window.refused, size)
    if size < rules.min_samples:
        return Finding("", Check.REFUSED, State.NO_DATA, threshold=rules.refused)
    state = State.VIOLATED if value >= rules.refused else State.OK
    return Finding("", Check.REFUSED, state, value, value, rules.refused)


def _share(findings: list[Finding]) -> float | None:
    judged = [one for one in findings if one.check is Check.DRIFT and one.adjusted is not None]
    return _ratio(sum(one.violated for one in judged), len(judged)) if judged else None


def _drift_share(share: float | None, limit: float) -> Finding:
    if share is None:
        return Finding("", Check.DRIFT_SHARE, State.NO_DATA, threshold=limit)
    state = State.VIOLATED if share >= limit else State.OK
    return Finding("", Check.DRIFT_SHARE, state, share, share, limit)


def _whole(
    findings: list[Finding], rows: int, rules: Rules
) -> tuple[State, str, str, tuple[Finding, ...]]:
    violations = [
        one
        for one in findings
        # With a share to reach, features that drift violate together or not at all.
        if one.violated and (rules.drift_share is None or one.check is not Check.DRIFT)
    ]
    violations.sort(key=lambda one: -one.severity)
    if violations:
        worst = violations[0]
        where = f" of {worst.feature}" if worst.feature else ""
        more = f", and {len(violations) - 1} more" if len(violations) > 1 else ""
        text = f"{worst.check}{where}: {worst.value:.3g}, limit {worst.threshold:.3g}{more}"
        return State.VIOLATED, str(worst.check), text, tuple(violations)
    # What is asked for besides drift, such as missing values, can be judged where drift can.
    decisive = _DRIFT & rules.checks or rules.checks
    states = {one.state for one in findings if one.check in decisive}
    if State.OK in states or State.VIOLATED in states:
        return State.OK, "", "", ()
    if State.UNKNOWN in states and State.NO_DATA not in states:
        text = f"the baseline has no feature that can be judged: each needs {MIN_REFERENCE} values"
        return State.UNKNOWN, "BaselineUnusable", text, ()
    text = f"{rows} rows in the window; {rules.min_samples} are needed"
    return State.NO_DATA, "TooFewRows", text, ()

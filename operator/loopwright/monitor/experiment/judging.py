"""Judges an A/B experiment from sums: which variant is better, if any, and whether to believe it.

Pure. It may be asked after every scrape: all tests in it are sequential, so looking often makes no
false winner (`sequential`). What it promises: over all looks and treatments together, the
probability that any treatment as good as the control is called better or worse is at most alpha.

- Proportions are compared by `betting`, exactly; means by `asymptotic`, once `min_samples` are
  there.
- Treatments share alpha equally (Bonferroni). That is cheap here: evidence has to be larger by the
  number of treatments, which costs its logarithm, and intervals and p-values agree.
- A guardrail is violated if the treatment is proven to be worse than the control by more than the
  margin, with treatments and guardrails sharing alpha; then it is out. A winner has to pass all of
  them, each proven with the treatment's part of alpha: as all must hold, they need no correction
  among themselves. Schultzberg, Ankargren and Franberg (2024), Risk-aware product decisions in A/B
  tests with multiple metrics, arXiv:2402.11609.
- Weights may change meanwhile: `samples` keeps the times apart. Another model in a variant is
  another experiment; so are other settings. Then begin with no strata and no previous verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from loopwright.monitor.experiment import ratio
from loopwright.monitor.experiment.asymptotic import AsymptoticComparison
from loopwright.monitor.experiment.betting import BettingComparison
from loopwright.monitor.experiment.samples import (
    MAX_EPOCHS,
    NOTHING,
    Pair,
    Stratum,
    epochs,
    followed,
    joined,
    paired,
    standardised,
)
from loopwright.monitor.experiment.sequential import Border, Comparison, Side, p_value
from loopwright.monitor.experiment.settings import Experiment, Guardrail, Kind, Metric
from loopwright.monitor.experiment.verdict import (
    Effect,
    GuardrailResult,
    GuardrailState,
    Reason,
    VariantResult,
    Verdict,
)
from loopwright.monitor.experiment.wording import told


def judge(
    experiment: Experiment,
    strata: Sequence[Stratum],
    seconds: float,
    previous: Verdict | None = None,
) -> Verdict:
    """The verdict on all that was counted.

    Args:
        strata: As `samples.record` makes them, from the beginning of the experiment.
        seconds: How long it has gone on.
        previous: The last verdict on this experiment. A final one stays; so do violations.

    Raises:
        ValueError: a proportion has more successes than outcomes, or less than none.
    """
    if previous is not None and previous.state.final:
        return previous
    control = _variant(experiment, strata, experiment.control)
    treatments = tuple(
        _treatment(experiment, strata, name, previous) for name in experiment.treatments
    )
    found = ratio.check(strata)
    reason, winner = _invalid(experiment, strata, found), None
    if reason is None:
        reason, winner = _decided(experiment, control, treatments)
    if reason is None:
        reason = _open(experiment, control, treatments, seconds)
    verdict = Verdict(reason.state, reason, "", winner, (control, *treatments), found, seconds)
    return told(experiment, verdict)


def course(
    experiment: Experiment, strata: Sequence[Stratum], seconds: float
) -> tuple[Verdict, ...]:
    """Verdicts as they would have been at the end of each stratum: for a picture of intervals.

    Sizes of strata grow, so a dozen points cover an experiment on a logarithmic axis.

    Args:
        seconds: How long it has gone on; all verdicts bear it.
    """
    return tuple(judge(experiment, strata[:end], seconds) for end in range(1, len(strata) + 1))


def _variant(experiment: Experiment, strata: Sequence[Stratum], name: str) -> VariantResult:
    metric = experiment.metric.name
    totals = sum((one.outcomes.get(metric, {}).get(name, NOTHING) for one in strata), NOTHING)
    return VariantResult(name, round(totals.count), totals.mean if totals.count else None)


def _treatment(
    experiment: Experiment, strata: Sequence[Stratum], name: str, previous: Verdict | None
) -> VariantResult:
    metric = experiment.metric
    pairs = paired(strata, metric.name, experiment.control, name)
    comparison = _comparison(experiment, metric, pairs)
    p = _p_values(experiment, comparison)
    one = _variant(experiment, strata, name)
    return VariantResult(
        name=name,
        samples=one.samples,
        mean=one.mean,
        effect=_effect(experiment, pairs, comparison),
        p_value=min(p.values()),
        better=p[metric.good] <= experiment.alpha,
        worse=p[metric.bad] <= experiment.alpha,
        held=not followed(pairs),
        guardrails=tuple(
            _guardrail(experiment, guardrail, strata, name, previous)
            for guardrail in experiment.guardrails
        ),
    )


def _guardrail(
    experiment: Experiment,
    guardrail: Guardrail,
    strata: Sequence[Stratum],
    name: str,
    previous: Verdict | None,
) -> GuardrailResult:
    metric, many = guardrail.metric, len(experiment.treatments)
    pairs = paired(strata, metric.name, experiment.control, name)
    comparison = _comparison(experiment, metric, pairs)
    worse = comparison.log_evidence(guardrail.border, metric.bad)
    within = comparison.log_evidence(guardrail.border, metric.good)
    violated = p_value(worse, many * len(experiment.guardrails))
    passed = p_value(within, many)
    state = GuardrailState.UNDECIDED
    if violated <= experiment.alpha or _was_violated(previous, name, metric.name):
        state = GuardrailState.VIOLATED
    elif passed <= experiment.alpha:
        state = GuardrailState.PASSED
    effect = _effect(experiment, pairs, comparison)
    return GuardrailResult(metric.name, state, effect, violated, passed)


def _was_violated(previous: Verdict | None, name: str, metric: str) -> bool:
    return previous is not None and any(
        (variant.name, one.metric, one.state) == (name, metric, GuardrailState.VIOLATED)
        for variant in previous.variants
        for one in variant.guardrails
    )


def _p_values(experiment: Experiment, comparison: Comparison) -> dict[Side, float]:
    """Of the hypotheses that the treatment is not above the control, and not below it."""
    tests = 2 * len(experiment.treatments)
    return {side: p_value(comparison.log_evidence(Border(), side), tests) for side in Side}


def _comparison(experiment: Experiment, metric: Metric, pairs: Sequence[Pair]) -> Comparison:
    if not followed(pairs):
        pairs = ()
    if metric.kind is Kind.PROPORTION:
        return BettingComparison(pairs, experiment.tuning)
    return AsymptoticComparison(pairs, experiment.tuning, experiment.min_samples)


def _effect(experiment: Experiment, pairs: Sequence[Pair], comparison: Comparison) -> Effect | None:
    means = standardised(joined(pairs))
    if means is None:
        return None
    value = means.treatment - means.control
    low, high = comparison.interval(experiment.level)
    return Effect(
        value=value,
        relative=value / abs(means.control) if means.control else None,
        # The interval of means leaves out times that are too short.
        low=min(low, value) if math.isfinite(low) else None,
        high=max(high, value) if math.isfinite(high) else None,
    )


def _invalid(
    experiment: Experiment, strata: Sequence[Stratum], found: ratio.Ratio
) -> Reason | None:
    if len(epochs(strata)) > MAX_EPOCHS:
        return Reason.WEIGHTS_CHANGED_TOO_OFTEN
    if experiment.ratio_alpha is not None and found.p_value <= experiment.ratio_alpha:
        return Reason.SAMPLE_RATIO_MISMATCH
    return None


def _decided(
    experiment: Experiment, control: VariantResult, treatments: Sequence[VariantResult]
) -> tuple[Reason | None, str | None]:
    """What the figures decide, and who wins."""
    good = experiment.metric.good
    winners = [
        (good * one.effect.value, one.name)
        for one in treatments
        if one.effect and one.better and _enough(experiment, control, one)
        and not one.out and _cleared(experiment, one)
    ]  # fmt: skip
    if winners:
        return Reason.TREATMENT_BETTER, max(winners)[1]
    left = [one for one in treatments if not one.out]
    if not left:
        return Reason.CONTROL_STAYS, control.name
    if all(_enough(experiment, control, one) and _small(experiment, one) for one in left):
        return Reason.EFFECT_TOO_SMALL, None
    return None, None


def _open(
    experiment: Experiment,
    control: VariantResult,
    treatments: Sequence[VariantResult],
    seconds: float,
) -> Reason:
    """Why nothing is decided."""
    left = [one for one in treatments if not one.out]
    if experiment.max_seconds is not None and seconds >= experiment.max_seconds:
        return Reason.TIME_IS_UP
    if not control.samples or not any(one.samples for one in left):
        return Reason.NO_SAMPLES
    if not any(_enough(experiment, control, one) for one in left):
        return Reason.TOO_FEW_SAMPLES
    if all(one.held for one in left if _enough(experiment, control, one)):
        return Reason.OUTCOMES_MISSING
    if any(one.better for one in left):
        return Reason.AWAITS_GUARDRAILS
    return Reason.UNDECIDED


def _enough(experiment: Experiment, control: VariantResult, treatment: VariantResult) -> bool:
    return min(control.samples, treatment.samples) >= experiment.min_samples


def _cleared(experiment: Experiment, treatment: VariantResult) -> bool:
    """Whether all guardrails that ask for a proof have it."""
    results = zip(experiment.guardrails, treatment.guardrails, strict=True)
    return all(one.state is GuardrailState.PASSED for asked, one in results if asked.proof)


def _small(experiment: Experiment, treatment: VariantResult) -> bool:
    """Whether the treatment cannot be better by as much as matters."""
    if experiment.smallest_effect is None or treatment.effect is None:
        return False
    effect, good = treatment.effect, experiment.metric.good
    best = effect.high if good is Side.ABOVE else effect.low
    return best is not None and good * best < experiment.smallest_effect

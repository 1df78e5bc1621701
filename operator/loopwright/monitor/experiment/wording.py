"""Says a verdict on an experiment in words."""

from __future__ import annotations

from dataclasses import replace

from loopwright.monitor.experiment.settings import Experiment
from loopwright.monitor.experiment.verdict import (
    Effect,
    GuardrailState,
    Reason,
    VariantResult,
    Verdict,
)

_TEXTS = {
    Reason.CONTROL_STAYS: "{control} stays: {out}",
    Reason.EFFECT_TOO_SMALL: "no variant betters {metric} by {smallest:g}: {effects}",
    Reason.TIME_IS_UP: "time is up after {hours:.3g} h without a decision: {effects}",
    Reason.SAMPLE_RATIO_MISMATCH: (
        "traffic is not split by the weights ({ratio}, p {ratio_p:.2g}), so requests get lost or"
        " misdirected before they are counted and no comparison can be trusted; find out why, then"
        " begin a new experiment"
    ),
    Reason.WEIGHTS_CHANGED_TOO_OFTEN: (
        "weights changed too often to be checked; begin a new experiment and leave them alone"
    ),
    Reason.NO_SAMPLES: "no outcomes of {metric} yet from {missing}",
    Reason.TOO_FEW_SAMPLES: "too few outcomes of {metric} ({samples}); {min_samples} are needed",
    Reason.OUTCOMES_MISSING: (
        "outcomes of {metric} are known of quite different parts of the variants' requests"
        " ({samples}), so nothing can be said of them"
    ),
    Reason.AWAITS_GUARDRAILS: "{better} is better in {metric}, but guardrails are open: {open}",
    Reason.UNDECIDED: "undecided: {effects}",
}


def told(experiment: Experiment, verdict: Verdict) -> Verdict:
    """The verdict with its message."""
    control, *treatments = verdict.variants
    if verdict.reason is Reason.TREATMENT_BETTER:
        [best] = [one for one in treatments if one.name == verdict.winner]
        return replace(verdict, message=_won(experiment, control, best))
    left = [one for one in treatments if not one.out]
    better = [one for one in left if one.better]
    text = _TEXTS[verdict.reason].format(
        control=control.name,
        metric=experiment.metric.name,
        smallest=experiment.smallest_effect or 0.0,
        min_samples=experiment.min_samples,
        hours=verdict.seconds / 3600,
        out=", ".join(map(_out, treatments)),
        effects="; ".join(f"{one.name} {_effect(one.effect)}" for one in treatments),
        samples=", ".join(f"{one.name} {one.samples}" for one in verdict.variants),
        missing=", ".join(one.name for one in verdict.variants if not one.samples),
        better=" and ".join(one.name for one in better),
        open=", ".join(dict.fromkeys(name for one in better for name in _unproven(one))),
        ratio=", ".join(
            f"{name} {verdict.ratio.observed.get(name, 0.0):.1%} for {part:.1%}"
            for name, part in verdict.ratio.expected.items()
        ),
        ratio_p=verdict.ratio.p_value,
    )
    return replace(verdict, message=text)


def _won(experiment: Experiment, control: VariantResult, best: VariantResult) -> str:
    assert control.mean is not None and best.mean is not None
    return (
        f"{best.name} is better than {control.name} in {experiment.metric.name}:"
        f" {best.mean:.4g} for {control.mean:.4g}, {_effect(best.effect)}, p {best.p_value:.2g}"
    )


def _effect(effect: Effect | None) -> str:
    if effect is None:
        return "has no effect to tell"
    text = f"effect {effect.value:+.3g}"
    if effect.low is not None and effect.high is not None:
        text += f" [{effect.low:+.3g}, {effect.high:+.3g}]"
    return text


def _out(one: VariantResult) -> str:
    broken = [it.metric for it in one.guardrails if it.state is GuardrailState.VIOLATED]
    return f"{one.name} violates {' and '.join(broken)}" if broken else f"{one.name} is worse"


def _unproven(one: VariantResult) -> list[str]:
    return [it.metric for it in one.guardrails if it.state is GuardrailState.UNDECIDED]

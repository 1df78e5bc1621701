"""What is said of an experiment: plain values, fit for a status and a report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from loopwright.monitor.experiment.ratio import Ratio


class State(StrEnum):
    """Where an experiment stands."""

    RUNNING = "Running"
    WINNER = "Winner"
    """A variant has won; it may be the control."""
    NO_DIFFERENCE = "NoDifference"
    """No treatment is better by as much as matters."""
    INCONCLUSIVE = "Inconclusive"
    """Time is up."""
    INVALID = "Invalid"
    """Its figures cannot be trusted; a new one has to be begun."""
    NO_DATA = "NoData"
    """There is nothing to compare yet."""

    @property
    def final(self) -> bool:
        """Whether nothing more can come."""
        return self not in (State.RUNNING, State.NO_DATA)


class Reason(StrEnum):
    """Why it stands there."""

    UNDECIDED = "Undecided"
    TOO_FEW_SAMPLES = "TooFewSamples"
    OUTCOMES_MISSING = "OutcomesMissing"
    AWAITS_GUARDRAILS = "AwaitsGuardrails"
    TREATMENT_BETTER = "TreatmentBetter"
    CONTROL_STAYS = "ControlStays"
    EFFECT_TOO_SMALL = "EffectTooSmall"
    TIME_IS_UP = "TimeIsUp"
    SAMPLE_RATIO_MISMATCH = "SampleRatioMismatch"
    WEIGHTS_CHANGED_TOO_OFTEN = "WeightsChangedTooOften"
    NO_SAMPLES = "NoSamples"

    @property
    def state(self) -> State:
        """The state that goes with it."""
        return _STATES.get(self, State.RUNNING)


_STATES: Final = {
    Reason.TREATMENT_BETTER: State.WINNER,
    Reason.CONTROL_STAYS: State.WINNER,
    Reason.EFFECT_TOO_SMALL: State.NO_DIFFERENCE,
    Reason.TIME_IS_UP: State.INCONCLUSIVE,
    Reason.SAMPLE_RATIO_MISMATCH: State.INVALID,
    Reason.WEIGHTS_CHANGED_TOO_OFTEN: State.INVALID,
    Reason.NO_SAMPLES: State.NO_DATA,
}


class GuardrailState(StrEnum):
    """Whether a treatment keeps to a guardrail."""

    PASSED = "Passed"
    """It is proven to be within the margin."""
    VIOLATED = "Violated"
    """It is proven to be worse than that. It stays so."""
    UNDECIDED = "Undecided"


@dataclass(frozen=True)
class Effect:
    """Treatment - control, of the means."""

    value: float
    relative: float | None
    """The same as a part of the control's mean, unless that is 0."""
    low: float | None
    """Lower end of the confidence sequence; None as long as nothing can be said."""
    high: float | None


@dataclass(frozen=True)
class GuardrailResult:
    """A guardrail, and how a treatment keeps to it."""

    metric: str
    state: GuardrailState
    effect: Effect | None
    """None as long as one of both has no outcomes."""
    violated_p: float
    """Always-valid p-value of the hypothesis that it is within the margin, corrected."""
    passed_p: float
    """That it is not."""


@dataclass(frozen=True)
class VariantResult:
    """A variant of the experiment."""

    name: str
    samples: int
    """Outcomes of the experiment's metric."""
    mean: float | None
    """Of all of them. Effects are not the difference of these if weights have changed."""
    effect: Effect | None = None
    """None for the control, and as long as one of both has no outcomes."""
    p_value: float | None = None
    """Always-valid p-value of the hypothesis that the treatment is as good as the control,
    corrected for the number of treatments; at most alpha when the interval excludes 0."""
    better: bool = False
    """Proven; as is that it is worse."""
    worse: bool = False
    held: bool = False
    """Nothing is said, as outcomes are known of another part of its requests than the control's."""
    guardrails: tuple[GuardrailResult, ...] = ()

    @property
    def out(self) -> bool:
        """Whether it cannot win any more."""
        return self.worse or any(one.state is GuardrailState.VIOLATED for one in self.guardrails)


@dataclass(frozen=True)
class Verdict:
    """What is said of an experiment."""

    state: State
    reason: Reason
    message: str
    """For people."""
    winner: str | None
    variants: tuple[VariantResult, ...]
    """The control first."""
    ratio: Ratio
    seconds: float
    """How long it has gone on."""

"""What follows from the monitors' verdicts: status, Events, and what is to be done. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from loopwright.api import names
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.modelendpoint_status import ModelEndpointStatus, VariantStatus
from loopwright.api.monitoring import Monitor, Retrain, Watch
from loopwright.api.monitoring_status import (
    MAX_RETRAINS,
    Held,
    Judged,
    MonitorState,
    RetrainOutcome,
    RetrainStatus,
    WindowVerdict,
)
from loopwright.decide.conditions import Claim
from loopwright.decide.endpoint_types import Abort, Seen, soonest, until
from loopwright.decide.types import Happening

# A monitor that has not spoken for so many windows is silent; one may have ended just now.
SILENT: Final = 2.5
# For its pods to come back.
PATIENCE: Final = timedelta(minutes=2)
# For captured requests to get to the storage (dataCapture.flushSeconds), and to be joined.
UPLOADS: Final = timedelta(hours=1, minutes=15)
DAY: Final = timedelta(days=1)
# Of a job's name: what tells it from its template and from others like it.
_SUFFIX: Final = 6
OPEN: Final = (RetrainOutcome.PENDING, RetrainOutcome.RUNNING)
CONDITIONS: Final = {
    "DataDrift": "DriftDetected",
    "PredictionDrift": "DriftDetected",
    "DataQuality": "DataQualityOK",
    "ModelQuality": "ModelQualityOK",
}
# Events that say that a monitor is violated, by condition.
_BAD: Final = {
    "DriftDetected": "DriftDetected",
    "DataQualityOK": "DataQualityViolated",
    "ModelQualityOK": "ModelQualityViolated",
}


@dataclass(frozen=True)
class Watched:
    """What the monitors' verdicts lead to."""

    retrains: list[RetrainStatus]
    aborts: dict[str, Abort]
    """By variant."""
    happenings: tuple[Happening, ...]


def watch(
    spec: ModelEndpointSpec, status: ModelEndpointStatus, seen: Seen, now: datetime
) -> Watched:
    """What to do about what the monitors say of the revisions that there are."""
    verdicts = list(_current(spec, status, seen, now))
    told = tuple(_news(spec, status.monitors, verdicts))
    violated = [one for one in verdicts if one.state is MonitorState.VIOLATED]
    by_name = {one.name: one for one in spec.monitors}
    retrains, more = _retrains(by_name, status, violated, seen, now)
    aborts = {
        one.variant: Abort(one.revision, f"monitor {one.name}: {one.message}")
        for one in violated
        if by_name[one.name].on_violation.rollback
    }
    return Watched(retrains, aborts, (*told, *more))


def record(
    spec: ModelEndpointSpec, status: ModelEndpointStatus, seen: Seen, now: datetime
) -> tuple[ModelEndpointStatus, float | None]:
    """The status with what is known of the revisions that it has now.

    Returns:
        And the seconds until a monitor that goes on saying nothing is silent.
    """
    verdicts = list(_current(spec, status, seen, now))
    by_name = {one.name: one for one in spec.monitors}
    held = _held(by_name, status, [one for one in verdicts if one.state is MonitorState.VIOLATED])
    variants = [one.model_copy(update={"held": held.get(one.name)}) for one in status.variants]
    requeue = soonest(*(_silence(by_name[one.name], one, now) for one in verdicts))
    return status.model_copy(update={"monitors": verdicts, "variants": variants}), requeue


def _current(
    spec: ModelEndpointSpec, status: ModelEndpointStatus, seen: Seen, now: datetime
) -> Iterator[WindowVerdict]:
    """One verdict for each monitor and revision, in the spec's order."""
    known = {_key(one): one for one in (*status.monitors, *seen.verdicts)}
    for monitor in spec.monitors:
        for variant in status.variants:
            if not monitor.watches(variant.name):
                continue
            for revision in revisions(variant):
                key = (monitor.name, variant.name, revision)
                yield _judged(monitor, key, known.get(key), now)


def _key(one: WindowVerdict) -> tuple[str, str, str]:
    return one.name, one.variant, one.revision


def revisions(variant: VariantStatus) -> list[str]:
    """Those that are watched: the one that serves, and the one that is to follow."""
    return [one.revision for one in (variant.serving, variant.next) if one is not None]


def _judged(
    monitor: Monitor, key: tuple[str, str, str], known: WindowVerdict | None, now: datetime
) -> WindowVerdict:
    name, variant, revision = key
    if known is None:
        text = f"the first window of {monitor.every_seconds} s is not over"
        if monitor.quality is not None:
            text = "no window is over whose labels have had labels.delaySeconds to come"
        state = MonitorState.NO_DATA
        return WindowVerdict(
            name=name, variant=variant, revision=revision, state=state, reason="FirstWindow",
            message=text,
        )  # fmt: skip
    if known.window_end is not None and now >= known.window_end + _patience(monitor):
        text = f"the monitor has said nothing since {known.window_end:%Y-%m-%d %H:%M} UTC"
        hint = "; see its pod, and whether the API server lets it write its report"
        update = {"state": MonitorState.UNKNOWN, "reason": "Silent", "message": text + hint}
        return known.model_copy(update=update)
    return known


def _patience(monitor: Monitor) -> timedelta:
    patience = SILENT * timedelta(seconds=monitor.every_seconds) + PATIENCE
    if monitor.quality is not None:
        patience += timedelta(seconds=monitor.quality.labels.delay_seconds) + UPLOADS
    return patience


def _silence(monitor: Monitor, one: WindowVerdict, now: datetime) -> float | None:
    """Seconds until a verdict is too old."""
    if one.window_end is None or one.reason == "Silent":
        return None
    return until(one.window_end + _patience(monitor), now)


def _news(
    spec: ModelEndpointSpec, before: Sequence[WindowVerdict], after: Sequence[WindowVerdict]
) -> Iterator[Happening]:
    """Events: only of what was not so before, and only about the same revision."""
    kinds = {one.name: one.kind for one in spec.monitors}
    was = {_key(one): one.state for one in before}
    for one in after:
        old = was.get(_key(one))
        who = where(one)
        bad = _BAD[CONDITIONS[kinds[one.name]]]
        if one.state is MonitorState.VIOLATED and old is not MonitorState.VIOLATED:
            yield Happening("Warning", bad, f"{who}: {one.message}")
        elif one.state is MonitorState.OK and old is MonitorState.VIOLATED:
            yield Happening("Normal", "MonitorRecovered", f"{who}: as it should be again")


def _held(
    monitors: Mapping[str, Monitor], status: ModelEndpointStatus, violated: list[WindowVerdict]
) -> dict[str, Held]:
    """Weights that are cut: from the first violation of a revision until another one serves."""
    serving = {one.name: one.serving.revision for one in status.variants if one.serving}
    found = {}
    for variant in status.variants:
        held = variant.held
        if held is not None and held.revision == serving.get(variant.name):
            monitor = monitors.get(held.monitor)
            weight = monitor.on_violation.scale_weight_to if monitor is not None else None
            if weight is not None:
                found[variant.name] = held.model_copy(update={"weight": weight})
    for one in violated:
        weight = monitors[one.name].on_violation.scale_weight_to
        if weight is not None and one.variant not in found:
            if one.revision == serving.get(one.variant):
                held = Held(monitor=one.name, revision=one.revision, weight=weight)
                found[one.variant] = held
    return found


def _retrains(
    monitors: Mapping[str, Monitor],
    status: ModelEndpointStatus,
    violated: list[WindowVerdict],
    seen: Seen,
    now: datetime,
) -> tuple[list[RetrainStatus], list[Happening]]:
    known = [_followed(one, seen) for one in status.retrains]
    told = [
        _ended(new)
        for old, new in zip(status.retrains, known, strict=True)
        if old.outcome is not new.outcome and new.outcome not in OPEN
    ]
    for one in violated:
        policy = monitors[one.name].on_violation.retrain
        if policy is None or not _due(policy, known, one, now):
            continue
        begun = _begun(policy, one, seen, now)
        # Of those that came to nothing the newest will do; the others count towards the limits.
        known = [*(r for r in known if r.outcome is not RetrainOutcome.REFUSED), begun]
        told.append(_started(begun))
    return known[-MAX_RETRAINS:], told


def _followed(one: RetrainStatus, seen: Seen) -> RetrainStatus:
    """What became of a job since."""
    if one.outcome not in OPEN:
        return one
    job = seen.jobs.get(one.training_job)
    if job is None:
        # While it is pending it is made; what was there once is not made again.
        gone = one.outcome is RetrainOutcome.RUNNING
        return one.model_copy(update={"outcome": RetrainOutcome.GONE}) if gone else one
    return one.model_copy(update={"outcome": job.outcome, "message": job.message[:512]})


def _due(
    policy: Retrain, known: Sequence[RetrainStatus], one: WindowVerdict, now: datetime
) -> bool:
    mine = [r for r in known if (r.monitor, r.variant) == (one.name, one.variant)]
    if any(r.window_end == one.window_end for r in mine):
        return False  # This window has had its answer.
    begun = [r for r in known if r.outcome is not RetrainOutcome.REFUSED]
    if any(r.outcome in OPEN for r in begun):
        return False
    if any(now - r.time < timedelta(seconds=policy.cooldown_seconds) for r in begun):
        return False
    return sum(now - r.time < DAY for r in begun) < policy.max_per_day


def _begun(policy: Retrain, one: WindowVerdict, seen: Seen, now: datetime) -> RetrainStatus:
    ref = policy.training_job_ref
    template = ref.name if ref is not None else seen.trained_by.get(one.variant, "")
    job = seen.jobs.get(template)
    made = RetrainStatus(
        monitor=one.name, variant=one.variant, template=template, time=now,
        training_job=job_name(template, seen, one), window_start=one.window_start,
        window_end=one.window_end,
    )  # fmt: skip
    if template and job is not None:
        return made
    wanted = f"TrainingJob '{template}' is missing" if template else "no job is known to have"
    text = (
        f"{wanted}{'' if template else ' trained what variant ' + one.variant + ' serves'}; name a"
        " job of this namespace in onViolation.retrain.trainingJobRef"
    )
    return made.model_copy(update={"outcome": RetrainOutcome.REFUSED, "message": text})


def job_name(template: str, seen: Seen, one: WindowVerdict) -> str:
    """The same for the same window, so that making it again is harmless."""
    what = f"{seen.endpoint}/{one.name}/{one.variant}/{one.revision}/{one.window_end}"
    digest = hashlib.sha256(what.encode()).hexdigest()[:_SUFFIX]
    head = template[: names.MAX_JOB_NAME - _SUFFIX - 2].rstrip("-.")
    return f"{head}-r{digest}"


def _started(one: RetrainStatus) -> Happening:
    if one.outcome is RetrainOutcome.REFUSED:
        return Happening("Warning", "RetrainingRefused", f"monitor {one.monitor}: {one.message}")
    text = f"monitor {one.monitor}: TrainingJob {one.training_job} begins, as {one.template}"
    return Happening("Normal", "Retraining", text)


def _ended(one: RetrainStatus) -> Happening:
    text = f"TrainingJob {one.training_job}: {one.outcome}"
    if one.outcome is RetrainOutcome.SUCCEEDED:
        return Happening("Normal", "Retrained", text)
    return Happening("Warning", "RetrainingFailed", f"{text}: {one.message}")


def claims(monitors: Sequence[Watch], verdicts: Sequence[Judged]) -> dict[str, Claim]:
    """DriftDetected, DataQualityOK and ModelQualityOK, of monitors that there are."""
    kinds = {one.name: one.kind for one in monitors}
    found: dict[str, list[Judged]] = {}
    for one in verdicts:
        found.setdefault(CONDITIONS[kinds[one.name]], []).append(one)
    return {name: _claim(name, ones) for name, ones in found.items()}


def where(one: Judged) -> str:
    """Which monitor says so, and of what."""
    variant = f", variant {one.variant}" if isinstance(one, WindowVerdict) else ""
    return f"monitor {one.name}{variant}"


def _claim(name: str, verdicts: list[Judged]) -> Claim:
    good = name != "DriftDetected"
    found = worst([(where(one), one) for one in verdicts], bad=not good)
    return found or Claim(good, "AsExpected")


class Said(Protocol):
    """What somebody says of a part."""

    @property
    def state(self) -> MonitorState:
        """What is known."""

    @property
    def reason(self) -> str:
        """Why it is not known, in one word."""

    @property
    def message(self) -> str:
        """The same in full, or what is wrong."""


def worst(said: Sequence[tuple[str, Said]], *, bad: bool) -> Claim | None:
    """What is wrong comes first; then what is not known, which is never taken for well.

    Args:
        said: With whom or what it is about.
        bad: The condition's status when something is wrong.
    """
    for state in (MonitorState.VIOLATED, MonitorState.UNKNOWN, MonitorState.NO_DATA):
        for who, one in said:
            if one.state is state:
                holds = bad if state is MonitorState.VIOLATED else None
                return Claim(holds, one.reason or state, f"{who}: {one.message}")
    return None

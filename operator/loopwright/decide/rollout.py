"""How a variant gets from one revision to another: one pure step at a time.

The old revision stays in use until the new one has held what it must; giving up always ends there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from loopwright.api.conditions import MAX_MESSAGE
from loopwright.api.delivery import Rollout
from loopwright.api.modelendpoint_status import (
    CheckState,
    Rejected,
    Retired,
    RolloutStatus,
    Served,
    VariantStatus,
)
from loopwright.decide import checks
from loopwright.decide.endpoint_types import Abort, Seen, Turn, soonest, until
from loopwright.decide.types import Blocked, Happening

# A revision that loses its pods while it gets traffic is given up like one that fails a check.
READY_FAILURES: Final = 2
POLL: Final = 10.0


@dataclass(frozen=True)
class Step:
    """One variant, and what its next step depends on."""

    policy: Rollout
    variant: VariantStatus
    seen: Seen
    former: Sequence[Retired]
    """Revisions of it that were in use and still run."""
    split: bool
    """Whether traffic can be divided between revisions."""
    required: int
    """Pods that a new revision needs before it gets any."""
    now: datetime
    abort: Abort | None = None
    """The revision that a monitor gives up."""


def take(step: Step) -> Turn:
    """The variant's next state.

    Deciding again with the state that it brought about decides nothing new.
    """
    variant, target = step.variant, step.seen.targets[step.variant.name]
    if (undone := _undo(step)) is not None:
        return undone
    if isinstance(target, Blocked):
        return _hold(step, target.message)
    if variant.rejected is not None and variant.rejected.revision != target.revision:
        # The spec has changed, so it may be right now.
        variant = variant.model_copy(update={"rejected": None})
        step = replace(step, variant=variant)
    if variant.serving is not None and variant.serving.revision == target.revision:
        return _abandon(step, target)
    if variant.rejected is not None:
        return _abandon(step, None)
    if variant.next is None or variant.next.revision != target.revision:
        return _begin(step, target)
    # What it is called may change while it stays what it is.
    return _go_on(replace(step, variant=variant.model_copy(update={"next": target})))


def percents(policy: Rollout) -> list[int]:
    """The new revision's share at each step."""
    match policy.strategy:
        case "AllAtOnce":
            return [100]
        case "Canary":
            return [policy.canary_percent, 100]
        case "Manual":
            return [policy.canary_percent]
        case "Linear":
            return [*range(policy.step_percent, 100, policy.step_percent), 100]


def _hold(step: Step, why: str) -> Turn:
    """Nobody knows what it should be, so it stays what it is."""
    rollout = step.variant.rollout
    if rollout is None:
        return Turn(step.variant)
    return Turn(_with(step.variant, rollout=_of(rollout, message=why[:MAX_MESSAGE])))


def _abandon(step: Step, target: Served | None) -> Turn:
    """No rollout, or none any more: the spec is as it was before."""
    variant = step.variant
    if target is not None:
        variant = _with(variant, serving=target)
    if variant.rollout is None:
        return Turn(variant)
    told = Happening("Normal", "RolloutAbandoned", f"variant {variant.name} stays as it was")
    left = _retire(step, variant.next)
    return Turn(_with(variant, next=None, rollout=None), left, (told,))


def _begin(step: Step, target: Served) -> Turn:
    """Another revision is wanted, perhaps in the middle of a rollout to yet another."""
    variant = step.variant
    former = any(one.served.revision == target.revision for one in step.former)
    left = _retire(step, variant.next)
    if former and variant.serving is not None and step.seen.serves(target):
        # It was in use before and still runs, so there is nothing to find out.
        text = f"variant {variant.name} returns to revision {target.revision}"
        left = (*left, *_retire(step, variant.serving, step.policy.keep_previous_seconds))
        done = _with(variant, serving=target, next=None, rollout=None)
        return Turn(done, left, (Happening("Normal", "RolloutComplete", text),))
    started = RolloutStatus(
        to=target.revision,
        from_=variant.serving.revision if variant.serving else None,
        started_at=step.now,
    )
    text = f"variant {variant.name} begins with revision {target.revision}"
    told = Happening("Normal", "RolloutStarted", text)
    begun = _with(variant, next=target, rollout=started)
    turn = _go_on(replace(step, variant=begun))
    return replace(turn, retired=(*left, *turn.retired), happenings=(told, *turn.happenings))


def _go_on(step: Step) -> Turn:
    variant, seen = step.variant, step.seen
    assert variant.next is not None
    assert variant.rollout is not None
    view = seen.views.get(variant.next.inference_service)
    if variant.serving is None:
        # Nothing to compare with, and nothing to lose.
        return _finish(step) if seen.serves(variant.next) else _await(step)
    if (why := _given_up(step, variant.next)) is not None:
        return _reject(step, *why)
    problem = view.problem if view is not None else None
    if problem is not None and problem.permanent and step.policy.auto_rollback:
        return _reject(step, problem.reason, problem.message)
    if variant.rollout.step == 0:
        full = view is not None and view.serves and view.ready >= step.required
        return _first_step(step) if full else _await(step)
    return _watch(step)


def _await(step: Step) -> Turn:
    """Its pods are not all there yet."""
    variant = step.variant
    assert variant.next is not None
    assert variant.rollout is not None
    view = step.seen.views.get(variant.next.inference_service)
    why = view.problem.message if view is not None and view.problem else "its pods start"
    waiting = _with(variant, rollout=_of(variant.rollout, message=why[:MAX_MESSAGE]))
    if variant.serving is None or not step.policy.auto_rollback:
        return Turn(waiting, requeue=POLL)
    limit = _limit(step.policy, variant.rollout)
    if step.now >= limit:
        return _reject(step, "NotReady", f"it was not ready in time: {why}")
    return Turn(waiting, requeue=min(POLL, until(limit, step.now)))


def _first_step(step: Step) -> Turn:
    if not step.split and percents(step.policy)[0] not in (0, 100):
        text = (
            f"strategy {step.policy.strategy} divides traffic, which takes a Gateway; set"
            " routing.gatewayRef, or rollout.strategy: AllAtOnce"
        )
        rollout = _of(step.variant.rollout, message=text)
        return Turn(_with(step.variant, rollout=rollout), requeue=POLL)
    return _step(step, percents(step.policy)[0])


def _step(step: Step, percent: int) -> Turn:
    """Gives the new revision its next share."""
    variant, policy = step.variant, step.policy
    assert variant.rollout is not None
    bake = step.now + timedelta(seconds=policy.bake_seconds)
    rollout = _of(
        variant.rollout,
        step=variant.rollout.step + 1,
        percent=percent,
        bake_until=bake,
        checked_until=step.now,
        checked=False,
        failing=[],
        message="",
        baseline=checks.baseline(variant, step.seen),
    )
    text = f"variant {variant.name}: revision {rollout.to} gets {percent} %"
    told = Happening("Normal", "RolloutStep", text)
    turn = _watch(replace(step, variant=_with(variant, rollout=rollout)))
    return replace(turn, happenings=(told, *turn.happenings))


def _watch(step: Step) -> Turn:
    """It has its share. Checks are made, and decide what comes next."""
    step, wait = _checked(step)
    variant, policy = step.variant, step.policy
    rollout = variant.rollout
    assert rollout is not None
    if policy.auto_rollback:
        limits = {one.name: one.failure_limit for one in policy.checks}
        for failed in rollout.failing:
            if failed.failures >= limits.get(failed.name, READY_FAILURES):
                return _reject(step, "ChecksFailed", f"{failed.name}: {failed.message}")
        if _overdue(step):
            why = rollout.message or "its checks did not hold"
            return _reject(step, "NotReady", f"it was not done in time: {why}")
    waits = _waits_for(step)
    if waits is None:
        return _advance(step)
    if step.seen.promote == rollout.to and rollout.percent < 100 and not rollout.failing:
        return _step(step, 100)
    limit = _limit(policy, rollout)
    bake = rollout.bake_until
    requeue = soonest(
        wait,
        until(bake, step.now) if bake is not None and bake > step.now else None,
        until(limit, step.now) if limit > step.now else None,
    )
    return Turn(_with(variant, rollout=_of(rollout, message=waits[:MAX_MESSAGE])), requeue=requeue)


def _waits_for(step: Step) -> str | None:
    """Why the step is not over."""
    rollout, policy = step.variant.rollout, step.policy
    assert rollout is not None
    assert rollout.bake_until is not None
    if rollout.failing:
        return f"{rollout.failing[0].name}: {rollout.failing[0].message}"
    if not step.seen.serves(step.variant.next):
        return "its pods are not ready"
    if step.now < rollout.bake_until:
        return f"it is watched until {rollout.bake_until:%H:%M:%S} UTC"
    if policy.checks and not rollout.checked and policy.bake_seconds >= policy.check_seconds:
        why = checks.clock(policy, step.variant, step.seen, step.now)[1]
        return why or "no check was made yet"
    if _asks(policy, rollout):
        return f"it waits for the annotation loopwright.io/promote={rollout.to}"
    return None


def _overdue(step: Step) -> bool:
    rollout = step.variant.rollout
    assert rollout is not None
    return step.now >= _limit(step.policy, rollout) and not _asks(step.policy, rollout)


def _asks(policy: Rollout, rollout: RolloutStatus) -> bool:
    """Whether the step ends only when a person says so."""
    return policy.strategy == "Manual" and rollout.percent < 100


def _limit(policy: Rollout, rollout: RolloutStatus) -> datetime:
    """When the step is given up."""
    begun = rollout.bake_until or rollout.started_at
    return begun + timedelta(seconds=policy.max_duration_seconds)


def _advance(step: Step) -> Turn:
    rollout = step.variant.rollout
    assert rollout is not None
    more = [percent for percent in percents(step.policy) if percent > rollout.percent]
    if rollout.percent < 100:
        return _step(step, more[0] if more else 100)
    return _finish(step)


def _checked(step: Step) -> tuple[Step, float | None]:
    """The step with the checks of the newest interval, if one is over; and when the next one is."""
    variant, policy = step.variant, step.policy
    rollout = variant.rollout
    assert rollout is not None
    moment, _ = checks.clock(policy, variant, step.seen, step.now)
    interval = timedelta(seconds=policy.check_seconds)
    since = rollout.checked_until or rollout.started_at
    if moment is None or moment - since < interval:
        return step, max(0.1, (since + interval - step.now).total_seconds())
    results = [one for one in checks.make(policy, variant, step.seen) if one.failed]
    failing = [_failing(rollout, one.check.name, one.message) for one in results]
    if (silent := checks.answers(variant, step.seen)) is not None:
        failing.append(_failing(rollout, checks.READY, silent))
    update = {
        "checked_until": moment,
        "checked": True,
        "failing": failing,
        "baseline": checks.baseline(variant, step.seen),
    }
    checked = _with(variant, rollout=_of(rollout, **update))
    return replace(step, variant=checked), float(policy.check_seconds)


def _failing(rollout: RolloutStatus, name: str, message: str) -> CheckState:
    before = next((one.failures for one in rollout.failing if one.name == name), 0)
    return CheckState(name=name, failures=before + 1, message=message[:MAX_MESSAGE])


def _finish(step: Step) -> Turn:
    variant = step.variant
    assert variant.next is not None
    left = _retire(step, variant.serving, step.policy.keep_previous_seconds)
    text = f"variant {variant.name} is served by revision {variant.next.revision}"
    done = _with(variant, serving=variant.next, next=None, rollout=None)
    return Turn(done, left, (Happening("Normal", "RolloutComplete", text),))


def _reject(step: Step, reason: str, message: str) -> Turn:
    """Gives the new revision up: the old one gets all traffic again, and stays."""
    variant = step.variant
    assert variant.next is not None
    rejected = Rejected(
        revision=variant.next.revision, reason=reason, message=message[:MAX_MESSAGE]
    )
    text = f"variant {variant.name}: revision {rejected.revision} was given up: {message}"
    told = Happening("Warning", "RolledBack", text[:MAX_MESSAGE])
    left = _retire(step, variant.next)
    return Turn(_with(variant, next=None, rollout=None, rejected=rejected), left, (told,))


def _given_up(step: Step, served: Served) -> tuple[str, str] | None:
    """Why a revision is not to be used any more: a person says so, or a monitor."""
    if step.seen.rollback == served.revision:
        return "Aborted", "a person gave it up"
    if step.abort is not None and step.abort.revision == served.revision:
        return "MonitorViolated", step.abort.message
    return None


def _undo(step: Step) -> Turn | None:
    """The revision in use is given up while the one before still runs."""
    variant = step.variant
    why = _given_up(step, variant.serving) if variant.serving is not None else None
    if variant.serving is None or why is None:
        return None
    former = [one.served for one in step.former if step.seen.serves(one.served)]
    if not former:
        return None
    rejected = Rejected(revision=variant.serving.revision, reason=why[0], message=why[1])
    text = f"variant {variant.name} returns to revision {former[-1].revision}"
    left = [*_retire(step, variant.serving)]
    left += _retire(step, variant.next)
    update = {"serving": former[-1], "next": None, "rollout": None, "rejected": rejected}
    return Turn(_with(variant, **update), tuple(left), (Happening("Warning", "RolledBack", text),))


def _retire(step: Step, served: Served | None, seconds: int = 0) -> tuple[Retired, ...]:
    if served is None:
        return ()
    end = step.now + timedelta(seconds=max(seconds, step.seen.drain_seconds))
    used = served is step.variant.serving
    return (Retired(variant=step.variant.name, served=served, until=end, proven=used),)


def _with(variant: VariantStatus, **update: Any) -> VariantStatus:
    return variant.model_copy(update=update)


def _of(rollout: RolloutStatus | None, **update: Any) -> RolloutStatus:
    assert rollout is not None
    return rollout.model_copy(update=update)

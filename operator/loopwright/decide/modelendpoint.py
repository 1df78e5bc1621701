"""What to do about a ModelEndpoint: one pure function from what is there to what comes next."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.modelendpoint_status import ModelEndpointStatus, Retired, VariantStatus
from loopwright.decide import capture, experiment, monitoring, rollout, routing
from loopwright.decide.endpoint_summary import summarize
from loopwright.decide.endpoint_types import EndpointDecision, Seen, Turn, soonest, until
from loopwright.decide.scaling import floor
from loopwright.decide.types import Happening

MAX_RETIRED: Final = 32
POLL: Final = 10.0


def decide(
    spec: ModelEndpointSpec, status: ModelEndpointStatus, seen: Seen, now: datetime
) -> EndpointDecision:
    """The next status of an endpoint. Its children are made to agree with it.

    Calling it again with the state that it brought about decides nothing new.
    """
    known = {variant.name: variant for variant in status.variants}
    before = [known.get(one.name, VariantStatus(name=one.name)) for one in spec.variants]
    removed = [one for name, one in known.items() if name not in {v.name for v in spec.variants}]
    watching = spec.model_copy(update={"monitors": []}) if spec.suspend else spec
    watched = monitoring.watch(watching, status, seen, now)
    if spec.suspend:
        turns = [_suspended(variant, seen, now) for variant in before]
    else:
        plan = routing.plan(spec, seen)
        turns = [
            rollout.take(
                rollout.Step(
                    policy=spec.rollout,
                    variant=variant,
                    seen=seen,
                    former=former(status, variant.name, now),
                    split=plan.routed,
                    required=floor(spec, wanted, variant, seen),
                    abort=watched.aborts.get(variant.name),
                    now=now,
                )
            )
            for wanted, variant in zip(spec.variants, before, strict=True)
        ]
    gone = [one for variant in removed for one in _retire(variant, seen, now)]
    after = [turn.status for turn in turns]
    left = (*gone, *(one for turn in turns for one in turn.retired))
    retired = _still_there((*status.retired, *left), after, now)
    said = status.conditions
    update = {"variants": after, "retired": retired, "retrains": watched.retrains}
    status = status.model_copy(update=update)
    status, silence = monitoring.record(watching, status, seen, now)
    tried = experiment.advance(spec, status, seen, now)
    status = status.model_copy(update={"experiment": tried.status})
    result = summarize(spec, status, seen, now)
    ends = [until(one.until, now) for one in retired]
    waits = [turn.requeue for turn in turns]
    poll = None if result.conditions_hold else POLL
    captured = capture.news(said, result.status.conditions)
    told = (*_told(turns), *watched.happenings, *tried.happenings, *captured)
    silences = (silence, capture.silence(spec, seen, now))
    requeue = soonest(*ends, *waits, *silences, tried.requeue, poll)
    return EndpointDecision(result.status, told, requeue)


def former(status: ModelEndpointStatus, variant: str, now: datetime) -> list[Retired]:
    """Revisions of a variant that were in use and still run, the newest last."""
    found = [one for one in status.retired if one.variant == variant and one.proven]
    return [one for one in found if one.until > now]


def _told(turns: Iterable[Turn]) -> tuple[Happening, ...]:
    return tuple(one for turn in turns for one in turn.happenings)


def _suspended(variant: VariantStatus, seen: Seen, now: datetime) -> Turn:
    """A rollout that is interrupted begins anew, so that the time between does not count."""
    if variant.rollout is None or variant.serving is None:
        return Turn(variant)
    update = {"next": None, "rollout": None}
    return Turn(
        variant.model_copy(update=update), tuple(_retire(variant, seen, now, only_next=True))
    )


def _retire(
    variant: VariantStatus, seen: Seen, now: datetime, *, only_next: bool = False
) -> list[Retired]:
    end = now + timedelta(seconds=seen.drain_seconds)
    leaving = [variant.next] if only_next else [variant.serving, variant.next]
    return [
        Retired(variant=variant.name, served=one, until=end, proven=one is variant.serving)
        for one in leaving
        if one
    ]


def _still_there(
    retired: Iterable[Retired], variants: Iterable[VariantStatus], now: datetime
) -> list[Retired]:
    """Those that are neither in use again nor due, each once; the youngest, if there are many."""
    used = {one.inference_service for v in variants for one in (v.serving, v.next) if one}
    found = {
        one.served.inference_service: one
        for one in retired
        if one.until > now and one.served.inference_service not in used
    }
    return list(found.values())[-MAX_RETIRED:]

"""Deliberately broken operators, each of which the suite must catch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from loopwright.decide import endpoint_summary, summary
from loopwright.decide.types import RegisterModel, StartAttempt
from loopwright.reconcile import endpoint_children, endpoint_observe, modelendpoint
from loopwright.reconcile import job as jobs


def effect_before_intent() -> None:
    """Makes an attempt's RayJob before the attempt is recorded."""
    step, decide = jobs._step, jobs.decide

    async def hasty(ctx: Any, job: Any, seen: Any) -> float | None:
        decision = decide(job.job, job.status, seen, ctx.now())
        for action in decision.actions:
            if isinstance(action, StartAttempt):
                await jobs._act(ctx, job, decision.status, action)
        return await step(ctx, job, seen)

    jobs._step = hasty


def version_before_intent() -> None:
    """Makes a job's ModelVersion before its name is recorded."""
    step, decide = jobs._step, jobs.decide

    async def hasty(ctx: Any, job: Any, seen: Any) -> float | None:
        decision = decide(job.job, job.status, seen, ctx.now())
        if any(isinstance(action, RegisterModel) for action in decision.actions):
            await job.kind.register(ctx, replace(job, status=decision.status), seen.report)
        return await step(ctx, job, seen)

    jobs._step = hasty


def a_new_time_each_time() -> None:
    """Writes the time into its conditions whenever it looks."""
    merged = summary.merged

    def restless(before: Any, claims: Any, generation: int, now: datetime) -> Any:
        conditions = merged(before, claims, generation, now)
        return [one.model_copy(update={"last_transition_time": now}) for one in conditions]

    summary.merged = endpoint_summary.merged = restless


def service_before_intent() -> None:
    """Makes a variant's InferenceService before the rollout is recorded."""
    step, decide = modelendpoint._step, modelendpoint.decide

    async def hasty(ctx: Any, endpoint: Any, status: Any) -> float | None:
        decision = decide(endpoint.context.spec, status, endpoint.seen, ctx.now())
        await modelendpoint._bring_about(ctx, endpoint, decision.status)
        return await step(ctx, endpoint, status)

    modelendpoint._step = hasty


def service_before_its_record() -> None:
    """Makes a revision's InferenceService before what it is made from is stored."""
    revisions = endpoint_children._revisions

    def hasty(*args: Any) -> Any:
        records, services = revisions(*args)
        return services, records

    endpoint_children._revisions = hasty


def traffic_before_ready() -> None:
    """Takes pods that there are to be for pods that answer."""
    view = endpoint_observe._view

    def trusting(*args: Any) -> Any:
        found = view(*args)
        return replace(found, ready=found.desired)

    endpoint_observe._view = trusting


def old_goes_first() -> None:
    """Has no more use for the old revision once there is to be a new one."""
    wanted = endpoint_children._wanted

    def impatient(endpoint: Any, status: Any, seen: Any) -> Iterator[Any]:
        replaced = [one.serving for one in status.variants if one.next is not None]
        return (one for one in wanted(endpoint, status, seen) if one.served not in replaced)

    endpoint_children._wanted = impatient

"""Reconciles a job that runs on Ray: observe, decide, write the status if it changed, then act."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Generic, TypeVar

from pydantic import ValidationError

from loopwright import metrics
from loopwright.api.conditions import MAX_MESSAGE
from loopwright.api.jobspec import JobSpec
from loopwright.api.report import JobReport
from loopwright.api.resources import RAYJOB, Key, Resource
from loopwright.api.trainingjob_status import JobStatus, TrainedStatus
from loopwright.decide.job import decide
from loopwright.decide.kind import Job, report_of
from loopwright.decide.outcome import remaining
from loopwright.decide.summary import running
from loopwright.decide.types import (
    Action,
    Blocked,
    Decision,
    DeleteRayJob,
    Observed,
    RegisterModel,
    S,
    StartAttempt,
)
from loopwright.desired.context import AttemptContext, JobContext
from loopwright.kube.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    KindMissing,
    NameTaken,
    Unavailable,
)
from loopwright.reconcile import children
from loopwright.reconcile.context import Context
from loopwright.reconcile.observe import observe
from loopwright.reconcile.status import refuse, store

MAX_PROBLEM: Final = 512

T = TypeVar("T", bound=JobSpec)


@dataclass(frozen=True)
class Stored(Generic[S]):
    """A job as it is stored, and what its kind makes of it."""

    kind: JobKind[S]
    key: Key
    obj: dict[str, Any]
    status: S
    job: Job[S]
    context: JobContext | None
    """What its children are made from; None while that cannot be known."""
    blocked: Blocked | None = None
    """Why not."""

    @property
    def spec(self) -> JobSpec:
        """Its spec."""
        return self.job.spec


def identity(
    ctx: Context, key: Key, obj: dict[str, Any], spec: T
) -> tuple[str, str, str, T, str, str]:
    """The first fields of each job's context: what it is, and the image that it runs."""
    image, ray = ctx.settings.runtime_image, ctx.settings.ray_version
    uid = obj["metadata"]["uid"]
    return key.name, key.namespace, uid, spec, spec.image or image, spec.ray_version or ray


class JobKind(ABC, Generic[S]):
    """What a kind of job brings to the reconcile that all of them share."""

    resource: ClassVar[Resource]
    report: ClassVar[type[JobReport]]
    """What its drivers write."""
    status: type[S]

    @abstractmethod
    def stored(self, ctx: Context, key: Key, obj: dict[str, Any], status: S) -> Stored[S]:
        """The job.

        Raises:
            ValidationError: its spec makes no sense.
        """

    def begun(self, context: JobContext, status: S) -> JobContext:
        """The context with what was put on record when the newest attempt began."""
        return context

    async def register(
        self, ctx: Context, stored: Stored[S], report: JobReport | None
    ) -> Blocked | None:
        """Makes the ModelVersion that the status names; returns why it cannot."""
        raise NotImplementedError

    async def reconcile(self, ctx: Context, key: Key) -> float | None:
        """Brings a job one step further.

        Returns:
            Seconds after which it wants to be looked at without an event, or None.

        Raises:
            ApiError: the API server refused; the queue tries again later.
        """
        obj = ctx.cache.get(key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            ctx.kept.pop(key, None)
            return None  # Owner references do the rest.
        status = self.status.model_validate(obj.get("status") or {})
        try:
            stored = self.stored(ctx, key, obj, status)
            seen = await observe(ctx, key, obj, status, stored.context, self.report)
        except ValidationError as error:
            # Nothing can be decided about it, and only a person can help.
            await refuse(ctx, self.resource, obj, status, error)
            return None
        if _may_be_old(status, seen) and await children.was_old(ctx, self.resource, key, obj):
            return 0.0
        seen = replace(seen, prices=ctx.prices())
        if stored.blocked is not None:
            seen = replace(seen, blocked=stored.blocked)
        return await _step(ctx, stored, seen)


def _may_be_old(status: JobStatus, seen: Observed) -> bool:
    """Whether RayJobs and the job are not of the same time, as each has its own watch.

    An attempt is on record before its RayJob is made, so one that is not was put there since. And
    one that is on record without a RayJob may have had it. Writes notice that they are late;
    deleting and making RayJobs would not.
    """
    current = running(status)
    lost = (
        current is not None and current.ray_job_uid is None and status.attempt not in seen.rayjobs
    )
    return lost or max(seen.rayjobs, default=0) > status.attempt


async def _step(ctx: Context, job: Stored[S], seen: Observed) -> float | None:
    decision = decide(job.job, job.status, seen, ctx.now())
    if StartAttempt(job.status.attempt) in decision.actions:
        # The attempt is on record already. What refused it then may well do so again, and only the
        # end of that is news.
        blocked = await _start(ctx, job, job.status, job.status.attempt)
        _warn(ctx, job.obj, job.status, blocked)
        seen = replace(seen, blocked=blocked)
        decision = replace(decide(job.job, job.status, seen, ctx.now()), actions=())
    elif RegisterModel(_version(job.status)) in decision.actions:
        # So is the version.
        blocked = await job.kind.register(ctx, job, report_of(seen, job.status.attempt))
        _warn(ctx, job.obj, job.status, blocked)
        seen = replace(seen, blocked=blocked, registered=blocked is None)
        decision = decide(job.job, job.status, seen, ctx.now())
    try:
        obj, decision = await _write(ctx, job, seen, decision)
    except Unavailable:
        # It may be stored, and then nobody would tell. Saying it twice changes nothing.
        _tell(ctx, job.obj, decision)
        raise
    metrics.record(job.key, job.spec, job.status, decision.status)
    if decision.status.completion_time is not None and decision.status != job.status:
        ctx.wake(job.key)  # Others may wait for its model.
    _tell(ctx, obj, decision)
    for action in decision.actions:
        if isinstance(action, RegisterModel):
            return await _step(ctx, replace(job, obj=obj, status=decision.status), seen)
        blocked = await _act(ctx, replace(job, obj=obj), decision.status, action)
        if blocked is not None:
            _warn(ctx, obj, decision.status, blocked)
            seen = replace(seen, blocked=blocked)
            again = decide(job.job, decision.status, seen, ctx.now())
            await store(ctx, job.kind.resource, obj, again.status)
            return again.requeue
    if job.context is not None and seen.blocked is None and running(decision.status) is not None:
        try:
            await children.keep(ctx, job.key, job.context)
        except (Forbidden, Invalid, NameTaken) as error:
            # Work goes on without it, so that no condition tells.
            _warn(ctx, obj, decision.status, _refused(error))
            raise
    return decision.requeue


def _version(status: JobStatus) -> str:
    """The ModelVersion that is on record."""
    return (isinstance(status, TrainedStatus) and status.model_version) or ""


def _tell(ctx: Context, obj: dict[str, Any], decision: Decision[S]) -> None:
    for one in decision.happenings:
        ctx.events.record(obj, one.kind, one.reason, one.message, ctx.now())


def _warn(ctx: Context, obj: dict[str, Any], status: S, blocked: Blocked | None) -> None:
    """Tells people what is refused, unless the status says so already."""
    if blocked is not None and blocked.message not in {c.message for c in status.conditions}:
        ctx.events.record(obj, "Warning", blocked.reason, blocked.message, ctx.now())


async def _write(
    ctx: Context, job: Stored[S], seen: Observed, decision: Decision[S]
) -> tuple[dict[str, Any], Decision[S]]:
    """Stores the decision; without the report when what the pods wrote cannot be stored."""
    try:
        return await store(ctx, job.kind.resource, job.obj, decision.status), decision
    except Invalid as error:
        if seen.report is None:
            raise
        problem = f"the report cannot be stored and is ignored: {error.message[:MAX_PROBLEM]}"
        seen = replace(seen, report=None, report_problem=problem)
        decision = decide(job.job, job.status, seen, ctx.now())
        return await store(ctx, job.kind.resource, job.obj, decision.status), decision


async def _act(ctx: Context, job: Stored[S], status: S, action: Action) -> Blocked | None:
    """Does what was decided. A refusal that time or a person can lift is returned, not raised."""
    key = job.key
    if isinstance(action, StartAttempt):
        return await _start(ctx, job, status, action.number)
    if isinstance(action, DeleteRayJob):
        await _delete_rayjob(ctx, key, action)
    else:
        # Somebody may have taken its time to live away meanwhile.
        meta = job.obj["metadata"]
        identity = key.namespace, key.name, meta["uid"], meta["resourceVersion"]
        await ctx.client.delete(job.kind.resource, *identity)
    return None


async def _delete_rayjob(ctx: Context, key: Key, action: DeleteRayJob) -> None:
    """Deletes a RayJob that nobody has changed since it was decided by.

    Its watch may lag behind that of jobs, also for long after a restart. Then one that has ended
    by itself, and should stay for people to look at, seems to hold a cluster still.
    """
    identity = key.namespace, action.name, action.uid, action.version
    try:
        await ctx.client.delete(RAYJOB, *identity)
    except Conflict:
        await children.read(ctx, RAYJOB, key.namespace, action.name)
        raise


async def _start(ctx: Context, job: Stored[S], status: S, number: int) -> Blocked | None:
    if job.context is None:
        return job.blocked
    # What was put on record is made, also by the next operator.
    asked = job.job.asked(status)
    attempt = AttemptContext(
        number=number,
        remaining_seconds=remaining(asked, status),
        on_demand=_gave_up_on_spot(job.spec, status),
    )
    try:
        begun = job.kind.begun(job.context, status)
        await children.start(ctx, job.key, replace(begun, spec=asked), attempt)
    except (KindMissing, Forbidden, Invalid, NameTaken) as error:
        return _refused(error)
    return None


def _refused(error: ApiError) -> Blocked:
    if isinstance(error, KindMissing):
        text = "RayJob is unknown to this cluster; install KubeRay 1.6 or newer"
        return Blocked("DependencyMissing", text)
    # A quota may be freed and a policy be changed without anybody touching the job.
    message = error.message[:MAX_MESSAGE]  # As the condition will say it.
    return Blocked(error.reason, message, permanent=isinstance(error, Invalid))


def _gave_up_on_spot(spec: JobSpec, status: S) -> bool:
    limit = spec.spot.fallback_on_demand_after if spec.spot else None
    return limit is not None and status.failures.infrastructure >= limit

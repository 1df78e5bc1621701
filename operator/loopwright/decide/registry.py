"""What a Model and its versions say about themselves: aliases, approval, retention."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from loopwright.api.registry import (
    MAX_ALIASES,
    Approval,
    ApprovalState,
    Model,
    ModelSpec,
    ModelStatus,
    ModelVersionStatus,
    Stage,
)
from loopwright.decide.approval import Incumbent, Judgement, judge
from loopwright.decide.conditions import Claim, merged, says
from loopwright.decide.modelref import unusable
from loopwright.decide.types import Happening


@dataclass(frozen=True)
class Version:
    """The parts of a ModelVersion that matter; those that are being deleted are left out."""

    name: str
    version: str
    trained: str
    """When, as text that sorts by time."""
    generation: int
    approval: Approval
    wants: tuple[str, ...] = ()
    """Aliases that it asks for."""
    metric: str | None = None
    metrics: Mapping[str, str] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    """As it is stored. There may be thousands of versions, and of most nothing changes, so that
    their statuses are compared as they are instead of read into models."""


@dataclass(frozen=True)
class Verdict:
    """What is to be stored, deleted and told."""

    model: ModelStatus | None
    """None without a Model."""
    versions: dict[str, ModelVersionStatus]
    """By name of the ModelVersion; only those that change."""
    expired: tuple[str, ...] = ()
    """ModelVersions that retention deletes."""
    moved: tuple[Happening, ...] = ()
    """About the Model."""
    approvals: dict[str, tuple[Happening, ...]] = field(default_factory=dict)
    """By name of the ModelVersion."""


@dataclass(frozen=True)
class ByItself:
    """What a reconcile knows of approvals without a person."""

    operator: str = ""
    """The operator's own user name; retention may delete what it has approved itself."""
    refused: str | None = None
    """Why it could not approve what keeps the conditions."""


def decide(
    name: str,
    model: Model | None,
    generation: int,
    versions: Sequence[Version],
    used: Collection[str],
    now: datetime,
    by_itself: ByItself = ByItself(),
) -> Verdict:
    """The state of a model and its versions.

    Args:
        name: Of the Model, which may be missing.
        generation: Of the Model.
        used: ModelVersions that other objects use, which retention therefore leaves alone.
        by_itself: About what the operator approves itself.
    """
    versions = sorted(versions, key=lambda one: (one.trained, one.name))
    aliases = {} if model is None else pointed(model.spec, versions)
    pointing: defaultdict[str, list[str]] = defaultdict(list)
    for alias, version in sorted(aliases.items()):
        pointing[version].append(alias)
    statuses, approvals = {}, {}
    for one in versions:
        why = _held_back(model, one, versions, aliases, by_itself)
        told = _version(name, model, one, pointing.get(one.version, []), why, now)
        if told is not None:
            before = ModelVersionStatus.model_validate(one.status)
            statuses[one.name], approvals[one.name] = told, _approval(before, told)
    if model is None:
        return Verdict(None, statuses, approvals=approvals)
    expired = expire(model.spec, versions, aliases, used, by_itself.operator)
    status = ModelStatus(
        observed_generation=generation,
        conditions=merged(model.status.conditions, _claims(model.spec, versions), generation, now),
        versions=len(versions) - len(expired),
        latest_version=versions[-1].version if versions else None,
        aliases=aliases,
    )
    return Verdict(status, statuses, expired, _moved(model.status, status), approvals)


def pointed(spec: ModelSpec, versions: Sequence[Version]) -> dict[str, str]:
    """The usable version that each alias points to.

    Args:
        versions: Oldest first.
    """
    usable = [
        one
        for one in versions
        if unusable(one.approval, one.name, required=spec.require_approval) is None
    ]
    known = {one.version for one in usable}
    found = {alias: version for alias, version in spec.aliases.items() if version in known}
    for one in reversed(usable):
        for alias in one.wants:
            # What people say comes first, also while it cannot be used.
            if alias not in spec.aliases and alias not in found and len(found) < MAX_ALIASES:
                found[alias] = one.version
    return found


def approvable(spec: ModelSpec, versions: Sequence[Version]) -> tuple[Version, str] | None:
    """The newest version that nobody has decided about and that keeps the conditions of
    autoApprove, with the numbers that say so.

    One at a time: its approval may move the alias that the next one is compared with.
    """
    versions = sorted(versions, key=lambda one: (one.trained, one.name))
    waiting = [one for one in versions if _undecided(spec, one)]
    if not waiting:
        return None
    aliases = pointed(spec, versions)
    for one in reversed(waiting):
        found = _judged(spec, one, versions, aliases)
        if found.approved:
            return one, found.reason
    return None


def _undecided(spec: ModelSpec, one: Version) -> bool:
    """Whether nobody ever decided: only the approval of a version can change its generation."""
    pending = one.approval.state is ApprovalState.PENDING
    return spec.auto_approve is not None and pending and one.generation == 1


def _judged(
    spec: ModelSpec, one: Version, versions: Sequence[Version], aliases: Mapping[str, str]
) -> Judgement:
    assert spec.auto_approve is not None
    other = spec.auto_approve.not_worse_than
    number = aliases.get(other.alias) if other is not None else None
    metrics = next((known.metrics for known in versions if known.version == number), None)
    incumbent = None
    if other is not None and number is not None and metrics is not None:
        incumbent = Incumbent(other.alias, number, metrics)
    return judge(spec.auto_approve, one.metrics, incumbent)


def _held_back(
    model: Model | None,
    one: Version,
    versions: Sequence[Version],
    aliases: Mapping[str, str],
    by_itself: ByItself,
) -> str:
    """Why a version that waits is not approved by itself."""
    if model is None or not _undecided(model.spec, one):
        return ""
    found = _judged(model.spec, one, versions, aliases)
    if not found.approved:
        return f"spec.autoApprove of the Model asks for more: {found.reason}"
    return by_itself.refused or ""


def expire(
    spec: ModelSpec,
    versions: Sequence[Version],
    aliases: dict[str, str],
    used: Collection[str],
    operator: str = "",
) -> tuple[str, ...]:
    """The versions that nobody needs any more, oldest first.

    Args:
        operator: Whose approvals do not keep a version: there would be no end to them.
    """
    if spec.retention is None:
        return ()
    named = {*aliases.values(), *spec.aliases.values()}
    return tuple(
        one.name
        for one in versions[: -spec.retention.keep]
        if (one.approval.state is not ApprovalState.APPROVED or one.approval.by == operator)
        and one.version not in named
        and one.name not in used
    )


def _claims(spec: ModelSpec, versions: Sequence[Version]) -> dict[str, Claim]:
    known = {one.version: one for one in versions}
    problems = []
    for alias, version in sorted(spec.aliases.items()):
        found = known.get(version)
        if found is None:
            text = f"alias '{alias}' names version '{version}', which does not exist"
            problems.append(f"{text}; register it, or change spec.aliases")
            continue
        why = unusable(found.approval, found.name, required=spec.require_approval)
        if why is not None:
            problems.append(f"alias '{alias}' waits: {why.message}")
    if not problems:
        return _settled("Ready", "")
    # More would not be read; the next one shows once this one is solved.
    return _waiting("AliasUnresolved", problems[0])


def _settled(reason: str, message: str) -> dict[str, Claim]:
    return {
        "Ready": Claim(True, reason, message),
        "Reconciling": Claim(False, reason),
        "Stalled": Claim(False, "AsExpected"),
    }


def _waiting(reason: str, message: str) -> dict[str, Claim]:
    return {
        "Ready": Claim(False, reason, message),
        "Reconciling": Claim(True, reason, message),
        "Stalled": Claim(False, "AsExpected"),
    }


def _version(
    name: str, model: Model | None, one: Version, aliases: list[str], held_back: str, now: datetime
) -> ModelVersionStatus | None:
    """A version's status, or None when it is stored already."""
    stage, approval = _stage(model, one.approval), one.approval
    if model is None:
        claims = _waiting("ModelNotFound", f"Model '{name}' is missing; create it")
    else:
        claims = _settled(stage.value if stage else "Registered", "")
    approved = approval.state is ApprovalState.APPROVED
    who = f"by {approval.by}" if approval.by else ""
    message = f"{who}: {approval.reason}" if who and approval.reason else who or held_back
    claims["Approved"] = Claim(approved, approval.state.value, message)
    facts = {
        "observedGeneration": one.generation,
        "phase": stage.value if stage else None,
        "aliases": aliases,
        "metric": one.metric,
        "approvedBy": approval.by if approved else None,
    }
    told = one.status.get("conditions", [])
    if all(one.status.get(key) == value for key, value in facts.items()) and says(told, claims):
        return None
    old = ModelVersionStatus.model_validate(one.status)
    known = old.approved_at if old.approved_by == approval.by else None
    return ModelVersionStatus.model_validate(
        {
            **facts,
            "conditions": merged(old.conditions, claims, one.generation, now),
            "approvedAt": (known or now) if approved else None,
        }
    )


def _stage(model: Model | None, approval: Approval) -> Stage | None:
    if approval.state is ApprovalState.APPROVED:
        return Stage.APPROVED
    if approval.state is ApprovalState.REJECTED:
        return Stage.REJECTED
    if model is None:
        return None
    return Stage.PENDING_APPROVAL if model.spec.require_approval else Stage.REGISTERED


def _moved(before: ModelStatus, after: ModelStatus) -> tuple[Happening, ...]:
    told = []
    for alias in sorted({*before.aliases, *after.aliases}):
        old, new = before.aliases.get(alias), after.aliases.get(alias)
        if old == new:
            continue
        text = f"alias '{alias}' points to version {new}" if new else f"alias '{alias}' is gone"
        told.append(
            Happening("Normal", "AliasMoved", text + (f"; it was version {old}" if old else ""))
        )
    return tuple(told)


def _approval(before: ModelVersionStatus, after: ModelVersionStatus) -> tuple[Happening, ...]:
    was = {one.type: one for one in before.conditions}.get("Approved")
    now = next(one for one in after.conditions if one.type == "Approved")
    if (was.reason if was else ApprovalState.PENDING) == now.reason:
        return ()
    text = f"{now.reason.lower()} {now.message}".strip()
    return (Happening("Normal", now.reason, text),)

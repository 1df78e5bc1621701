"""Which model a reference means right now, or why there is none to use and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from loopwright.api import hyperparametersweep, trainingjob
from loopwright.api.hyperparametersweep import HyperparameterSweep
from loopwright.api.modelref import ModelByAlias, ModelRef, Register
from loopwright.api.names import version_name
from loopwright.api.registry import (
    UNSAFE_FORMATS,
    Approval,
    ApprovalState,
    Model,
    ModelVersion,
)
from loopwright.api.trainingjob import Output, TrainingJob
from loopwright.api.trainingjob_status import Phase, TrainedStatus
from loopwright.decide.types import Blocked

NO_DIGEST: Final = Blocked(
    "NoDigest", "the model has no digest to be checked by; name a ModelVersion that has one"
)


@dataclass(frozen=True)
class Resolved:
    """A model that may be used."""

    uri: str
    """The model directory."""
    format: str
    digest: str | None
    """sha256 of its model.json, to be checked before anything is loaded."""
    secret: str | None = None
    """Name of the Secret with credentials to read `uri`."""
    version: str | None = None
    """Name of the ModelVersion; None when a job's model is used that was not registered."""
    allow_unsafe: bool = False


@dataclass(frozen=True)
class Lookups:
    """Finds objects of the namespace that the reference is in; None when there is none."""

    model: Callable[[str], Model | None]
    version: Callable[[str], ModelVersion | None]
    job: Callable[[str], TrainingJob | None]
    sweep: Callable[[str], HyperparameterSweep | None]


@dataclass(frozen=True)
class _Terms:
    """What a model must be."""

    approved: bool
    """Approved, also where its Model does not ask for that."""
    runs: bool
    """Fit to be run."""


def resolve(
    ref: ModelRef, lookups: Lookups, *, require_approval: bool = False, runs: bool = True
) -> Resolved | Blocked:
    """The model that a reference means.

    Args:
        ref: By alias, by version, or by the job or sweep that trained it.
        lookups: What there is; objects that are being deleted count as gone.
        require_approval: Whether only an approved version will do, also where the Model of it
            does not ask for that.
        runs: Whether it is to be run. Of one that is only read about, neither approval nor a
            format that can run code matters.
    """
    terms = _Terms(require_approval, runs)
    if ref.model_version_ref is not None:
        return _version(ref.model_version_ref.name, lookups, terms)
    if ref.training_job_ref is not None:
        job = _training_job(ref.training_job_ref.name, lookups)
        return _trained(job, lookups, terms)
    if ref.sweep_ref is not None:
        return _trained(_sweep(ref.sweep_ref.name, lookups), lookups, terms)
    assert ref.model_ref is not None
    found = _of_model(ref.model_ref, lookups)
    return found if isinstance(found, Blocked) else _version(found, lookups, terms)


def unusable(approval: Approval, name: str, *, required: bool) -> Blocked | None:
    """Why people have not let a version be used."""
    if approval.state is ApprovalState.REJECTED:
        why = f": {approval.reason}" if approval.reason else ""
        text = f"ModelVersion '{name}' was rejected by {approval.by}{why}; name another version"
        return Blocked("ModelRejected", text)
    if required and approval.state is not ApprovalState.APPROVED:
        text = (
            f"ModelVersion '{name}' is not approved; a user with the verb approve on modelversions"
            " must set its spec.approval"
        )
        return Blocked("ModelNotApproved", text)
    return None


def _of_model(ref: ModelByAlias, lookups: Lookups) -> str | Blocked:
    """Name of the ModelVersion."""
    model = lookups.model(ref.name)
    if model is None:
        return _no_model(ref.name)
    if ref.version is not None:
        return version_name(ref.name, ref.version)
    assert ref.alias is not None
    version = model.spec.aliases.get(ref.alias) or model.status.aliases.get(ref.alias)
    if version is None:
        text = (
            f"Model '{ref.name}' has no alias '{ref.alias}' that points to a usable version; set"
            f" spec.aliases.{ref.alias} of the Model to a version"
        )
        return Blocked("AliasNotFound", text)
    return version_name(ref.name, version)


def _no_model(name: str) -> Blocked:
    return Blocked("ModelNotFound", f"Model '{name}' is missing; create it, or name another")


def _version(name: str, lookups: Lookups, terms: _Terms) -> Resolved | Blocked:
    found = lookups.version(name)
    if found is None:
        text = f"ModelVersion '{name}' is missing; register it, or name another"
        return Blocked("ModelVersionNotFound", text)
    spec = found.spec
    model = lookups.model(spec.model_ref.name)
    if model is None:
        # Nobody can say whether it needs approval.
        return _no_model(spec.model_ref.name)
    required = terms.runs and (terms.approved or model.spec.require_approval)
    if blocked := unusable(spec.approval, name, required=required):
        return blocked
    return Resolved(
        uri=spec.uri,
        format=spec.format,
        digest=spec.digest,
        secret=spec.secret_ref.name if spec.secret_ref else None,
        version=name,
        allow_unsafe=spec.allow_unsafe,
    )


@dataclass(frozen=True)
class _Trained:
    """A job that trains, as far as its model goes."""

    kind: str
    name: str
    status: TrainedStatus
    register: Register | None
    field: str
    """Of the spec, that has its model registered."""
    output: Output | None

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"


def _training_job(name: str, lookups: Lookups) -> _Trained | Blocked:
    job = lookups.job(name)
    if job is None:
        return _no_job(trainingjob.KIND, name)
    register, output = job.spec.register_, job.spec.output
    return _Trained(trainingjob.KIND, name, job.status, register, "register", output)


def _sweep(name: str, lookups: Lookups) -> _Trained | Blocked:
    job = lookups.sweep(name)
    if job is None:
        return _no_job(hyperparametersweep.KIND, name)
    promote, output = job.spec.promote, job.spec.trial_template.spec.output
    return _Trained(hyperparametersweep.KIND, name, job.status, promote, "promote", output)


def _no_job(kind: str, name: str) -> Blocked:
    text = f"{kind} '{name}' is missing; create it, or name a ModelVersion"
    return Blocked(f"{kind}NotFound", text)


def _trained(job: _Trained | Blocked, lookups: Lookups, terms: _Terms) -> Resolved | Blocked:
    if isinstance(job, Blocked):
        return job
    if job.status.phase is Phase.FAILED:
        text = f"{job} failed; run it again under another name, or name another"
        return Blocked(f"{job.kind}Failed", text)
    if job.status.phase is not Phase.SUCCEEDED:
        text = f"{job} has not finished; its phase is {job.status.phase}"
        return Blocked(f"{job.kind}Unfinished", text)
    if job.register is not None:
        return _registered(job, lookups, terms)
    return _unregistered(job, terms)


def _registered(job: _Trained, lookups: Lookups, terms: _Terms) -> Resolved | Blocked:
    told = {condition.type: condition for condition in job.status.conditions}
    registered = told.get("ModelRegistered")
    if registered is None or registered.status != "True" or job.status.model_version is None:
        why = f": {registered.message}" if registered is not None and registered.message else ""
        return Blocked("ModelNotRegistered", f"the model of {job} is not registered{why}")
    return _version(job.status.model_version, lookups, terms)


def _unregistered(job: _Trained, terms: _Terms) -> Resolved | Blocked:
    if terms.approved:
        text = f"only approved models may be used, and {job} has no spec.{job.field}"
        return Blocked("ModelNotRegistered", f"{text}; train with it, or name a ModelVersion")
    made = job.status.artifacts
    if made is None or made.model_uri is None or made.format is None:
        text = f"{job} left no model; its code must save one, see save_model"
        return Blocked("NoModel", text)
    if terms.runs and made.format in UNSAFE_FORMATS:
        text = f"the model of {job} has format {made.format}, which can run code"
        return Blocked("UnsafeFormat", f"{text}; save it as onnx, or register it with allowUnsafe")
    secret = job.output.secret_ref if job.output else None
    return Resolved(
        uri=made.model_uri,
        format=made.format,
        digest=made.digest,
        secret=secret.name if secret else None,
    )

"""Whether a finished job's model becomes a version, and what the job says about that."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar

from loopwright.api import names
from loopwright.api.conditions import Truth
from loopwright.api.modelref import Register
from loopwright.api.registry import OWN_FORMATS, UNSAFE_FORMATS
from loopwright.api.trainingjob_status import Phase, TrainedStatus
from loopwright.decide.conditions import Claim, merged
from loopwright.decide.kind import Job
from loopwright.decide.types import Decision, Happening, Observed, RegisterModel

CONDITION: Final = "ModelRegistered"
DONE: Final = "Registered"
# It is on record that a version is to be made; making it again is harmless.
INTENDED: Final = "Registering"
POLL: Final = 10.0

T = TypeVar("T", bound=TrainedStatus)


class Trains(Job[T]):
    """A job of a kind that leaves a model."""

    @property
    @abstractmethod
    def register(self) -> Register | None:
        """What is to be done about the model."""

    def closed(self, decision: Decision[T], seen: Observed, now: datetime) -> Decision[T]:
        """What is to be done about the model."""
        return registered(self, decision, seen, now)

    def pending(self, status: T) -> bool:
        """Whether something is left to be done about the model."""
        return pending(self.register, status)


def registered(job: Trains[T], decision: Decision[T], seen: Observed, now: datetime) -> Decision[T]:
    """A finished job's decision, with what is to be done about its model.

    First the name of the version is put on record, then it is made, then that is put on record: a
    job is registered once, wherever the operator dies in between. What has been decided stands,
    also when the version is deleted later.
    """
    status, register = decision.status, job.register
    if register is None or not pending(register, status):
        return decision
    if seen.registered:
        text = f"ModelVersion '{status.model_version}'"
        told = Happening("Normal", "ModelRegistered", text)
        return _told(decision, Claim(True, DONE, text), seen, now, told)
    refusal = _refusal(register, status)
    if refusal is not None:
        told = Happening("Warning", "ModelNotRegistered", refusal.message)
        return _told(decision, refusal, seen, now, told)
    name = names.version_name(register.model, names.registered_version(seen.uid))
    decision = replace(decision, status=status.model_copy(update={"model_version": name}))
    if seen.blocked is None:
        decision = _told(decision, Claim(False, INTENDED, f"as ModelVersion '{name}'"), seen, now)
        return replace(decision, actions=(*decision.actions, RegisterModel(name)))
    claim = Claim(False, seen.blocked.reason, seen.blocked.message)
    if seen.blocked.permanent:
        status = decision.status.model_copy(update={"model_version": None})
        return _told(replace(decision, status=status), claim, seen, now)
    soon = POLL if decision.requeue is None else min(POLL, decision.requeue)
    return replace(_told(decision, claim, seen, now), requeue=soon)


def pending(register: Register | None, status: TrainedStatus) -> bool:
    """Whether something is left to be done about the model of a job that has ended."""
    if register is None or status.phase is not Phase.SUCCEEDED:
        return False
    told = next((one for one in status.conditions if one.type == CONDITION), None)
    # Without the name of a version none is to be made.
    return told is None or (told.status is Truth.FALSE and status.model_version is not None)


def _refusal(register: Register, status: TrainedStatus) -> Claim | None:
    """Why the model cannot be registered, ever: metrics and model are final."""
    unmet = register.unmet(status.metrics)
    if unmet:
        return Claim(False, "MetricsUnmet", "; ".join(unmet))
    made = status.artifacts
    if made is None or made.model_uri is None or made.format is None:
        text = "training left no model; its code must save one, with save_model or in SM_MODEL_DIR"
        return Claim(False, "NoModel", text)
    if made.format in UNSAFE_FORMATS and not register.allow_unsafe:
        text = f"format {made.format} can run code when it is loaded; save the model as onnx"
        return Claim(False, "UnsafeFormat", f"{text}, or set register.allowUnsafe")
    if made.format in OWN_FORMATS and made.digest is None:
        return Claim(False, "NoDigest", "the report has no digest of the model; train it again")
    return None


def _told(
    decision: Decision[T], claim: Claim, seen: Observed, now: datetime, *told: Happening
) -> Decision[T]:
    status = decision.status
    [condition] = merged(status.conditions, {CONDITION: claim}, seen.generation, now)
    others = [one for one in status.conditions if one.type != CONDITION]
    conditions = sorted([*others, condition], key=lambda one: one.type)
    status = status.model_copy(update={"conditions": conditions})
    return replace(decision, status=status, happenings=(*decision.happenings, *told))

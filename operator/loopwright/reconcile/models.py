"""Finds what a reference to a model may lead to, in the cache."""

from __future__ import annotations

from typing import Any

from loopwright.api.hyperparametersweep import HyperparameterSweep
from loopwright.api.registry import Model, ModelVersion
from loopwright.api.resources import (
    HYPERPARAMETERSWEEP,
    MODEL,
    MODELVERSION,
    TRAININGJOB,
    Key,
    Resource,
)
from loopwright.api.trainingjob import TrainingJob
from loopwright.decide.modelref import Lookups
from loopwright.reconcile.context import Context


def lookups(ctx: Context, namespace: str) -> Lookups:
    """Finders of a namespace's objects; those that are being deleted count as gone."""

    def find(resource: Resource, name: str) -> dict[str, Any] | None:
        found = ctx.cache.get(Key(resource.kind, namespace, name))
        return None if found is None or "deletionTimestamp" in found["metadata"] else found

    def model(name: str) -> Model | None:
        found = find(MODEL, name)
        return None if found is None else Model.model_validate(found)

    def version(name: str) -> ModelVersion | None:
        found = find(MODELVERSION, name)
        return None if found is None else ModelVersion.model_validate(found)

    def job(name: str) -> TrainingJob | None:
        found = find(TRAININGJOB, name)
        return None if found is None else TrainingJob.model_validate(found)

    def sweep(name: str) -> HyperparameterSweep | None:
        found = find(HYPERPARAMETERSWEEP, name)
        return None if found is None else HyperparameterSweep.model_validate(found)

    return Lookups(model, version, job, sweep)

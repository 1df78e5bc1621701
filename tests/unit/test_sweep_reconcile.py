"""One sweep that reconciles against a fake API server."""

from __future__ import annotations

import copy
from typing import Any

from fake_client import World
from sweep_worlds import SPEC

from loopwright.api import names
from loopwright.api.resources import Key, Resource
from loopwright.api.sweepconfig import SweepConfig
from loopwright.kube import errors
from loopwright.reconcile import hyperparametersweep

SWEEP = Key("HyperparameterSweep", "n", "sweep")
TRIAL = {"spec": {"function": "a:b", "output": {"uri": "s3://b/o", "secretRef": {"name": "keys"}}}}


class SweepWorld(World):
    """The same fake, with a sweep in it."""

    reconciles = staticmethod(hyperparametersweep.reconcile)

    def __init__(self, **spec: Any) -> None:
        super().__init__()
        self.made: dict[str, Any] = {}
        self.put("sweep", spec)

    def put(self, name: str, spec: Any, **more: Any) -> None:
        """A person writes a sweep."""
        self.version += 1
        meta = {"name": name, "namespace": "n", "uid": f"uid-{name}", "generation": self.version}
        head = {"apiVersion": names.API_VERSION, "kind": SWEEP.kind, "metadata": meta}
        known = self.cache.get(SWEEP._replace(name=name)) or {}
        whole = {**SPEC, "trialTemplate": TRIAL, **spec}
        self.cache.observe("ADDED", self.stored({**known, **head, "spec": whole, **more}))

    async def create(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        created = await super().create(resource, copy.deepcopy(obj))
        self.made[obj["metadata"]["name"]] = obj
        return created

    def told(self, rayjob: str) -> SweepConfig:
        """What a driver is told."""
        head = self.made[rayjob]["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
        text = head["metadata"]["annotations"][names.CONFIG_ANNOTATION]
        return SweepConfig.model_validate_json(text)

    def ready(self) -> str:
        """Why it is not ready."""
        conditions = (self.cache.get(SWEEP) or {})["status"]["conditions"]
        return next(str(one["reason"]) for one in conditions if one["type"] == "Ready")


async def test_what_is_on_record_is_made_whatever_has_changed_since() -> None:
    world = SweepWorld(maxTrials=8)
    world.refuse["RayJob"] = errors.Forbidden("a quota")
    await world.look(SWEEP)
    world.put("sweep", {"maxTrials": 12})
    world.refuse.clear()
    await world.look(SWEEP)
    assert world.told("sweep-s1").spec.max_trials == 8
    assert (world.cache.get(SWEEP) or {})["status"]["limits"]["maxTrials"] == 8


async def test_earlier_sweeps_are_read_with_their_own_credentials() -> None:
    world = SweepWorld(warmStart={"sweeps": ["earlier"]})
    await world.look(SWEEP)
    assert world.ready() == "SweepNotFound"
    world.put("earlier", {})
    await world.look(SWEEP)
    assert world.ready() == "SweepUnfinished"
    done = {"completionTime": "2026-01-01T00:00:00Z", "historyUri": "s3://b/o/history.jsonl"}
    world.put("earlier", {}, status=done)
    await world.look(SWEEP)
    [history] = world.told("sweep-s1").warm_start
    assert (history.uri, history.secret) == ("s3://b/o/history.jsonl", "keys")


async def test_pods_of_an_earlier_sweep_lend_credentials_to_no_other_place() -> None:
    world = SweepWorld(warmStart={"sweeps": ["earlier"]})
    done = {"completionTime": "2026-01-01T00:00:00Z", "historyUri": "s3://theirs/history.jsonl"}
    world.put("earlier", {}, status=done)
    await world.look(SWEEP)
    assert world.told("sweep-s1").warm_start == []


async def test_without_an_output_it_waits_for_a_person() -> None:
    world = SweepWorld(trialTemplate={"spec": {"function": "a:b"}})
    await world.look(SWEEP)
    assert world.ready() == "OutputMissing"
    assert world.made == {}

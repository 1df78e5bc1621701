"""A HyperparameterSweep as its children are made from it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass

from loopwright.api.hyperparametersweep import KIND, HyperparameterSweepSpec
from loopwright.api.sweepconfig import GRACE, History, SweepConfig
from loopwright.api.trainingjob import Training
from loopwright.desired.context import AttemptContext, claims_of, cpus
from loopwright.desired.training import TrainingContext, shorten

# Ray counts in steps of it.
GRAIN = 10_000


@dataclass(frozen=True)
class SweepContext(TrainingContext):
    """A HyperparameterSweep, and what the operator filled in for it."""

    kind = KIND
    grace = GRACE

    spec: HyperparameterSweepSpec
    warm_start: tuple[History, ...] = ()
    """What spec.warmStart.sweeps have left."""

    @property
    def training(self) -> Training:
        """What each trial runs."""
        return self.spec.trial_template.spec

    @property
    def procs(self) -> int:
        """Processes of the training code in each pod that works."""
        return super().procs * self.spec.shares

    def config(self, attempt: AttemptContext) -> str:
        """The driver's configuration, as JSON."""
        spec = self.spec
        run = SweepConfig(
            name=self.name,
            namespace=self.namespace,
            uid=self.uid,
            spec=spec,
            image=self.image,
            output_uri=self.output_uri,
            checkpoint_uri=self.checkpoint_uri,
            seed=self._seed(),
            cpus_per_worker=_share(cpus(spec.resources_per_worker.cpu), spec.shares),
            gpus_per_worker=_share(self.training.resources_per_worker.gpu, spec.trials_per_gpu),
            remaining_seconds=attempt.remaining_seconds,
            warm_start=list(self.warm_start),
        )
        wire = run.wire()
        shorten(wire["spec"])
        shorten(wire["spec"]["trialTemplate"]["spec"])
        return json.dumps(wire, sort_keys=True, ensure_ascii=False)

    def _seed(self) -> int:
        seed = self.spec.algorithm.seed
        if seed is not None:
            return seed
        return int.from_bytes(hashlib.sha256(self.uid.encode()).digest()[:4]) % 2**31

    def claims(self) -> set[str]:
        """Claims that its URIs name, and those of earlier sweeps."""
        return super().claims() | claims_of(*(one.uri for one in self.warm_start))

    def secrets(self) -> set[str]:
        """Secrets with credentials that its URIs need, and those of earlier sweeps."""
        return super().secrets() | {one.secret for one in self.warm_start if one.secret}


def _share(whole: int, shares: int) -> float:
    """A part of Ray's CPUs or GPUs; rounded down, or the last one would find no room."""
    return math.floor(whole * GRAIN / shares) / GRAIN

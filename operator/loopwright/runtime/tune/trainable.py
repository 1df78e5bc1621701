"""The actor that Ray Tune makes for a trial, and uses again for the next one.

Starting an actor takes a second, a process of the trial's own a fraction of that.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import Any, Final

import ray
from ray.train import Checkpoint
from ray.train._internal.session import _TrainingResult
from ray.tune import Trainable
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from loopwright.api import trainingjob
from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.api.runconfig import RunConfig
from loopwright.api.sweepconfig import SweepConfig
from loopwright.runtime import checkpoints
from loopwright.runtime.errors import RunError
from loopwright.runtime.tune import schedulers
from loopwright.runtime.tune.study import Outcome
from loopwright.runtime.tune.trial import (
    News,
    Node,
    TrialRun,
    bundles,
    checkpoints_folder,
    clear_leftovers,
    run_config,
)

# Ray Tune can stop an actor between two steps only, so none is longer.
STEP_SECONDS: Final = 1.0
NEWS: Final = "news"
CHECKPOINT: Final = "checkpoint_uri"
# Greater than the number of any news before it.
NEVER: Final = 2**62


class RemoteNode:
    """A Node in another pod."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._actor, name)
        return lambda *arguments: ray.get(method.remote(*arguments))


class SweepTrial(Trainable):  # type: ignore[misc]
    """Runs one trial after the other; see `search` for the configuration that each gets."""

    def setup(self, config: dict[str, Any]) -> None:
        """The actor is new."""
        clear_leftovers()
        self._sweep = SweepConfig.model_validate_json(config["sweep"])
        self._nodes: list[Any] = [Node(), *self._others()]
        self._prepare(config)

    def _others(self) -> list[RemoteNode]:
        """Further pods, in the placement group that Ray Tune has made for the trial."""
        shares, group = bundles(self._sweep), get_current_placement_group()
        actor = ray.remote(Node)
        return [
            RemoteNode(
                actor.options(
                    num_cpus=share["CPU"], num_gpus=share.get("GPU", 0),
                    scheduling_strategy=PlacementGroupSchedulingStrategy(group, index),
                ).remote()
            )
            for index, share in enumerate(shares)
            if index
        ]  # fmt: skip

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The actor is taken for another trial, or for other parameters."""
        self.halt()
        self._prepare(new_config)
        return True

    def _prepare(self, config: dict[str, Any]) -> None:
        # Not from the configuration, which a trial takes over from another with its parameters.
        self._name = self.trial_id.rpartition("-")[0]
        self._parameters = config[schedulers.PARAMETERS]
        self._run: TrialRun | None = None
        self._resume: str | None = None
        self._latest: dict[str, Any] = {}

    def step(self) -> dict[str, Any]:
        """Goes on until the trial has something to tell, or a second."""
        try:
            if self._run is None:
                self._run = self._started()
            else:
                self._run.go_on()
            news = self._run.news(STEP_SECONDS)
        except RunError as error:
            if error.cause.value == "Infrastructure":
                raise
            # The whole sweep's fault, most likely; the limit of failed trials ends it.
            outcome = Outcome(TrialState.FAILED, error.reason, error.message)
            news = News(NEVER, 0.0, self._parameters, outcome=outcome)
        return self._result(news)

    def _started(self) -> TrialRun:
        job = run_config(self._sweep, self._name, self._parameters)
        run = TrialRun(
            self._sweep, self._name, self._parameters, self._nodes, resume=self._checkpoint(job),
            waits=schedulers.waits(self._sweep.spec),
        )  # fmt: skip
        run.start()
        return run

    def _checkpoint(self, job: RunConfig) -> str | None:
        """What to begin with: another trial's checkpoint if there is one to take over."""
        own = checkpoints_folder(job)
        if self._resume is not None and not self._resume.startswith(own.child("")):
            keep = (job.spec.checkpoint or trainingjob.Checkpoint()).keep
            if (taken := checkpoints.take_over(self._resume, own, keep, job.uid)) is not None:
                return taken
        return checkpoints.to_resume(own, "None", job.uid)

    def _result(self, news: News) -> dict[str, Any]:
        spec, outcome = self._sweep.spec, news.outcome
        for step, metrics in news.reports:
            value = schedulers.measured(spec, metrics)
            if value is not None:
                before = self._latest.get(schedulers.STEP, 0)
                self._latest = {
                    schedulers.STEP: step if step is not None else before + 1,
                    schedulers.VALUE: value,
                }
        limit = spec.early_stopping.max_steps
        if outcome is None and limit and self._latest.get(schedulers.STEP, 0) > limit:
            assert self._run is not None
            # As said in maxSteps. At the limit itself the code may be about to save its model.
            outcome = self._run.published()
            news = replace(news, outcome=outcome)
        known = self._latest if news.reports or outcome is not None else {}
        return {**known, NEWS: news, "done": outcome is not None}

    def halt(self) -> None:
        """Stops what the trial runs; Ray Tune may keep the actor for the next one."""
        if self._run is not None:
            self._run.halt()
            self._run = None

    def cleanup(self) -> None:
        """The actor ends."""
        self.halt()

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """For population-based training: the trial's newest checkpoint, which is in storage."""
        uri = self._run.checkpoint if self._run is not None else None
        metrics = {**self._latest, CHECKPOINT: uri}
        # Ray Tune would copy a folder between pods; it only needs to know that there is one.
        return _TrainingResult(Checkpoint(os.sep) if uri else None, metrics)

    def restore(self, checkpoint_path: Any) -> None:
        """Begins with what another trial has saved."""
        self._resume = checkpoint_path.metrics.get(CHECKPOINT)
        with contextlib.suppress(KeyError):
            self._latest = {
                key: checkpoint_path.metrics[key] for key in (schedulers.STEP, schedulers.VALUE)
            }

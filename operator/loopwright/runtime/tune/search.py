"""Hands trials to Ray Tune one by one, and hears from it how they fare.

It is a search algorithm to Ray Tune, though none of Ray's own: those draw trials ahead, count them
and keep their state in a file of the head pod. Here a trial is in storage before Ray Tune knows of
it, and again before anybody is told that it has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from ray.tune import Callback, PlacementGroupFactory, Stopper
from ray.tune.experiment import Trial
from ray.tune.search.search_algorithm import SearchAlgorithm

from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.api.sweep_history import TrialRecord
from loopwright.api.sweepconfig import SweepConfig
from loopwright.api.trainingjob_status import DataLineage
from loopwright.runtime.console import say
from loopwright.runtime.tune import schedulers
from loopwright.runtime.tune.journal import Journal
from loopwright.runtime.tune.proposals import Proposals
from loopwright.runtime.tune.study import Outcome, Study
from loopwright.runtime.tune.trainable import NEWS
from loopwright.runtime.tune.trial import News, bundles

LOST: Final = "its pods were lost, or storage did not answer; the driver's log has more"


class Search(SearchAlgorithm):  # type: ignore[misc]
    """Proposes trials, and takes note of what becomes of them.

    Args:
        ended: Called with each trial that has ended, once that is stored.
    """

    def __init__(
        self, config: SweepConfig, study: Study, proposals: Proposals, journal: Journal,
        ended: Callable[[TrialRecord], None],
    ) -> None:  # fmt: skip
        self._config, self._study, self._proposals = config, study, proposals
        self._journal, self._tell_ended = journal, ended
        self._text = config.model_dump_json(by_alias=True, exclude_none=True)
        self._experiment: Any = None
        # By Ray Tune's id, which is another one when a trial is started again.
        self._at_work: dict[str, int] = {}
        self._started: dict[str, float] = {}
        self._heard: dict[str, int] = {}
        self._before: dict[int, float] = {
            number: record.seconds for number, record in study.records.items()
        }
        self.inputs: dict[str, DataLineage] = {}

    def add_configurations(self, experiments: Any) -> None:
        """Ray Tune says where trials belong."""
        [self._experiment] = experiments if isinstance(experiments, list) else [experiments]

    @property
    def total_samples(self) -> int:
        """How many trials there will be."""
        return self._config.spec.max_trials

    def next_trial(self) -> Trial | None:
        """A trial, when there is room and something to try."""
        if self._finished or len(self._at_work) >= self._config.spec.parallel_trials:
            return None
        number = self._study.next_number()
        if number is None:
            return None
        known = self._study.records.get(number)
        parameters = known.parameters if known is not None else self._proposals.ask(number)
        if parameters is None:
            self._study.exhausted()
            return None
        record = self._study.begin(number, parameters, _now())
        self._journal.save(self._study.records, number)
        say(f"loopwright: trial {record.name} begins: {record.parameters}")
        return self._trial(record)

    def _trial(self, record: TrialRecord) -> Trial:
        identity = f"{record.name}-{record.tries}"
        self._at_work[identity], self._started[identity] = record.number, time.monotonic()
        config = {"sweep": self._text, schedulers.PARAMETERS: record.parameters}
        return Trial(
            self._experiment.run_identifier, config=config, trial_id=identity,
            storage=self._experiment.storage, experiment_tag=identity,
            placement_group_factory=PlacementGroupFactory(bundles(self._config), "SPREAD"),
            trial_dirname_creator=lambda trial: trial.trial_id,
        )  # fmt: skip

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial that goes on has told something, or nothing for a second."""
        number = self._at_work.get(trial_id)
        if number is not None:
            self._study.running(number, result[NEWS].parameters)
            self._hear(trial_id, result[NEWS])
            self._journal.later(self._study.records, number)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial has ended, was stopped by the scheduler, or was lost."""
        if trial_id not in self._at_work:
            return
        news = result.get(NEWS) if result else None
        if news is not None:
            self._hear(trial_id, news)
        number = self._at_work.pop(trial_id)
        seconds = self._before.get(number, 0) + time.monotonic() - self._started.pop(trial_id)
        self._before[number] = seconds
        if error or news is None:
            record = self._study.lost(number, LOST, _now(), seconds)
        else:
            outcome = news.outcome or Outcome(TrialState.EARLY_STOPPED)
            record = self._study.end(number, outcome, _now(), seconds)
        if record.ended:
            self._proposals.tell(record)
        self._journal.save(self._study.records, number)
        say(f"loopwright: trial {record.name}: {_line(record)}")
        if record.ended:
            self._tell_ended(record)

    def _hear(self, trial_id: str, news: News) -> None:
        # A step's result comes again with the end of its trial.
        if news.number <= self._heard.get(trial_id, 0):
            return
        self._heard[trial_id] = news.number
        for step, metrics in news.reports:
            self._study.report(self._at_work[trial_id], step, metrics)
        for one in news.inputs:
            self.inputs.setdefault(one.name, one)

    def is_finished(self) -> bool:
        """Whether nothing is left to hand over."""
        return self._finished or self._study.stop_reason is not None


def _line(record: TrialRecord) -> str:
    values = ", ".join(f"{name}={value:.6g}" for name, value in record.objectives.items())
    return " ".join(part for part in (record.state.value, values, record.reason) if part)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class Ending(Stopper):  # type: ignore[misc]
    """Ends the whole when there is a reason to."""

    def __init__(self, over: Callable[[], bool]) -> None:
        self._over = over

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Single trials end by themselves, or by the scheduler."""
        return False

    def stop_all(self) -> bool:
        """Whether it is over."""
        return self._over()

    def __reduce__(self) -> Any:
        """Ray Tune stores all that it has; this is made anew."""
        return object, ()


class Halting(Callback):  # type: ignore[misc]
    """Ends a stopped trial's processes at once: Ray Tune keeps its actor for the next trial."""

    def __init__(self, each_step: Callable[[], None]) -> None:
        self._each_step = each_step

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial was stopped, or has ended."""
        actor = trial.temporary_state.ray_actor
        if actor is not None:
            actor.halt.remote()

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        """Ray Tune has looked at all trials."""
        self._each_step()

"""What a sweep knows before its first trial: earlier sweeps' results, and those from elsewhere."""

from __future__ import annotations

from loopwright.api import sweep_history
from loopwright.api.hyperparametersweep import HyperparameterSweepSpec
from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.api.sweep_history import TrialRecord
from loopwright.api.sweepconfig import History, SweepConfig
from loopwright.runtime.console import say
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder
from loopwright.runtime.tune.proposals import Known


def known(config: SweepConfig) -> list[Known]:
    """Parameters and objectives, as far as they are of the same objectives. Those that lie outside
    of the space are left out when they are taken in.

    Raises:
        RunError: an earlier sweep's history is not there.
    """
    spec, found = config.spec, list[Known]()
    for one in config.warm_start:
        of_sweep = [pair for record in _history(one) if (pair := _of_trial(record, spec))]
        say(f"loopwright: {len(of_sweep)} trials of sweep {one.sweep} are known")
        found += of_sweep
    for result in (spec.warm_start.results or []) if spec.warm_start else []:
        values = [result.metrics.get(objective.metric) for objective in spec.objectives]
        numbers = [float(value) for value in values if value is not None]
        if len(numbers) == len(values):
            found.append((result.parameters, numbers))
    return found


def _history(one: History) -> list[TrialRecord]:
    parent, _, name = one.uri.rpartition("/")
    content = Folder(parent, one.secret).read(name)
    if content is None:
        text = f"sweep {one.sweep} has no history at {one.uri}; remove it from warmStart.sweeps"
        raise RunError("WarmStartMissing", text)
    return sweep_history.parse(content.decode(errors="replace"))


def _of_trial(record: TrialRecord, spec: HyperparameterSweepSpec) -> Known | None:
    """A trial that ran to its end, if it strove for the same."""
    same = record.directions == {one.metric: one.direction for one in spec.objectives}
    if not same or not record.measured or record.state is not TrialState.SUCCEEDED:
        return None
    return record.parameters, [record.objectives[one.metric] for one in spec.objectives]

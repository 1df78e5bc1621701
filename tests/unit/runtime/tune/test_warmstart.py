"""What earlier sweeps and people know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweeps import config, play, spec, trial

from loopwright.api import names
from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.api.sweepconfig import History, SweepConfig
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder
from loopwright.runtime.tune import warmstart
from loopwright.runtime.tune.journal import Journal
from loopwright.runtime.tune.proposals import Proposals
from loopwright.runtime.tune.study import Outcome, Study


@pytest.fixture(autouse=True)
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims are folders."""
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path))


def earlier(**more: Any) -> str:
    """The history of a sweep of five trials, of which one failed and one was stopped."""
    wanted = spec(maxTrials=5, **more)
    study = Study("earlier", wanted)
    play(study, Proposals(wanted, 1), until=lambda number: number == 4)
    trial(study, 1.0, Outcome(TrialState.FAILED))
    trial(study, 2.0, Outcome(TrialState.EARLY_STOPPED))
    return Journal(Folder("pvc://models/earlier")).publish(study.records)


def later(uri: str, **more: Any) -> SweepConfig:
    """A sweep that begins with it."""
    history = History(sweep="earlier", uri=uri)
    return config(**more).model_copy(update={"warm_start": [history]})


def test_trials_that_ran_to_their_end_are_known() -> None:
    found = warmstart.known(later(earlier()))
    assert len(found) == 3
    assert all(parameters.keys() >= {"x", "lr"} for parameters, _ in found)


def test_those_with_other_objectives_are_not() -> None:
    other = [{"metric": "loss", "direction": "Maximize"}]
    assert warmstart.known(later(earlier(), objectives=other)) == []


def test_a_history_that_is_gone_is_told() -> None:
    with pytest.raises(RunError, match="sweep earlier has no history at"):
        warmstart.known(later("pvc://gone/h.jsonl"))


def test_results_from_elsewhere_are_known_as_far_as_they_are_whole() -> None:
    results = [
        {"parameters": {"x": "0.1"}, "metrics": {"loss": "0.25", "other": "1"}},
        {"parameters": {"x": "0.2"}, "metrics": {"other": "1"}},
    ]
    assert warmstart.known(config(warmStart={"results": results})) == [({"x": "0.1"}, [0.25])]

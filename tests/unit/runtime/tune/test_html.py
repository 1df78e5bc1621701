"""The report for people: whole, offline, and right about the best."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sweeps import NOW, play, spec, trial

from loopwright.api import sweep_history
from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.api.sweep_history import TrialRecord
from loopwright.api.trainingjob_status import Artifacts
from loopwright.runtime.tune import html
from loopwright.runtime.tune.proposals import Proposals
from loopwright.runtime.tune.study import Outcome, Study

BOTH = [{"metric": "loss"}, {"metric": "size", "direction": "Maximize"}]


def records(**more: Any) -> list[TrialRecord]:
    """Trials of a sweep that has ended."""
    wanted = spec(maxTrials=12, **more)
    study = Study("digits", wanted)
    play(study, Proposals(wanted, 1))
    return list(study.records.values())


def visible(page: str) -> str:
    """The page without scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def test_one_objective_has_four_charts_and_a_table() -> None:
    found = records()
    page = html.render(found)
    text = visible(page)
    for title in ("Optimisation history", "Parallel coordinates", "Parameter importance"):
        assert f"<h2>{title}</h2>" in text
    assert "<h2>Learning curves</h2>" in text
    assert "Pareto" not in text
    assert text.count("class='none'") == 0
    best = sweep_history.ranked(found)[0]
    assert f"Best trial: {best.name}" in text
    assert f"{best.objectives['loss']:.6g}" in text
    assert text.count("<tr>") == len(best.parameters) + 1 + 12


def test_nothing_is_fetched() -> None:
    text = visible(html.render(records()))
    assert "src=" not in text
    assert "<link" not in text
    assert not re.search(r"<script[^>]*\bsrc=", html.render(records()))


def test_several_objectives_have_a_front_and_charts_of_each() -> None:
    text = visible(html.render(records(objectives=BOTH)))
    assert "<h2>Pareto front</h2>" in text
    assert "<h2>Parameter importance of loss</h2>" in text
    assert "<h2>Parameter importance of size</h2>" in text
    assert "by the first objective" in text


def test_names_and_values_are_text() -> None:
    evil = "<script>alert(1)</script>"
    axes = [
        {"name": evil, "categorical": {"choices": [evil, "b"]}},
        {"name": "x", "uniform": {"min": "0", "max": "1"}},
    ]
    study = Study("s", spec(parameters=axes))
    for number in range(1, 6):
        study.begin(number, {evil: evil if number % 2 else "b", "x": f"0.{number}"}, NOW)
        study.report(number, 1, {"loss": float(number)})
        study.end(number, Outcome(TrialState.SUCCEEDED), NOW, 1)
    assert evil not in visible(html.render(list(study.records.values())))
    # Nor can a value end the script that holds a chart's data.
    assert "<script>alert" not in html.render(list(study.records.values()))


@pytest.mark.parametrize("count", [1, 2])
def test_few_trials_show_what_there_is(count: int) -> None:
    text = visible(html.render(records()[:count]))
    assert "Best trial" in text


def test_trials_without_a_result_are_no_best() -> None:
    study = Study("s", spec())
    trial(study, 1.0, Outcome(TrialState.FAILED, "TrainingFailed", "exit code 1"))
    trial(study, 2.0, Outcome(TrialState.EARLY_STOPPED))
    text = visible(html.render(list(study.records.values())))
    assert "Best trial" not in text
    assert "1 EarlyStopped, 1 Failed" in text


def test_the_model_is_named() -> None:
    study = Study("s", spec())
    model = Artifacts(model_uri="pvc://models/t1/model")
    trial(study, 1.0, Outcome(TrialState.SUCCEEDED, artifacts=model))
    assert "pvc://models/t1/model" in visible(html.render(list(study.records.values())))


def test_a_history_without_trials_has_no_report() -> None:
    with pytest.raises(ValueError, match="no trials"):
        html.render([])


def test_a_file_is_rendered_by_a_command(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text(sweep_history.lines(records()))
    words = [sys.executable, "-m", "loopwright.runtime.tune.html", str(file)]
    env = {**os.environ, "PYTHONPATH": str(Path(html.__file__).parents[3])}
    page = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
    assert page.startswith("<!DOCTYPE html>")
    assert page.rstrip().endswith("</html>")

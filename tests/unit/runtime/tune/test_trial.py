"""One trial without Ray: its processes, what it tells, and that nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sweeps import config

from eventually import eventually
from loopwright.api import names
from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.api.sweepconfig import SweepConfig
from loopwright.runtime import console, inputs, processes, worker
from loopwright.runtime.errors import RunError
from loopwright.runtime.tune import trial as module
from loopwright.runtime.tune.trial import (
    News,
    Node,
    TrialRun,
    bundles,
    clear_leftovers,
    run_config,
    shares_pod,
)

pytestmark = pytest.mark.timeout(60)
PARAMETERS = {"x": "0.5"}


@pytest.fixture(autouse=True)
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pod's folders."""
    for name in ("PVC_DIR", "SCRIPT_DIR", "INPUTS_DIR"):
        (tmp_path / name.lower()).mkdir()
        monkeypatch.setattr(names, name, str(tmp_path / name.lower()))
    for one in (inputs, worker, module):
        monkeypatch.setattr(one, "WORK", tmp_path / "work")
    monkeypatch.setattr(worker, "STOPPING", tmp_path / "work/stopping")
    monkeypatch.setattr(console, "_container", lambda: None)
    monkeypatch.setattr(worker.socket, "gethostbyname", lambda _: "127.0.0.1")
    root = Path(module.__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", str(root))
    return tmp_path


Runs = list[TrialRun]


@pytest.fixture
def runs() -> Iterator[Runs]:
    """Trials that are stopped when a test is over."""
    made: Runs = []
    yield made
    for one in made:
        one.halt()


def sweep(script: str, trial: dict[str, Any] | None = None, **more: Any) -> SweepConfig:
    """A sweep whose trials run this script in one pod."""
    (Path(names.SCRIPT_DIR) / names.INLINE_SCRIPT_KEY).write_text(script)
    template = {"spec": {"script": {"inline": script}, "numWorkers": 0, **(trial or {})}}
    return config(trialTemplate=template, **more)


def start(runs: Runs, script: str, *, waits: bool = False, **more: Any) -> TrialRun:
    """Starts a trial."""
    resume = more.pop("resume", None)
    made = TrialRun(sweep(script, **more), "t7", PARAMETERS, [Node()], resume=resume, waits=waits)
    runs.append(made)
    made.start()
    return made


def until_ended(run: TrialRun) -> list[News]:
    """All its news."""
    found = [run.news(20)]
    while found[-1].outcome is None:
        run.go_on()
        found.append(run.news(20))
    return found


REPORTING = """
import os, pathlib
from loopwright import train
for epoch in range(1, 4):
    train.report({"loss": 1 / epoch}, step=epoch)
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text(train.hyperparameters()["x"])
"""


def test_a_trial_tells_what_it_reports_and_leaves_a_model(pod: Path, runs: Runs) -> None:
    found = until_ended(start(runs, REPORTING))
    reports = [report for news in found for report in news.reports]
    assert reports == [(1, {"loss": 1.0}), (2, {"loss": 0.5}), (3, {"loss": pytest.approx(1 / 3)})]
    assert [news.number for news in found] == list(range(1, len(found) + 1))
    outcome = found[-1].outcome
    assert outcome is not None
    assert outcome.state is TrialState.SUCCEEDED
    folder = pod / "pvc_dir/models/digits/0123456789/trials/t7"
    assert (folder / "model/model.txt").read_text() == "0.5"
    assert (folder / "logs/attempt-1/rank-0.log").exists()


def test_nothing_that_was_sent_last_is_lost(runs: Runs) -> None:
    """The process ends right after its report."""
    script = "from loopwright import train\nfor n in range(50): train.report({'loss': n}, step=n)"
    found = until_ended(start(runs, script))
    assert [step for news in found for step, _ in news.reports] == list(range(50))


def test_reports_that_nobody_waits_for_come_together(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the end at once: neither side looks for it only now and then."""
    for one in (module, processes):
        monkeypatch.setattr(one, "POLL", 50)
    begun = time.monotonic()
    [news] = until_ended(start(runs, REPORTING))
    assert [step for step, _ in news.reports] == [1, 2, 3]
    assert time.monotonic() - begun < 50


def test_a_trial_that_waits_does_one_step_at_a_time(pod: Path, runs: Runs) -> None:
    script = REPORTING.replace("    train.report", "    open('step', 'a').write('.'); train.report")
    run = start(runs, script, waits=True)
    assert [step for step, _ in run.news(20).reports] == [1]
    assert run.news(0.5).reports == []
    [file] = (pod / "work/trials").glob("*/here/step")
    assert file.read_text() == "."
    run.go_on()
    assert [step for step, _ in run.news(20).reports] == [2]
    assert file.read_text() == ".."


def test_a_stopped_trial_leaves_nothing(pod: Path, runs: Runs) -> None:
    script = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
open("left", "w"); open(os.environ["TMPDIR"] + "/left", "w")
from loopwright import train
train.report({"child": child.pid}, step=1)
time.sleep(1000)
"""
    run = start(runs, script)
    [(_, metrics)] = run.news(30).reports
    run.halt()
    assert list((pod / "work/trials").iterdir()) == []
    eventually("the child's end", lambda: not alive(int(metrics["child"])))


def alive(pid: int) -> bool:
    """Whether a process is there, and not only waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_lost_actor_has_left_is_cleared(pod: Path) -> None:
    words = [sys.executable, "-c", "import time; time.sleep(1000)"]
    process = subprocess.Popen(words, start_new_session=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for owner in (ended.pid, os.getpid()):
        folder = pod / f"work/trials/{owner}-1"
        folder.mkdir(parents=True)
        (folder / "processes").write_text(str(process.pid) if owner == ended.pid else "")
    clear_leftovers()
    assert process.wait(10) == -9
    assert [path.name for path in (pod / "work/trials").iterdir()] == [f"{os.getpid()}-1"]


@pytest.mark.parametrize(
    ("script", "reason", "text"),
    [
        ("raise SystemExit('no data')", "TrainingFailed", "exit code 1\nno data"),
        ("import os; os.kill(os.getpid(), 9)", "Killed", "most likely for memory"),
    ],
)
def test_a_failure_has_its_reason(runs: Runs, script: str, reason: str, text: str) -> None:
    outcome = until_ended(start(runs, script))[-1].outcome
    assert outcome is not None
    assert (outcome.state, outcome.reason) == (TrialState.FAILED, reason)
    assert text in (outcome.message or "")


def test_a_trial_that_reports_nothing_is_stopped(pod: Path, runs: Runs) -> None:
    run = start(runs, "import time; time.sleep(1000)", metrics={"timeoutSeconds": 1})
    # As Ray Tune asks: again and again, which is no sign of life of the trial's.
    deadline = time.monotonic() + 30
    while (news := run.news(0.3)).outcome is None and time.monotonic() < deadline:
        run.go_on()
    assert news.outcome is not None
    assert (news.outcome.state, news.outcome.reason) == (
        TrialState.METRICS_UNAVAILABLE, "NoReport",
    )  # fmt: skip
    assert list((pod / "work/trials").iterdir()) == []


def test_a_pod_that_is_told_to_stop_is_no_fault_of_the_trial(pod: Path, runs: Runs) -> None:
    (pod / "work").mkdir()
    (pod / "work/stopping").touch()
    with pytest.raises(RunError, match="told to stop"):
        until_ended(start(runs, "pass"))


def test_a_trial_continues_from_a_checkpoint(runs: Runs) -> None:
    uri = "pvc://models/digits/elsewhere/step-000000000004"
    script = """
from loopwright import train
import os
assert os.environ["LOOPWRIGHT_RESUME_URI"].endswith("/step-000000000004")
train.report({"loss": 1}, step=5)
"""
    run = start(runs, script, resume=uri)
    assert run.checkpoint == uri
    assert until_ended(run)[-1].outcome == module.Outcome(TrialState.SUCCEEDED)


def test_a_shared_folder_for_checkpoints_is_refused(runs: Runs) -> None:
    local = {"checkpoint": {"localPath": "/opt/ml/checkpoints"}}
    with pytest.raises(RunError, match="localPath is one folder of a pod"):
        start(runs, "pass", trial=local)


def test_a_trial_s_own_folder_for_checkpoints_begins_empty(pod: Path, runs: Runs) -> None:
    local = {"checkpoint": {"localPath": str(pod / "state")}, "numWorkers": 1}
    (pod / "state/deep").mkdir(parents=True)
    (pod / "state/left").write_text("of another trial")
    script = f"import os; print(os.listdir({str(pod / 'state')!r})); raise SystemExit(1)"
    outcome = until_ended(start(runs, script, trial=local))[-1].outcome
    assert outcome is not None
    assert (outcome.message or "").endswith("[]")


def test_a_trial_is_the_job_that_it_would_be() -> None:
    trial = {"hyperparameters": {"epochs": "3"}, "numWorkers": 1, "args": ["--fast"]}
    job = run_config(sweep("pass", trial=trial), "t7", PARAMETERS)
    assert job.spec.hyperparameters == {"epochs": "3", "x": "0.5"}
    assert job.spec.args == ["--fast"]
    assert (job.name, job.uid) == ("digits-t7", "0123456789-ab-t7")
    assert job.output_uri == "pvc://models/digits/0123456789/trials/t7"
    assert job.checkpoint_uri == "pvc://models/digits/checkpoints/0123456789/trials/t7"


def test_trials_ask_for_their_share_of_each_pod() -> None:
    one = sweep("pass", trial={"numWorkers": 2})
    assert bundles(one) == [{"CPU": 1.0}, {"CPU": 1.0}]
    half = one.model_copy(update={"cpus_per_worker": 0.5, "gpus_per_worker": 0.25})
    assert bundles(half) == [{"CPU": 0.5, "GPU": 0.25}] * 2


def test_a_command_runs_once() -> None:
    command = {"script": None, "command": ["train"], "numWorkers": 3}
    assert len(bundles(sweep("pass", trial=command))) == 1


@pytest.mark.parametrize(
    ("workers", "parallel", "shared"), [(0, 2, True), (0, 1, False), (1, 2, False)]
)
def test_who_shares_a_pod(workers: int, parallel: int, shared: bool) -> None:
    one = sweep("pass", trial={"numWorkers": workers}, parallelTrials=parallel)
    assert shares_pod(one) is shared

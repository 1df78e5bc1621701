"""Whole sweeps on a local Ray: real trials, real Ray Tune; the API server is played."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sweep_pods
from sweep_pods import Space

from eventually import eventually
from loopwright.api.hyperparametersweep_status import StopReason, TrialState
from loopwright.api.report import RunState
from loopwright.api.sweep_history import TrialRecord
from loopwright.runtime import console, inputs, worker
from loopwright.runtime.tune import trial as trials

# Each trial notes that it has begun, so that none can be repeated unnoticed.
NOTED = """
import os, pathlib
from loopwright import train
x = float(train.hyperparameters()["x"])
with open(os.environ["SWEEP_TEST_ROOT"] + "/begun", "a") as file:
    file.write(f"{x}\\n")
"""
CURVE = (
    NOTED
    + """
for epoch in range(1, 10):
    train.report({"loss": (x - 0.3) ** 2 + 1 / epoch}, step=epoch, total_steps=9)
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text(str(x))
"""
)


@pytest.fixture(scope="module")
def ray_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A local Ray of two CPUs, whose workers see the folders of this module's tests."""
    ray = pytest.importorskip("ray")
    root = tmp_path_factory.mktemp("pods")
    settings = sweep_pods.runtime_env(root)
    # Ray makes its workers wait for everything else on this machine.
    os.environ["RAY_worker_niceness"] = "0"
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        runtime_env=settings,
    )  # fmt: skip
    yield root
    ray.shutdown()


@pytest.fixture
def space(ray_root: Path, monkeypatch: pytest.MonkeyPatch) -> Space:
    """An empty claim."""
    monkeypatch.setenv(sweep_pods.ENV_ROOT, str(ray_root))
    for module in (worker, inputs, trials):
        monkeypatch.setattr(module, "WORK", ray_root / "work")
    for name in ("PVC_DIR", "SCRIPT_DIR", "INPUTS_DIR"):
        monkeypatch.setattr(sweep_pods.names, name, str(ray_root / name.lower()))
    monkeypatch.setattr(console, "_container", lambda: None)
    subprocess.run(["rm", "-rf", ray_root / "pvc_dir", ray_root / "begun"], check=True)
    return Space(ray_root)


def begun(space: Space) -> list[float]:
    """The parameter of each trial that was started, in order."""
    file = space.root / "begun"
    return [float(line) for line in file.read_text().split()] if file.exists() else []


def states(records: list[TrialRecord]) -> dict[str, str]:
    """Each trial's verdict, with its reason."""
    return {one.parameters["x"]: f"{one.state.value} {one.reason or ''}".strip() for one in records}


def test_trials_run_side_by_side_and_leave_nothing_to_each_other(space: Space) -> None:
    script = (
        NOTED
        + """
import subprocess, sys, tempfile
left = os.listdir(".") + os.listdir(os.environ["SM_MODEL_DIR"]) + os.listdir(tempfile.gettempdir())
assert not left, left
assert not [key for key in os.environ if key.startswith("LEFT")]
os.environ["LEFT"] = "1"
pathlib.Path("here.txt").write_text("left")
pathlib.Path(tempfile.gettempdir(), "there.txt").write_text("left")
process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
with open(os.environ["SWEEP_TEST_ROOT"] + "/pids", "a") as file:
    file.write(f"{process.pid}\\n")
train.report({"loss": x}, step=1)
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text(str(x))
"""
    )
    ran = space.run(space.config(script, maxTrials=5))
    assert (ran.code, ran.report.state) == (0, RunState.SUCCEEDED)
    assert ran.report.trials.finished == "5/5"
    assert ran.report.stop_reason is StopReason.MAX_TRIALS
    assert len(set(begun(space))) == len(begun(space)) == 5
    best = ran.report.best
    assert best is not None
    assert float(best.parameters["x"]) == min(begun(space))
    model = space.file(f"trials/{best.name}/model/model.txt")
    assert model.read_text() == best.parameters["x"]
    assert ran.report.artifacts is not None
    assert ran.report.artifacts.model_uri == best.model_uri
    assert space.file("report.html").read_text().startswith("<!DOCTYPE html>")
    assert not list((space.root / "work/trials").iterdir())
    for pid in (space.root / "pids").read_text().split():
        eventually(f"the end of {pid}", lambda pid=pid: not running(pid))


def running(pid: str) -> bool:
    """Whether a process is there, and not only waited for."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_asha_cuts_bad_trials_short(space: Space) -> None:
    early = {"kind": "Asha", "maxSteps": 9, "eta": 3}
    ran = space.run(space.config(CURVE, maxTrials=8, earlyStopping=early))
    whole = [one for one in ran.records if one.state is TrialState.SUCCEEDED]
    cut = [one for one in ran.records if one.state is TrialState.EARLY_STOPPED]
    assert len(whole) + len(cut) == 8
    assert cut
    # Each report waits for the decision, so none has come far by mere speed.
    assert all(one.step is not None and one.step < 9 for one in cut)
    assert 1 in {one.step for one in cut}
    assert {one.step for one in whole} == {9}
    assert all(one.artifacts is not None for one in whole)
    assert ran.report.best is not None
    assert ran.report.best.name == min(whole, key=lambda one: one.losses).name


def test_each_way_to_end_has_its_verdict(space: Space) -> None:
    script = """
import os, signal, time
from loopwright import train
x = int(train.hyperparameters()["x"])
if x == 1: train.report({"loss": float("nan")}, step=1)
elif x == 2: raise SystemExit(3)
elif x == 3: time.sleep(1000)
elif x == 4: train.report({"other": 1.0}, step=1)
elif x == 5: os.kill(os.getpid(), signal.SIGKILL)
else: train.report({"loss": x}, step=1)
"""
    ran = space.run(
        space.config(
            script, maxTrials=6, maxFailedTrials=6, algorithm={"grid": {}},
            parameters=[{"name": "x", "int": {"min": 0, "max": 5}}],
            # Longer than a script takes to begin on a busy machine.
            metrics={"timeoutSeconds": 30},
        )
    )  # fmt: skip
    assert states(ran.records) == {
        "0": "Succeeded", "1": "MetricsUnavailable MetricMissing", "2": "Failed TrainingFailed",
        "3": "MetricsUnavailable NoReport", "4": "MetricsUnavailable MetricMissing",
        "5": "Failed Killed",
    }  # fmt: skip
    assert (ran.code, ran.report.trials.failed, ran.report.trials.succeeded) == (0, 2, 1)


def test_too_many_failures_fail_the_sweep(space: Space) -> None:
    ran = space.run(space.config("raise SystemExit('no data')", maxFailedTrials=1, maxTrials=9))
    assert (ran.code, ran.report.state) == (1, RunState.FAILED)
    assert ran.report.stop_reason is StopReason.TOO_MANY_FAILURES
    assert ran.report.error is not None
    assert ran.report.error.reason == "TooManyFailures"
    assert "no data" in ran.report.error.message


def test_time_that_is_used_up_ends_the_sweep_with_what_there_is(space: Space) -> None:
    slow = "from loopwright import train; import time; x = float(train.hyperparameters()['x'])\n"
    slow += "train.report({'loss': x}, step=1)\nif x > 0.4: time.sleep(1000)"

    def hurry(driver: object) -> None:
        ended = driver._ended  # type: ignore[attr-defined]

        def look(record: TrialRecord) -> None:
            ended(record)
            # However long it took to begin, there is something to show when time is up.
            driver._deadline = time.monotonic() + 15  # type: ignore[attr-defined]

        driver._ended = look  # type: ignore[attr-defined]

    ran = space.run(space.config(slow, maxTrials=9), hurry)
    assert (ran.code, ran.report.stop_reason) == (0, StopReason.MAX_RUNTIME)
    assert "EarlyStopped SweepEnded" in states(ran.records).values()
    assert ran.report.best is not None


def test_a_killed_driver_s_successor_repeats_nothing(space: Space) -> None:
    tpe = {"tpe": {"startupTrials": 3}}
    wanted = {"maxTrials": 8, "parallelTrials": 1, "algorithm": tpe}
    undisturbed = space.run(space.config(CURVE, uid="undisturbed", **wanted))
    assert len(begun(space)) == 8
    (space.root / "begun").unlink()

    config = space.config(CURVE, uid="killed", **wanted)
    killed_after(space, config.model_dump_json(by_alias=True), 4)
    before = begun(space)
    ran = space.run(config)
    assert ran.report.trials.finished == "8/8"
    # The one that was at work when the driver was killed is the only one to begin anew.
    after = begun(space)[len(before) :]
    assert len(set(before + after)) == 8
    assert len(before) + len(after) <= 9
    assert [one.parameters for one in ran.records] == [
        one.parameters for one in undisturbed.records
    ]
    assert ran.report.best is not None
    assert undisturbed.report.best is not None
    assert ran.report.best.parameters == undisturbed.report.best.parameters


def killed_after(space: Space, config: str, count: int) -> None:
    """Runs a driver in a process of its own, and kills it when so many trials have begun."""
    import ray

    file = space.root / "config.json"
    file.write_text(config)
    address = ray.get_runtime_context().gcs_address
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, sweep_pods.__file__, str(file), address]
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL)
    try:
        eventually("trials to begin", lambda: len(begun(space)) >= count)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_sweep_that_is_told_to_stop_goes_on_later(space: Space) -> None:
    config = space.config(CURVE, maxTrials=5)

    def stop_soon(driver: object) -> None:
        ended = driver._ended  # type: ignore[attr-defined]

        def count(record: TrialRecord) -> None:
            ended(record)
            if record.number >= 2:
                os.kill(os.getpid(), signal.SIGTERM)

        driver._ended = count  # type: ignore[attr-defined]

    stopped = space.run(config, stop_soon)
    assert (stopped.code, stopped.report.state) == (128 + signal.SIGTERM, RunState.STOPPED)
    first = {one.name for one in stopped.records if one.ended}
    ran = space.run(config)
    assert ran.report.trials.finished == "5/5"
    assert first
    assert all(one.tries == 1 for one in ran.records if one.name in first)


def test_a_population_takes_over_from_its_best(space: Space) -> None:
    script = """
import json, os, pathlib, tempfile, time
import sweep_pods
sweep_pods.move_in()
from loopwright import train
abreast = pathlib.Path(os.environ["SWEEP_TEST_ROOT"], "abreast")
abreast.mkdir(exist_ok=True)
def keep_abreast(epoch):
    # However busy this machine is, neither is done before the other has begun.
    (abreast / os.environ["LOOPWRIGHT_JOB"]).write_text(str(epoch))
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        epochs = [int(file.read_text() or 0) for file in abreast.iterdir()]
        if len(epochs) == 2 and min(epochs) >= epoch - 2:
            return
        time.sleep(0.02)
x, weight, first = float(train.hyperparameters()["x"]), 0.0, 1
if (folder := train.get_checkpoint()) is not None:
    state = json.loads((folder / "state.json").read_text())
    weight, first = state["weight"], state["epoch"] + 1
    print("took over", first)
for epoch in range(first, 13):
    keep_abreast(epoch)
    weight += x
    with tempfile.TemporaryDirectory() as folder:
        state = json.dumps({"weight": weight, "epoch": epoch})
        (pathlib.Path(folder) / "state.json").write_text(state)
        train.checkpoint(folder, step=epoch)
    train.report({"loss": -weight}, step=epoch)
keep_abreast(99)
"""
    pbt = {"pbt": {"intervalSteps": 3, "quantile": "0.5"}}
    ran = space.run(space.config(script, maxTrials=2, algorithm=pbt))
    assert ran.report.trials.succeeded == 2
    logs = [file.read_text() for file in space.file("trials").glob("*/logs/*/rank-0.log")]
    assert any("took over" in log for log in logs)
    assert not (space.root / "pvc_dir/out/s/checkpoints/u123456789/trials").exists()


def test_a_trial_may_have_several_workers(space: Space) -> None:
    script = """
import os
from loopwright import train
train.report({"loss": 1.0, "rank": int(os.environ["RANK"]), "size": train.world_size()}, step=1)
print("rank", train.rank(), "of", os.environ["WORLD_SIZE"])
"""
    config = space.config(script, trial={"numWorkers": 2}, maxTrials=2, parallelTrials=1)
    ran = space.run(config)
    assert ran.report.trials.succeeded == 2
    assert [one.metrics["size"] for one in ran.records] == [2.0, 2.0]
    logs = sorted(file.name for file in space.file("trials/t1/logs").rglob("*.log"))
    assert logs == ["rank-0.log", "rank-1.log"]


def test_the_best_model_is_promoted(space: Space) -> None:
    limit = [{"metric": "loss", "max": "0.9"}]
    promote = {"model": "digits", "requireMetrics": limit}
    both = [{"metric": "loss"}, {"metric": "size", "direction": "Maximize"}]
    script = CURVE.replace('{"loss":', '{"size": -x, "loss":')
    nsga2 = {"nsga2": {"population": 4}}
    ran = space.run(
        space.config(script, promote=promote, objectives=both, algorithm=nsga2, maxTrials=5)
    )
    assert ran.code == 0
    made = ran.report.artifacts
    assert made is not None
    assert made.model_uri == "pvc://out/s/models/u123456789"
    folder = space.root / "pvc_dir/out/s/models/u123456789"
    manifest = json.loads((folder / "model.json").read_text())
    assert manifest["registration"] == {"model": "digits", "qualified": True, "unmet": []}
    assert manifest["lineage"]["job"] == "team/s"
    assert ran.report.best is not None
    assert manifest["lineage"]["hyperparameters"] == ran.report.best.parameters
    assert (folder / "model.txt").read_text() == ran.report.best.parameters["x"]
    assert ran.report.pareto


def test_later_sweeps_learn_from_earlier_ones(space: Space) -> None:
    space.run(space.config(CURVE, uid="earlier", maxTrials=4))
    history = "pvc://out/s/earlier/history.jsonl"
    config = space.config(
        CURVE, maxTrials=1, parallelTrials=1, algorithm={"tpe": {"startupTrials": 4}},
        more={"warmStart": [{"sweep": "earlier", "uri": history}]},
    )  # fmt: skip
    seen: list[int] = []

    def look(driver: object) -> None:
        tune = driver._tune  # type: ignore[attr-defined]

        def count(proposals: object) -> None:
            seen.append(len(proposals._study.trials))  # type: ignore[attr-defined]
            tune(proposals)

        driver._tune = count  # type: ignore[attr-defined]

    assert space.run(config, look).report.trials.finished == "1/1"
    assert seen == [4]


def test_a_missing_history_is_told(space: Space) -> None:
    more = {"warmStart": [{"sweep": "gone", "uri": "pvc://out/s/gone/history.jsonl"}]}
    ran = space.run(space.config(CURVE, more=more))
    assert ran.report.error is not None
    assert ran.report.error.reason == "WarmStartMissing"

"""One trial: the training code, run as a TrainingJob would, with the trial's hyperparameters.

Nothing that a trial leaves in its pod can reach the next one: its code runs in processes of its
own, in a folder of its own that goes with it, and what it started in the background is killed. Only
inputs and code are shared, which are downloaded once.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from loopwright.api import names, quantity
from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.api.runconfig import RunConfig
from loopwright.api.sweepconfig import SweepConfig
from loopwright.api.trainingjob import Input, Metrics, Training, TrainingJobSpec
from loopwright.api.trainingjob_status import Cause, DataLineage
from loopwright.runtime import channel
from loopwright.runtime.environment import checkpoint_secret
from loopwright.runtime.errors import RunError
from loopwright.runtime.modeldir import Published
from loopwright.runtime.prestop import TRIALS, WORK
from loopwright.runtime.processes import Ended
from loopwright.runtime.state import RunProgress
from loopwright.runtime.storage import Folder
from loopwright.runtime.tune.study import Outcome
from loopwright.runtime.worker import RESUME, Trial, Worker

# Ray kills an actor that takes longer to end.
PATIENCE: Final = 8.0
# Between two looks at pods that cannot say when they are done.
POLL: Final = 0.05
MAX_TAIL: Final = 1000
# A message of a pod whose processes have ended.
ENDED: Final = "ended"

Report = tuple[int | None, dict[str, float]]
"""Step and metrics."""


def folder_of(config: SweepConfig) -> str:
    """URI of all that a sweep leaves. Sweeps of the same output do not meet."""
    return f"{config.output_uri}/{names.registered_version(config.uid)}"


def output_folder(config: SweepConfig, below: str = "") -> Folder:
    """That folder, or one below it."""
    output = config.spec.trial_template.spec.output
    secret = output.secret_ref.name if output and output.secret_ref else None
    return Folder(f"{folder_of(config)}/{below}", secret)


def run_config(config: SweepConfig, name: str, parameters: Mapping[str, str]) -> RunConfig:
    """A trial as the TrainingJob that it would be."""
    trial = config.spec.trial_template.spec
    shared = {field: getattr(trial, field) for field in Training.model_fields}
    shared["inputs"] = [Input.model_validate(one.wire()) for one in trial.inputs]
    shared["hyperparameters"] = {**trial.hyperparameters, **parameters}
    spec = TrainingJobSpec(**shared, metrics=Metrics(source=config.spec.metrics.source))
    own = f"{names.registered_version(config.uid)}/trials/{name}"
    return RunConfig(
        name=f"{config.name}-{name}", namespace=config.namespace, uid=f"{config.uid}-{name}",
        spec=spec, image=config.image, output_uri=f"{config.output_uri}/{own}",
        checkpoint_uri=f"{config.checkpoint_uri}/{own}",
    )  # fmt: skip


def checkpoints_folder(job: RunConfig) -> Folder:
    """Where a trial's checkpoints are."""
    return Folder(job.checkpoint_uri, checkpoint_secret(job))


def shares_pod(config: SweepConfig) -> bool:
    """Whether a pod may have several trials at the same time."""
    return config.spec.shares > 1


def bundles(config: SweepConfig) -> list[dict[str, float]]:
    """What each of a trial's pods has for it, as Ray counts."""
    trial = config.spec.trial_template.spec
    bundle = {"CPU": config.cpus_per_worker}
    if config.gpus_per_worker:
        bundle["GPU"] = config.gpus_per_worker
    return [bundle] * (1 if trial.command is not None else max(1, trial.num_workers))


class Node:
    """A trial's part in one pod. All calls but `halt` return at once."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._ended: Ended | None = None
        self._error: BaseException | None = None

    def address(self) -> tuple[str, int]:
        """This pod's address and a free port, for the rendezvous."""
        return Worker.address()

    def begin(
        self, job: str, env: dict[str, str], place: tuple[int, int, int, str, int],
        tell: Any = None,
    ) -> None:  # fmt: skip
        """Starts the processes.

        Args:
            job: Configuration, as JSON.
            place: This node, nodes, processes of each, and where they meet.
            tell: Gets messages, the last of which is `ENDED`; what other pods than that of the
                trial would say is not needed.
        """
        work = WORK / TRIALS / f"{os.getpid()}-{time.monotonic_ns()}"
        own = {"TMPDIR": str(work / "tmp"), **env}
        (work / "tmp").mkdir(parents=True)
        self._ended = self._error = None
        self._over.clear()
        tell = tell or (lambda _: None)
        self._worker = Worker(job, own, Trial(work, tell))
        words = (self._worker, place, tell)
        self._thread = threading.Thread(target=self._run, args=words, daemon=True)
        self._thread.start()

    def _run(
        self, worker: Worker, place: tuple[int, int, int, str, int], tell: Callable[[Any], Any]
    ) -> None:
        ended: Ended | None = None
        failure: BaseException | None = None
        try:
            ended = worker.run(*place)
        except BaseException as error:
            failure = error
        if worker is self._worker:  # Or it was halted, and has nothing to say any more.
            self._ended, self._error = ended, failure
            self._over.set()
            tell({"type": ENDED})

    def ended(self) -> Ended | None:
        """How the processes ended, once they have.

        Raises:
            RunError: they could not be started, or what they left could not be stored.
        """
        if self._worker is None or not self._over.is_set():
            return None
        if self._error is not None:
            raise self._error
        return self._ended

    def publish(self, metrics: list[Any], lineage: list[Any]) -> str | None:
        """Stores the model that the processes have left in this pod."""
        assert self._worker is not None
        return self._worker.publish(metrics, lineage)

    def halt(self) -> None:
        """Stops the processes, and removes all that they have left."""
        if self._worker is None or self._thread is None:
            return
        self._worker.stop(PATIENCE)
        self._thread.join(PATIENCE)
        shutil.rmtree(self._worker.work, ignore_errors=True)
        self._worker = self._thread = None


class AnyNode(Protocol):
    """A Node of this process, or one behind a Ray actor."""

    def address(self) -> tuple[str, int]:
        """See Node."""

    def begin(
        self, job: str, env: dict[str, str], place: tuple[int, int, int, str, int],
        tell: Any = None,
    ) -> None:  # fmt: skip
        """See Node."""

    def ended(self) -> Ended | None:
        """See Node."""

    def publish(self, metrics: list[Any], lineage: list[Any]) -> str | None:
        """See Node."""

    def halt(self) -> None:
        """See Node."""


@dataclass(frozen=True)
class News:
    """What a trial has to tell."""

    number: int
    """Counts from 1, so that nobody takes it in twice."""
    seconds: float
    """How long the trial has run."""
    parameters: Mapping[str, str]
    """What it has; in population-based training they change."""
    reports: list[Report] = field(default_factory=list)
    """In their order."""
    inputs: list[DataLineage] = field(default_factory=list)
    """Inputs as they were read; with the outcome."""
    outcome: Outcome | None = None
    """Once it has ended."""


class TrialRun:
    """A trial from its start to its end, over all its pods.

    Args:
        resume: Checkpoint to begin with.
        waits: Whether its code may go on after a report only once `go_on` was called.
    """

    def __init__(
        self, config: SweepConfig, name: str, parameters: Mapping[str, str],
        nodes: Sequence[AnyNode], *, resume: str | None, waits: bool,
    ) -> None:  # fmt: skip
        self._config, self._nodes, self._waits = config, nodes, waits
        self._job, self._parameters = run_config(config, name, parameters), parameters
        self._resume = resume
        # None: there is something else to look at.
        self._reports: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._progress = RunProgress(1)
        self._decided, self._told = threading.Event(), False
        self._started = self._heard = time.monotonic()
        self._number = 0
        self._server: channel.Server | None = None

    @property
    def checkpoint(self) -> str | None:
        """URI of the newest checkpoint."""
        return self._progress.checkpoint.uri if self._progress.checkpoint else self._resume

    def start(self) -> None:
        """Starts the processes in all pods."""
        trial = self._config.spec.trial_template.spec
        local = trial.checkpoint.local_path if trial.checkpoint else None
        if local is not None and shares_pod(self._config):
            text = (
                "checkpoint.localPath is one folder of a pod, and trials share pods here; give them"
                " pods with numWorkers: 1, or keep checkpoints with loopwright.train.checkpoint"
            )
            raise RunError("LocalPathShared", text)
        host, port = self._nodes[0].address()
        self._server = channel.Server(host, self._receive)
        env = {**self._server.env, RESUME: self._resume or "", "OMP_NUM_THREADS": _threads(trial)}
        if self._waits:
            env[channel.ENV_WAIT] = "1"
        procs = trial.procs_per_worker
        size = max(1, trial.resources_per_worker.gpu) if procs == "auto" else int(procs)
        size = 1 if trial.command is not None else size
        text = self._job.model_dump_json(by_alias=True, exclude_none=True)
        for index, node in enumerate(self._nodes):
            place = (index, len(self._nodes), size, host, port)
            # Its own process hands messages over directly; a pipe would not take the function.
            tells = (self._receive,) if isinstance(node, Node) else ()
            node.begin(text, env, place, *tells)
        self._heard = time.monotonic()

    def go_on(self) -> None:
        """The code may continue after its report, if there was one."""
        if self._told:
            self._told = False
            decided, self._decided = self._decided, threading.Event()
            self._heard = time.monotonic()
            decided.set()

    def news(self, patience: float) -> News:
        """Waits for the end, `patience` seconds, or a report if the code waits for an answer.

        Ray Tune spends milliseconds on each news, so reports that nobody waits for are collected.

        Raises:
            RunError: it is not the trial's fault that it cannot go on.
        """
        deadline = time.monotonic() + patience
        found: list[Report] = []
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                report = self._reports.get(timeout=min(left, POLL))
                if report is not None:
                    found.append(report)
                    if self._waits:
                        return self._tell(found)
                    continue
            ended = [node.ended() for node in self._nodes]
            if self._over(ended):
                return self._last(ended, found)
            if time.monotonic() - self._heard > self._config.spec.metrics.timeout_seconds:
                return self._tell(found, self._silent())
        return self._tell(found)

    def halt(self) -> None:
        """Stops everything; may be called at any time, and more than once."""
        for node in self._nodes:
            node.halt()
        if self._server is not None:
            self._server.close()
            self._server = None
        self._decided.set()

    def _receive(self, message: dict[str, Any]) -> threading.Event | None:
        decided = self._decided
        if not isinstance(message, dict) or message.get("type") != "report":
            if isinstance(message, dict) and message.get("type") == ENDED:
                self._reports.put(None)
            self._progress.receive(message)
            return None
        try:
            metrics = {str(k): float(v) for k, v in message["metrics"].items()}
            step = message.get("step") if message.get("step") is not None else message.get("epoch")
            report = (int(step) if step is not None else None, metrics)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None  # Code of others has sent it.
        self._progress.receive(message)
        self._heard = time.monotonic()
        self._reports.put(report)
        return decided

    def _tell(self, reports: list[Report], outcome: Outcome | None = None) -> News:
        while not self._waits and not self._reports.empty():
            report = self._reports.get()
            reports += [report] if report is not None else []
        self._number += 1
        self._told = self._told or bool(reports)
        inputs = self._progress.inputs if outcome is not None else []
        seconds = time.monotonic() - self._started
        return News(self._number, seconds, self._parameters, reports, inputs, outcome)

    def _last(self, ended: Sequence[Ended | None], reports: list[Report]) -> News:
        assert self._server is not None
        self._server.drain(PATIENCE)
        self._waits = False  # Nobody waits any more, and all that was reported counts.
        return self._tell(reports, self._outcome(ended))

    @staticmethod
    def _over(ended: Sequence[Ended | None]) -> bool:
        failed = any(one is not None and (one.exit_code or one.stopped) for one in ended)
        return failed or all(one is not None for one in ended)

    def _outcome(self, all_ended: Sequence[Ended | None]) -> Outcome:
        ended = [one for one in all_ended if one is not None]
        if any(one.stopped for one in ended):
            text = "a pod was told to stop, as when its node is drained"
            raise RunError("Interrupted", text, Cause.INFRASTRUCTURE)
        bad = next((one for one in ended if one.exit_code), None)
        if bad is None:
            return self.published()
        if bad.exit_code == -signal.SIGKILL:
            text = "the process was killed, most likely for memory; raise resourcesPerWorker.memory"
            return Outcome(TrialState.FAILED, "Killed", f"{text}\n{bad.tail}"[-MAX_TAIL:])
        text = f"exit code {bad.exit_code}\n{bad.tail}"
        return Outcome(TrialState.FAILED, "TrainingFailed", text[-MAX_TAIL:])

    def published(self) -> Outcome:
        """Success, with the model that the trial has left so far."""
        metrics = [metric.model_dump(mode="json") for metric in self._progress.metrics]
        lineage = [one.model_dump(mode="json") for one in self._progress.inputs]
        answer = self._nodes[0].publish(metrics, lineage)
        if answer is None:
            return Outcome(TrialState.SUCCEEDED)
        found = Published.model_validate_json(answer)
        return Outcome(TrialState.SUCCEEDED, artifacts=found.artifacts, model=found.model)

    def _silent(self) -> Outcome:
        self.halt()
        text = f"it reported nothing for {self._config.spec.metrics.timeout_seconds} s"
        return Outcome(TrialState.METRICS_UNAVAILABLE, "NoReport", text)


def _threads(trial: Training) -> str:
    """Of each process: pods set this too, but for all that run in them."""
    procs = trial.procs_per_worker
    size = max(1, trial.resources_per_worker.gpu) if procs == "auto" else int(procs)
    return str(max(1, int(quantity.parse(trial.resources_per_worker.cpu)) // size))


def clear_leftovers() -> None:
    """Kills what trials have left running whose actor was lost, and removes their folders."""
    for folder in (WORK / TRIALS).glob("*-*"):
        owner = folder.name.partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            with contextlib.suppress(OSError, ValueError):
                for pid in (folder / "processes").read_text().split():
                    os.killpg(int(pid), signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)

"""The driver: places one worker in each pod, follows them, and tells the operator how it went."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from loopwright.api import names
from loopwright.api.report import Report, RunState
from loopwright.api.report import RunError as RunErrorReport
from loopwright.api.runconfig import RunConfig
from loopwright.api.trainingjob import KIND
from loopwright.api.trainingjob_status import Artifacts, Cause
from loopwright.runtime import channel, checkpoints
from loopwright.runtime.console import say
from loopwright.runtime.environment import checkpoint_secret, logs_folder, output_folder
from loopwright.runtime.errors import RunError, unexpected
from loopwright.runtime.mailbox import Mailbox
from loopwright.runtime.modeldir import Published
from loopwright.runtime.processes import Ended
from loopwright.runtime.state import RunProgress, fewer
from loopwright.runtime.storage import Folder
from loopwright.runtime.worker import Worker

POLL: Final = 0.2
START_TIMEOUT: Final = 300.0
# A worker that lives answers at once, also while it trains.
PEER_PATIENCE: Final = 20.0
# Ray kills a stopped driver soon after; what is to be saved must be saved by then.
GRACE: Final = 20.0
MAX_MESSAGE: Final = 1024


class Driver:
    """One run of a job."""

    def __init__(self, config: RunConfig, mailbox: Mailbox[Report]) -> None:
        self._config, self._mailbox = config, mailbox
        self._progress = RunProgress(int(os.environ.get(names.ENV_ATTEMPT, "1")))
        self._stop = threading.Event()
        self._workers: list[Any] = []

    def main(self) -> int:
        """Runs the job and reports; returns the exit code."""
        self._listen()
        try:
            self._train()
        # First: what Ray raises for a worker's RunError is of both classes, and its `cause` is the
        # RunError itself.
        except RayTaskError as error:
            inner = error.cause if isinstance(error.cause, RunError) else None
            return self._failed(inner or RunError("RuntimeFailed", str(error)[-MAX_MESSAGE:]))
        except RayActorError as error:
            text = f"a worker was lost: {error}"
            return self._failed(RunError("WorkerLost", text, Cause.INFRASTRUCTURE))
        except RunError as error:
            return self._failed(error)
        except Exception as error:
            return self._failed(unexpected(error))
        if self._stop.is_set():
            self._mailbox.put_last(self._progress.report(RunState.STOPPED))
            return 128 + signal.SIGTERM
        return 0 if self._mailbox.put_last(self._progress.report(RunState.SUCCEEDED)) else 1

    def _listen(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())

    def _train(self) -> None:
        config = self._config
        self._mailbox.put_first(self._progress.report(RunState.STARTING))
        output_folder(config).check_writable()
        env = self._resume()
        ray.init(log_to_driver=True, logging_level="WARNING")
        # Again: Ray has put a handler of its own in its place.
        self._listen()
        server = channel.Server(ray.util.get_node_ip_address(), self._receive)
        self._place(config.model_dump_json(by_alias=True, exclude_none=True), {**server.env, **env})
        self._progress.artifacts = Artifacts(logs_uri=logs_folder(config).uri)
        self._progress.begins()
        self._mailbox.put(self._progress.report(RunState.RUNNING))
        for ended in self._follow():
            if (ended.exit_code or ended.stopped) and not self._stop.is_set():
                raise self._failure(ended)
        if not self._stop.is_set():
            self._publish()

    def _resume(self) -> dict[str, str]:
        checkpoint = self._config.spec.checkpoint
        wanted = checkpoint.resume_from if checkpoint else "Latest"
        uri = checkpoints.to_resume(self._checkpoints(), wanted, self._config.uid)
        self._progress.resumed_from = uri
        return {"LOOPWRIGHT_RESUME_URI": uri} if uri else {}

    def _checkpoints(self) -> Folder:
        return Folder(self._config.checkpoint_uri, checkpoint_secret(self._config))

    def _receive(self, message: dict[str, Any]) -> None:
        self._progress.receive(message)
        self._mailbox.put(self._progress.report(RunState.RUNNING))

    def _place(self, config: str, env: dict[str, str]) -> None:
        """One actor in each pod, holding all that the pod offers."""
        spec = self._config.spec
        nodes = 1 if spec.command is not None else max(1, spec.num_workers)
        bundle: dict[str, float] = {"CPU": 1}
        if spec.resources_per_worker.gpu:
            bundle["GPU"] = spec.resources_per_worker.gpu
        if spec.command is not None and spec.num_workers:
            bundle = {"node:__internal_head__": 0.001}  # A command is the driver: on the head.
        group = placement_group([bundle] * nodes, strategy="STRICT_SPREAD")
        if not group.wait(START_TIMEOUT):
            text = f"the workers were not there within {START_TIMEOUT:.0f} s"
            raise RunError("WorkersMissing", text, Cause.INFRASTRUCTURE)
        self._workers = [
            ray.remote(Worker)
            .options(
                num_cpus=bundle.get("CPU", 0),
                num_gpus=bundle.get("GPU", 0),
                max_concurrency=3,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, index),
            )
            .remote(config, env)
            for index in range(nodes)
        ]

    def _follow(self) -> list[Ended]:
        """Waits for all workers, unless one fails or the driver is told to stop."""
        spec = self._config.spec
        procs = spec.procs_per_worker
        size = max(1, spec.resources_per_worker.gpu) if procs == "auto" else int(procs)
        size = 1 if spec.command is not None else size
        host, port = ray.get(self._workers[0].address.remote())
        nodes = len(self._workers)
        waiting = [
            worker.run.remote(node, nodes, size, host, port)
            for node, worker in enumerate(self._workers)
        ]
        results: list[Ended] = []
        while waiting:
            if self._stop.is_set():
                ray.get([worker.stop.remote(GRACE) for worker in self._workers], timeout=GRACE + 5)
                return results
            done, waiting = ray.wait(waiting, timeout=POLL)
            results += ray.get(done)
            if any(ended.exit_code or ended.stopped for ended in results):
                break
        return results

    def _failure(self, ended: Ended) -> RunError:
        """Whose fault it is. The peers of a lost pod fail as well, and are heard of first."""
        # A pod that says itself that it ends may be gone before it could be asked.
        if not ended.stopped:
            asked = [worker.told_to_stop.remote() for worker in self._workers]
            answered, silent = ray.wait(asked, num_returns=len(asked), timeout=PEER_PATIENCE)
            if silent:
                text = f"{len(silent)} of {len(asked)} workers do not answer; their pods are gone"
                return RunError("WorkerLost", text, Cause.INFRASTRUCTURE)
            if not any(ray.get(answered)):
                return exited(ended)
        text = "a pod was told to stop, as when its node is drained"
        return RunError("Interrupted", text, Cause.INFRASTRUCTURE)

    def _publish(self) -> None:
        metrics = [metric.model_dump(mode="json") for metric in self._progress.metrics]
        lineage = [one.model_dump(mode="json") for one in self._progress.inputs]
        answer = ray.get(self._workers[0].publish.remote(metrics, lineage))
        if answer is not None:
            logs = {"logs_uri": logs_folder(self._config).uri}
            published = Published.model_validate_json(answer)
            self._progress.artifacts = published.artifacts.model_copy(update=logs)
            self._progress.model = published.model
        checkpoints.succeeded(self._checkpoints())

    def _failed(self, error: RunError) -> int:
        if self._stop.is_set() and error.cause is Cause.INFRASTRUCTURE:
            self._mailbox.put_last(self._progress.report(RunState.STOPPED))
            return 128 + signal.SIGTERM
        say(f"loopwright: {error.reason}: {error.message}")
        report = RunErrorReport(
            cause=error.cause,
            reason=error.reason,
            message=error.message[-MAX_MESSAGE:] or error.reason,
            exit_code=error.exit_code,
            permanent=error.permanent,
        )
        self._mailbox.put_last(self._progress.report(RunState.FAILED, error=report))
        return 1


def exited(ended: Ended) -> RunError:
    """What a failed process means. A SIGKILL that nobody here sent is the kernel's, for memory."""
    if ended.exit_code == -signal.SIGKILL:
        text = "the process was killed, most likely for memory; raise resourcesPerWorker.memory"
        return RunError("Killed", f"{text}\n{ended.tail}", Cause.INFRASTRUCTURE, ended.exit_code)
    text = f"exit code {ended.exit_code}\n{ended.tail}"
    return RunError("TrainingFailed", text, Cause.APPLICATION, ended.exit_code)


def run() -> int:
    """The whole run, from the configuration that the operator mounted."""
    text = Path(names.CONFIG_DIR, names.CONFIG_KEY).read_text()
    config = RunConfig.model_validate_json(text)
    return Driver(config, Mailbox(KIND, config, fewer)).main()

"""The worker of one training pod: prepares files, runs the processes, uploads the model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from loopwright.api.runconfig import RunConfig
from loopwright.api.trainingjob_status import DataLineage, MetricValue
from loopwright.runtime import channel, checkpoints, inputs, modeldir
from loopwright.runtime.console import say
from loopwright.runtime.environment import (
    CONFIG,
    MODEL,
    OUTPUT,
    Place,
    checkpoint_secret,
    command,
    environment,
    logs_folder,
    output_folder,
)
from loopwright.runtime.errors import RunError
from loopwright.runtime.prestop import PROCESSES, STOPPING, WORK
from loopwright.runtime.processes import Ended, Group
from loopwright.runtime.storage import Folder

LOGS: Final = "logs"
RESUME: Final = "LOOPWRIGHT_RESUME_URI"
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Trial:
    """What tells a trial's worker from a job's: it is not alone in its pod."""

    work: Path
    """A folder for nobody else."""
    tell: Tell
    """Gets what a job's worker sends to the driver."""


class Worker:
    """A Ray actor; the driver makes one for each pod. A sweep makes one for each trial's pod."""

    def __init__(self, config: str, env: dict[str, str], trial: Trial | None = None) -> None:
        self._config = RunConfig.model_validate_json(config)
        self._env, self._trial = env, trial
        self.work = trial.work if trial else WORK
        if trial is None:
            os.environ.update(env)
        self._tell: Tell = trial.tell if trial else lambda message: channel.send(message)
        self._group: Group | None = None
        self._stopped, self._told = threading.Event(), threading.Event()

    @staticmethod
    def address() -> tuple[str, int]:
        """This pod's address and a free port, for the rendezvous."""
        host = socket.gethostbyname(socket.gethostname())
        with socket.socket() as probe:
            probe.bind(("", 0))
            return host, probe.getsockname()[1]

    def run(self, node: int, nodes: int, size: int, master: str, port: int) -> Ended:
        """Runs the training code in this pod until it ends."""
        spec = self._config.spec
        reports = output_folder(self._config, "quality")
        folders = inputs.fetch_all(spec.inputs, self._tell, reports, self._config.baselines)
        script = inputs.script_path(spec.script) if spec.script else None
        work, here = self.work, self.work / "here" if self._trial else None
        for folder in (work / MODEL, work / CONFIG, work / LOGS, work / OUTPUT, here or work):
            folder.mkdir(parents=True, exist_ok=True)
        hyperparameters = json.dumps(spec.hyperparameters)
        (work / CONFIG / "hyperparameters.json").write_text(hyperparameters)
        places = [Place(node, nodes, local, size, master, port) for local in range(size)]
        environments = [
            environment(self._config, place, folders, work) | self._env for place in places
        ]
        local = spec.checkpoint.local_path if spec.checkpoint else None
        if local is not None:
            self._restore(Path(local))
        patterns = spec.metrics.source.regex or [] if node == 0 else []
        logs = [work / LOGS / f"rank-{place.rank}.log" for place in places]
        if self._told.is_set():
            return Ended(-signal.SIGTERM, "")
        label = f"[{self._config.name.rpartition('-')[2]}] " if self._trial else ""
        words = command(self._config, script)
        if not self._trial:
            say(_ranks(places, nodes * size))
        self._group = Group(words, environments, patterns, logs, here, label)
        if self._told.is_set():
            self._group.stop(0)  # It came in between.
        # Whole or not at all: the preStop hook may look at any time.
        young, processes = work / "processes.new", work / PROCESSES
        young.write_text(" ".join(map(str, self._group.pids)))
        young.replace(processes)
        try:
            ended = self._finish(node, local)
            self._upload(logs)
        finally:
            processes.unlink()
        return replace(ended, stopped=STOPPING.exists())

    def _finish(self, node: int, local: str | None) -> Ended:
        """Waits for the processes, and stores the state that they leave."""
        assert self._group is not None
        syncing = threading.Thread(target=self._sync, args=(Path(local or "."),), daemon=True)
        if local is not None and node == 0:
            syncing.start()
        ended = self._group.wait(self._tell)
        self._stopped.set()
        if local is not None and node == 0:
            syncing.join()  # A copy that is under way comes first.
            self._save_last(Path(local), ended)
        return ended

    def told_to_stop(self) -> bool:
        """Whether Kubernetes is about to stop this pod."""
        return STOPPING.exists()

    def stop(self, patience: float) -> None:
        """Tells the processes to stop, and waits until they have; none is started any more."""
        self._told.set()
        if self._group is not None:
            self._group.stop(patience)

    def publish(self, metrics: list[dict[str, Any]], lineage: list[dict[str, Any]]) -> str | None:
        """Uploads this pod's model folder; returns what the report says about it."""
        published = modeldir.publish(
            self._config,
            self.work / MODEL,
            [MetricValue.model_validate(metric) for metric in metrics],
            [DataLineage.model_validate(one) for one in lineage],
        )
        return published.model_dump_json() if published else None

    def _save_last(self, local: Path, ended: Ended) -> None:
        try:
            self._save(local)
        except RunError as error:
            if not ended.exit_code:
                raise
            # The code's own failure says more.
            say(f"loopwright: checkpoint not stored: {error.message}")

    def _upload(self, logs: list[Path]) -> None:
        folder = logs_folder(self._config)
        try:
            for log in logs:
                folder.upload(log, log.name)
        except RunError as error:
            say(f"loopwright: the log was not stored: {error.message}")

    def _restore(self, local: Path) -> None:
        local.mkdir(parents=True, exist_ok=True)
        if self._trial is not None:
            _clear(local)
        if uri := self._env.get(RESUME, os.environ.get(RESUME)):
            checkpoints.restore(uri, checkpoint_secret(self._config), local)

    def _sync(self, local: Path) -> None:
        checkpoint = self._config.spec.checkpoint
        assert checkpoint is not None
        while not self._stopped.wait(checkpoint.interval_hint_seconds):
            try:
                self._save(local)
            except RunError as error:
                say(f"loopwright: checkpoint not stored: {error.message}")

    def _save(self, local: Path) -> None:
        """Stores the script's own checkpoint folder; its step is the time, for want of a better."""
        checkpoint = self._config.spec.checkpoint
        assert checkpoint is not None
        if any(path.is_file() for path in local.rglob("*")):
            folder = Folder(self._config.checkpoint_uri, checkpoint_secret(self._config))
            step = int(time.time())
            uri = checkpoints.save(folder, local, step, checkpoint.keep, self._config.uid)
            self._tell({"type": "checkpoint", "uri": uri, "step": step})


def _clear(folder: Path) -> None:
    """Removes what an earlier trial has left; the folder itself may be a mount."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _ranks(places: Sequence[Place], total: int) -> str:
    """Which ranks are at work in this pod; `loopwright logs --rank` finds it by this."""
    first, last = places[0].rank, places[-1].rank
    which = f"rank {first}" if first == last else f"ranks {first} to {last}"
    return f"loopwright: {which} of {total}"

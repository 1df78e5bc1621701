"""The worker of one training pod: prepares files, runs the processes, uploads the model."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from loopwright.api.runconfig import RunConfig
from loopwright.api.trainingjob_status import DataLineage, MetricValue
from loopwright.runtime import channel, checkpoints, inputs, modeldir
from loopwright.runtime.console import say
from loopwright.runtime.environment import (
    CONFIG_DIR,
    MODEL_DIR,
    Place,
    checkpoint_secret,
    command,
    environment,
    logs_folder,
)
from loopwright.runtime.errors import RunError
from loopwright.runtime.prestop import PROCESSES, STOPPING, WORK
from loopwright.runtime.processes import Ended, Group
from loopwright.runtime.storage import Folder

LOGS: Final = WORK / "logs"


class Worker:
    """A Ray actor; the driver makes one for each pod."""

    def __init__(self, config: str, env: dict[str, str]) -> None:
        self._config = RunConfig.model_validate_json(config)
        os.environ.update(env)
        self._group: Group | None = None
        self._stopped = threading.Event()

    def address(self) -> tuple[str, int]:
        """This pod's address and a free port, for the rendezvous."""
        host = socket.gethostbyname(socket.gethostname())
        with socket.socket() as probe:
            probe.bind(("", 0))
            return host, probe.getsockname()[1]

    def run(self, node: int, nodes: int, size: int, master: str, port: int) -> Ended:
        """Runs the training code in this pod until it ends."""
        spec = self._config.spec
        folders = inputs.fetch_all(spec.inputs, channel.send)
        script = inputs.script_path(spec.script) if spec.script else None
        for folder in (MODEL_DIR, CONFIG_DIR, LOGS, WORK / "output"):
            folder.mkdir(parents=True, exist_ok=True)
        hyperparameters = json.dumps(spec.hyperparameters)
        (CONFIG_DIR / "hyperparameters.json").write_text(hyperparameters)
        places = [Place(node, nodes, local, size, master, port) for local in range(size)]
        environments = [environment(self._config, place, folders) for place in places]
        local = spec.checkpoint.local_path if spec.checkpoint else None
        if local is not None:
            self._restore(Path(local))
        patterns = spec.metrics.source.regex or [] if node == 0 else []
        logs = [LOGS / f"rank-{place.rank}.log" for place in places]
        self._group = Group(command(self._config, script), environments, patterns, logs)
        PROCESSES.write_text(" ".join(map(str, self._group.pids)))
        try:
            ended = self._finish(node, local)
            self._upload(logs)
        finally:
            PROCESSES.unlink()
        return replace(ended, stopped=STOPPING.exists())

    def _finish(self, node: int, local: str | None) -> Ended:
        """Waits for the processes, and stores the state that they leave."""
        assert self._group is not None
        syncing = threading.Thread(target=self._sync, args=(Path(local or "."),), daemon=True)
        if local is not None and node == 0:
            syncing.start()
        ended = self._group.wait(channel.send)
        self._stopped.set()
        if local is not None and node == 0:
            syncing.join()  # A copy that is under way comes first.
            self._save_last(Path(local), ended)
        return ended

    def told_to_stop(self) -> bool:
        """Whether Kubernetes is about to stop this pod."""
        return STOPPING.exists()

    def stop(self, patience: float) -> None:
        """Tells the processes to stop, and waits until they have."""
        if self._group is not None:
            self._group.stop(patience)

    def publish(self, metrics: list[dict[str, Any]], lineage: list[dict[str, Any]]) -> str | None:
        """Uploads this pod's model folder; returns what the report says about it."""
        artifacts = modeldir.publish(
            self._config,
            MODEL_DIR,
            [MetricValue.model_validate(metric) for metric in metrics],
            [DataLineage.model_validate(one) for one in lineage],
        )
        return artifacts.model_dump_json() if artifacts else None

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
        if uri := os.environ.get("LOOPWRIGHT_RESUME_URI"):
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
            channel.send({"type": "checkpoint", "uri": uri, "step": step})

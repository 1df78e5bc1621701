"""The environment of training code: torchrun's, SageMaker's, and our own."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loopwright.api import names
from loopwright.api.runconfig import RunConfig
from loopwright.runtime.prestop import WORK
from loopwright.runtime.storage import Folder

MODEL: Final = "model"
# As on SageMaker, with hyperparameters.json in it.
CONFIG: Final = "config"
OUTPUT: Final = "output"


@dataclass(frozen=True)
class Place:
    """A process among all."""

    node: int
    nodes: int
    local_rank: int
    local_size: int
    master: str
    port: int

    @property
    def rank(self) -> int:
        """Among all processes."""
        return self.node * self.local_size + self.local_rank


def environment(
    config: RunConfig, place: Place, inputs: Mapping[str, Path], work: Path = WORK
) -> dict[str, str]:
    """Variables of one process, whose folders are in `work`."""
    spec = config.spec
    hyperparameters = dict(spec.hyperparameters)
    hosts = [f"algo-{index + 1}" for index in range(place.nodes)]
    values = {
        "RANK": place.rank, "LOCAL_RANK": place.local_rank, "GROUP_RANK": place.node,
        "WORLD_SIZE": place.nodes * place.local_size, "LOCAL_WORLD_SIZE": place.local_size,
        "NODE_RANK": place.node, "MASTER_ADDR": place.master, "MASTER_PORT": place.port,
        "TORCHELASTIC_RUN_ID": config.uid,
        "SM_MODEL_DIR": work / MODEL, "SM_OUTPUT_DATA_DIR": work / OUTPUT,
        "SM_INPUT_CONFIG_DIR": work / CONFIG,
        "SM_CHANNELS": json.dumps(sorted(inputs)), "SM_HPS": json.dumps(hyperparameters),
        "SM_NUM_GPUS": spec.resources_per_worker.gpu, "SM_HOSTS": json.dumps(hosts),
        "SM_CURRENT_HOST": hosts[place.node],
    }  # fmt: skip
    values |= {f"SM_CHANNEL_{variable(name)}": path for name, path in inputs.items()}
    values |= {one.env: inputs[one.name] for one in spec.inputs if one.env}
    if spec.hyperparameter_style == "Env":
        values |= {f"SM_HP_{variable(name)}": value for name, value in hyperparameters.items()}
    return {key: str(value) for key, value in (values | _checkpoints(config)).items()}


def _checkpoints(config: RunConfig) -> dict[str, object]:
    spec = config.spec
    values: dict[str, object] = {
        "LOOPWRIGHT_CHECKPOINTS": config.checkpoint_uri,
        "LOOPWRIGHT_JOB": config.uid,
    }
    if secret := checkpoint_secret(config):
        values["LOOPWRIGHT_CHECKPOINT_SECRET"] = secret
    if spec.checkpoint is not None:
        values["LOOPWRIGHT_CHECKPOINT_KEEP"] = spec.checkpoint.keep
        values["LOOPWRIGHT_CHECKPOINT_INTERVAL"] = spec.checkpoint.interval_hint_seconds
    return values


def output_folder(config: RunConfig, below: str = "") -> Folder:
    """Where the job's results go, or a folder below that."""
    output = config.spec.output
    secret = output.secret_ref.name if output and output.secret_ref else None
    return Folder(f"{config.output_uri}/{below}", secret)


def logs_folder(config: RunConfig) -> Folder:
    """Where this attempt's logs go."""
    return output_folder(config, f"logs/attempt-{os.environ.get(names.ENV_ATTEMPT, '1')}")


def checkpoint_secret(config: RunConfig) -> str | None:
    """Name of the Secret for checkpoints: their own, or else the output's."""
    checkpoint, output = config.spec.checkpoint, config.spec.output
    if checkpoint is not None and checkpoint.secret_ref is not None:
        return checkpoint.secret_ref.name
    return output.secret_ref.name if output and output.secret_ref else None


def variable(name: str) -> str:
    """A name as part of a variable's name."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def command(config: RunConfig, script: Path | None) -> list[str]:
    """The words to run: never a shell."""
    spec = config.spec
    if spec.function is not None:
        return [sys.executable, "-u", "-m", "loopwright.runtime.function", spec.function]
    words = [sys.executable, "-u", str(script)] if script else list(spec.command or [])
    words += spec.args or []
    if spec.hyperparameter_style == "Args":
        words += [f"--{name}={value}" for name, value in spec.hyperparameters.items()]
    return words

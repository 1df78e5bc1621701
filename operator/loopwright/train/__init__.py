"""For training code: report progress, keep checkpoints, save the model.

Everything here also works outside a job: reports are printed, and files stay in ./loopwright-out.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopwright.runtime import channel

if TYPE_CHECKING:
    from loopwright.train.model import save_model

__all__ = [
    "checkpoint", "get_checkpoint", "hyperparameters", "input_path", "local_rank", "rank",
    "report", "save_model", "should_checkpoint", "world_size",
]  # fmt: skip

_last_checkpoint = time.monotonic()


def __getattr__(name: str) -> Any:
    # It takes a third of a second to import, which a trial that reports only need not spend.
    if name == "save_model":
        from loopwright.train.model import save_model

        return save_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def rank() -> int:
    """This process among all, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """This process among those of its pod, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def hyperparameters() -> dict[str, str]:
    """The job's hyperparameters, as text."""
    values: dict[str, str] = json.loads(os.environ.get("SM_HPS", "{}"))
    return values


def input_path(name: str) -> Path:
    """Folder of an input.

    Raises:
        KeyError: the job has no such input.
    """
    return Path(os.environ[f"SM_CHANNEL_{name.upper().replace('-', '_')}"])


def report(
    metrics: Mapping[str, float],
    *,
    step: int | None = None,
    total_steps: int | None = None,
    epoch: int | None = None,
) -> None:
    """Reports metrics and progress; returns at once. Only rank 0's reports count."""
    if rank() == 0:
        values = {name: float(value) for name, value in metrics.items()}
        message = {"type": "report", "metrics": values, "step": step}
        channel.send({**message, "total_steps": total_steps, "epoch": epoch})


def checkpoint(folder: str | os.PathLike[str], *, step: int) -> str:
    """Stores a folder as the checkpoint of a step, and returns its URI. Call it on rank 0."""
    global _last_checkpoint
    from loopwright.runtime import checkpoints
    from loopwright.runtime.storage import Folder

    _last_checkpoint = time.monotonic()
    target = os.environ.get("LOOPWRIGHT_CHECKPOINTS")
    if target is None:
        return str(folder)
    storage = Folder(target, os.environ.get("LOOPWRIGHT_CHECKPOINT_SECRET"))
    keep = int(os.environ.get("LOOPWRIGHT_CHECKPOINT_KEEP", "3"))
    job = os.environ.get("LOOPWRIGHT_JOB", "")
    uri = checkpoints.save(storage, Path(folder), step, keep, job)
    channel.send({"type": "checkpoint", "uri": uri, "step": step})
    return uri


def should_checkpoint() -> bool:
    """Whether checkpoint.intervalHintSeconds have passed since the last one."""
    interval = float(os.environ.get("LOOPWRIGHT_CHECKPOINT_INTERVAL", "300"))
    return time.monotonic() - _last_checkpoint >= interval


def get_checkpoint() -> Path | None:
    """A local copy of the checkpoint to continue from, or None at a fresh start."""
    uri = os.environ.get("LOOPWRIGHT_RESUME_URI")
    if not uri:
        return None
    from loopwright.runtime import checkpoints

    target = Path(tempfile.mkdtemp(prefix="checkpoint-"))
    return checkpoints.restore(uri, os.environ.get("LOOPWRIGHT_CHECKPOINT_SECRET"), target)

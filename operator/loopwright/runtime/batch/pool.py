"""The processes that do shards: an actor pool of Ray Data, which gives them to whoever is free."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import ray

from loopwright.api.batchconfig import BatchConfig
from loopwright.api.trainingjob_status import Cause
from loopwright.runtime import channel
from loopwright.runtime.batch.plan import Shard
from loopwright.runtime.batch.shard import TooMany, Worker, as_message
from loopwright.runtime.errors import RunError

# A shard that kills its process each time must not be tried for ever.
MAX_RETRIES: Final = 3
# Of all processes together, so that many of them leave the driver time for others.
TELLS_A_SECOND: Final = 20


class Process:
    """One actor, with a copy of the model."""

    def __init__(self, config: str, env: dict[str, str], threads: int, tell_seconds: float) -> None:
        os.environ.update(env)
        self._worker = Worker(BatchConfig.model_validate_json(config), threads)
        self._told, self._tell_seconds = 0.0, tell_seconds

    def __call__(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Does a shard. Failures are values: Ray would wrap an exception, and try it again."""
        shard = Shard.model_validate_json(row["shard"])
        found = {"done": "", "error": "", "letters": ""}
        try:
            done = self._worker.do(shard, lambda message: self._tell(shard, message))
            return {**found, "done": done.model_dump_json()}
        except TooMany as many:
            letters = json.dumps([asdict(one) for one in many.letters], default=str)
            return {**found, "letters": letters}
        except RunError as one:
            return {**found, "error": json.dumps(as_message(one))}
        except Exception as unknown:
            traceback.print_exc()
            text = f"shard {shard.number}: {type(unknown).__name__}: {unknown}"
            error = RunError("RuntimeFailed", text, Cause.INFRASTRUCTURE)
            return {**found, "error": json.dumps(as_message(error))}

    def _tell(self, shard: Shard, message: dict[str, Any]) -> None:
        now = time.monotonic()
        if now - self._told >= self._tell_seconds:
            self._told = now
            channel.send({**message, "number": shard.number})


def process(config: BatchConfig, shards: list[Shard], env: dict[str, str]) -> Any:
    """A data set of what processes return for each shard, lazily."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    spec = config.spec
    size = min(config.procs_per_worker * max(1, spec.num_workers), len(shards))
    cpus, threads = _share(config)
    options: dict[str, Any] = {"num_cpus": cpus}
    if spec.resources_per_worker.gpu:
        options["num_gpus"] = spec.resources_per_worker.gpu / config.procs_per_worker
    text = config.model_dump_json(by_alias=True, exclude_none=True)
    items = [{"shard": shard.model_dump_json()} for shard in shards]
    return ray.data.from_items(items, override_num_blocks=len(items)).map(
        Process,
        fn_constructor_args=(text, env, threads, max(1.0, size / TELLS_A_SECOND)),
        compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
        ray_remote_args_fn=_bounded,
        **options,
    )


def _bounded() -> dict[str, Any]:
    """By default Ray Data would retry for ever."""
    return {"max_task_retries": MAX_RETRIES, "max_restarts": MAX_RETRIES}


def _share(config: BatchConfig) -> tuple[float, int]:
    """CPUs that Ray counts for each process, and threads that it uses."""
    found = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    cpus = max(found, default=1) or 1
    share = int(cpus * 100 / config.procs_per_worker) / 100
    # More than one is whole, for Ray.
    share = float(int(share)) if share > 1 else share
    return max(0.01, share), max(1, int(share))

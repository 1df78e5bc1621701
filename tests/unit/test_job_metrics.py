"""Figures about jobs: what is there now, and what happened."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import generate_latest

from loopwright import metrics
from loopwright.api.resources import Key
from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.api.trainingjob_status import Phase, TrainingJobStatus
from loopwright.kube.cache import Cache
from loopwright.metrics import BudgetCollector, JobCollector

pytestmark = pytest.mark.timeout(30)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job(name: str, status: Any = None, namespace: str = "n") -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}"}
    obj = {"kind": "TrainingJob", "metadata": {**meta, "resourceVersion": "1"}}
    return obj if status is None else {**obj, "status": status}


def checkpoint(age: float, phase: str = "Running") -> dict[str, Any]:
    """A status with a checkpoint of so many seconds."""
    time = (NOW - timedelta(seconds=age)).isoformat().replace("+00:00", "Z")
    return {"phase": phase, "checkpoint": {"uri": "s3://b/c", "time": time}}


def text_of(*jobs: dict[str, Any]) -> list[str]:
    """What a scrape shows."""
    cache, registry = Cache(), CollectorRegistry()
    for one in jobs:
        cache.observe("ADDED", one)
    registry.register(JobCollector(cache, lambda: NOW))
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_jobs_are_counted_by_phase_and_no_phase_is_left_out() -> None:
    jobs = [job("a", {"phase": "Running"}), job("a", {"phase": "Running"}, "m")]
    jobs += [job("b", {"phase": "Failed"}), job("c"), job("d", {}), job("e", {"phase": "Pending"})]
    child = {**job("a-a1"), "kind": "RayJob"}
    child["metadata"]["labels"] = {"loopwright.io/kind": "TrainingJob", "loopwright.io/name": "a"}
    counts = {phase.value: 0 for phase in Phase} | {"Running": 2, "Failed": 1, "Pending": 3}
    assert sorted(text_of(*jobs, child)) == sorted(
        f'loopwright_trainingjob_phase{{phase="{phase}"}} {count}.0'
        for phase, count in counts.items()
    )


def test_a_phase_of_a_newer_operator_is_counted_too() -> None:
    assert 'loopwright_trainingjob_phase{phase="Tuning"} 1.0' in text_of(
        job("a", {"phase": "Tuning"})
    )


def test_the_oldest_checkpoint_of_running_jobs_counts_by_namespace() -> None:
    lines = text_of(
        job("fresh", checkpoint(30)),
        job("old", checkpoint(600.5)),
        job("new", checkpoint(1)),
        job("none", {"phase": "Running"}),
        job("done", checkpoint(9000, "Succeeded")),
        job("waits", checkpoint(9000, "Retrying"), "idle"),
        job("other", checkpoint(45), "m"),
    )
    name = "loopwright_trainingjob_checkpoint_age_seconds"
    assert [line for line in lines if line.startswith(name)] == [
        f'{name}{{namespace="m"}} 45.0',
        f'{name}{{namespace="n"}} 600.5',
    ]


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"loopwright_trainingjob_{name}", labels) or 0.0


def status(**fields: Any) -> TrainingJobStatus:
    return TrainingJobStatus.model_validate(fields)


def attempt(number: int, **fields: Any) -> dict[str, Any]:
    return {"number": number, "rayJob": f"job-a{number}", "startTime": NOW, **fields}


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_the_end_of_an_attempt_is_counted_once() -> None:
    spec = TrainingJobSpec.model_validate({"function": "a:b"})
    runs = status(attempts=[attempt(1, runningTime=at(20))])
    over = attempt(1, runningTime=at(20), endTime=at(50), cause="Infrastructure")
    failed = status(attempts=[over])
    again = status(attempts=[over, attempt(2, endTime=at(60))])
    before = [sample("attempts_total", cause=cause) for cause in ("Infrastructure", "")]
    waited = [sample("queue_seconds_count"), sample("queue_seconds_sum")]
    steps = [status(attempts=[attempt(1)]), runs, runs, failed, failed, again, again]
    for old, new in itertools.pairwise(steps):
        metrics.record(Key("TrainingJob", "n", "job"), spec, old, new)
    after = [sample("attempts_total", cause=cause) for cause in ("Infrastructure", "")]
    assert after == [before[0] + 1, before[1] + 1]
    after = [sample("queue_seconds_count"), sample("queue_seconds_sum")]
    assert after == [waited[0] + 1, waited[1] + 20]


def test_a_job_lasts_from_its_first_attempt_to_its_end() -> None:
    spec = TrainingJobSpec.model_validate({"function": "a:b"})
    begun = status(startTime=NOW)
    done = status(startTime=NOW, completionTime=at(90), phase="Succeeded")
    before = sample("duration_seconds_sum", phase="Succeeded")
    for old, new in ((begun, begun), (begun, done), (done, done)):
        metrics.record(Key("TrainingJob", "n", "job"), spec, old, new)
    assert sample("duration_seconds_sum", phase="Succeeded") == before + 90


def test_gpu_time_is_counted_for_those_who_used_it() -> None:
    more = {"scheduling": {"queue": "team"}, "spot": {"enabled": True}, "checkpoint": {}}
    spec = TrainingJobSpec.model_validate({"function": "a:b", **more})
    used = [status(cost={"gpuSeconds": seconds}) for seconds in (0, 40, 40, 100)]
    for old, new in itertools.pairwise(used):
        metrics.record(Key("TrainingJob", "gpus", "job"), spec, old, new)
    assert sample("gpu_seconds_total", namespace="gpus", queue="team", spot="true") == 100


def test_what_checkpoints_save_on_spot_nodes_is_counted() -> None:
    spec = TrainingJobSpec.model_validate({"function": "a:b", "scheduling": {"queue": "team"}})
    saved = [status(cost={"spotSavedSeconds": seconds}) for seconds in (None, 40, 40, 100)]
    for old, new in itertools.pairwise(saved):
        metrics.record(Key("TrainingJob", "saves", "job"), spec, old, new)
    assert sample("spot_saved_seconds_total", namespace="saves", queue="team") == 100


class Interrupted(str):
    """A kind; whoever looks at it loses the turn to another thread, once."""

    __slots__ = ("turn",)
    turn: Callable[[], None] | None

    def __hash__(self) -> int:
        if turn := getattr(self, "turn", None):
            self.turn = None
            other = threading.Thread(target=turn)
            other.start()
            other.join(0.1)
        return super().__hash__()


def test_jobs_that_wait_for_a_larger_budget_are_counted() -> None:
    over = {"conditions": [{"type": "BudgetExceeded", "status": "True"}]}
    within = {"conditions": [{"type": "BudgetExceeded", "status": "False"}]}
    cache, registry = Cache(), CollectorRegistry()
    ended = {**over, "completionTime": "2026-01-01T00:00:00Z"}
    for one in (job("a", over), job("b", over), job("c", within), job("d", ended), job("e")):
        cache.observe("ADDED", one)
    cache.observe("ADDED", job("a", within, "m"))
    registry.register(BudgetCollector(cache))

    def count(namespace: str) -> float | None:
        labels = {"namespace": namespace, "kind": "TrainingJob"}
        return registry.get_sample_value("loopwright_jobs_over_budget", labels)

    assert (count(job("a")["metadata"]["namespace"]), count("m")) == (2, 0)


def test_the_first_bug_of_a_kind_is_an_increase() -> None:
    labels = {"kind": "Model", "reason": "Bug"}
    assert REGISTRY.get_sample_value("loopwright_reconcile_errors_total", labels) is not None


def test_jobs_may_come_and_go_during_a_scrape() -> None:
    cache, kind = Cache(), Interrupted("TrainingJob")
    cache.observe("ADDED", {**job("a"), "kind": kind})
    kind.turn = lambda: cache.observe("ADDED", job("b")) and None
    first = next(JobCollector(cache, lambda: NOW).collect())
    assert sum(one.value for one in first.samples) >= 1

"""A batch on a real Ray of this machine: shards go through its actors."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from batches import FakeMailbox, World

from loopwright.api import names
from loopwright.api.report import RunState
from loopwright.api.trainingjob_status import Cause
from loopwright.runtime.batch import driver

pytestmark = pytest.mark.timeout(300)

CRASHING = """
import os, pathlib
class Crashing:
    def __init__(self, folder):
        pass
    def predict(self, columns):
        once = pathlib.Path(os.environ["ONCE"])
        if (columns["x"] == 13).any() and not once.exists() or (columns["x"] == 14).any():
            once.touch()
            os.kill(os.getpid(), 9)
        return {"y": columns["x"] * 2}
"""


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A claim that Ray's processes see too."""
    # They import the code anew, and must find claims where this test has them.
    (tmp_path / "sitecustomize.py").write_text(
        f"from loopwright.api import names\nnames.PVC_DIR = {str(tmp_path)!r}\n"
    )
    (tmp_path / "crashing.py").write_text(CRASHING)
    code = Path(driver.__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{code}")
    monkeypatch.setenv("ONCE", str(tmp_path / "once"))
    monkeypatch.setenv(names.ENV_ATTEMPT, "1")
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path))
    # Ray makes its workers wait for everything else on this machine.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    before = signal.getsignal(signal.SIGTERM)
    ray.init(num_cpus=2, include_dashboard=False)
    yield World(tmp_path)
    ray.shutdown()
    signal.signal(signal.SIGTERM, before)


def _run(batch: World, **more: Any) -> FakeMailbox:
    for name in "abc":
        rows = "".join(f'{{"x": [{n}, 1, 2]}}\n' for n in range(5))
        batch.write(f"{name}.jsonl", rows)
    mailbox: Any = FakeMailbox()
    config = batch.config(**more).model_copy(update={"procs_per_worker": 2})
    driver.Driver(config, mailbox).main()
    found: FakeMailbox = mailbox
    return found


def test_shards_in_actors(batch: World) -> None:
    last = _run(batch).last
    assert last.state is RunState.SUCCEEDED, last
    assert (last.shards.total, last.shards.done, last.records.written) == (3, 3, 15)
    assert len(batch.rows()) == 15


def test_an_actor_that_dies_is_replaced(batch: World) -> None:
    from model_folders import describe

    batch.write("d.jsonl", '{"x": 13}\n')
    digest = describe(batch.root / "model", format="mine")
    last = _run(
        batch, digest=digest, predictor={"class": "crashing:Crashing"}, input={"include": ["d.*"]}
    ).last
    assert last.state is RunState.SUCCEEDED, last
    assert batch.rows() == [{"y": 26}]


def test_a_shard_that_kills_every_process_ends_the_attempt(batch: World) -> None:
    from model_folders import describe

    batch.write("d.jsonl", '{"x": 14}\n')
    digest = describe(batch.root / "model", format="mine")
    last = _run(
        batch, digest=digest, predictor={"class": "crashing:Crashing"}, input={"include": ["d.*"]}
    ).last
    assert last.state is RunState.FAILED and last.error is not None
    assert (last.error.reason, last.error.cause) == ("WorkerLost", Cause.INFRASTRUCTURE)

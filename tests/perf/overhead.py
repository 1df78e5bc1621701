"""What a trial costs besides its own training.

Whole sweeps on a Ray of this machine, beside as many processes that know nothing of it.
"""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.perf import ROOT
from tests.perf.common import OURS
from tests.perf.figures import Figures, Quantity, Values

TRIALS: Final = 20
SLOTS: Final = 2
BARE: Final = "bare processes"
SCRIPT: Final = """
import os
import numpy as np
chance = np.random.default_rng(0)
x = chance.normal(size=(4000, 20))
y = x @ np.arange(20) + chance.normal(size=4000) > 0
w = np.zeros(20)
for epoch in range(1, 11):
    for _ in range(40):
        w += float(os.environ["SM_HP_ALPHA"]) * x.T @ (y - 1 / (1 + np.exp(-x @ w)))
    accuracy = float(((x @ w > 0) == y).mean())
    if "LOOPWRIGHT_CHANNEL" in os.environ:
        from loopwright import train
        train.report({"accuracy": accuracy}, step=epoch, total_steps=10)
"""

MORE: Final = Quantity("slot seconds of a further trial", "s", 2)
FIRST: Final = Quantity("the first two ended after", "s", 1)
WHOLE: Final = Quantity("slot seconds of a trial, start included", "s", 2)


def run(repeats: int) -> list[Figures]:
    """Both, in turns that go back and forth."""
    figures = Figures(f"Overhead: {TRIALS} small trials, {SLOTS} at a time, Ray is there")
    with _pods() as (space, script):
        _sweep(space, "warm", SLOTS)
        sides: dict[str, Callable[[int], list[float]]] = {
            OURS: lambda turn: _sweep(space, f"sweep{turn}", TRIALS),
            BARE: lambda _: _bare(script),
        }
        for turn in range(repeats):
            for who in sides if turn % 2 == 0 else reversed(sides):
                values = _values(sides[who](turn))
                said = ", ".join(f"{q.what} {q.text(value)}" for q, value in values.items())
                print(f"  {turn + 1}. {who}: {said}", flush=True)
                figures.add(who, values)
    more, whole = (figures.median(OURS, q) - figures.median(BARE, q) for q in (MORE, WHOLE))
    figures.comparisons.append(
        f"a trial takes {more:.2f} s of a slot more, {whole:.2f} s with its share of the start of"
        f" {SLOTS} actors; bar 0.5 s"
    )
    return [figures]


def _values(ends: list[float]) -> Values:
    """From the seconds after which trials had ended."""
    return {
        MORE: (ends[-1] - ends[SLOTS - 1]) * SLOTS / (len(ends) - SLOTS),
        FIRST: ends[SLOTS - 1],
        WHOLE: ends[-1] * SLOTS / len(ends),
    }


@contextmanager
def _pods() -> Iterator[tuple[Any, Path]]:
    """A Ray whose processes have the folders of a pod, and the script for those without it."""
    import ray
    from tests.integration import sweep_pods

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        # With its byte code, as in the image.
        code = root / "lib"
        shutil.copytree(ROOT / "operator" / "loopwright", code / "loopwright")
        compileall.compile_dir(code, quiet=1)
        # As in the image: or they wait for everything else on this machine, and the peer does not.
        os.environ["RAY_worker_niceness"] = "0"
        os.environ[sweep_pods.ENV_ROOT] = scratch
        sweep_pods.move_in()
        script = root / "bare.py"
        script.write_text(SCRIPT)
        settings = sweep_pods.runtime_env(root)
        paths = (code, Path(sweep_pods.__file__).parent)
        settings["env_vars"]["PYTHONPATH"] = os.pathsep.join(map(str, paths))
        ray.init(
            num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
            runtime_env=settings,
        )  # fmt: skip
        try:
            yield sweep_pods.Space(root), script
        finally:
            ray.shutdown()


def _sweep(space: Any, uid: str, count: int) -> list[float]:
    """Seconds after which each trial of a sweep had ended, and was stored."""
    config = space.config(
        SCRIPT, uid=uid, maxTrials=count, parallelTrials=SLOTS,
        objectives=[{"metric": "accuracy", "direction": "Maximize"}],
        parameters=[{"name": "alpha", "logUniform": {"min": "0.0001", "max": "0.01"}}],
    )  # fmt: skip
    ends: list[float] = []
    started = time.perf_counter()

    def watch(driver: Any) -> None:
        keep = driver._ended

        def ended(record: Any) -> None:
            keep(record)
            ends.append(time.perf_counter() - started)

        driver._ended = ended

    ran = space.run(config, watch)
    assert ran.report.trials.succeeded == count, ran.report
    return ends


def _bare(script: Path) -> list[float]:
    """The same without us: so many processes, two at a time."""
    env = {**os.environ, "SM_HP_ALPHA": "0.001", "OMP_NUM_THREADS": "1"}
    at_work: list[subprocess.Popen[bytes]] = []
    ends: list[float] = []
    started, left = time.perf_counter(), TRIALS
    while left or at_work:
        while left and len(at_work) < SLOTS:
            at_work.append(subprocess.Popen([sys.executable, str(script)], env=env))
            left -= 1
        for one in [one for one in at_work if one.poll() is not None]:
            assert one.returncode == 0
            at_work.remove(one)
            ends.append(time.perf_counter() - started)
        time.sleep(0.005)
    return ends

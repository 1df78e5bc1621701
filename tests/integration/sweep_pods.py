"""A sweep's pods on this machine: a local Ray whose workers have the folders of a test."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loopwright.api import names
from loopwright.api.sweep_history import TrialRecord, parse
from loopwright.api.sweep_report import SweepReport
from loopwright.api.sweepconfig import SweepConfig
from loopwright.runtime import prestop

ENV_ROOT = "SWEEP_TEST_ROOT"


def move_in() -> None:
    """Makes a pod's folders those of the test; called in each process of Ray."""
    root = Path(os.environ[ENV_ROOT])
    for name in ("PVC_DIR", "SCRIPT_DIR", "INPUTS_DIR"):
        setattr(names, name, str(root / name.lower()))
    # Before anything else is imported, which takes the values along.
    setattr(prestop, "WORK", root / "work")  # noqa: B010 (a constant, for all but tests)
    setattr(prestop, "STOPPING", root / "work/stopping")  # noqa: B010


def runtime_env(root: Path) -> dict[str, Any]:
    """Ray's settings for workers that have these folders, and find this module."""
    here = Path(__file__).resolve()
    paths = [str(here.parents[2] / "operator"), str(here.parent)]
    return {
        "env_vars": {ENV_ROOT: str(root), "PYTHONPATH": os.pathsep.join(paths)},
        "worker_process_setup_hook": "sweep_pods.move_in",
    }


class Box:
    """In place of the mailbox: keeps all reports."""

    def __init__(self) -> None:
        self.reports: list[SweepReport] = []

    def put_first(self, report: SweepReport) -> None:
        """The first one."""
        self.reports.append(report)

    def put(self, report: SweepReport) -> None:
        """One on the way."""
        self.reports.append(report)

    def put_last(self, report: SweepReport) -> bool:
        """The last one."""
        self.reports.append(report)
        return True


@dataclass(frozen=True)
class Ran:
    """An attempt that has ended."""

    code: int
    report: SweepReport
    records: list[TrialRecord]


class Space:
    """A test's sweeps, all with the same claim."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def config(self, script: str, uid: str = "u123456789", **spec: Any) -> SweepConfig:
        """A sweep of one parameter `x`, which runs this script."""
        folder = self.root / "script_dir"
        folder.mkdir(exist_ok=True)
        (folder / names.INLINE_SCRIPT_KEY).write_text(script)
        trial = {"script": {"inline": "#"}, "numWorkers": 0, **spec.pop("trial", {})}
        remaining, more = spec.pop("remaining", 600), spec.pop("more", {})
        wanted = {
            "objectives": [{"metric": "loss"}], "algorithm": {"random": {}}, "maxTrials": 4,
            "parameters": [{"name": "x", "uniform": {"min": "0", "max": "1"}}],
            "trialTemplate": {"spec": trial}, **spec,
        }  # fmt: skip
        return SweepConfig.model_validate(
            {
                "name": "s", "namespace": "team", "uid": uid, "image": "runtime:1", "seed": 7,
                "outputUri": "pvc://out/s", "checkpointUri": "pvc://out/s/checkpoints",
                "cpusPerWorker": 1, "gpusPerWorker": 0,
                "remainingSeconds": remaining, "spec": wanted, **more,
            }
        )  # fmt: skip

    def file(self, path: str, uid: str = "u123456789") -> Path:
        """Something that a sweep has left."""
        return self.root / "pvc_dir/out/s" / uid / path

    def run(self, config: SweepConfig, meddle: Callable[[Any], None] = lambda _: None) -> Ran:
        """An attempt in this process.

        Args:
            meddle: Called with the driver before it begins.
        """
        from loopwright.runtime.tune.driver import SweepDriver

        box = Box()
        driver = SweepDriver(config, box)  # type: ignore[arg-type]
        meddle(driver)
        # The driver's own process would end with it; this one would take no SIGTERM any more.
        before = signal.getsignal(signal.SIGTERM)
        try:
            code = driver.main()
        finally:
            signal.signal(signal.SIGTERM, before)
        history = self.file("history.jsonl", names.registered_version(config.uid))
        records = parse(history.read_text()) if history.exists() else []
        return Ran(code, box.reports[-1], records)


def main() -> None:
    """A driver that a test can kill: `sweep_pods.py CONFIG ADDRESS`."""
    import ray

    move_in()
    config = SweepConfig.model_validate(json.loads(Path(sys.argv[1]).read_text()))
    root = Path(os.environ[ENV_ROOT])
    ray.init(address=sys.argv[2], runtime_env=runtime_env(root), logging_level="WARNING")
    Space(root).run(config)


if __name__ == "__main__":
    main()

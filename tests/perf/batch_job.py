"""A BatchTransform's driver on a Ray of this machine; its reports go to a file."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import ray

from loopwright.api.batch_report import BatchReport
from loopwright.api.batchconfig import BatchConfig
from loopwright.runtime.batch import driver


class FileMailbox:
    """In place of the ConfigMap."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def put(self, report: BatchReport) -> None:
        """A line for each."""
        with self._file.open("a") as out:
            out.write(json.dumps({"at": time.time(), "report": report.wire()}) + "\n")

    put_first = put

    def put_last(self, report: BatchReport) -> bool:
        """As the others."""
        self.put(report)
        return True


def main() -> int:
    """Runs the job of a configuration."""
    config, reports = map(Path, sys.argv[1:])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=True, configure_logging=False)
    mailbox: Any = FileMailbox(reports)
    job = BatchConfig.model_validate_json(config.read_text())
    code = driver.Driver(job, mailbox).main()
    ray.shutdown()
    return code


if __name__ == "__main__":
    sys.exit(main())

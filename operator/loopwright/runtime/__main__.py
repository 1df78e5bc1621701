"""`python -m loopwright.runtime`: the entrypoint of every RayJob."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from loopwright.api import names


def main() -> int:
    """Runs what the configuration that the operator mounted is of."""
    text = Path(names.CONFIG_DIR, names.CONFIG_KEY).read_text()
    kind = json.loads(text).get("kind")
    # Loaded where it is needed: each kind brings libraries of its own.
    if kind == "HyperparameterSweep":
        from loopwright.api.sweepconfig import SweepConfig
        from loopwright.runtime.tune import driver as tune

        return tune.run(SweepConfig.model_validate_json(text))
    if kind == "BatchTransform":
        from loopwright.api.batchconfig import BatchConfig
        from loopwright.runtime.batch import driver as batch

        return batch.run(BatchConfig.model_validate_json(text))
    from loopwright.runtime import driver

    return driver.run()


if __name__ == "__main__":
    sys.exit(main())

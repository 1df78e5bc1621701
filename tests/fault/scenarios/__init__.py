"""What is played: one module a kind; a new kind adds its own here."""

import os
from typing import Final

from scenarios import (
    batchendpoint,
    batchtransform,
    comparedjob,
    hyperparametersweep,
    modelendpoint,
    registry,
    trainingjob,
)

SCENARIOS: Final = (
    *trainingjob.SCENARIOS, *comparedjob.SCENARIOS, *hyperparametersweep.SCENARIOS,
    *registry.SCENARIOS, *batchtransform.SCENARIOS, *batchendpoint.SCENARIOS,
    *modelendpoint.SCENARIOS,
)  # fmt: skip

# `make test-fault-all` leaves nothing out, which takes an hour on two cores.
ALL: Final = os.environ.get("LOOPWRIGHT_FAULT_SWEEP") == "all"
# The longest lives; what holds for them holds for the others.
LONG: Final = (
    trainingjob.RETRIED, trainingjob.SUSPENDED, hyperparametersweep.RESIZED,
    registry.REGISTERED, modelendpoint.PROMOTED,
)  # fmt: skip
CHOSEN: Final = SCENARIOS if ALL else LONG

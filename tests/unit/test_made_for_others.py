"""What a reconcile makes and another one is about is looked at: its watch event is no news when the
write's answer comes first."""

from __future__ import annotations

from fake_client import START, World

from loopwright.api.modelendpoint_status import ModelEndpointStatus
from loopwright.api.monitoring_status import RetrainStatus
from loopwright.api.resources import Key
from loopwright.reconcile import monitoring

ENDPOINT = Key("ModelEndpoint", "n", "digits")
AGAIN = Key("TrainingJob", "n", "digits-r1")


async def test_a_retraining_begins() -> None:
    world = World()
    one = RetrainStatus(
        monitor="drift", variant="main", training_job=AGAIN.name, template="job", time=START
    )
    status = ModelEndpointStatus(retrains=[one])
    assert await monitoring.start(world.context(), ENDPOINT, status) == {}
    made = world.cache.get(AGAIN)
    assert made is not None
    assert world.cache.observe("ADDED", made) is None
    assert world.woken == [AGAIN]
    # It is there now, and nothing more is done about it.
    assert await monitoring.start(world.context(), ENDPOINT, status) == {}
    assert world.woken == [AGAIN]

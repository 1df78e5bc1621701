"""What a driver makes of a worker that ended. What Ray itself does, the e2e tests show."""

from __future__ import annotations

from typing import Any

from loopwright.api.trainingjob_status import Cause
from loopwright.runtime.driver import Driver
from loopwright.runtime.processes import Ended


class Gone:
    """A worker whose pod is no more."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is asked of a worker that cannot answer")


def test_a_pod_that_said_that_it_ends_need_not_answer_any_more() -> None:
    driver = Driver.__new__(Driver)
    driver._workers = [Gone()]
    error = driver._failure(Ended(0, "", stopped=True))
    assert (error.reason, error.cause) == ("Interrupted", Cause.INFRASTRUCTURE)

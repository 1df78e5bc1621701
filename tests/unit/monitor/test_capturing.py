"""What scrapes say of data capture."""

from __future__ import annotations

import pytest

from loopwright.api.capture_report import VariantCapture
from loopwright.api.monitoring_status import MonitorState
from loopwright.monitor.capturing import HOLD, PATIENCE, Capturing
from loopwright.monitor.exposition import Captured, Counters, Sample
from loopwright.monitor.scrape import Foreign
from loopwright.monitor.slices import Pod
from loopwright.monitor.windows import Revision

MAIN = Revision("main", "r1")
Result = Sample | Foreign | None


def sample(dropped: float = 0, failing: bool = False) -> Sample:
    return Sample(Counters(), captured=Captured(dropped, failing))


class Scrapes:
    """Scrapes of the pods of one revision."""

    def __init__(self) -> None:
        self.capturing = Capturing()

    def at(self, now: float, **pods: Result) -> VariantCapture:
        """What is known after a scrape."""
        scraped = [(Pod(uid, MAIN, f"http://{uid}", True), one) for uid, one in pods.items()]
        [found] = self.capturing.turn([MAIN], scraped, now)
        return found


def test_all_is_well() -> None:
    assert Scrapes().at(0, a=sample(), b=sample(7)).state is MonitorState.OK


def test_a_drop_counts_for_a_while() -> None:
    scrapes = Scrapes()
    scrapes.at(0, a=sample(7), b=sample())
    found = scrapes.at(5, a=sample(8), b=sample())
    assert (found.state, found.reason) == (MonitorState.VIOLATED, "RecordsDropped")
    assert found.message.startswith("1 of its pods")
    assert scrapes.at(4 + HOLD, a=sample(8), b=sample()).reason == "RecordsDropped"
    assert scrapes.at(6 + HOLD, a=sample(8), b=sample()).state is MonitorState.OK


def test_a_process_that_begins_anew_has_dropped_nothing() -> None:
    scrapes = Scrapes()
    scrapes.at(0, a=sample(7))
    assert scrapes.at(5, a=sample(0)).state is MonitorState.OK
    assert scrapes.at(10, a=sample(1)).reason == "RecordsDropped"


def test_failing_uploads_come_first() -> None:
    found = Scrapes().at(0, a=sample(), b=sample(failing=True), c=Foreign())
    assert (found.state, found.reason) == (MonitorState.VIOLATED, "UploadsFailing")


@pytest.mark.parametrize("other", [Foreign(), Sample(Counters())])
def test_a_server_that_captures_nothing(other: Result) -> None:
    found = Scrapes().at(0, a=other)
    assert (found.state, found.reason) == (MonitorState.UNKNOWN, "NotCapturing")


def test_silence_is_not_known_to_be_well() -> None:
    scrapes = Scrapes()
    assert scrapes.at(0).reason == scrapes.at(0, a=None).reason == "NoPods"
    scrapes.at(1, a=sample())
    assert scrapes.at(PATIENCE, a=None).state is MonitorState.OK
    found = scrapes.at(2 + PATIENCE, a=None)
    assert (found.state, found.reason) == (MonitorState.UNKNOWN, "PodsUnreachable")

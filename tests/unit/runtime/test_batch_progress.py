"""What a batch's report says of its progress, and that it always fits into the mailbox."""

from __future__ import annotations

import pytest

from loopwright.api.batch_report import BatchReport
from loopwright.api.monitoring import MAX_MONITORS
from loopwright.api.monitoring_status import (
    MAX_VIOLATIONS,
    Judged,
    MonitorState,
    Violation,
)
from loopwright.api.report import MAX_REPORT_BYTES, RunState
from loopwright.api.validation import ValidationResult
from loopwright.runtime import console
from loopwright.runtime.batch.plan import Plan, Shard
from loopwright.runtime.batch.progress import BatchProgress, fewer
from loopwright.runtime.batch.staging import Done, Reason
from loopwright.runtime.mailbox import bounded

LONG = "\N{EURO SIGN}" * 512


class Clock:
    """Time that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.now


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes to the log of this container."""
    monkeypatch.setattr(console, "_container", lambda: None)


def _plan(count: int, size: int = 100, name: str = "a") -> Plan:
    shards = [Shard(number=n, files=[name], size=size) for n in range(count)]
    return Plan(fingerprint="f", shards=shards)


def test_rate_and_time_left() -> None:
    clock = Clock()
    progress = BatchProgress(1, clock)
    progress.begin(_plan(10), {0: Done(number=0, read=1000, written=1000)})
    first = progress.report(RunState.RUNNING)
    assert first.records_per_second is None and first.eta_seconds is None
    assert (first.shards.total, first.shards.done, first.shards.resumed) == (10, 1, 1)
    clock.now += 10
    progress.receive({"number": 1, "read": 500, "failed": 1, "bytes": 50})
    report = progress.report(RunState.RUNNING)
    # 500 records and 50 bytes in 10 seconds; 850 bytes are left.
    assert (report.records_per_second, report.eta_seconds) == ("50", 170)
    assert (report.records.read, report.records.written, report.records.failed) == (1500, 1000, 1)
    [state] = report.shard_states
    assert (state.number, state.records, state.failed) == (1, 500, 1)
    progress.finish(Done(number=1, read=1000, written=999, failed=1))
    assert progress.report(RunState.RUNNING).records.read == 2000
    assert progress.report(RunState.SUCCEEDED).eta_seconds is None


def test_only_the_last_minute_counts() -> None:
    clock = Clock()
    progress = BatchProgress(1, clock)
    progress.begin(_plan(1, 10**6), {})
    for second in range(1, 200):
        clock.now += 1
        done = second * 10 if second < 100 else 990 + (second - 99) * 100
        progress.receive({"number": 0, "read": done, "failed": 0, "bytes": done})
    rate = progress.report(RunState.RUNNING).records_per_second
    assert rate is not None and float(rate) == pytest.approx(100, rel=0.02)


def test_messages_that_make_no_sense() -> None:
    progress = BatchProgress(1)
    progress.begin(_plan(1), {})
    for message in (None, {}, {"number": -1}, {"number": 0, "read": "x", "failed": 0, "bytes": 0}):
        progress.receive(message)
    progress.receive({"number": 7, "read": 1, "failed": 0, "bytes": 0})
    assert progress.report(RunState.RUNNING).records.read == 0


def test_the_largest_report_fits() -> None:
    progress = BatchProgress(1)
    progress.begin(_plan(1000, name=LONG * 4), {})
    for number in range(500):
        reasons = {
            f"Reason{letter}": Reason(count=1, message="\N{EURO SIGN}" * 256, file=LONG, line=1)
            for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        }
        progress.finish(Done(number=number, read=9, failed=9, reasons=reasons))
    for number in range(500, 1000):
        progress.receive({"number": number, "read": 1, "failed": 0, "bytes": 1})
    progress.validation = ValidationResult(
        name="x", passed=False, message="\N{EURO SIGN}" * 512, report_uri="u" * 2048
    )
    told = Violation(feature="\N{EURO SIGN}" * 128, check="D" * 32, value="1", threshold="1")
    progress.monitors = [
        Judged(
            name=f"m{number}", state=MonitorState.VIOLATED, message="\N{EURO SIGN}" * 512,
            violations=[told] * MAX_VIOLATIONS,
        )
        for number in range(MAX_MONITORS)
    ]  # fmt: skip
    text = bounded(progress.report(RunState.RUNNING), fewer)
    assert len(text.encode()) <= MAX_REPORT_BYTES
    report = BatchReport.model_validate_json(text)
    assert report.shards.done == 500 and report.validation is not None
    assert report.problems and len(report.monitors) == MAX_MONITORS

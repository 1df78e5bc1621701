"""How far a batch is, kept as the report that its driver writes."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from loopwright.api.batch_report import (
    MAX_PROBLEMS,
    MAX_SHARDS,
    BatchOutputs,
    BatchRecords,
    BatchReport,
    Problem,
    ShardCounts,
    ShardState,
    ShardStatus,
)
from loopwright.api.monitoring_status import Judged
from loopwright.api.report import RunError, RunState
from loopwright.api.validation import ValidationResult
from loopwright.runtime.batch.plan import Plan, Shard
from loopwright.runtime.batch.staging import Done
from loopwright.runtime.console import say

WINDOW: Final = 60.0
MAX_ETA: Final = 10**9

Count = Annotated[int, Field(ge=0, le=2**53)]


class _Work(BaseModel):
    """A message of a process that does a shard."""

    number: Count
    read: Count
    failed: Count
    bytes: Count


class BatchProgress:
    """Takes in what shards come to, and gives out reports."""

    def __init__(self, attempt: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._attempt, self._run_id, self._clock = attempt, uuid.uuid4().hex[:16], clock
        # Processes tell of their shards in threads of the channel.
        self._lock = threading.RLock()
        self._shards: dict[int, Shard] = {}
        self._size = 0
        self._resumed = 0
        self.done: dict[int, Done] = {}
        self._working: dict[int, _Work] = {}
        # Time, and what was done by then in this run: records and bytes.
        self._marks: deque[tuple[float, int, int]] = deque()
        self.outputs: BatchOutputs | None = None
        self.validation: ValidationResult | None = None
        self.monitors: list[Judged] = []
        self.records: BatchRecords | None = None
        self.shards = 0
        self.skipped = self.assembling = False

    def begin(self, plan: Plan, done: Mapping[int, Done]) -> None:
        """What is to do, and what an earlier attempt has done."""
        self._shards = {shard.number: shard for shard in plan.shards}
        self._size, self.shards = plan.size, len(plan.shards)
        self.done, self._resumed = dict(done), len(done)
        self._marks.append((self._clock(), *self._sums()))

    def receive(self, message: Any) -> None:
        """What a process tells of its shard; what makes no sense is dropped: the code of predictors
        may send too."""
        try:
            work = _Work.model_validate(message)
        except ValueError as error:
            say(f"loopwright: a message was ignored: {error}")
            return
        with self._lock:
            if work.number in self._shards and work.number not in self.done:
                self._working[work.number] = work
                self._mark()

    def finish(self, done: Done) -> None:
        """A shard is done."""
        with self._lock:
            self._working.pop(done.number, None)
            self.done[done.number] = done
            self._mark()

    @property
    def failed(self) -> int:
        """Bad records so far."""
        with self._lock:
            return self._count().failed

    def report(self, state: RunState, error: RunError | None = None) -> BatchReport:
        """All that is known."""
        with self._lock:
            return self._report(state, error)

    def _report(self, state: RunState, error: RunError | None) -> BatchReport:
        final = state in (RunState.SUCCEEDED, RunState.FAILED)
        rate, eta = self._rates()
        digests = {one.model_digest for one in self.done.values()} - {""}
        return BatchReport(
            attempt=self._attempt, run_id=self._run_id, state=state,
            time=datetime.now(UTC).replace(microsecond=0), assembling=self.assembling,
            records=self.records or self._count(),
            shards=ShardCounts(
                total=self.shards, resumed=self._resumed,
                done=self.shards if state is RunState.SUCCEEDED else len(self.done),
            ),
            shard_states=self._states(), records_per_second=rate,
            eta_seconds=None if final else eta, outputs=self.outputs, skipped=self.skipped,
            model_digest=min(digests) if digests else None, problems=self._problems(),
            validation=self.validation, monitors=self.monitors, error=error,
        )  # fmt: skip

    def _count(self) -> BatchRecords:
        working = self._working.values()
        failed = sum(one.failed for one in self.done.values()) + sum(one.failed for one in working)
        written = sum(one.written for one in self.done.values())
        return BatchRecords(read=self._sums()[0], written=written, failed=failed)

    def _sums(self) -> tuple[int, int]:
        working = self._working.values()
        records = sum(one.read for one in self.done.values()) + sum(one.read for one in working)
        size = sum(self._shards[number].size for number in self.done if number in self._shards)
        return records, size + sum(one.bytes for one in working)

    def _mark(self) -> None:
        now = self._clock()
        if now - self._marks[-1][0] >= 1:
            self._marks.append((now, *self._sums()))
        while len(self._marks) > 2 and now - self._marks[0][0] > WINDOW:
            self._marks.popleft()

    def _rates(self) -> tuple[str | None, int | None]:
        """Records a second over the last minute, and seconds left at that pace."""
        if not self._marks:
            return None, None
        began, records, size = self._marks[0]
        seconds = self._clock() - began
        now_records, now_size = self._sums()
        if seconds <= 0 or now_size <= size:
            return None, None
        left = (self._size - now_size) * seconds / (now_size - size)
        rate = (now_records - records) / seconds
        text = f"{rate:.0f}" if rate >= 10 else f"{rate:.3g}"
        return text, int(min(MAX_ETA, max(0.0, left)))

    def _states(self) -> list[ShardStatus]:
        working = [
            self._state(one.number, ShardState.RUNNING, one.read, one.failed)
            for one in sorted(self._working.values(), key=lambda one: one.number)
        ]
        worst = sorted(self.done.values(), key=lambda one: (-one.failed, one.number))
        failed = [
            self._state(one.number, ShardState.DONE, one.read, one.failed)
            for one in worst[:MAX_SHARDS]
            if one.failed
        ]
        return (working + failed)[:MAX_SHARDS]

    def _state(self, number: int, state: ShardState, read: int, failed: int) -> ShardStatus:
        shard = self._shards.get(number)
        file = shard.files[0][-512:] if shard else ""
        return ShardStatus(number=number, state=state, file=file, records=read, failed=failed)

    def _problems(self) -> list[Problem]:
        found: dict[str, Problem] = {}
        for number in sorted(self.done):
            for reason, one in self.done[number].reasons.items():
                if reason in found:
                    count = found[reason].count + one.count
                    found[reason] = found[reason].model_copy(update={"count": count})
                else:
                    found[reason] = Problem(
                        reason=reason,
                        count=one.count,
                        message=one.message,
                        file=one.file,
                        line=one.line,
                    )
        return sorted(found.values(), key=lambda one: (-one.count, one.reason))[:MAX_PROBLEMS]


def fewer(report: BatchReport) -> BatchReport | None:
    """A smaller report; its lists are what is long."""
    if report.shard_states:
        return report.model_copy(
            update={"shard_states": report.shard_states[: len(report.shard_states) // 2]}
        )
    if report.problems:
        return report.model_copy(update={"problems": report.problems[: len(report.problems) // 2]})
    if any(one.violations for one in report.monitors):
        told = [one.model_copy(update={"violations": []}) for one in report.monitors]
        return report.model_copy(update={"monitors": told})
    return None

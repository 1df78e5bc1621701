"""The driver of a BatchTransform: hands out shards to processes, publishes, and reports."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import signal
import threading
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import ray
from ray.exceptions import RayError

from loopwright.api import names
from loopwright.api.batch_report import BatchReport
from loopwright.api.batchconfig import BatchConfig
from loopwright.api.batchtransform import KIND
from loopwright.api.report import RunError as RunErrorReport
from loopwright.api.report import RunState
from loopwright.api.trainingjob_status import Cause
from loopwright.runtime import channel, quality, quality_report
from loopwright.runtime.batch import plan as plans
from loopwright.runtime.batch import watching
from loopwright.runtime.batch.pool import process
from loopwright.runtime.batch.progress import BatchProgress, fewer
from loopwright.runtime.batch.publish import Found, Publication
from loopwright.runtime.batch.records import Letter
from loopwright.runtime.batch.shard import Worker, input_folder, limit, output_folder
from loopwright.runtime.batch.staging import Done, Staging
from loopwright.runtime.console import say
from loopwright.runtime.errors import RunError, unexpected, wrong
from loopwright.runtime.findings import Findings
from loopwright.runtime.mailbox import Mailbox

POLL: Final = 0.2
MAX_MESSAGE: Final = 1024
QUALITY: Final = "_quality/report"


class Driver:
    """One attempt of a job."""

    def __init__(self, config: BatchConfig, mailbox: Mailbox[BatchReport]) -> None:
        self._config, self._mailbox = config, mailbox
        self._progress = BatchProgress(int(os.environ.get(names.ENV_ATTEMPT, "1")))
        self._publication = Publication(config)
        self._staging = Staging(output_folder(config), config.uid)
        self._stop = threading.Event()
        self._samples: list[Letter] = []

    def main(self) -> int:
        """Runs the job and reports; returns the exit code."""
        self._listen()
        try:
            self._mailbox.put_first(self._progress.report(RunState.STARTING))
            self._transform()
        except RunError as error:
            return self._failed(error)
        except RayError as error:
            text = f"a worker was lost: {error}"
            return self._failed(RunError("WorkerLost", text, Cause.INFRASTRUCTURE))
        except Exception as error:
            return self._failed(unexpected(error))
        if self._stop.is_set():
            self._mailbox.put_last(self._progress.report(RunState.STOPPED))
            return 128 + signal.SIGTERM
        return 0 if self._mailbox.put_last(self._progress.report(RunState.SUCCEEDED)) else 1

    def _listen(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())

    def _transform(self) -> None:
        # Its settings, before anything is spent: what fails in an actor is told less clearly.
        Worker(self._config)
        if self._is_published():
            self._staging.clear()
            return
        if not self._staging.begun():
            self._publication.check_free()
        source = input_folder(self._config)
        options = self._config.spec.input
        files = plans.listing(source, options)
        resume = self._config.spec.resume
        if not resume.enabled:
            self._staging.clear()
        plan = plans.make(source, options, files, resume.shard_size_mb * plans.MIB)
        progress = self._progress
        progress.begin(plan, self._staging.begin(plan))
        todo = [shard for shard in plan.shards if shard.number not in progress.done]
        say(f"loopwright: {len(plan.shards)} shards, {len(progress.done)} of them done before")
        self._check_bad()
        if todo:
            self._work(todo)
        if not self._stop.is_set():
            self._finish(files)

    def _is_published(self) -> bool:
        """Whether there is nothing to do any more: by this job, or by another that may stay."""
        known, progress = self._publication.published(), self._progress
        if known is None:
            return False
        mine = known.uid == self._config.uid
        if not mine and self._config.spec.output.overwrite != "Skip":
            return False
        progress.outputs = self._publication.outputs(known)
        progress.skipped = not mine
        if mine:
            # The report got lost, not the result.
            progress.records, progress.shards = self._publication.records(), known.shards
            progress.validation, progress.monitors = known.validation, known.monitors
        return True

    def _work(self, todo: list[plans.Shard]) -> None:
        ray.init(log_to_driver=True, logging_level="WARNING", ignore_reinit_error=True)
        # Again: Ray has put a handler of its own in its place.
        self._listen()
        server = channel.Server(ray.util.get_node_ip_address(), self._receive)
        self._mailbox.put(self._progress.report(RunState.RUNNING))
        for row in self._rows(process(self._config, todo, server.env)):
            if row["letters"]:
                self._samples += [Letter(**one) for one in json.loads(row["letters"])]
                raise self._too_many("more records are bad than errors allows")
            if row["error"]:
                told = json.loads(row["error"])
                raise RunError(**{**told, "cause": Cause(told["cause"])})
            self._progress.finish(Done.model_validate_json(row["done"]))
            self._check_bad()
            self._mailbox.put(self._progress.report(RunState.RUNNING))

    def _rows(self, dataset: Any) -> Iterator[dict[str, str]]:
        """What processes return, until all have, or the driver is told to stop."""
        found: queue.Queue[Any] = queue.Queue()

        def follow() -> None:
            try:
                for row in dataset.iter_rows():
                    found.put(row)
                found.put(None)
            except BaseException as error:
                found.put(error)

        threading.Thread(target=follow, daemon=True).start()
        while not self._stop.is_set():
            try:
                row = found.get(timeout=POLL)
            except queue.Empty:
                self._check_bad()
                continue
            if row is None:
                return
            if isinstance(row, BaseException):
                raise row
            yield row

    def _receive(self, message: dict[str, Any]) -> None:
        self._progress.receive(message)
        self._mailbox.put(self._progress.report(RunState.RUNNING))

    def _check_bad(self) -> None:
        """Ends the job as soon as more records are bad than may be."""
        most, failed = limit(self._config), self._progress.failed
        if most is not None and failed > most:
            raise self._too_many(f"{failed} records are bad so far, and errors allows {most}")

    def _too_many(self, text: str) -> RunError:
        done = sorted(self._progress.done.values(), key=lambda one: one.number)
        uri = self._publication.write_letters(done, self._samples)
        first = f"; the first: {self._first()}" if self._first() else ""
        where = f"; see {uri}" if uri else ""
        return wrong("TooManyFailedRecords", f"{text}{first}{where}")

    def _first(self) -> str:
        for one in self._samples:
            line = "" if one.line is None else f":{one.line}"
            return f"{one.file}{line}: {one.reason}: {one.message}"
        for problem in self._progress.report(RunState.RUNNING).problems:
            line = "" if problem.line is None else f":{problem.line}"
            return f"{problem.file}{line}: {problem.reason}: {problem.message}"
        return ""

    def _finish(self, files: plans.Listing) -> None:
        progress = self._progress
        done = [progress.done[number] for number in sorted(progress.done)]
        read, failed = sum(one.read for one in done), sum(one.failed for one in done)
        if not read:
            uri = self._config.spec.input.uri
            raise wrong("InputEmpty", f"the {len(files)} files at {uri} hold no records")
        self._validate(done)
        percent = self._config.spec.errors.max_failed_percent
        if percent is not None and failed * 100 > percent * read:
            raise self._too_many(
                f"{failed} of {read} records are bad, and errors.maxFailedPercent is {percent}"
            )
        progress.assembling = True
        self._mailbox.put(progress.report(RunState.RUNNING))
        if self._config.spec.monitors:
            progress.monitors = watching.judge(self._config, done, output_folder(self._config))
        found = Found(progress.validation, progress.monitors)
        progress.outputs = self._publication.publish(done, files, found)
        self._staging.clear()

    def _validate(self, done: list[Done]) -> None:
        validation = self._config.spec.validation
        if validation is None:
            return
        findings = Findings()
        for one in done:
            findings.merge(Findings.model_validate(one.checks or {}))
        findings = quality.finished(validation, findings, self._hashes(done))
        output = output_folder(self._config)
        result = quality.verdict(self._config.name, findings, output.child(f"{QUALITY}.html"))
        quality_report.write(output, QUALITY, findings, result)
        self._progress.validation = result
        if not result.passed and validation.on_failure == "Fail":
            raise wrong("DataInvalid", f"{result.message}; see {result.report_uri}")

    def _hashes(self, done: list[Done]) -> Iterator[tuple[str, Any]]:
        output = output_folder(self._config)
        for one in done:
            content = output.read(one.hashes) if one.hashes else None
            if content is not None:
                with np.load(io.BytesIO(content)) as arrays:
                    yield from arrays.items()

    def _failed(self, error: RunError) -> int:
        if self._stop.is_set() and error.cause is Cause.INFRASTRUCTURE:
            self._mailbox.put_last(self._progress.report(RunState.STOPPED))
            return 128 + signal.SIGTERM
        say(f"loopwright: {error.reason}: {error.message}")
        if error.permanent:
            # Nobody goes on from there.
            with contextlib.suppress(RunError):
                self._staging.clear()
        report = RunErrorReport(
            cause=error.cause, reason=error.reason, permanent=error.permanent,
            message=error.message[:MAX_MESSAGE] or error.reason,
        )  # fmt: skip
        self._mailbox.put_last(self._progress.report(RunState.FAILED, error=report))
        return 1


def run(config: BatchConfig) -> int:
    """The whole attempt."""
    return Driver(config, Mailbox(KIND, config, fewer)).main()

"""The driver of a sweep: goes on with what storage holds, runs Ray Tune, and tells the operator."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Any, Final

from loopwright.api import names, sweep_history
from loopwright.api.hyperparametersweep import KIND
from loopwright.api.hyperparametersweep_status import StopReason
from loopwright.api.report import RunError as RunErrorReport
from loopwright.api.report import RunState
from loopwright.api.sweep_history import TrialRecord
from loopwright.api.sweep_report import SweepReport, fewer
from loopwright.api.sweepconfig import SweepConfig
from loopwright.api.trainingjob_status import Artifacts, Cause, MetricValue, Progress
from loopwright.runtime import modeldir
from loopwright.runtime.console import say
from loopwright.runtime.errors import RunError, unexpected
from loopwright.runtime.mailbox import Mailbox
from loopwright.runtime.storage import Folder
from loopwright.runtime.tune import html, warmstart
from loopwright.runtime.tune.journal import Journal
from loopwright.runtime.tune.proposals import Proposals
from loopwright.runtime.tune.study import Study, shown
from loopwright.runtime.tune.trial import checkpoints_folder, output_folder, run_config

MAX_MESSAGE: Final = 1024
# Between two reports, and two versions of the history for people.
REPORT_SECONDS: Final = 3.0
HISTORY_SECONDS: Final = 30.0
# Of Ray Tune: no files for each result, no state of its own, no thoughts about our metrics.
TUNE: Final = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "86400000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1", "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_AIR_NEW_OUTPUT": "0",
}  # fmt: skip


class SweepDriver:
    """One attempt of a sweep."""

    def __init__(self, config: SweepConfig, mailbox: Mailbox[SweepReport]) -> None:
        self._config, self._mailbox = config, mailbox
        self._deadline = time.monotonic() + config.remaining_seconds
        self._run_id = uuid.uuid4().hex[:16]
        self._stop = threading.Event()
        self._folder = output_folder(config)
        self._journal = Journal(self._folder)
        self._study = Study(config.name, config.spec)
        self._inputs: dict[str, Any] = {}
        self._history_uri: str | None = None
        self._reported = self._published = 0.0

    def main(self) -> int:
        """Runs the sweep and reports; returns the exit code."""
        self._listen()
        try:
            self._search()
            if self._stop.is_set() and self._study.stop_reason is None:
                return self._stopped()
            return self._finish()
        except RunError as error:
            return self._failed(error)
        except Exception as error:
            return self._failed(unexpected(error))

    def _listen(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())

    def _search(self) -> None:
        """Runs trials until there is a reason to stop."""
        config = self._config
        self._mailbox.put_first(self._report(RunState.STARTING))
        self._folder.check_writable()
        self._study = Study(config.name, config.spec, self._journal.load())
        records = self._study.records
        if records:
            say(f"loopwright: going on with {self._study.counts.finished} trials ended")
            self._history_uri = self._journal.publish(records)
        proposals = Proposals(config.spec, config.seed, warmstart.known(config))
        proposals.replay(records.values())
        if self._study.stop_reason is None:
            self._tune(proposals)

    def _tune(self, proposals: Proposals) -> None:
        os.environ.update(TUNE)
        import ray
        from ray import tune

        from loopwright.runtime.tune import schedulers
        from loopwright.runtime.tune.search import Ending, Halting, Search
        from loopwright.runtime.tune.trainable import SweepTrial

        for module in ("ray.tune.tune", "ray.tune.analysis.experiment_analysis"):
            # They miss files that we have no use for, and count what the study knows better.
            logging.getLogger(module).setLevel(logging.CRITICAL)
        config = self._config
        if not ray.is_initialized():
            ray.init(log_to_driver=True, logging_level="WARNING")
        # Again: Ray has put a handler of its own in its place.
        self._listen()
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(config.spec.parallel_trials)
        search = Search(config, self._study, proposals, self._journal, self._ended)
        self._inputs = search.inputs
        scheduler = schedulers.scheduler(config.spec, proposals.space, config.seed)
        schedulers.replay(config.spec, scheduler, self._study.records.values())
        with tempfile.TemporaryDirectory(prefix="sweep-") as scratch:
            tune.run(
                SweepTrial, name=config.name, search_alg=search, scheduler=scheduler,
                stop=Ending(self._over), callbacks=[Halting(self._look)], reuse_actors=True,
                storage_path=scratch, num_samples=config.spec.max_trials, verbose=0,
                raise_on_failed_trial=False,
            )  # fmt: skip

    def _over(self) -> bool:
        late = time.monotonic() >= self._deadline
        return self._stop.is_set() or late or self._study.stop_reason is not None

    def _look(self) -> None:
        """Now and then: what people see."""
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self._mailbox.put(self._report(RunState.RUNNING))

    def _ended(self, record: TrialRecord) -> None:
        """A trial has ended, and nobody needs its checkpoints any more."""
        if self._config.spec.algorithm.pbt is None:
            self._clear(checkpoints_folder(run_config(self._config, record.name, {})))
        self._keep_the_best()
        now = time.monotonic()
        if self._history_uri is None or now - self._published >= HISTORY_SECONDS:
            self._published = now
            self._history_uri = self._journal.publish(self._study.records)

    def _keep_the_best(self) -> None:
        """Models that nobody will ask for would fill the storage."""
        for record in self._study.superfluous():
            self._clear(output_folder(self._config, f"trials/{record.name}/model"))
            self._study.forget_model(record.number)
            self._journal.save(self._study.records, record.number)

    @staticmethod
    def _clear(folder: Folder) -> None:
        try:
            folder.clear()
        except RunError as error:
            say(f"loopwright: not removed: {error.message}")

    def _stopped(self) -> int:
        """The operator wanted it to stop; the next attempt goes on."""
        try:
            self._journal.flush(self._study.records)
        except RunError as error:
            say(f"loopwright: what trials reported last is not stored: {error.message}")
        self._mailbox.put_last(self._report(RunState.STOPPED))
        return 128 + signal.SIGTERM

    def _finish(self) -> int:
        for record in self._study.end_all(StopReason.MAX_RUNTIME, _now()):
            self._journal.save(self._study.records, record.number)
        records = self._study.records
        self._history_uri = self._journal.publish(records)
        ended: dict[str, Any] = {}
        if any(record.measured for record in records.values()):
            self._folder.write(sweep_history.REPORT, html.render(list(records.values())).encode())
            ended["report_uri"] = self._folder.child(sweep_history.REPORT)
        if self._study.stop_reason is not StopReason.MAX_RUNTIME:
            # With more time, trials that were cut short would go on.
            job = run_config(self._config, "t1", {})
            own = checkpoints_folder(job)
            self._clear(Folder(own.uri.rpartition("/")[0], own.secret))
        best = self._study.best
        if best is not None:
            ended |= self._promoted(best)
        if (error := self._why_failed()) is not None:
            return self._failed(error, **ended)
        return 0 if self._mailbox.put_last(self._report(RunState.SUCCEEDED, **ended)) else 1

    def _promoted(self, best: TrialRecord) -> dict[str, Any]:
        """The best trial's model; a copy that no later sweep touches, if it is to be registered."""
        artifacts, register = best.artifacts, self._config.spec.promote
        metrics = [MetricValue(name=k, value=v) for k, v in shown(best).metrics.items()]
        if artifacts is not None and artifacts.model_uri is not None and register is not None:
            version = names.registered_version(self._config.uid)
            output = output_folder(self._config)
            artifacts = modeldir.promote(
                Folder(artifacts.model_uri, output.secret),
                Folder(f"{self._config.output_uri}/models/{version}", output.secret),
                register, metrics, f"{self._config.namespace}/{self._config.name}",
                self._config.uid,
            )  # fmt: skip
        artifacts = artifacts or Artifacts()
        logs = {"logs_uri": self._folder.child(f"trials/{best.name}/logs")}
        return {
            "artifacts": artifacts.model_copy(update=logs), "model": best.model,
            "metrics": metrics,
        }  # fmt: skip

    def _why_failed(self) -> RunError | None:
        failures = self._study.failures()
        last = f"; the last one, {failures[-1].name}: {failures[-1].message}" if failures else ""
        if self._study.stop_reason is StopReason.TOO_MANY_FAILURES:
            return RunError("TooManyFailures", f"{len(failures)} trials failed{last}")
        if self._study.best is None:
            return RunError("NoTrialSucceeded", f"no trial ran to its end with a result{last}")
        return None

    def _failed(self, error: RunError, **ended: Any) -> int:
        if self._stop.is_set() and error.cause is Cause.INFRASTRUCTURE:
            return self._stopped()
        say(f"loopwright: {error.reason}: {error.message}")
        told = RunErrorReport(
            cause=error.cause, reason=error.reason,
            message=error.message[:MAX_MESSAGE] or error.reason,
        )  # fmt: skip
        self._mailbox.put_last(self._report(RunState.FAILED, error=told, **ended))
        return 1

    def _report(self, state: RunState, **more: Any) -> SweepReport:
        study, now = self._study, _now()
        done, total = sum(r.ended for r in study.records.values()), self._config.spec.max_trials
        best = study.best
        return SweepReport(
            attempt=int(os.environ.get(names.ENV_ATTEMPT, "1")), run_id=self._run_id, state=state,
            time=now, trials=study.counts, best=shown(best) if best is not None else None,
            pareto=[shown(one) for one in study.pareto()],
            top_trials=[shown(one) for one in study.top()], stop_reason=study.stop_reason,
            results=sweep_history.results(study.records.values()),
            progress=Progress(
                percent=min(100, 100 * done // total), step=done, total_steps=total, updated_at=now
            ),
            history_uri=self._history_uri, inputs=list(self._inputs.values())[:20], **more,
        )  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def run(config: SweepConfig) -> int:
    """The whole attempt."""
    return SweepDriver(config, Mailbox(KIND, config, fewer)).main()

"""One round: windows that are due are read, joined, judged and recorded."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from loopwright.api import names
from loopwright.api.monitoring import Monitor
from loopwright.api.monitoring_status import MonitorState, WindowVerdict
from loopwright.api.quality_report import QualityConfig
from loopwright.drift import Hysteresis
from loopwright.serving.capture.storage import CannotStore, Storage, open_storage
from loopwright.serving.quality import reading, remembered
from loopwright.serving.quality.joining import Joined, Sample, columns
from loopwright.serving.quality.judging import Found, Metrics, judge
from loopwright.serving.quality.reading import CannotJoin, TooMuch
from loopwright.serving.quality.remembered import State

logger = logging.getLogger(__name__)

# Elsewhere in tests.
ENV_CLAIMS: Final = "LOOPWRIGHT_LABELS_DIR"
ENV_METRICS: Final = "LOOPWRIGHT_METRICS_DIR"
_MANY: Final = TypeAdapter(dict[str, dict[str, str]])
_NOTHING: Final = "no request of this window was captured"


class Rounds:
    """All monitors of an endpoint."""

    def __init__(self, config: QualityConfig) -> None:
        self._config = config
        # As recorded, so that nothing is read while nothing is due.
        self._states: dict[str, State] = {}

    def turn(self, now: datetime) -> list[WindowVerdict]:
        """Judges what is due; returns the newest verdicts of all monitors."""
        return [one for monitor in self._config.monitors for one in self._one(monitor, now)]

    def _one(self, monitor: Monitor, now: datetime) -> list[WindowVerdict]:
        try:
            self._catch_up(monitor, now)
        except CannotStore as error:
            return self._unknown(monitor, now, "CaptureUnreadable", str(error))
        except CannotJoin as error:
            return self._unknown(monitor, now, error.reason, str(error))
        return self._states[monitor.name].verdicts

    def _catch_up(self, monitor: Monitor, now: datetime) -> None:
        state = self._states.get(monitor.name)
        if state is not None and not remembered.due(monitor, self._newest(monitor, now), state):
            return
        storage = open_storage(self._config.destination)
        if state is None:
            state = remembered.recall(storage, self._config, monitor)
            self._states[monitor.name] = state
        for end in remembered.due(monitor, self._newest(monitor, now), state):
            state = self._window(storage, monitor, state, end)
            remembered.record(storage, self._config, monitor, state)
            self._states[monitor.name] = state

    def _window(self, storage: Storage, monitor: Monitor, state: State, end: datetime) -> State:
        start = end - timedelta(seconds=monitor.every_seconds)
        try:
            joined = self._join(storage, monitor, start, end)
            metrics = _metrics() if monitor.measures.worse_than_baseline is not None else {}
            found = {key: judge(monitor, one, metrics) for key, one in joined.items()}
        except TooMuch as error:
            joined, found = {}, {}
            without = Found(MonitorState.UNKNOWN, error.reason, str(error)[:512])
        else:
            without = Found(MonitorState.NO_DATA, "NoRequests", _NOTHING)
        seen = remembered.kept({**state.seen, **{"/".join(key): end for key in joined}})
        before = {(one.variant, one.revision): one for one in state.verdicts}
        verdicts = []
        for variant in _variants(self._config, monitor):
            revisions = [key.partition("/")[2] for key in seen if key.startswith(f"{variant}/")]
            for revision in (*sorted(revisions), ""):
                key = (variant, revision)
                told = found.get(key, without)
                verdicts.append(_verdict(monitor, key, told, before.get(key), (start, end)))
        return State(asked=state.asked, until=end, verdicts=verdicts, seen=seen)

    def _join(
        self, storage: Storage, monitor: Monitor, start: datetime, end: datetime
    ) -> Mapping[tuple[str, str], Joined]:
        quality = monitor.measures
        sample = Sample(quality)
        for variant in _variants(self._config, monitor):
            below = f"{self._config.endpoint}/{variant}"
            for row in reading.captured(storage, below, start, end):
                sample.take(variant, row)
        ids = sample.ids()
        if not ids:
            return {}
        claims = Path(os.environ.get(ENV_CLAIMS, names.LABELS_DIR))
        try:
            folder = open_storage(quality.labels.folder, claims)
        except CannotStore as error:
            raise CannotJoin("LabelsUnreadable", str(error)) from error
        more = columns(quality)
        return sample.join(reading.labels(folder, quality.labels, more, start, ids.__contains__))

    def _unknown(
        self, monitor: Monitor, now: datetime, reason: str, message: str
    ) -> list[WindowVerdict]:
        """Nothing is recorded, so that the windows are judged later."""
        logger.warning("monitor %s: %s", monitor.name, message)
        end = self._newest(monitor, now)
        window = end - timedelta(seconds=monitor.every_seconds), end
        found = Found(MonitorState.UNKNOWN, reason, message[:512])
        state = self._states.get(monitor.name, State())
        before = {(one.variant, one.revision): one for one in state.verdicts}
        keys = set(before) | {(variant, "") for variant in _variants(self._config, monitor)}
        return [_verdict(monitor, key, found, before.get(key), window) for key in sorted(keys)]

    def _newest(self, monitor: Monitor, now: datetime) -> datetime:
        return remembered.newest(self._config, monitor, now)


def _verdict(
    monitor: Monitor,
    key: tuple[str, str],
    found: Found,
    before: WindowVerdict | None,
    window: tuple[datetime, datetime],
) -> WindowVerdict:
    recent = before.recent if before is not None else ()
    hysteresis = Hysteresis(monitor.violated_windows, monitor.of_windows, recent)
    known = hysteresis.update(found.state)
    message, recent = found.message, hysteresis.recent
    if known is not found.state:
        text = (
            f"{sum(recent)} of the newest {len(recent)} windows in violation,"
            f" {monitor.violated_windows} of {monitor.of_windows} are needed"
        )
        message = f"{message}; {text}" if message else text
    return WindowVerdict(
        name=monitor.name, state=known, reason=found.reason, message=message[:512],
        samples=found.samples, features=len(found.findings), drifted=len(found.violated),
        worst=found.worst, violations=found.violations, variant=key[0], revision=key[1],
        window_start=window[0], window_end=window[1], recent=recent, quality=found.measured,
    )  # fmt: skip


def _metrics() -> Metrics:
    """What versions reached, as the operator says.

    Raises:
        CannotJoin: it has not said so yet.
    """
    folder = Path(os.environ.get(ENV_METRICS, names.CAPTURE_CONFIG_DIR))
    try:
        return _MANY.validate_json((folder / names.METRICS_KEY).read_bytes())
    except (OSError, ValidationError) as error:
        text = f"the metrics of versions are not there: {error}"
        raise CannotJoin("BaselineUnreadable", text) from error


def _variants(config: QualityConfig, monitor: Monitor) -> list[str]:
    return [one for one in config.variants if monitor.watches(one)]

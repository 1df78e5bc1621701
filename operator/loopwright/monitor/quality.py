"""What the container beside this one says of the answers' quality, for the revisions there are."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from loopwright.api.monitoring import Monitor
from loopwright.api.monitoring_status import MonitorState, WindowVerdict
from loopwright.api.quality_report import MAX_QUALITY_BYTES, REPORT_FILE, STALE, QualityReport
from loopwright.monitor.windows import Revision

logger = logging.getLogger(__name__)

_SILENT: Final = (
    "the container 'quality' of the monitor's pod has said nothing for a quarter of an hour; see"
    " its log"
)


class Quality:
    """Monitors of kind ModelQuality.

    Args:
        monitors: All of the endpoint.
        uid: Of the endpoint.
        folder: Where the report is.
        known: Verdicts of before this process began; they hold until there are others.
        since: When it began.
    """

    def __init__(
        self,
        monitors: Iterable[Monitor],
        uid: str,
        folder: Path,
        known: Iterable[WindowVerdict],
        since: datetime,
    ) -> None:
        self._monitors = [one for one in monitors if one.quality is not None]
        names = {one.name for one in self._monitors}
        self._uid, self._file, self._heard = uid, folder / REPORT_FILE, since
        self._told = {_key(one): one for one in known if one.name in names}
        self._verdicts = list(self._told.values())

    def turn(self, revisions: Sequence[Revision], now: datetime) -> None:
        """Looks what is new."""
        if not self._monitors:
            return
        report = self._report()
        if report is not None and report.time > self._heard:
            self._heard = report.time
            self._told = {_key(one): one for one in report.verdicts}
        silent = now - self._heard > STALE
        self._verdicts = [
            found
            for monitor in self._monitors
            for one in revisions
            if monitor.watches(one.variant)
            if (found := self._of(monitor.name, one, silent=silent)) is not None
        ]

    def verdicts(self) -> list[WindowVerdict]:
        """The newest of each monitor and revision; none of one whose first is still to come."""
        return list(self._verdicts)

    def _of(self, name: str, one: Revision, *, silent: bool) -> WindowVerdict | None:
        # One that has had no requests is told of without its name.
        told = self._told.get((name, *one)) or self._told.get((name, one.variant, ""))
        if silent:
            told = told or WindowVerdict(name=name, variant=one.variant, revision=one.revision,
                                         state=MonitorState.UNKNOWN)  # fmt: skip
            update = {"state": MonitorState.UNKNOWN, "reason": "NotJoined", "message": _SILENT}
            told = told.model_copy(update=update)
        return told.model_copy(update={"revision": one.revision}) if told is not None else None

    def _report(self) -> QualityReport | None:
        try:
            with self._file.open("rb") as stream:
                content = stream.read(MAX_QUALITY_BYTES + 1)
            found = QualityReport.model_validate_json(content)
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            logger.warning("what the container 'quality' says cannot be read: %s", error)
            return None
        return found if found.uid == self._uid else None


def _key(one: WindowVerdict) -> tuple[str, str, str]:
    return one.name, one.variant, one.revision

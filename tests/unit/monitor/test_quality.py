"""What the monitor makes of what the container beside it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_pods import FakeSlices

from loopwright.api import names
from loopwright.api.base import StatusModel
from loopwright.api.endpoint_report import MonitorConfig, VerdictsReport
from loopwright.api.monitoring import Monitor
from loopwright.api.monitoring_status import Measured, MonitorState, WindowVerdict
from loopwright.api.quality_report import STALE
from loopwright.monitor.quality import Quality
from loopwright.monitor.scrape import Scraper
from loopwright.monitor.service import Figures
from loopwright.monitor.watcher import Watcher
from loopwright.monitor.windows import Revision
from loopwright.serving.quality.__main__ import tell

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
R1, R2 = Revision("main", "r1"), Revision("main", "r2")
MONITORS = [
    Monitor.model_validate({"name": "drift", "kind": "DataDrift"}),
    Monitor.model_validate(
        {
            "name": "answers", "kind": "ModelQuality", "threshold": "0.9", "variants": ["main"],
            "quality": {"labels": {"uri": "s3://lake/labels"}},
        }
    ),
]  # fmt: skip


def verdict(revision: str = "r1", state: str = "OK", **more: Any) -> WindowVerdict:
    return WindowVerdict(
        name=more.pop("name", "answers"), variant="main", revision=revision,
        state=MonitorState(state), **more,
    )  # fmt: skip


def begun(folder: Path, *known: WindowVerdict) -> Quality:
    return Quality(MONITORS, "u", folder, known, NOW)


def states(quality: Quality, seconds: float = 10, *there: Revision) -> dict[str, tuple[str, str]]:
    quality.turn(there or (R1,), NOW + timedelta(seconds=seconds))
    return {one.revision: (one.state.value, one.reason) for one in quality.verdicts()}


def say(folder: Path, *verdicts: WindowVerdict, seconds: float = 5, uid: str = "u") -> None:
    tell(folder, uid, verdicts, NOW + timedelta(seconds=seconds))


def test_it_tells_of_revisions_that_there_are(tmp_path: Path) -> None:
    quality = begun(tmp_path)
    assert states(quality) == {}
    say(tmp_path, verdict("r1"), verdict("old", "Violated"), verdict("", "NoData", reason="None"))
    assert states(quality) == {"r1": ("OK", "")}
    # Of one without requests the container knows nothing.
    assert states(quality, 10, R1, R2) == {"r1": ("OK", ""), "r2": ("NoData", "None")}
    assert states(quality, 10, R1, Revision("other", "r1")) == {"r1": ("OK", "")}


def test_what_was_told_before_holds_until_there_is_more(tmp_path: Path) -> None:
    quality = begun(tmp_path, verdict(state="Violated"), verdict(name="drift"))
    assert states(quality) == {"r1": ("Violated", "")}
    # What was written before is of a container that was there then.
    say(tmp_path, verdict(), seconds=-1)
    assert states(quality) == {"r1": ("Violated", "")}
    say(tmp_path, verdict())
    assert states(quality) == {"r1": ("OK", "")}


def test_a_container_that_is_silent_is_no_good_news(tmp_path: Path) -> None:
    quality = begun(tmp_path)
    late = STALE.total_seconds() + 1
    assert states(quality, late) == {"r1": ("Unknown", "NotJoined")}
    say(tmp_path, verdict(), seconds=late)
    assert states(quality, late) == {"r1": ("OK", "")}
    assert states(quality, 3 * late) == {"r1": ("Unknown", "NotJoined")}


@pytest.mark.parametrize("content", ["", "{", '{"uid": "u"}', "x" * 600_000])
def test_reports_that_make_no_sense_change_nothing(tmp_path: Path, content: str) -> None:
    quality = begun(tmp_path)
    say(tmp_path, verdict())
    assert states(quality) == {"r1": ("OK", "")}
    (tmp_path / "report.json").write_text(content)
    assert states(quality) == {"r1": ("OK", "")}
    say(tmp_path, verdict(state="Violated"), seconds=9, uid="another")
    assert states(quality) == {"r1": ("OK", "")}


class FakeCluster:
    """An API server with one revision that has no pods, and a mailbox."""

    def __init__(self) -> None:
        self.slices = FakeSlices(empty=["r1"]).manifests()
        self.mailbox: dict[str, str] = {}

    async def write(self, key: str, report: StatusModel) -> None:
        self.mailbox[key] = report.model_dump_json(by_alias=True)


async def test_verdicts_are_in_the_mailbox_with_those_of_drift(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.ENV_QUALITY_DIR, str(tmp_path))
    config = MonitorConfig(
        endpoint="digits", namespace="n", uid="u", report="digits-observed", monitors=MONITORS
    )
    cluster, scraper = FakeCluster(), Scraper(0.3)
    watcher = Watcher(config, cluster, scraper)  # type: ignore[arg-type]
    measured = Measured(metric="Accuracy", value="0.75")
    told = verdict(state="Violated", worst="1.2", quality=measured)
    tell(tmp_path, "u", [told], datetime.now(UTC) + timedelta(seconds=1))
    await watcher.turn()
    await watcher._write()
    await scraper.close()
    found = VerdictsReport.model_validate_json(cluster.mailbox[names.VERDICTS_KEY])
    assert found.verdicts == [told]
    samples = {
        (one.name, one.labels.get("metric")): one.value
        for family in Figures(watcher).collect()
        for one in family.samples
        if one.labels.get("monitor") == "answers"
    }
    assert samples == {
        ("loopwright_endpoint_monitor_violated", None): 1.0,
        ("loopwright_endpoint_monitor_score", None): 1.2,
        ("loopwright_endpoint_model_quality", "Accuracy"): 0.75,
    }

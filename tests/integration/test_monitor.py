"""The monitor as a process on a real API server, with its own account; the pods are fakes."""

from __future__ import annotations

import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubectl import Kubectl
from monitors import Endpoint

from auditlog import AuditLog
from loopwright.api import names
from loopwright.api.endpoint_report import VariantReport


@pytest.fixture
async def endpoint(api: Kubectl, tmp_path: Path) -> AsyncIterator[Endpoint]:
    name = f"mon-{uuid.uuid4().hex[:8]}"
    api.run("create", "namespace", name)
    made = Endpoint(api, name, tmp_path)
    await made.make()
    yield made
    if made.process is not None and made.process.poll() is None:
        assert made.end(signal.SIGTERM) == 0
    for pod in made.pods:
        await pod.stop()
    assert not [line for line in made.lines() if "exception" in line]


def judged(one: VariantReport | None, requests: int, errors: int) -> VariantReport | None:
    """The report in which so much was measured; on a busy machine the next may know nothing."""
    told = one is not None and (one.state, one.requests, one.errors) == ("OK", requests, errors)
    return one if told else None


async def test_a_rollout_is_watched_to_its_end(endpoint: Endpoint) -> None:
    """A canary comes, answers errors, and goes; the stable revision is told apart from it."""
    stable = await endpoint.pod("r1")
    endpoint.start()
    await endpoint.eventually("first report", lambda: endpoint.of("r1"))
    report = endpoint.report()
    assert report is not None
    assert not report.active
    canary = await endpoint.pod("r2", age=0)
    await endpoint.eventually("canary", lambda: endpoint.of("r2"))
    stable.answer(100, seconds=0.02)
    canary.answer(40, seconds=0.02)
    canary.answer(10, code=500, seconds=3.0)
    two = await endpoint.eventually("canary", lambda: judged(endpoint.of("r2"), 50, 10))
    one = await endpoint.eventually("stable", lambda: judged(endpoint.of("r1"), 100, 0))
    assert one is not None
    assert two is not None
    assert one.error_ratio == 0
    assert two.error_ratio == 0.2
    assert one.p99_seconds is not None
    assert two.p99_seconds is not None
    assert one.p99_seconds < 0.05 < 1 < two.p99_seconds
    await endpoint.eventually("metric", lambda: endpoint.metric("error_ratio", "r2") == 0.2)
    await endpoint.drop(canary)
    await endpoint.eventually("end", lambda: endpoint.of("r1") and not endpoint.of("r2"))
    last = endpoint.report()
    assert last is not None
    assert not last.active
    assert endpoint.resident() < 80 * 2**20


async def test_a_killed_monitor_says_nothing_wrong(endpoint: Endpoint) -> None:
    """F33: what it does not know any more is NoData, never an error and never a zero."""
    stable, canary = await endpoint.pod("r1"), await endpoint.pod("r2")
    endpoint.start()
    await endpoint.eventually("reports", lambda: endpoint.of("r2"))
    canary.answer(30, code=500)
    await endpoint.eventually("errors", lambda: judged(endpoint.of("r2"), 30, 30))
    endpoint.end(signal.SIGKILL)
    killed = endpoint.report()
    endpoint.start()

    def knows_nothing() -> bool:
        report = endpoint.report()
        found = report.variant("main", "r2") if report and report != killed else None
        if found is None:
            return False
        assert found.state in ("NoData", "Unknown")
        assert (found.errors, found.error_ratio) == (0, None)
        return bool(found.state == "NoData")

    await endpoint.eventually("new report", knows_nothing)
    stable.answer(30)
    await endpoint.eventually("stable", lambda: judged(endpoint.of("r1"), 30, 0))


async def test_it_writes_nothing_while_nothing_rolls_out(
    endpoint: Endpoint, audit: AuditLog
) -> None:
    user = f"system:serviceaccount:{endpoint.namespace}:{names.MONITOR_ACCOUNT}"
    begin = audit.mark()
    pod = await endpoint.pod("r1")
    endpoint.start()
    await endpoint.eventually("first report", lambda: endpoint.of("r1"))
    assert len(audit.writes(begin, user)) == 1
    for code, ratio in ((200, 0.0), (500, 0.5)):
        pod.answer(500, code=code)
        await endpoint.eventually(
            "figures", lambda wanted=ratio: endpoint.metric("error_ratio", "r1") == wanted
        )
    assert len(audit.writes(begin, user)) == 1
    await endpoint.pod("r2")
    await endpoint.eventually("more", lambda: len(audit.writes(begin, user)) > 3)


async def test_a_mailbox_that_comes_late_is_filled(endpoint: Endpoint) -> None:
    await endpoint.kubectl("delete", "configmap", endpoint.config.report)
    await endpoint.pod("r1")
    endpoint.start()
    await endpoint.eventually(
        "refusal", lambda: any("not found" in line["message"] for line in endpoint.lines())
    )
    await endpoint.make()
    await endpoint.eventually("report", lambda: endpoint.of("r1"))

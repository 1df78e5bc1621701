"""An endpoint and what is around it, for tests of decisions: no I/O, and a clock of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from loopwright.api.capture_report import CaptureReport
from loopwright.api.endpoint_report import EndpointReport
from loopwright.api.experiment_report import ExperimentReport
from loopwright.api.experiment_status import ArmFinding, ExperimentFinding, ExperimentStatus
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.modelendpoint_status import ModelEndpointStatus, Served, VariantStatus
from loopwright.api.monitoring_status import MonitorState, WindowVerdict
from loopwright.decide.endpoint_summary import shared
from loopwright.decide.endpoint_types import (
    EndpointDecision,
    GatewayView,
    JobView,
    RevisionView,
    RouteView,
    Seen,
)
from loopwright.decide.modelendpoint import decide
from loopwright.decide.traffic import Backend
from loopwright.decide.types import Blocked

START = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = {"modelRef": {"name": "m", "alias": "production"}}


def variant(name: str = "main", **more: Any) -> dict[str, Any]:
    """A variant of a spec."""
    return {"name": name, "model": MODEL, **more}


def served(variant: str, revision: str, **more: Any) -> Served:
    """A revision of Loopwright's own server."""
    return Served(
        revision=revision,
        inference_service=f"ep-{variant}-{revision}",
        uri=f"pvc://models/{revision}",
        digest="sha256:" + "0" * 64,
        verified=True,
        **more,
    )


class EndpointWorld:
    """An endpoint and what is around it."""

    def __init__(self, *variants: dict[str, Any], **spec: Any) -> None:
        self.spec = self.parsed({"variants": list(variants) or [variant()], **spec})
        self.status, self.now = ModelEndpointStatus(), START
        self.targets: dict[str, Served | Blocked] = {}
        for one in self.spec.variants:
            self.wants(one.name, "r1")
        self.views: dict[str, RevisionView] = {}
        self.gateway, self.route = GatewayView(asked=True, host="10.0.0.1"), RouteView(True)
        self.report: EndpointReport | None = None
        self.queries: dict[tuple[str, str], float | None] = {}
        self.verdicts: dict[tuple[str, str, str], WindowVerdict] = {}
        self.capture: CaptureReport | None = None
        self.judged: ExperimentReport | None = None
        self.jobs: dict[str, JobView] = {}
        self.trained_by: dict[str, str] = {}
        self.promote = self.rollback = ""
        self.blocked: Blocked | None = None
        self.scaling: dict[str, Blocked] = {}
        self.decision = EndpointDecision(self.status)
        self.told: list[str] = []

    @staticmethod
    def parsed(spec: Mapping[str, Any]) -> ModelEndpointSpec:
        return ModelEndpointSpec.model_validate(spec)

    def wants(self, name: str, revision: str) -> Self:
        """The spec's model is another one now."""
        self.targets[name] = served(name, revision)
        return self

    def seen(self) -> Seen:
        """What there is."""
        return Seen(
            endpoint="ep",
            namespace="n",
            generation=1,
            targets=dict(self.targets),
            views=dict(self.views),
            report=self.report,
            queries=dict(self.queries),
            verdicts=tuple(self.verdicts.values()),
            capture=self.capture,
            experiment=self.judged,
            jobs=dict(self.jobs),
            trained_by=dict(self.trained_by),
            gateway=self.gateway,
            route=self.route,
            blocked=self.blocked,
            scaling=dict(self.scaling),
            promote=self.promote,
            rollback=self.rollback,
        )

    def step(self, seconds: float = 1) -> Self:
        """Decides once, stores it as the API server would, and sees that nothing is left to do."""
        self.now += timedelta(seconds=seconds)
        self.decision = decide(self.spec, self.status, self.seen(), self.now)
        self.told += [one.reason for one in self.decision.happenings]
        self.status = ModelEndpointStatus.model_validate(self.decision.status.wire())
        again = decide(self.spec, self.status, self.seen(), self.now)
        assert again.status == self.status
        assert not again.happenings
        return self

    def kserve(self, ready: bool = True) -> Self:
        """KServe makes what is asked for and deletes the rest; new pods are ready or not."""
        wanted = self.services()
        self.views = {name: view for name, view in self.views.items() if name in wanted}
        for name in wanted - self.views.keys():
            self.views[name] = RevisionView(name, f"uid-{name}", desired=1)
        if ready:
            for name in wanted:
                self.ready(name)
        return self

    def services(self) -> set[str]:
        """The InferenceServices that the status asks for."""
        found = {one.served.inference_service for one in self.status.retired}
        for one in self.status.variants:
            found |= {s.inference_service for s in (one.serving, one.next) if s}
        return found

    def ready(self, service: str, pods: int | None = None, problem: Blocked | None = None) -> Self:
        """An InferenceService has so many ready pods, by default all."""
        view = self.views[service]
        number = max(view.desired, 1) if pods is None else pods
        self.views[service] = replace(view, ready=number, problem=problem)
        return self

    def up(self) -> Self:
        """From nothing to an endpoint that serves its first revision."""
        self.step().kserve().step()
        assert all(one.serving for one in self.status.variants)
        return self.kserve().step()

    def measured(self, **revisions: dict[str, Any]) -> Self:
        """The monitor reports: of each revision, what differs from a good one's figures."""
        figures = [
            {
                "name": one.name, "revision": revision, "state": "OK", "pods": 1, "podsScraped": 1,
                "requests": 100, "errorRatio": 0.0, "p50Seconds": 0.01, "p99Seconds": 0.02, **more,
            }
            for one in self.spec.variants
            for revision, more in revisions.items()
        ]  # fmt: skip
        self.report = EndpointReport.model_validate(
            {
                "uid": "u", "time": self.now, "active": True, "reportSeconds": 5,
                "windowStart": self.now, "windowEnd": self.now, "variants": figures,
            }
        )  # fmt: skip
        return self

    def interval(self, **revisions: dict[str, Any]) -> Self:
        """A check interval passes, and the monitor reports on it."""
        self.now += timedelta(seconds=self.spec.rollout.check_seconds)
        return self.measured(**revisions).step(0)

    def wait(self, seconds: float, **revisions: dict[str, Any]) -> Self:
        """Time passes, with good reports all along."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            self.interval(**(revisions or {"r1": {}, "r2": {}}))
        return self

    def window(self, state: str, revision: str = "r1", variant: str = "main", **more: Any) -> Self:
        """A window of the first monitor ends with a verdict about a revision."""
        name = self.spec.monitors[0].name
        self.now += timedelta(seconds=self.spec.monitors[0].every_seconds)
        fields = {
            "name": name, "variant": variant, "revision": revision, "state": MonitorState(state),
            "window_end": self.now, "samples": 1000, **more,
        }  # fmt: skip
        self.verdicts[name, variant, revision] = WindowVerdict(**fields)
        return self.step(0)

    @property
    def trial(self) -> ExperimentStatus:
        """The experiment."""
        assert self.status.experiment is not None
        return self.status.experiment

    def judge(self, reason: str, winner: str = "", *, over: bool = True, run: str = "") -> Self:
        """The monitor says something of the experiment."""
        self.now += timedelta(seconds=60)
        finding = ExperimentFinding(
            reason=reason, message=f"{reason} it is", winner=winner, p_value="0.01",
            decided_at=self.now if over else None,
            variants=[ArmFinding(name=one.variant, samples=5000) for one in self.trial.arms],
        )  # fmt: skip
        self.judged = ExperimentReport(
            uid="u", run=run or self.trial.run, time=self.now, finding=finding
        )
        return self.step(0)

    @property
    def first(self) -> VariantStatus:
        """The first variant."""
        return self.status.variants[0]

    @property
    def percent(self) -> int | None:
        """What the rollout of the first variant gives to its new revision."""
        return self.first.rollout.percent if self.first.rollout else None

    @property
    def revision(self) -> str | None:
        """The first variant's revision in use."""
        return self.first.serving.revision if self.first.serving else None

    def backends(self) -> list[Backend]:
        """Who gets traffic."""
        able = {name for name, view in self.views.items() if view.serves}
        return shared(self.spec, self.status, able)

    def traffic(self) -> dict[str, int]:
        """Weight of each revision."""
        return {one.inference_service: one.weight for one in self.backends()}

    def condition(self, name: str) -> tuple[str, str]:
        found = next(one for one in self.status.conditions if one.type == name)
        return found.status.value, found.reason

    def message(self, name: str) -> str:
        return next(one.message for one in self.status.conditions if one.type == name)

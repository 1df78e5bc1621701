"""Argo CD's health checks, run by Lua on what the operator decides in every phase."""

from __future__ import annotations

from typing import Any

import argocd
import pytest
import yaml
from lupa.lua51 import LuaRuntime
from statuses import Case, cases

from loopwright.api import kinds
from loopwright.api.modelendpoint_status import EndpointPhase
from loopwright.api.registry import Stage
from loopwright.api.trainingjob_status import Phase

CASES = cases()
# What Argo CD's sandbox has not; it has Lua 5.1's basic functions.
FORBIDDEN = ("os", "io", "require", "dofile", "loadfile", "package", "debug", "python")
every_case = pytest.mark.parametrize("case", CASES, ids=[f"{one.kind}-{one.name}" for one in CASES])


def checks() -> dict[str, str]:
    """The scripts as Argo CD reads them, by kind."""
    found = yaml.safe_load(argocd.SETTINGS.read_text())["data"]
    prefix = "resource.customizations.health.loopwright.io_"
    return {key.removeprefix(prefix): text for key, text in found.items()}


def health(script: str, object: dict[str, Any]) -> tuple[str, str]:
    """What Argo CD would show."""
    lua: Any = LuaRuntime(unpack_returned_tuples=True)
    for name in FORBIDDEN:
        lua.globals()[name] = None
    lua.globals().obj = lua.table_from(object, recursive=True)
    found = lua.execute(script)
    return found["status"], found["message"]


def test_every_kind_has_a_check() -> None:
    assert argocd.SETTINGS.read_text() == argocd.text(), "run `make generate`"
    assert checks().keys() == {one.name for one in kinds.KINDS}
    assert set(checks().values()) == {argocd.CHECK.read_text()}


@every_case
def test_health(case: Case) -> None:
    status, message = health(checks()[case.kind], case.object)
    assert (status, case.told in message) == (case.health, True), message


def test_every_phase_is_judged() -> None:
    def seen(*names: str) -> set[str]:
        return {one.status.get("phase", "") for one in CASES if one.kind in names}

    for job in ("TrainingJob", "HyperparameterSweep", "BatchTransform"):
        assert seen(job) == {phase.value for phase in Phase}
    assert seen("ModelEndpoint") == {phase.value for phase in EndpointPhase}
    assert seen("ModelVersion") >= {stage.value for stage in Stage}
    assert {one.health for one in CASES} == {"Healthy", "Progressing", "Degraded", "Suspended"}
    assert {one.kind for one in CASES} == checks().keys()


@pytest.mark.parametrize("status", [None, {}, {"phase": "Pending"}, {"conditions": []}])
def test_what_nobody_has_looked_at_is_progressing(status: dict[str, Any] | None) -> None:
    found = {"metadata": {"name": "x", "generation": 1}, "status": status}
    assert health(argocd.CHECK.read_text(), found)[0] == "Progressing"

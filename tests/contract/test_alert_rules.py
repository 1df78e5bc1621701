"""All alerts by real promtool: Prometheus takes them, and they fire when they should and not else.

The series and what is expected of them are in promtool/*.yaml, in promtool's own format.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from exposed_metrics import labels_of
from helm import CHART, Helm
from kubectl import ROOT
from promtools import PromtoolError, promtool

from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.desired.alerts import AlertSettings, prometheus_rule
from loopwright.desired.endpoint import EndpointContext

CASES = Path(__file__).parent / "promtool"
RUNBOOKS = ROOT / "docs" / "runbooks"
URL = "https://example.com/runbooks"
ENDPOINT: dict[str, Any] = {
    "variants": [{"name": "main", "model": {"modelVersionRef": {"name": "m"}}}],
    "rollout": {"checks": [
        {"name": "errors", "errorRate": {"maxPercent": "2"}},
        {"name": "slow", "latency": {"quantile": "p99", "maxMilliseconds": "250"}},
    ]},
    "monitors": [
        {"name": "drift", "kind": "DataDrift", "everySeconds": 60},
        {"name": "quality", "kind": "DataQuality", "everySeconds": 3600,
         "onViolation": {"alert": {"severity": "critical"}}},
        {"name": "answers", "kind": "ModelQuality", "everySeconds": 3600, "threshold": "0.9",
         "quality": {"labels": {"uri": "s3://lake/labels", "delaySeconds": 86400}}},
    ],
    "dataCapture": {"destination": {"uri": "s3://lake/captures"}},
}  # fmt: skip
Groups = list[dict[str, Any]]


def of_endpoint() -> Groups:
    """What the operator makes for an endpoint."""
    spec = ModelEndpointSpec.model_validate(ENDPOINT)
    rule = prometheus_rule(EndpointContext("digits", "team", "u", spec, {}), AlertSettings((), URL))
    found: Groups = rule["spec"]["groups"]
    return found


def of_chart(runbooks: str = URL) -> Groups:
    """What Helm makes for the operator itself."""
    values = {
        "metrics": {"prometheusRule": {"enabled": True, "checkpointAgeSeconds": 3600}},
        "settings": {"runbookUrl": runbooks},
    }
    only = ("--show-only", "templates/prometheusrule.yaml")
    rule = yaml.safe_load(Helm().template("loopwright", CHART, "loopwright-system", values, *only))
    found: Groups = rule["spec"]["groups"]
    return found


@functools.cache
def groups(name: str) -> Groups:
    return {"endpoint": of_endpoint, "operator": of_chart}[name]()


def alerts(name: str) -> list[dict[str, Any]]:
    return [rule for group in groups(name) for rule in group["rules"]]


@pytest.fixture(params=["endpoint", "operator"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def written(name: str, folder: Path, found: Groups) -> Path:
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": found}))
    (folder / "cases.yaml").write_text((CASES / f"{name}.yaml").read_text())
    return folder


def test_prometheus_takes_the_rules(name: str, tmp_path: Path) -> None:
    folder = written(name, tmp_path, groups(name))
    answer = promtool("check", "rules", "--lint-fatal", "rules.yaml", folder=folder)
    assert f"{len(alerts(name))} rules found" in answer


def test_they_ask_for_what_somebody_exposes(name: str) -> None:
    for rule in alerts(name):
        left = labels_of(promql_parser.parse(rule["expr"])) | rule["labels"].keys()
        assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= left


def test_they_fire_when_they_should_and_not_else(name: str, tmp_path: Path) -> None:
    folder = written(name, tmp_path, groups(name))
    assert "SUCCESS" in promtool("test", "rules", "cases.yaml", folder=folder)


def test_each_has_series_that_fire_and_series_that_do_not(name: str) -> None:
    cases = yaml.safe_load((CASES / f"{name}.yaml").read_text())
    told = {
        (one["alertname"], bool(one["exp_alerts"]))
        for test in cases["tests"]
        for one in test["alert_rule_test"]
    }
    assert told == {(one["alert"], fires) for one in alerts(name) for fires in (True, False)}


@pytest.mark.parametrize(("old", "new"), [(" > ", " < "), (" != ", " == "), ("== 0", "== 2")])
def test_a_mutated_rule_is_noticed(name: str, old: str, new: str, tmp_path: Path) -> None:
    """What judges can fail: a comparison that is turned round is seen in every rule that has it."""
    for rule in alerts(name):
        if old not in rule["expr"]:
            continue
        changed = {**rule, "expr": rule["expr"].replace(old, new, 1)}
        folder = written(name, tmp_path, [{"name": "one", "rules": [changed]}])
        cases = yaml.safe_load((folder / "cases.yaml").read_text())
        for test in cases["tests"]:
            kept = [one for one in test["alert_rule_test"] if one["alertname"] == rule["alert"]]
            test["alert_rule_test"] = kept
        (folder / "cases.yaml").write_text(yaml.safe_dump(cases))
        with pytest.raises(PromtoolError, match=rule["alert"]):
            promtool("test", "rules", "cases.yaml", folder=folder)


def test_each_has_a_page_that_names_it_and_each_page_an_alert() -> None:
    pages: dict[str, set[str]] = {}
    for rule in (*alerts("endpoint"), *alerts("operator")):
        head, _, page = rule["annotations"]["runbook_url"].rpartition("/")
        assert head == URL
        pages.setdefault(page, set()).add(rule["alert"])
    assert pages == {
        page.name: set(re.findall(r"^Alert `(\w+)`", page.read_text(), re.MULTILINE))
        for page in RUNBOOKS.glob("*.md")
    }


def test_nothing_links_to_pages_that_are_nowhere() -> None:
    rules = [rule for group in of_chart(runbooks="") for rule in group["rules"]]
    assert len(rules) == len(alerts("operator"))
    assert all(rule["annotations"].keys() == {"summary", "description"} for rule in rules)

"""Alerts as the Prometheus operator's CRD takes them, with expressions that Prometheus can read."""

from __future__ import annotations

from typing import Any

import promql_parser
import pytest
from specs import RICH_ENDPOINTS, Judge
from test_endpoint_manifests import stored

from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.desired.alerts import AlertSettings, prometheus_rule
from loopwright.desired.endpoint import EndpointContext

SETTINGS = AlertSettings(("release=main",), "https://example.com/runbooks")


@pytest.mark.parametrize("spec", [*RICH_ENDPOINTS, {**RICH_ENDPOINTS[0], "suspend": False}])
def test_rules(judge: Judge, spec: dict[str, Any]) -> None:
    endpoint = EndpointContext("ep", "default", "u-i-d", ModelEndpointSpec.model_validate(spec), {})
    found = stored(judge, prometheus_rule(endpoint, SETTINGS))
    rules = [rule for group in found["spec"]["groups"] for rule in group["rules"]]
    assert bool(rules) != endpoint.spec.suspend
    for rule in rules:
        parsed = promql_parser.parse(rule["expr"])
        # An alert that compares nothing would always fire.
        assert isinstance(parsed, promql_parser.BinaryExpr | promql_parser.Call), rule["expr"]

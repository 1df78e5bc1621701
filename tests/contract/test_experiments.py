"""The API server refuses experiments that cannot be judged, and says why; others it takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubectl import Kubectl, KubectlError
from pydantic import ValidationError

from loopwright.api.modelendpoint import ModelEndpointSpec


def arm(name: str, **more: Any) -> dict[str, Any]:
    """A variant."""
    return {"name": name, "model": {"modelRef": {"name": "m", "version": "v1"}}, **more}


def spec(*variants: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An endpoint with an experiment, of which something may differ."""
    routing = {"routing": more.pop("routing")} if "routing" in more else {}
    experiment = {"control": "main", "metric": {"errorRatio": {}}, **more}
    return {"variants": list(variants) or [arm("main"), arm("next")], "experiment": experiment,
            **routing}  # fmt: skip


def create(api: Kubectl, wanted: dict[str, Any]) -> dict[str, Any]:
    """What the API server would store."""
    manifest = {
        "apiVersion": "loopwright.io/v1alpha1", "kind": "ModelEndpoint",
        "metadata": {"name": "ep", "namespace": "default"}, "spec": wanted,
    }  # fmt: skip
    options = ["--dry-run=server", "--validate=strict", "-o", "json"]
    text = api.run("create", "-f", "-", *options, stdin=json.dumps(manifest))
    stored: dict[str, Any] = json.loads(text)
    return stored


BAD = {
    "an unknown control": (spec(control="other"), "must name a variant with role: Serving"),
    "a control without weight": (
        spec(arm("main", weight=0), arm("next"), arm("third")), "and a weight above 0",
    ),
    "nobody to compare": (spec(arm("main"), arm("next", weight=0)), "takes another variant"),
    "a shadow only": (spec(arm("main"), arm("next", role="Shadow")), "takes another variant"),
    "sticky clients": (spec(routing={"sticky": {"cookie": "v"}}), "do without routing.sticky"),
    "rules": (
        spec(routing={"rules": [{"name": "r", "variant": "next",
                                 "headers": [{"name": "a", "value": "b"}]}]}),
        "do without routing.sticky",
    ),
    "no metric": (spec(metric={}), "exactly one of feedback, errorRatio and latency"),
    "two metrics": (
        spec(metric={"errorRatio": {}, "feedback": {"name": "x"}}), "exactly one of feedback",
    ),
    "a guardrail that is the metric": (
        spec(guardrails={"errorRatio": {}}), "must be another outcome than the metric",
    ),
    "no bound of the histogram": (
        spec(metric={"latency": {"slowerThanMilliseconds": 42}}), "supported values",
    ),
    "a margin of nothing": (
        spec(guardrails={"latency": {"slowerThanMilliseconds": 100, "maxIncrease": "0.0"}}),
        "should match",
    ),
    "too great an alpha": (spec(alpha="0.6"), "should match"),
    "hardly any samples": (spec(minSamples=5), "greater than or equal to 100"),
    "what is not built": (spec(power="0.8"), "unknown field"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD, ids=str)
def test_it_is_refused_with_a_reason(api: Kubectl, case: str) -> None:
    wanted, why = BAD[case]
    with pytest.raises(KubectlError, match=why):
        create(api, wanted)
    with pytest.raises(ValidationError):
        ModelEndpointSpec.model_validate(wanted)


def test_defaults_are_in_what_is_stored(api: Kubectl) -> None:
    found = create(api, spec())["spec"]["experiment"]
    assert found == {
        "control": "main", "metric": {"errorRatio": {}}, "alpha": "0.05", "minSamples": 1000,
        "maxDurationSeconds": 1_209_600, "guardrails": {}, "onWin": "Notify",
    }  # fmt: skip

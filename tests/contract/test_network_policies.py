"""NetworkPolicies are stored as they are made: what differs would be applied again and again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubectl import Kubectl

from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.desired import network
from loopwright.desired.endpoint import EndpointContext
from loopwright.desired.network import Network
from loopwright.reconcile.children import right

SPEC = {"variants": [{"name": "a", "model": {"modelVersionRef": {"name": "m-v1"}}}]}
ENDPOINT = EndpointContext("ep", "default", "u", ModelEndpointSpec.model_validate(SPEC), {})
NAMED = Network(("kuberay",), ("gateways", "apps"), ("monitoring",))


@pytest.mark.parametrize("known", [Network(), NAMED], ids=["open", "named"])
@pytest.mark.parametrize("own", [True, False])
def test_what_is_stored_is_what_was_made(api: Kubectl, known: Network, own: bool) -> None:
    made: list[dict[str, Any]] = [
        network.ray("default", known), network.monitors("default", known),
        network.servers(ENDPOINT, known, own=own),
    ]  # fmt: skip
    for one in made:
        answer = api.run(
            "create", "-f", "-", "--dry-run=server", "--validate=strict", "-o", "json",
            stdin=json.dumps(one),
        )  # fmt: skip
        assert right(json.loads(answer), one)

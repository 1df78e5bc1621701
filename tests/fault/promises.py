"""What must hold at each write about an endpoint, whatever happens to the operator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy import Request

REVISIONS = "inferenceservices"


def check_endpoints(writes: Sequence[Request], answering: Mapping[str, float]) -> None:
    """Checks all stored writes of a life.

    Args:
        answering: When each InferenceService first had a pod that answers, by the monotonic clock.
    """
    recorded: set[str] = set()
    on_record: set[str] = set()
    routed: set[str] = set()
    for write in writes:
        if write.resource == "modelendpoints/status":
            recorded |= set(_named(json.loads(write.body)["status"]))
        elif write.resource == "controllerrevisions" and write.method == "POST":
            on_record.add(write.name)
        elif write.resource == REVISIONS and write.method == "POST":
            assert write.name in recorded, f"{write} is not on record"
            assert write.name in on_record, f"{write} has no record to be made from again"
        elif write.resource == REVISIONS and write.method == "DELETE":
            assert write.name not in routed, f"{write} while requests are sent there"
        elif write.resource == "httproutes" and write.method in ("POST", "PATCH"):
            _check_route(write, answering, first=not routed)
            routed = _targets(write)


def _check_route(write: Request, answering: Mapping[str, float], *, first: bool) -> None:
    """No traffic for who does not answer; with nobody ready, what was there may stay."""
    answer = {name for name, since in answering.items() if since <= write.at}
    silent = _targets(write) - answer
    assert not silent or not (answer or first), f"{write} sends requests to {silent}, not ready"


def _targets(write: Request) -> set[str]:
    """InferenceServices that a route sends requests to."""
    rules = json.loads(write.body)["spec"]["rules"]
    refs = [ref for rule in rules for ref in rule["backendRefs"] if ref["weight"] > 0]
    return {ref["name"].removesuffix("-predictor") for ref in refs}


def _named(value: Any) -> Iterator[str]:
    """All InferenceServices that a status names."""
    if isinstance(value, dict):
        if isinstance(name := value.get("inferenceService"), str):
            yield name
        for one in value.values():
            yield from _named(one)
    elif isinstance(value, list):
        for one in value:
            yield from _named(one)

"""Who changed what, as lines of JSON."""

from __future__ import annotations

import copy
import json
import logging
from typing import Any

import pytest

from loopwright.kube import audit
from loopwright.kube.cache import Cache
from loopwright.logs import JsonFormatter

MANAGED = [
    {"manager": "kubectl", "operation": "Apply", "time": "2026-11-30T07:00:00Z"},
    {"manager": "argocd-controller", "operation": "Update", "time": "2026-11-30T08:00:00Z"},
    {"manager": "loopwright", "operation": "Apply", "time": "2026-11-30T09:00:00Z",
     "subresource": "status"},
]  # fmt: skip


def endpoint(generation: int = 1, uid: str = "u", **spec: Any) -> dict[str, Any]:
    meta = {"namespace": "n", "name": "ep", "uid": uid, "generation": generation,
            "managedFields": MANAGED}  # fmt: skip
    spec = {"variants": [{"name": "a", "trafficPercent": 90}], **spec}
    return {"kind": "ModelEndpoint", "metadata": meta, "spec": spec}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO, "loopwright.audit")

    def told(event: str | None, before: Any, after: Any) -> list[dict[str, Any]]:
        caplog.clear()
        audit.tell(event, before, after)
        return [json.loads(JsonFormatter().format(one)) for one in caplog.records]

    return told


def test_a_change_names_fields_and_who_wrote_last(lines: Any) -> None:
    after = endpoint(2, suspend=True)
    after["spec"]["variants"][0]["trafficPercent"] = 50
    [line] = lines("MODIFIED", endpoint(), after)
    del line["time"]
    assert line == {
        "level": "INFO", "logger": "loopwright.audit", "message": "changed",
        "kind": "ModelEndpoint", "object": "n/ep", "uid": "u", "generation": 2, "event": "changed",
        "manager": "argocd-controller", "operation": "Update", "written": "2026-11-30T08:00:00Z",
        "fields": ["spec.suspend", "spec.variants[0].trafficPercent"],
    }  # fmt: skip


def test_values_are_never_told(lines: Any) -> None:
    after = endpoint(2, env=[{"name": "TOKEN", "value": "s3cr3t"}])
    assert "s3cr3t" not in json.dumps(lines("MODIFIED", endpoint(), after))


def test_statuses_and_resyncs_are_no_changes(lines: Any) -> None:
    after = {**endpoint(), "status": {"phase": "Ready"}}
    assert lines("MODIFIED", endpoint(), after) == []
    assert lines(None, endpoint(), after) == []


def test_creation_and_deletion(lines: Any) -> None:
    assert [one["event"] for one in lines("ADDED", None, endpoint())] == ["created"]
    # The operator knows already what it made itself.
    assert [one["event"] for one in lines("ADDED", endpoint(), endpoint())] == ["created"]
    assert [one["event"] for one in lines(None, endpoint(), endpoint(uid="v"))] == ["created"]
    [line] = lines("DELETED", endpoint(), endpoint())
    assert line["event"] == "deleted"
    assert "manager" not in line


@pytest.mark.parametrize(
    ("observed", "told"), [({}, ["created"]), ({"observedGeneration": 2}, ["changed"]),
                           ({"observedGeneration": 3}, [])],
)  # fmt: skip
def test_the_first_look_tells_what_nobody_saw(lines: Any, observed: Any, told: list[str]) -> None:
    found = lines(None, None, {**endpoint(3), "status": observed})
    assert [one["event"] for one in found] == told


def test_who_approved(lines: Any) -> None:
    before = {**endpoint(), "kind": "ModelVersion", "spec": {"approval": {"state": "Pending"}}}
    after = copy.deepcopy(before)
    after["spec"]["approval"] = {"state": "Approved", "by": "alice", "reason": "it is good"}
    [line] = lines("MODIFIED", before, after)
    assert (line["actor"], line["approval"]) == ("alice", "Approved")
    assert "it is good" not in json.dumps(line)


def test_people_s_annotations_count(lines: Any) -> None:
    after = endpoint()
    after["metadata"]["annotations"] = {"loopwright.io/promote": "abc123", "other.io/x": "y"}
    [line] = lines("MODIFIED", endpoint(), after)
    assert line["fields"] == ["metadata.annotations.loopwright.io/promote"]


def test_a_large_change_is_counted(lines: Any) -> None:
    before, after = (
        endpoint(h={str(n): 1 for n in range(99)}),
        endpoint(h={str(n): 2 for n in range(99)}),
    )
    [line] = lines("MODIFIED", before, after)
    assert (len(line["fields"]), line["more_fields"]) == (audit.MAX_FIELDS, 99 - audit.MAX_FIELDS)


def test_the_operator_s_own_cache_tells_each_news_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "loopwright.audit")
    cache = Cache(audit.tell)

    def seen(event: str | None, version: int, generation: int = 1, **more: Any) -> None:
        obj = {**endpoint(generation, suspend=generation > 1), **more}
        obj["metadata"] = {**obj["metadata"], "resourceVersion": str(version)}
        cache.observe(event, obj)

    seen(None, 1)  # The answer to a write of its own.
    seen("ADDED", 1)
    seen("MODIFIED", 2, status={"phase": "Ready"})
    seen("MODIFIED", 3, 2)
    seen(None, 3, 2)
    seen("DELETED", 4, 2)
    seen("DELETED", 4, 2)
    assert [one.getMessage() for one in caplog.records] == ["created", "changed", "deleted"]

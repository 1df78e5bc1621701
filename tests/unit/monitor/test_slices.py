"""Who serves, read from EndpointSlices."""

from __future__ import annotations

from typing import Any

from fake_pods import FakePod, slice_of

from loopwright.monitor.slices import pods, revisions
from loopwright.monitor.windows import Revision

R1, R2 = Revision("main", "r1"), Revision("main", "r2")


def one(revision: str = "r1", **changes: Any) -> dict[str, Any]:
    """An EndpointSlice of one pod."""
    pod = FakePod(revision)
    pod.port = 8080
    return slice_of(revision, pod) | changes


def test_each_pod_has_a_revision_and_an_address() -> None:
    first, second = one("r1"), one("r2")
    second["endpoints"][0]["conditions"] = {"ready": False}
    found = pods([first, second], 8080)
    assert {(pod.revision, pod.ready) for pod in found} == {(R1, True), (R2, False)}
    assert {pod.url for pod in found} == {"http://127.0.0.1:8080"}


def test_revisions_without_pods_are_known() -> None:
    assert revisions([slice_of("r2"), one("r1"), one("r1")]) == [R1, R2]
    assert pods([slice_of("r2")], 8080) == []


def test_a_pod_in_two_slices_is_one_pod() -> None:
    four = one()
    six = {
        **four,
        "addressType": "IPv6",
        "endpoints": [{**four["endpoints"][0], "addresses": ["fd00::7"]}],
    }
    assert [pod.url for pod in pods([six, four], 8080)] == ["http://127.0.0.1:8080"]
    assert [pod.url for pod in pods([six], 8080)] == ["http://[fd00::7]:8080"]


def test_the_port_is_the_known_one_or_else_the_first() -> None:
    ports = [{"name": "grpc", "port": 8081}, {"name": "http", "port": 8080}]
    assert pods([one(ports=ports)], 8080)[0].url.endswith(":8080")
    assert pods([one(ports=ports)], 9000)[0].url.endswith(":8081")
    assert pods([one(ports=None)], 9000)[0].url.endswith(":9000")


def test_what_is_not_said_is_assumed_as_in_kubernetes() -> None:
    bare = one(endpoints=[{"addresses": ["10.0.0.1"]}])
    found = pods([bare], 8080)
    assert (found[0].uid, found[0].ready) == ("10.0.0.1", True)
    assert pods([one(addressType="FQDN"), one(endpoints=None)], 8080) == []


def test_slices_of_no_revision_do_not_count() -> None:
    stranger = one()
    stranger["metadata"] = {"name": "x"}
    assert revisions([stranger]) == []
    assert pods([stranger], 8080) == []

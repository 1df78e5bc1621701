"""A Ray cluster takes orders from nobody without its token.

NetworkPolicies are not enforced here: the token is the only lock, as on a cluster whose network
plugin knows none.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Final

import grpc
import httpx
import pytest
import scripts
from ray.core.generated.gcs_service_pb2 import GetAllNodeInfoRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
from ray.core.generated.ray_client_pb2 import ClusterInfoRequest, ClusterInfoType
from ray.core.generated.ray_client_pb2_grpc import RayletDriverStub
from space import Space

from loopwright.desired.network import AGENT, DASHBOARD

pytestmark = pytest.mark.e2e

# Of a head: its store, and where clients connect.
GCS: Final = 6379
CLIENTS: Final = 10001
PING: Final = ClusterInfoType.TypeEnum.Value("PING")
PATIENCE: Final = 30


@pytest.fixture
def head(space: Space) -> Iterator[str]:
    """The address of the head of a job that trains."""
    space.train("locked", scripts.COUNTING, hyperparameters={"epochs": "5", "hold": "3"})
    space.wait("locked", lambda s: (s.get("checkpoint") or {}).get("step", 0) >= 2)
    [pod] = space.pods("locked", "head")
    yield pod["status"]["podIP"]
    space.let_go()
    status = space.phase("locked", "Succeeded")
    assert [one["number"] for one in status["attempts"]] == [1]


def token(space: Space) -> str:
    """The token of the cluster."""
    [attempt] = space.status("locked")["attempts"]
    secret = space.kubectl.get("secret", attempt["rayCluster"], space.name)
    assert secret is not None
    return base64.b64decode(secret["data"]["auth_token"]).decode()


def asked(address: str, service: type, method: str, request: Any, bearer: str) -> str:
    """How a gRPC service of Ray answers: OK, or the code of its refusal."""
    metadata = [("authorization", f"Bearer {bearer}")] if bearer else []
    with grpc.insecure_channel(address) as channel:
        call = getattr(service(channel), method)
        try:
            call(request, metadata=metadata, timeout=PATIENCE)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def test_only_who_has_the_token_is_let_in(space: Space, head: str) -> None:
    good = token(space)
    job: dict[str, Any] = {"entrypoint": "touch /tmp/taken"}
    jobs = f"http://{head}:{DASHBOARD}/api/jobs/"
    for bearer, code in (("", 401), ("0" * len(good), 403)):
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        assert httpx.get(jobs, headers=headers, timeout=PATIENCE).status_code == code
        assert httpx.post(jobs, headers=headers, json=job, timeout=PATIENCE).status_code == code
    known = httpx.get(jobs, headers={"Authorization": f"Bearer {good}"}, timeout=PATIENCE)
    assert known.status_code == 200
    assert [one["entrypoint"] for one in known.json()] == ["python -m loopwright.runtime"]
    agent = httpx.get(f"http://{head}:{AGENT}/api/job_agent/jobs/", timeout=PATIENCE)
    assert agent.status_code == 401, agent.text

    services = {
        f"{head}:{GCS}": (NodeInfoGcsServiceStub, "GetAllNodeInfo", GetAllNodeInfoRequest()),
        f"{head}:{CLIENTS}": (RayletDriverStub, "ClusterInfo", ClusterInfoRequest(type=PING)),
    }
    for address, service in services.items():
        found = [asked(address, *service, one) for one in ("", "0" * len(good), good)]
        assert found == ["UNAUTHENTICATED", "UNAUTHENTICATED", "OK"], address

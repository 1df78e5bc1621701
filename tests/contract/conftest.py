"""The control plane that all contract tests ask."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import httpx
import pytest
import yaml
from kubectl import Kubectl
from specs import Judge

from controlplane import control_plane


@pytest.fixture(scope="session")
def api() -> Iterator[Kubectl]:
    """kubectl on a real API server."""
    with control_plane() as client:
        yield client


@pytest.fixture(scope="session")
def judge(api: Kubectl) -> Iterator[Judge]:
    """Both sides; kubectl would take a hundred times as long as a request."""
    config = yaml.safe_load(api.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    # Python 3.13 wants key usages that the cluster's CA does not name.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    with httpx.Client(
        base_url=cluster["server"], verify=context, trust_env=False, timeout=60
    ) as client:
        yield Judge(client)

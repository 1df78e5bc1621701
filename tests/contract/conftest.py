"""The control plane that all contract tests ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubectl import Kubectl

from controlplane import control_plane


@pytest.fixture(scope="session")
def api() -> Iterator[Kubectl]:
    """kubectl on a real API server."""
    with control_plane() as client:
        yield client

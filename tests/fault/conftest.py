"""A control plane, a process that forks operators, and a theatre to play scenarios in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubectl import Kubectl

from controlplane import control_plane
from granted import grant_operator

# They assert on behalf of tests, and a failure must say what was compared.
pytest.register_assert_rewrite("operators", "promises", "scenario")

from operators import Zygote  # noqa: E402
from theatre import Theatre  # noqa: E402


@pytest.fixture(scope="session")
def admin() -> Iterator[Kubectl]:
    """kubectl on the control plane, with the operator's own permissions in place."""
    with control_plane() as client:
        grant_operator(client)
        yield client


@pytest.fixture(scope="session")
def token(admin: Kubectl) -> str:
    """Of the operator's ServiceAccount: what it may do is tested as well."""
    words = ["create", "token", "loopwright", "-n", "loopwright-system", "--duration=3h"]
    return admin.run(*words).strip()


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Forks operators."""
    found = Zygote()
    yield found
    found.close()


@pytest.fixture(scope="session")
def theatre(
    admin: Kubectl, token: str, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory
) -> Theatre:
    """Where scenarios are played."""
    return Theatre(admin, token, zygote, tmp_path_factory.mktemp("operators"), {})
